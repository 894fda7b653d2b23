package boot

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/measure/pe/petest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

var testKernel = petest.Write(petest.Parts(".text", "code"), nil, nil)

// testUKI writes a unified kernel image of a version with more sections.
func testUKI(version string, more ...string) []byte {
	sections := append([]string{".text", "stub", ".sdmagic", "#### LoaderInfo: systemd-stub " + version + " ####", ".linux", string(testKernel)}, more...)
	return petest.Write(petest.Parts(sections...), nil, nil)
}

func parseUKI(t *testing.T, image []byte) *UKI {
	t.Helper()
	u, err := ParseUKI(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestUKI computes by hand what an image makes of PCRs 4, 9, 11 and 12.
func TestUKI(t *testing.T) {
	image := testUKI("252.39-1~deb12u2", ".initrd", "rd", ".cmdline", "quiet", ".uname", "6.1", ".osrel", "ID=x")
	u := parseUKI(t, image)
	if u.Version != 252 || u.Line != "quiet" {
		t.Errorf("version %d, line %q", u.Version, u.Line)
	}
	s := build(t, crypto.SHA256)
	if unknown, err := s.UKI(u, ""); err != nil || unknown != "" {
		t.Fatalf("%q, %v", unknown, err)
	}
	extend := func(measured ...[]byte) string {
		value := make([]byte, 32)
		for _, m := range measured {
			sum := sha256.Sum256(m)
			next := sha256.Sum256(append(value, sum[:]...))
			value = next[:]
		}
		return hex.EncodeToString(value)
	}
	b := func(text string) []byte { return []byte(text) }
	got := s.PCRs()
	if want := extend(b(".linux\x00"), testKernel, b(".osrel\x00"), b("ID=x"), b(".cmdline\x00"), b("quiet"), b(".initrd\x00"), b("rd")); got[11] != want {
		t.Errorf("PCR 11 is %s, want %s", got[11], want)
	}
	if want := extend(b("q\x00u\x00i\x00e\x00t\x00\x00\x00"), b("rd")); got[9] != want {
		t.Errorf("PCR 9 is %s, want %s", got[9], want)
	}
	if _, is := got[12]; is || len(s.Programs()) != 2 {
		t.Errorf("%v, programs %v", got, s.Programs())
	}

	// A command line that is passed to an image without one.
	s = build(t, crypto.SHA256)
	if _, err := s.UKI(parseUKI(t, testUKI("255")), "quiet"); err != nil {
		t.Fatal(err)
	}
	if want := extend(b("q\x00u\x00i\x00e\x00t\x00\x00\x00")); s.PCRs()[12] != want || s.PCRs()[9] != want {
		t.Errorf("PCRs %v, want %s in 9 and 12", s.PCRs(), want)
	}
	if _, err := build(t, crypto.SHA256).UKI(u, "rescue"); err == nil {
		t.Error("a command line passed to an image that has one")
	}
}

// TestVersions has what each version measures of an image with every section.
func TestVersions(t *testing.T) {
	for version, want := range map[string]string{
		"252": ".linux .cmdline .initrd",
		"254": ".linux .cmdline .initrd .uname .sbat",
		"256": ".linux .cmdline .initrd .ucode .uname .sbat",
		"257": ".linux .cmdline .initrd .ucode .uname .sbat .hwids",
		"258": ".linux .cmdline .initrd .ucode .uname .sbat .hwids .efifw",
	} {
		u := parseUKI(t, testUKI(version, ".uname", "6.1", ".sbat", "sbat,1", ".ucode", "u", ".hwids", "h", ".efifw", "f", ".pcrsig", "{}", ".initrd", "rd", ".cmdline", "x"))
		list, err := Sections(u.Program, u.Version, crypto.SHA256)
		var names []string
		for _, section := range list {
			names = append(names, section.Name)
		}
		if err != nil || strings.Join(names, " ") != want {
			t.Errorf("%s: %v, %v", version, names, err)
		}
		unknown, err := build(t, crypto.SHA256).UKI(u, "")
		if err != nil || (unknown != "") != slices.Contains(names, ".ucode") {
			t.Errorf("%s: PCR 9 is unknown for %q, %v", version, unknown, err)
		}
	}
}

func TestUKIRefused(t *testing.T) {
	for name, image := range map[string][]byte{
		"nothing":               nil,
		"a kernel":              testKernel,
		"no .sdmagic":           petest.Write(petest.Parts(".linux", string(testKernel)), nil, nil),
		"another .sdmagic":      petest.Write(petest.Parts(".sdmagic", "#### LoaderInfo: systemd-boot 252 ####", ".linux", string(testKernel)), nil, nil),
		"no kernel":             petest.Write(petest.Parts(".sdmagic", "#### LoaderInfo: systemd-stub 252 ####"), nil, nil),
		"no kernel in .linux":   petest.Write(petest.Parts(".sdmagic", "#### LoaderInfo: systemd-stub 252 ####", ".linux", "x"), nil, nil),
		"a command line of 9 K": testUKI("252", ".cmdline", strings.Repeat("x", MaxCommandLine+1)),
	} {
		if u, err := ParseUKI(bytes.NewReader(image), int64(len(image))); err == nil {
			t.Errorf("%s: %+v", name, u)
		}
	}
	for name, image := range map[string][]byte{
		"profiles":      testUKI("257", ".profile", "ID=a"),
		"a second line": testUKI("252", ".cmdline", "a", ".cmdline", "b"),
		"version 253":   testUKI("253"),
		"version 251":   testUKI("251"),
	} {
		if unknown, err := build(t, crypto.SHA256).UKI(parseUKI(t, image), ""); err == nil {
			t.Errorf("%s: %q", name, unknown)
		}
	}
	for _, line := range []string{"quiet\n", " quiet", "a\tb"} {
		if unknown, err := build(t, crypto.SHA256).UKI(parseUKI(t, testUKI("252", ".cmdline", line)), ""); err != nil || unknown == "" {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func checkUKI(t *testing.T, image []byte) {
	u, err := ParseUKI(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		return
	}
	for _, section := range u.Program.Sections {
		if section.VirtualSize > 1<<20 {
			return // a section of zeros, which takes long
		}
	}
	_, _ = build(t, crypto.SHA256).UKI(u, "")
}

func ukiSeeds() [][]byte {
	return [][]byte{testUKI("252.39", ".cmdline", "quiet", ".initrd", "rd"), testUKI("258", ".ucode", "u", ".uname", "6.1")}
}

func TestMutations(t *testing.T) { mutate.Run(t, ukiSeeds(), checkUKI) }

func FuzzUKI(f *testing.F) {
	for _, seed := range ukiSeeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, image []byte) { checkUKI(t, image) })
}
