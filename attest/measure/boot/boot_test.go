package boot

import (
	"bytes"
	"crypto"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/eventlog"
	"github.com/vouchsafe/vouchsafe/attest/measure/pe"
)

// Recorded boots: see testdata/README.md.
var (
	//go:embed testdata/uki.log
	ukiLog []byte
	//go:embed testdata/uki.pcrs
	ukiPCRs string
	//go:embed testdata/grub.log
	grubLog []byte
	//go:embed testdata/grub.pcrs
	grubPCRs string
	//go:embed testdata/direct.log
	directLog []byte
	//go:embed testdata/direct.pcrs
	directPCRs string
)

const testLine = "console=ttyS0 panic=-1 quiet"

// digests are those of what was booted: of programs the Authenticode digest, as the package pe computes it, and of files that of their content.
var digests = map[string]map[crypto.Hash]string{
	"uki": {
		crypto.SHA256: "b54964e97d81d475b8077070ef501ced66bd2eb012301a7abcdcdd37fd755e0e",
		crypto.SHA384: "6b124ac91bad629d3b00bbdab49fb14df2b71f672578489f053c8b066864169afac3ebe0dbcc1671d3cd052a8329ee55",
	},
	"kernel": {
		crypto.SHA256: "5f21ff2c0d5d899842b28a8b19901ba72cf7a7ab93c02a77fadc6ff72be85b31",
		crypto.SHA384: "85ac7473fe81fb47666a5c08d32d8e7a62af347ddae9567dff0781f954a9b06670accfcfa714830329b1e45cfa9e541c",
	},
	"kernel file": {
		crypto.SHA256: "51349501a3d1ff83836437d2b365fd2d57f2feb8642d315e5181dec23d4c3275",
		crypto.SHA384: "07954655bff09dccb39487917d0898f69446aad30e80025f9b1499fd3525fb9d492c6040213fccb2f7485fb228fff4c3",
	},
	"initrd": {
		crypto.SHA256: "e4d3e03f932c951f048e8cbb735475962a00c96dc7ad46724b076e2f20045261",
		crypto.SHA384: "b2106efc2fd9f6715dabbb424c2c8c16203752b82c1d3dd153146ffe31a452c15f3d126912142bbc2090129b7c04e22e",
	},
	"shim": {
		crypto.SHA256: "80a66d53a945d2286fcadd780fae1c225aa732079cd67b5225dc78aaab4e2ff8",
		crypto.SHA384: "e6aeca317d23c019051c761a0a73820b0d7b4862e6f919455a68122b057431d652d9c6cc228853580332a8a9899c2f33",
	},
	"grub": {
		crypto.SHA256: "a68f6d71ebddaa19751ff8d729f67d11b0df8e4c49400c3e7e90de16119e1265",
		crypto.SHA384: "e76b5df31a3a1564e26b1a4d3abe025955a98c6f69704e5953d8e1f8d51693df29af4c9a7e832386528c936827a408b0",
	},
}

const grubConfiguration = `set timeout=0
linux /boot/vmlinuz console=ttyS0 panic=-1 quiet
initrd /boot/initrd.img
boot
`

func unhex(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return b
}

// quoted reads recorded PCRs of a bank.
func quoted(t *testing.T, text string, hash crypto.Hash) map[int]string {
	t.Helper()
	values := map[int]string{}
	for line := range strings.Lines(text) {
		var bank, value string
		var pcr int
		if _, err := fmt.Sscan(line, &bank, &pcr, &value); err != nil {
			t.Fatal(err)
		}
		if bank == strings.ToLower(strings.ReplaceAll(hash.String(), "-", "")) {
			values[pcr] = value
		}
	}
	if len(values) < 16 {
		t.Fatalf("%d PCRs", len(values))
	}
	return values
}

// builder stops a test at the first error.
type builder struct {
	*Sequence
	t    *testing.T
	hash crypto.Hash
}

func build(t *testing.T, hash crypto.Hash) builder {
	t.Helper()
	s, err := New(hash)
	if err != nil {
		t.Fatal(err)
	}
	return builder{s, t, hash}
}

