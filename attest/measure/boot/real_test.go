package boot

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/eventlog"
	"github.com/vouchsafe/vouchsafe/attest/measure/pe"
)

// What the real boot needs, with Debian's packages: qemu-system-x86, ovmf, swtpm, swtpm-tools, systemd-boot-efi, binutils, busybox-static.
const (
	realCode    = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	realVars    = "/usr/share/OVMF/OVMF_VARS_4M.fd"
	realStub    = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
	realBusybox = "/usr/bin/busybox"
	realBoot    = 8 * time.Minute // without hardware virtualisation, on a busy machine; 20 seconds on a quiet one
)

// realInit prints what the kernel and the TPM say of the boot, and powers off.
const realInit = `#!/bin/busybox sh
B=/bin/busybox
$B mkdir -p /proc /sys
$B mount -t proc proc /proc; $B mount -t sysfs sysfs /sys; $B mount -t securityfs securityfs /sys/kernel/security
echo; echo BEGIN-PCRS
for i in 4 7 9 11; do echo "$i $($B cat /sys/class/tpm/tpm0/pcr-sha256/$i)"; done
echo END-PCRS
echo BEGIN-LOG; $B base64 /sys/kernel/security/tpm0/binary_bios_measurements; echo END-LOG
$B poweroff -f
`

// TestRealBoot builds a unified kernel image of a kernel, predicts its boot, boots it in a virtual machine with a software TPM, and compares. It runs
// when VOUCHSAFE_BOOT_KERNEL names a kernel with EFI stub and TPM drivers built in, such as that of Debian's linux-image-cloud-amd64.
func TestRealBoot(t *testing.T) {
	kernel := os.Getenv("VOUCHSAFE_BOOT_KERNEL")
	if kernel == "" {
		t.Skip("VOUCHSAFE_BOOT_KERNEL does not name a kernel to boot")
	}
	dir := t.TempDir()
	image := filepath.Join(dir, "esp", "EFI", "BOOT", "BOOTX64.EFI")
	buildImage(t, dir, kernel, image)

	file, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	u, err := ParseUKI(file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	said := bootImage(t, dir)
	log, err := eventlog.Parse(said.log)
	if err != nil {
		t.Fatal(err)
	}
	b := build(t, crypto.SHA256)
	b.SecureBoot(SecureBoot{})
	b.ReadyToBoot()
	for _, e := range log.Events { // how many boot options were tried before is the machine's
		if string(e.Data) == returning {
			b.NextOption()
		}
	}
	if unknown, err := b.UKI(u, ""); err != nil || unknown != "" {
		t.Fatalf("%q, %v", unknown, err)
	}
	for pcr, want := range said.pcrs {
		if got := b.PCRs()[pcr]; got != want {
			t.Errorf("PCR %d is predicted as %s, and is %s", pcr, got, want)
		}
	}
}

// buildImage puts a kernel and an initrd into a stub, as ukify does.
func buildImage(t *testing.T, dir, kernel, image string) {
	t.Helper()
	busybox, err := os.ReadFile(realBusybox)
	if err != nil {
		t.Fatal(err)
	}
	var initrd bytes.Buffer
	archive(&initrd, "bin", 0o40755, nil)
	archive(&initrd, "bin/busybox", 0o100755, busybox)
	archive(&initrd, "init", 0o100755, []byte(realInit))
	archive(&initrd, "TRAILER!!!", 0, nil)
	for name, content := range map[string][]byte{"initrd": initrd.Bytes(), "line": []byte(testLine), "release": []byte("ID=vouchsafe-test\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stub, err := os.Open(realStub)
	if err != nil {
		t.Fatal(err)
	}
	defer stub.Close()
	info, err := stub.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pe.Parse(stub, info.Size()); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(image), 0o700); err != nil {
		t.Fatal(err)
	}
	const first = 0x100000 // behind what any stub has
	args, address := []string{}, int64(first)
	for _, s := range [][2]string{{".osrel", filepath.Join(dir, "release")}, {".cmdline", filepath.Join(dir, "line")}, {".initrd", filepath.Join(dir, "initrd")}, {".linux", kernel}} {
		content, err := os.Stat(s[1])
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, "--add-section", s[0]+"="+s[1], "--change-section-vma", fmt.Sprintf("%s=%#x", s[0], address))
		address += (content.Size() + 0xfff) &^ 0xfff
	}
	run(t, exec.CommandContext(t.Context(), "objcopy", append(args, realStub, image)...))
}

// archive writes a member of a cpio archive in the format newc.
func archive(w *bytes.Buffer, name string, mode int, content []byte) {
	fmt.Fprintf(w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	w.WriteString(name + "\x00")
	w.Write(make([]byte, (4-w.Len()%4)%4))
	w.Write(content)
	w.Write(make([]byte, (4-w.Len()%4)%4))
}

func run(t *testing.T, c *exec.Cmd) {
	t.Helper()
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%.2000s", c.Path, err, out)
	}
}

// said is what a booted kernel printed.
type said struct {
	pcrs map[int]string
	log  []byte
}

// bootImage boots what is in the folder esp.
func bootImage(t *testing.T, dir string) said {
	t.Helper()
	vars, err := os.ReadFile(realVars)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "vars"), vars, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), realBoot)
	defer cancel()
	state, socket := filepath.Join(dir, "tpm"), filepath.Join(dir, "socket")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, exec.CommandContext(ctx, "swtpm_setup", "--tpm2", "--tpmstate", state, "--pcr-banks", "sha256"))
	tpm := exec.CommandContext(ctx, "swtpm", "socket", "--tpm2", "--terminate", "--tpmstate", "dir="+state, "--ctrl", "type=unixio,path="+socket)
	if err := tpm.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = tpm.Wait() }()
	for range 100 {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-m", "768", "-nographic", "-no-reboot", "-net", "none",
		"-drive", "if=pflash,format=raw,readonly=on,file="+realCode, "-drive", "if=pflash,format=raw,file="+filepath.Join(dir, "vars"),
		"-chardev", "socket,id=c,path="+socket, "-tpmdev", "emulator,id=t,chardev=c", "-device", "tpm-tis,tpmdev=t",
		"-drive", "file=fat:rw:"+filepath.Join(dir, "esp")+",format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d").CombinedOutput()
	text := strings.ReplaceAll(string(out), "\r", "")
	pcrs := regexp.MustCompile(`(?s)BEGIN-PCRS\n(.*)END-PCRS`).FindStringSubmatch(text)
	log := regexp.MustCompile(`(?s)BEGIN-LOG\n(.*)END-LOG`).FindStringSubmatch(text)
	if err != nil || pcrs == nil || log == nil {
		t.Fatalf("%v\n%s", err, text[max(0, len(text)-2000):])
	}
	result := said{pcrs: map[int]string{}}
	for line := range strings.Lines(pcrs[1]) {
		var pcr int
		var value string
		if _, err := fmt.Sscan(line, &pcr, &value); err != nil {
			t.Fatal(err)
		}
		result.pcrs[pcr] = strings.ToLower(value)
	}
	if result.log, err = base64.StdEncoding.DecodeString(strings.ReplaceAll(strings.TrimSpace(log[1]), "\n", "")); err != nil || len(result.pcrs) != 4 {
		t.Fatalf("%v, PCRs %v", err, result.pcrs)
	}
	return result
}
