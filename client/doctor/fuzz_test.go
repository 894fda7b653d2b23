package doctor

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// fuzzed are the texts that FuzzMachine makes up; other files are there or not.
var fuzzed = []string{
	"/proc/cpuinfo", "/proc/sys/kernel/osrelease", "log", "provider", "/proc/self/mounts", "/proc/cmdline", "/sys/devices/system/cpu/sev/vmpl",
	"/proc/driver/nvidia/version", "run nvidia-smi conf-compute -f",
}

// switched are files that are there when a bit is set.
var switched = []string{
	"/dev/nsm", "/dev/tpmrm0", "/dev/sev-guest", "/sys/devices/platform/sev-guest", "/dev/tdx_guest", "/sys/module/sev_guest/refcnt",
	"/sys/class/tpm/tpm0/caps",
	"/.dockerenv", "/sys/kernel/config/tsm/report/x", "/sys/firmware/acpi/tables/data/CCEL", "/sys/module/kvm_amd/parameters/sev_snp",
	"/sys/module/kvm_intel/parameters/tdx", "/dev/kvm",
}

// FuzzMachine diagnoses any machine: it ends, keeps what is promised of all reports, and prints no control characters.
func FuzzMachine(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		texts, bits := make([]string, len(fuzzed)), uint16(0)
		for _, file := range archive.Files {
			for i, name := range fuzzed {
				if file.Name == name {
					texts[i] = string(file.Data)
				}
			}
			for i, name := range switched {
				if strings.HasPrefix(file.Name, name) {
					bits |= 1 << i
				}
			}
		}
		f.Add(strings.Join(texts, "\x00"), bits)
	}
	f.Fuzz(func(t *testing.T, text string, bits uint16) {
		archive := new(txtar.Archive)
		texts := strings.Split(text, "\x00")
		for i, name := range fuzzed[:min(len(texts), len(fuzzed))] {
			archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(texts[i])})
		}
		for i, name := range switched {
			if bits&(1<<i) != 0 {
				archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte("Y")})
			}
		}
		m := layOut(t, archive)
		check(t, Guest(t.Context(), m, supported...))
		check(t, Host(t.Context(), m))
	})
}