func (b builder) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b builder) digest(of string) []byte { return unhex(digests[of][b.hash]) }
func (b builder) program(of string)       { b.must(b.ApplicationDigest(of, b.digest(of))) }

// bytesOf is a section of which only the digest is known.
func (b builder) section(name, of string) Section { return Section{name, b.digest(of)} }

func (b builder) text(name, content string) Section {
	sum, err := Sum(b.hash, strings.NewReader(content))
	b.must(err)
	return Section{name, sum}
}

// predictUKI says what the recorded boot of a unified kernel image measures.
func predictUKI(b builder) {
	b.SecureBoot(SecureBoot{})
	b.ReadyToBoot()
	b.NextOption() // the first one is a drive without a medium
	b.program("uki")
	b.must(b.StubSections([]Section{
		b.section(".linux", "kernel file"), b.text(".osrel", "ID=vouchsafe-test\nVERSION_ID=1\n"), b.text(".cmdline", testLine), b.section(".initrd", "initrd"),
	}))
	b.program("kernel")
	b.must(b.LinuxStub(testLine, nil))
	b.must(b.Digest(pcrFiles, "initrd", b.digest("initrd")))
	b.ExitBootServices()
}

func predictDirect(b builder, kernel []byte) {
	b.SecureBoot(SecureBoot{})
	b.must(b.ApplicationDigest("kernel", kernel))
	b.ReadyToBoot()
	b.must(b.LinuxStub(testLine+" initrd=initrd", nil))
	b.must(b.Digest(pcrFiles, "initrd", b.digest("initrd")))
	b.ExitBootServices()
}

func predictGRUB(b builder, variables func(name string) Variable) {
	state := SecureBoot{Enabled: true, PK: variables("PK").Data, KEK: variables("KEK").Data, DB: variables("db").Data, DBX: variables("dbx").Data}
	b.SecureBoot(state)
	b.ReadyToBoot()
	b.NextOption()
	b.Authority(variables("db entry"))
	b.program("shim")
	b.Authority(variables("SbatLevel"))
	b.Authority(variables("MokListRT"))
	b.program("grub")
	const dir = "(hd0,msdos1)/EFI/debian"
	b.GRUBCommand("[ -z " + dir + " -o ! -e " + dir + " ]")
	b.GRUBCommand("[ -e " + dir + "/x86_64-efi/grub.cfg ]")
	b.GRUBCommand("[ -e " + dir + "/grub.cfg ]")
	b.GRUBCommand("source " + dir + "/grub.cfg")
	b.must(b.GRUBFile(dir+"/grub.cfg", strings.NewReader(grubConfiguration)))
	b.GRUBCommand("set timeout=0")
	b.GRUBCommand("linux /boot/vmlinuz " + testLine)
	b.must(b.GRUBFileDigest("/boot/vmlinuz", b.digest("kernel file")))
	b.program("kernel") // Debian's GRUB has shim verify it, which measures it,
	b.program("kernel") // and measures it itself
	b.GRUBCommandLine("/boot/vmlinuz " + testLine)
	b.GRUBCommand("initrd /boot/initrd.img")
	b.must(b.GRUBFileDigest("/boot/initrd.img", b.digest("initrd")))
	b.GRUBCommand("boot")
}

// TestPredictedIsMeasured predicts each recorded boot from what was booted, and compares registers with what a TPM measured.
func TestPredictedIsMeasured(t *testing.T) {
	for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384} {
		for name, test := range map[string]struct {
			pcrs    string
			predict func(b builder)
			want    []int
		}{
			"uki":    {ukiPCRs, predictUKI, []int{2, 3, 4, 6, 7, 9, 11}},
			"direct": {directPCRs, func(b builder) { predictDirect(b, patched(t, b.hash)) }, []int{2, 3, 4, 6, 7, 9}},
			"grub":   {grubPCRs, func(b builder) { predictGRUB(b, recorded(t, grubLog)) }, []int{2, 3, 4, 6, 7, 8, 9}},
		} {
			t.Run(fmt.Sprint(name, "/", hash), func(t *testing.T) {
				b := build(t, hash)
				test.predict(b)
				got, want := b.PCRs(), quoted(t, test.pcrs, hash)
				for _, pcr := range test.want {
					if got[pcr] != want[pcr] {
						t.Errorf("PCR %d is predicted as %s, and was %s", pcr, got[pcr], want[pcr])
					}
				}
			})
		}
	}
}

