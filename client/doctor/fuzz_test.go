package doctor

import (
	"encoding/binary"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
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

// madeUp is a machine: the texts, with zero bytes between them, and which of the files are there.
type madeUp struct {
	text string
	bits uint16
}

// machines are those of the tests, as far as they can be made up so.
func machines(tb testing.TB) []madeUp {
	tb.Helper()
	var all []madeUp
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		tb.Fatal(err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			tb.Fatal(err)
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
		all = append(all, madeUp{strings.Join(texts, "\x00"), bits})
	}
	return all
}

// diagnose diagnoses any machine: it ends, keeps what is promised of all reports, and prints no control characters.
func diagnose(t *testing.T, text string, bits uint16) {
	t.Helper()
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
}

func FuzzMachine(f *testing.F) {
	for _, m := range machines(f) {
		f.Add(m.text, m.bits)
	}
	f.Fuzz(diagnose)
}

// TestMutations has which files are there in the last two bytes of its input.
func TestMutations(t *testing.T) {
	var seeds [][]byte
	for _, m := range machines(t) {
		seeds = append(seeds, binary.BigEndian.AppendUint16([]byte(m.text), m.bits))
	}
	mutate.Run(t, seeds, func(t *testing.T, input []byte) {
		if text := len(input) - 2; text >= 0 {
			diagnose(t, string(input[:text]), binary.BigEndian.Uint16(input[text:]))
		}
	})
}
