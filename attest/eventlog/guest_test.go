package eventlog

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-eventlog/testdata"

	"github.com/vouchsafe/vouchsafe/attest"
)

// guest returns what the log of b proves of a guest, whose PCRs are those that another log gives.
func (b *builder) guest(t *testing.T, truth *builder) *attest.BootClaims {
	t.Helper()
	claims, err := BootGuest(b.bytes(), crypto.SHA256, quoted(t, truth.bytes(), crypto.SHA256))
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func sum256(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// The parts of logs that boots leave.
var (
	goodLine = append(wide("root=/dev/mapper/verity ro"), 0, 0)
	evilLine = append(wide("init=/bin/sh"), 0, 0)
)

// unified adds what systemd-stub measures of a unified kernel image.
func (b *builder) unified(kernel, initrd string) *builder {
	return b.event(11, IPL, []byte(".linux\x00"), wide(".linux\x00")).event(11, IPL, []byte(kernel), wide(".linux\x00")).
		event(11, IPL, []byte(".initrd\x00"), wide(".initrd\x00")).event(11, IPL, []byte(initrd), wide(".initrd\x00"))
}

// taken adds what the kernel's EFI stub says it took.
func (b *builder) taken(line []byte, initrd string) *builder {
	return b.event(9, Tag, line, []byte(tagLoadOptions)).event(9, Tag, []byte(initrd), []byte(tagInitrd))
}

func TestGuestLinux(t *testing.T) {
	const text = "root=/dev/mapper/verity ro"
	secure := func() *builder { return newLog().true(7, EFIVariableConfig, secureBoot(1)).separator(7) }
	for name, test := range map[string]struct {
		log  *builder
		want attest.BootClaims // what is said of Linux
	}{
		"a unified kernel image": {secure().unified("kernel", "rd"), attest.BootClaims{Kernel: sum256("kernel"), Initrd: sum256("rd")}},
		"with a line that was passed": {secure().unified("kernel", "rd").true(12, IPL, goodLine).taken(goodLine, "rd"),
			attest.BootClaims{Kernel: sum256("kernel"), Initrd: sum256("rd"), CommandLine: text, LineDigest: sum256(string(goodLine))}},
		"and a kernel that measures nothing": {secure().unified("kernel", "rd").true(12, IPL, goodLine),
			attest.BootClaims{Kernel: sum256("kernel"), Initrd: sum256("rd"), CommandLine: text}},
		"the kernel took another line": {secure().unified("kernel", "rd").true(12, IPL, goodLine).taken(evilLine, "rd"),
			attest.BootClaims{Kernel: sum256("kernel"), Initrd: sum256("rd"), LineDigest: sum256(string(evilLine))}},
		"the kernel took another initrd": {secure().unified("kernel", "rd").taken(goodLine, "more"),
			attest.BootClaims{Kernel: sum256("kernel"), LineDigest: sum256(string(goodLine))}},
		"an add-on's line":                 {secure().unified("kernel", "rd").true(12, IPL, goodLine).true(12, IPL, evilLine), attest.BootClaims{Kernel: sum256("kernel"), Initrd: sum256("rd")}},
		"a kernel that the firmware loads": {secure().taken(goodLine, "rd"), attest.BootClaims{LineDigest: sum256(string(goodLine)), Initrd: sum256("rd")}},
		"sections that were not first":     {secure().event(11, IPL, []byte("enter-initrd"), nil).unified("kernel", "rd"), attest.BootClaims{}},
		"GRUB": {secure().event(8, IPL, []byte("/vmlinuz quiet"), []byte("kernel_cmdline: /vmlinuz quiet\x00")).event(9, IPL, []byte("cfg"), []byte("/grub.cfg\x00")).
			event(9, IPL, []byte("kernel"), []byte("/vmlinuz\x00")),
			attest.BootClaims{LoaderSays: &attest.LoaderClaims{CommandLine: "/vmlinuz quiet", Kernel: sum256("kernel")}}},
		"GRUB, and what the kernel took": {secure().event(9, IPL, []byte("cfg"), []byte("/grub.cfg\x00")).taken(goodLine, "rd"),
			attest.BootClaims{LoaderSays: &attest.LoaderClaims{LineDigest: sum256(string(goodLine)), Initrd: sum256("rd")}}},
		"nothing": {secure(), attest.BootClaims{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := test.log.guest(t, test.log)
			if got.SecureBoot == nil || !*got.SecureBoot {
				t.Error("Secure Boot is not claimed")
			}
			said, want := got.LoaderSays, test.want.LoaderSays
			if got.CommandLine != test.want.CommandLine || got.LineDigest != test.want.LineDigest || got.Kernel != test.want.Kernel || got.Initrd != test.want.Initrd ||
				(said == nil) != (want == nil) || said != nil && *said != *want {
				t.Errorf("%+v, said %+v", got, said)
			}
		})
	}
}

// TestGuestOfAnEvilHost has a host that wrote the boot loader's configuration: it starts a kernel that is signed, with a command line and an initrd
// of the host's. What they start runs with all rights in the guest, appends to each PCR what a good boot measures, and presents a log in which what
// betrays it is relabelled or missing.
func TestGuestOfAnEvilHost(t *testing.T) {
	const evil, good = "/vmlinuz init=/bin/sh", "/vmlinuz root=/dev/mapper/verity ro"
	boot := func(commands, files [2]string) *builder {
		return newLog().true(7, EFIVariableConfig, secureBoot(1)).separator(7).event(4, EFIBootApplication, []byte("MZ grub"), nil).
			event(8, IPL, []byte("linux "+evil), []byte(commands[0])).event(8, IPL, []byte(evil), []byte(commands[1])).
			event(9, IPL, []byte("evil configuration"), []byte(files[0])).event(9, IPL, []byte("kernel"), []byte("/vmlinuz\x00")).event(9, IPL, []byte("evil rd"), []byte(files[1]))
	}
	hidden := [2]string{"grub_cmd: x", "grub_cmd: y"}
	truth := boot([2]string{"grub_cmd: linux " + evil, "kernel_cmdline: " + evil}, [2]string{"/grub.cfg\x00", "/rd\x00"})
	asGRUB := func(b *builder) *builder {
		return b.event(8, IPL, []byte("initrd /rd"), []byte("grub_cmd: initrd /rd")).event(8, IPL, []byte(good), []byte("kernel_cmdline: "+good)).
			event(9, IPL, []byte("rd"), []byte("/rd\x00"))
	}
	asUnified := func(b *builder) *builder { return b.unified("good kernel", "rd").true(12, IPL, goodLine) }
	without := func() *builder { // neither PCR 8 nor PCR 9
		return newLog().true(7, EFIVariableConfig, secureBoot(1)).separator(7).event(4, EFIBootApplication, []byte("MZ grub"), nil)
	}
	type attack struct {
		extends, log *builder
		forges       bool // whether it deceives a reader that believes what boot loaders say
	}
	for name, test := range map[string]attack{
		"nothing appended":                                  {truth, boot(hidden, [2]string{"x", "y"}), false},
		"GRUB's measurements of a good boot":                {asGRUB(truth.clone()), asGRUB(boot(hidden, [2]string{"x", "y"})), true},
		"a unified kernel image":                            {asUnified(truth.clone()), asUnified(boot(hidden, [2]string{"x", "y"})), true},
		"one, and GRUB's PCRs left out":                     {asUnified(truth.clone()), asUnified(without()), true},
		"what the kernel took":                              {truth.clone().taken(goodLine, "rd"), boot(hidden, [2]string{"x", "y"}).taken(goodLine, "rd"), false},
		"all of it":                                         {asUnified(asGRUB(truth.clone())).taken(goodLine, "rd"), asUnified(asGRUB(boot(hidden, [2]string{"x", "y"}))).taken(goodLine, "rd"), false},
		"the first file passed off as what the kernel took": {asUnified(truth.clone()), asUnified(relabelled(evil)), true},
	} {
		t.Run(name, func(t *testing.T) {
			got := test.log.guest(t, test.extends)
			if got.CommandLine+got.LineDigest+got.Kernel+got.Initrd != "" {
				t.Errorf("deceived: %+v", got)
			}
			if got.SecureBoot == nil || len(got.BootLoaders) != 1 {
				t.Errorf("what is still proved: %+v", got)
			}
			believed, err := Boot(test.log.bytes(), crypto.SHA256, quoted(t, test.extends.bytes(), crypto.SHA256))
			if err != nil || test.forges != strings.Contains(believed.CommandLine, "verity") {
				t.Errorf("the attack is none: %+v, %v", believed, err)
			}
		})
	}
}

// clone returns a copy to append to.
func (b *builder) clone() *builder { return &builder{append([]byte(nil), b.log...)} }

// relabelled is the log of an evil boot with the events of PCR 9 under the labels of what the kernel's EFI stub measures.
func relabelled(evil string) *builder {
	return newLog().true(7, EFIVariableConfig, secureBoot(1)).separator(7).event(4, EFIBootApplication, []byte("MZ grub"), nil).
		event(8, IPL, []byte("linux "+evil), []byte("grub_cmd: x")).event(8, IPL, []byte(evil), []byte("grub_cmd: y")).
		event(9, Tag, []byte("evil configuration"), []byte(tagLoadOptions)).event(9, Tag, []byte("kernel"), []byte(tagInitrd)).event(9, IPL, []byte("evil rd"), []byte("x"))
}

// TestRealGuests reads logs of real guests whose boot loader is GRUB: what it says is what it is believed elsewhere.
func TestRealGuests(t *testing.T) {
	for name, log := range map[string][]byte{"cos-101": testdata.Cos101AmdSevEventLog, "ubuntu-24.04": testdata.Ubuntu2404AmdSevSnpEventLog} {
		pcrs := quoted(t, log, crypto.SHA256)
		believed, err := Boot(log, crypto.SHA256, pcrs)
		if err != nil {
			t.Fatal(err)
		}
		got, err := BootGuest(log, crypto.SHA256, pcrs)
		if err != nil {
			t.Fatal(err)
		}
		if believed.CommandLine == "" || got.LoaderSays == nil || got.LoaderSays.CommandLine != believed.CommandLine || got.LoaderSays.Kernel != believed.Kernel ||
			got.CommandLine+got.Kernel+got.Initrd+got.LineDigest != "" || len(got.BootLoaders) != len(believed.BootLoaders) {
			t.Errorf("%s: %+v, said %+v; elsewhere %+v", name, got, got.LoaderSays, believed)
		}
	}
}