// patched returns the digest of the kernel of the direct boot as it was logged: QEMU writes into the header of a kernel that it hands to a
// guest which is not confidential, so it is not the file's.
func patched(t *testing.T, hash crypto.Hash) []byte {
	t.Helper()
	log, err := eventlog.Parse(directLog)
	if err != nil {
		t.Fatal(err)
	}
	for i := range log.Events {
		if e := &log.Events[i]; e.PCR == 4 && e.Type == eventlog.EFIBootApplication {
			return log.Digest(e, hash)
		}
	}
	t.Fatal("no program")
	return nil
}

// recorded finds variables in an event log: what the machine's owner set is an input.
func recorded(t *testing.T, data []byte) func(name string) Variable {
	t.Helper()
	log, err := eventlog.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]Variable{}
	for _, e := range log.Events {
		if e.Type != eventlog.EFIVariableConfig && e.Type != eventlog.EFIVariableAuthority {
			continue
		}
		v := Variable{GUID: [16]byte(e.Data[:16])}
		units := int(e.Data[16])
		for i := range units {
			v.Name += string(rune(e.Data[32+2*i]))
		}
		v.Data = e.Data[32+2*units:]
		name := v.Name
		if e.Type == eventlog.EFIVariableAuthority && name == "db" {
			name = "db entry"
		}
		found[name] = v
	}
	return func(name string) Variable {
		v, is := found[name]
		if !is {
			t.Fatalf("no variable %s in the log", name)
		}
		return v
	}
}

// TestClaimsOfRecorded has the event log's reader prove what the prediction says of these boots.
func TestClaimsOfRecorded(t *testing.T) {
	values := func(pcrs string) (list [][]byte) {
		q := quoted(t, pcrs, crypto.SHA256)
		for i := range 24 {
			list = append(list, unhex(q[i]))
		}
		return list
	}
	uki, err := eventlog.Boot(ukiLog, crypto.SHA256, values(ukiPCRs))
	if err != nil {
		t.Fatal(err)
	}
	b := build(t, crypto.SHA256)
	predictUKI(b)
	line, err := LineDigest(crypto.SHA256, testLine)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(uki.BootLoaders, b.Programs()) || uki.Kernel != digests["kernel file"][crypto.SHA256] || uki.Initrd != digests["initrd"][crypto.SHA256] ||
		uki.LineDigest != hex.EncodeToString(line) || *uki.SecureBoot {
		t.Errorf("%+v", uki)
	}
	grub, err := eventlog.Boot(grubLog, crypto.SHA256, values(grubPCRs))
	if err != nil {
		t.Fatal(err)
	}
	b = build(t, crypto.SHA256)
	predictGRUB(b, recorded(t, grubLog))
	if !slices.Equal(grub.BootLoaders, b.Programs()) || grub.Kernel != digests["kernel file"][crypto.SHA256] || grub.Initrd != digests["initrd"][crypto.SHA256] ||
		grub.CommandLine != "/boot/vmlinuz "+testLine || !*grub.SecureBoot || len(grub.SecureBootDB) != 2 || len(grub.Variables) != 4 {
		t.Errorf("%+v", grub)
	}
}

// TestSystemdMeasure has what systemd-measure 252.39 calculates for the recorded image: at the start of the kernel, and after phases.
func TestSystemdMeasure(t *testing.T) {
	for hash, want := range map[crypto.Hash][3]string{
		crypto.SHA256: {
			"36ae373d1b06ea74f1f70b75405009b168f0e51fed4e5c15e1a4b567b4cd5fca",
			"f979cfb5c7d52723c71d7865567400e4eca7e5dca29b07e8661fd425965a33f1",
			"081b9895d484a75e3c92c1b7df89a2d005dd0ec2a056b33d313cd829170bd4a5",
		},
		crypto.SHA384: {
			"c181f09ea3b05b09bab25753069b7d8d852688efda568f2b98fdbb8c1c3cb49395829fcee5de6bfe39f7a1004b81ad59",
			"d629e767a7b8a6b9411e8a12af8a99af8dfee6a2ed2eb82b57f9200e59064a89ac00d42498e90c4233b3f57c5f6e6d26",
			"77e4501506404a07f62c2bd3214324815bbd1eb256d94f16ae5d021a03b968103b6d1e1b42e68fec88150261d73ee0d3",
		},
	} {
		b := build(t, hash)
		predictUKI(b)
		got := []string{b.PCRs()[11]}
		b.Phase("enter-initrd")
		got = append(got, b.PCRs()[11])
		for _, phase := range []string{"leave-initrd", "sysinit", "ready"} {
			b.Phase(phase)
		}
		if got = append(got, b.PCRs()[11]); !slices.Equal(got, want[:]) {
			t.Errorf("%v: %v", hash, got)
		}
	}
}

// TestEveryEventCounts leaves out each event of a boot, and swaps each with the next: the register changes, and no other.
func TestEveryEventCounts(t *testing.T) {
	b := build(t, crypto.SHA384)
	predictGRUB(b, recorded(t, grubLog))
	whole := b.PCRs()
	for i, event := range b.Events {
		less := &Sequence{Events: slices.Delete(slices.Clone(b.Events), i, i+1), hash: crypto.SHA384}
		for pcr, value := range whole {
			if got := less.PCRs()[pcr]; (got == value) != (pcr != event.PCR) {
				t.Errorf("without event %d (%s), PCR %d is %s", i, event.What, pcr, got)
			}
		}
	}
}

func TestRTMRs(t *testing.T) {
	b := build(t, crypto.SHA384)
	predictUKI(b)
	rtmrs, err := b.RTMRs()
	if err != nil || !slices.Equal(slices.Sorted(maps.Keys(rtmrs)), []int{0, 1, 2}) {
		t.Fatalf("%v, %v", rtmrs, err)
	}
	if _, err := build(t, crypto.SHA256).RTMRs(); err == nil {
		t.Error("RTMRs by sha256")
	}
	for pcr, want := range []int{-1, 0, 1, 1, 1, 1, 1, 0, 2, 2, 2, 2, 2, 2, 2, 2, -1} {
		if got := RTMR(pcr); got != want {
			t.Errorf("PCR %d goes to RTMR %d", pcr, got)
		}
	}
}

func TestRefused(t *testing.T) {
	if _, err := New(crypto.SHA1); err == nil {
		t.Error("SHA-1")
	}
	s := build(t, crypto.SHA256)
	for _, line := range []string{"a\x00b", strings.Repeat("x", MaxCommandLine+1)} {
		if s.LinuxStub(line, nil) == nil || s.StubCommandLine(line) == nil {
			t.Errorf("%.10q", line)
		}
	}
	if err := s.Digest(4, "x", make([]byte, 48)); err == nil {
		t.Error("a digest of another hash")
	}
	if err := s.StubSections([]Section{{".linux", nil}}); err == nil {
		t.Error("a section without a digest")
	}
	if err := s.LinuxStub("", unreadable{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
}

type unreadable struct{}

func (unreadable) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestRealStub reads the stub that Debian ships, and the programs of the recorded boot where their versions are still here.
func TestRealStub(t *testing.T) {
	const path = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
	image, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("%s is not here: it is in Debian's package systemd-boot-efi", path)
	}
	f, err := pe.Parse(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	version, err := StubVersion(f)
	if err != nil || version < 252 {
		t.Fatalf("version %d, %v", version, err)
	}
	if list, err := Sections(f, version, crypto.SHA256); version == 252 && (err != nil || len(list) != 0) {
		t.Errorf("%v, %v: a stub alone has no section that is measured", list, err)
	}
	for _, unknown := range []int{0, 251, 253} {
		if _, err := Sections(f, unknown, crypto.SHA256); err == nil {
			t.Errorf("version %d", unknown)
		}
	}
}
