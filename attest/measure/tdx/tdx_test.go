package tdx

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/eventlog"
	"github.com/vouchsafe/vouchsafe/attest/measure/boot"
	"github.com/vouchsafe/vouchsafe/attest/measure/ovmf"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// entry is a section of TDX metadata to be written.
type entry struct {
	offset, length   uint32
	address, size    uint64
	kind, attributes uint32
}

// image writes a firmware image of some pages with TDX metadata.
func image(pages int, entries ...entry) []byte {
	data := make([]byte, pages*pageSize)
	for i := range data {
		data[i] = byte(i / 7)
	}
	const tail = 32
	guid, _ := hex.DecodeString("35657ae44a989847865e4685a7bf8ec2")
	footer, _ := hex.DecodeString("de82b596b21ff745baeaa366c55a082d")
	descriptor := append([]byte("TDVF"), le(4, uint64(16+32*len(entries)))...)
	descriptor = append(append(descriptor, le(4, 1)...), le(4, uint64(len(entries)))...)
	for _, e := range entries {
		descriptor = bytes.Join([][]byte{descriptor, le(4, uint64(e.offset)), le(4, uint64(e.length)), le(8, e.address), le(8, e.size), le(4, uint64(e.kind)), le(4, uint64(e.attributes))}, nil)
	}
	table := bytes.Join([][]byte{le(4, uint64(tail+40+len(descriptor))), le(2, 22), guid, le(2, 40), footer}, nil)
	end := len(data) - tail - len(table) - len(descriptor)
	copy(data[end:], descriptor)
	copy(data[end+len(descriptor):], table)
	return data
}

func le(n int, v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v)[:n] }

// small is an image of four pages: one of variables, three of code; and working memory.
func small() []byte {
	return image(4,
		entry{pageSize, 3 * pageSize, 1<<32 - 3*pageSize, 3 * pageSize, 0, attributeExtend},
		entry{0, pageSize, 1<<32 - 4*pageSize, pageSize, sectionCFV, 0},
		entry{0, 0, 0x810000, 2 * pageSize, 3, 0},
		entry{0, 0, 0x900000, pageSize, 4, attributeAugment},
	)
}

// TestMRTDByHand computes MRTD of a small image another way.
func TestMRTDByHand(t *testing.T) {
	data := small()
	f, err := ParseFirmware(data)
	if err != nil {
		t.Fatal(err)
	}
	operation := func(name string, address int) []byte {
		return bytes.Join([][]byte{[]byte(name), make([]byte, 16-len(name)), le(8, uint64(address)), make([]byte, 104)}, nil)
	}
	var one, two bytes.Buffer
	const code = 1<<32 - 3*pageSize
	for page := range 3 {
		one.Write(operation("MEM.PAGE.ADD", code+page*pageSize))
		two.Write(operation("MEM.PAGE.ADD", code+page*pageSize))
		for chunk := range 16 {
			one.Write(operation("MR.EXTEND", code+page*pageSize+chunk*256))
			one.Write(data[(page+1)*pageSize+chunk*256:][:256])
		}
	}
	for chunk := range 48 {
		two.Write(operation("MR.EXTEND", code+chunk*256))
		two.Write(data[pageSize+chunk*256:][:256])
	}
	for _, address := range []int{1<<32 - 4*pageSize, 0x810000, 0x811000} {
		one.Write(operation("MEM.PAGE.ADD", address))
		two.Write(operation("MEM.PAGE.ADD", address))
	}
	for order, input := range map[Order][]byte{"": one.Bytes(), PageByPage: one.Bytes(), SectionBySection: two.Bytes()} {
		want := sha512.Sum384(input)
		if got, err := f.MRTD(order); err != nil || got != hex.EncodeToString(want[:]) {
			t.Errorf("%q: %s, %v, want %x", order, got, err, want)
		}
	}
	if _, err := f.MRTD("backwards"); err == nil {
		t.Error("an unknown order")
	}
	if volume, has := f.Volume(); !has || !bytes.Equal(volume, data[:pageSize]) {
		t.Error("the volume is not the first page")
	}
}

// TestWholeImage has MRTD of a firmware of 2 MiB that Debian 12 ships, as an independent program computes it after the method of
// aleph-vm (vprogram/tdx_measurement.py) and, for the other order, dstack.
func TestWholeImage(t *testing.T) {
	const path, build = "/usr/share/ovmf/OVMF.fd", "7b456907dd0786d415999e801a1ac4637b8ed4d7cf5378cfc6edbe5e574dd773" // ovmf 2022.11-6+deb12u2
	data, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("%s is not here: it is in Debian's package ovmf", path)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != build {
		t.Skipf("%s is another build than the one whose MRTD is known", path)
	}
	f, err := ParseFirmware(data)
	if err != nil {
		t.Fatal(err)
	}
	for order, want := range map[Order]string{
		PageByPage:       "4c7206f0f483c524f12c366c711e9049030a8d47c471ee5aa9c4999a08de4057fb887fed0744d5631a212967fb231c47",
		SectionBySection: "acccbcc870a381adab0d3919d90a7f268ac3b0364771f202ed4bb4e892d045b33db3b32e6924cba830a724eed443f7e1",
	} {
		if got, err := f.MRTD(order); err != nil || got != want {
			t.Errorf("%s: %s, %v", order, got, err)
		}
	}
}

// TestWhatCounts: every byte of the code counts, none of the variables does.
func TestWhatCounts(t *testing.T) {
	data := small()
	mrtd := func() string {
		f, err := ParseFirmware(data)
		if err != nil {
			return err.Error()
		}
		got, err := f.MRTD("")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := mrtd()
	for i := 0; i < len(data); i += 3 {
		data[i] ^= 1
		if same := mrtd() == want; same != (i < pageSize) {
			t.Errorf("byte %#x: the same MRTD %v", i, same)
		}
		data[i] ^= 1
	}
}

func TestRefused(t *testing.T) {
	code := entry{pageSize, pageSize, 1<<32 - pageSize, pageSize, 0, attributeExtend}
	change := func(f func(*entry)) []byte {
		e := code
		f(&e)
		return image(2, e)
	}
	manyEntries := make([]entry, maxSections+1)
	for name, data := range map[string][]byte{
		"nothing":               nil,
		"no metadata":           func() []byte { d := image(2, code); d[len(d)-32-40+6] ^= 1; return d }(),
		"another signature":     bytes.Replace(image(2, code), []byte("TDVF"), []byte("XDVF"), 1),
		"version 2":             bytes.Replace(image(2, code), append([]byte("TDVF"), 48, 0, 0, 0, 1), append([]byte("TDVF"), 48, 0, 0, 0, 2), 1),
		"too many sections":     image(4, manyEntries...),
		"an address within one": change(func(e *entry) { e.address++ }),
		"a size of half a page": change(func(e *entry) { e.size = 2048; e.length = 2048 }),
		"an address that wraps": change(func(e *entry) {
			e.address = 1<<64 - pageSize
			e.size = 2 * pageSize
			e.length = 2 * pageSize
			e.offset = 0
		}),
		"content past the image":  change(func(e *entry) { e.offset = 2 * pageSize }),
		"an offset that wraps":    change(func(e *entry) { e.offset = 0xffffffff }),
		"more content than size":  change(func(e *entry) { e.length = 2 * pageSize; e.offset = 0 }),
		"measured, with no bytes": change(func(e *entry) { e.length = 0 }),
		"unknown attributes":      change(func(e *entry) { e.attributes = 8 }),
		"measured but not added":  change(func(e *entry) { e.attributes = attributeExtend | attributeAugment }),
		"a huge section":          change(func(e *entry) { e.size = 1 << 62; e.attributes = 0 }),
		"huge sections":           image(2, code, entry{0, 0, 0, maxPages, 3, 0}),
	} {
		if f, err := ParseFirmware(data); !errors.Is(err, ovmf.ErrImage) || f != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func check(t *testing.T, data []byte) {
	f, err := ParseFirmware(data)
	if err != nil {
		if !errors.Is(err, ovmf.ErrImage) {
			t.Fatal(err)
		}
		return
	}
	pages := uint64(0)
	for _, s := range f.sections {
		pages += s.size / pageSize
	}
	if pages > 1<<10 {
		return // within the limit, but too slow for so many inputs
	}
	if got, err := f.MRTD(""); err != nil || len(got) != 96 {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestMutations(t *testing.T) { mutate.Run(t, [][]byte{small()[3*pageSize:], small()}, check) }

func FuzzParseFirmware(f *testing.F) {
	f.Add(small())
	f.Fuzz(check)
}

// inputs are what a recorded log says was booted. Digests of what the log has not the data of are inputs as they are.
type inputs struct {
	platform Platform
	late     []func(s *boot.Sequence) // what is added after the platform's, in order
	kernel   []byte
}

// inputsOf sorts the events of a log into inputs.
func inputsOf(t *testing.T, data []byte) (in inputs, values map[int][]byte) {
	t.Helper()
	log, err := eventlog.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if values, err = log.Replay(crypto.SHA384); err != nil {
		t.Fatal(err)
	}
	separators, called := 0, false
	add := func(f func(s *boot.Sequence)) { in.late = append(in.late, f) }
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	for i := range log.Events {
		e := &log.Events[i]
		digest, text := log.Digest(e, crypto.SHA384), string(bytes.TrimSuffix(e.Data, []byte{0}))
		switch {
		case e.Type == 0x8000000b:
			in.platform.HandOff = digest
		case e.Type == 0x8000000a:
			in.platform.Volume = digest
		case e.Type == eventlog.EFIVariableConfig:
			v := variable(e.Data)
			switch state := &in.platform.SecureBoot; v.Name {
			case "SecureBoot":
				state.Enabled, state.Unsupported = bytes.Equal(v.Data, []byte{1}), len(v.Data) == 0
			case "PK":
				state.PK = v.Data
			case "KEK":
				state.KEK = v.Data
			case "db":
				state.DB = v.Data
			case "dbx":
				state.DBX = v.Data
			default:
				t.Errorf("variable %s", v.Name)
			}
		case e.Type == eventlog.Separator:
			if separators++; separators == 2 {
				in.platform.LateSeparator = e.PCR == 1
			}
		case text == "ACPI DATA":
			in.platform.Tables = append(in.platform.Tables, digest)
		case e.Type == 0x80000002:
			in.platform.Variables = append(in.platform.Variables, variable(e.Data))
		case e.Type == eventlog.EFIVariableAuthority:
			add(func(s *boot.Sequence) { s.Authority(variable(e.Data)) })
		case strings.HasPrefix(text, "Calling EFI"):
			if called {
				add(func(s *boot.Sequence) { s.NextOption() })
			}
			called = true
		case strings.HasPrefix(text, "Returning"):
		case text == "Exit Boot Services Invocation":
			add(func(s *boot.Sequence) { s.ExitBootServices() })
		case strings.HasPrefix(text, "Exit Boot Services"):
		case e.Type == 0x80000006:
			add(func(s *boot.Sequence) { s.Partitions(e.Data) })
		case e.Type == eventlog.EFIBootApplication && !called:
			in.kernel = digest
		case e.Type == eventlog.EFIBootApplication:
			add(func(s *boot.Sequence) { must(s.ApplicationDigest("", digest)) })
		case strings.HasPrefix(text, "grub_cmd: "):
			add(func(s *boot.Sequence) { s.GRUBCommand(text[len("grub_cmd: "):]) })
		case strings.HasPrefix(text, "kernel_cmdline: "):
			add(func(s *boot.Sequence) { s.GRUBCommandLine(text[len("kernel_cmdline: "):]) })
		default: // a file, shim's lists, the kernel's command line and initrd
			add(func(s *boot.Sequence) { must(s.GRUBFileDigest(text, digest)) })
		}
	}
	return in, values
}

func variable(data []byte) boot.Variable {
	v := boot.Variable{GUID: [16]byte(data[:16])}
	units := int(data[16])
	for i := range units {
		v.Name += string(rune(data[32+2*i]))
	}
	v.Data = data[32+2*units:]
	return v
}

// moduleLog reads a log from the test data of go-eventlog, which does not export those of TDX guests.
func moduleLog(t *testing.T, name string) []byte {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/go-eventlog").Output()
	if err != nil {
		t.Skipf("the test data of go-eventlog cannot be found: %v", err)
	}
	log, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "testdata", "eventlogs", "ccel", name))
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// TestPredictedIsReplayed predicts RTMRs from what each log says was booted, and has them equal to what the log replays to.
func TestPredictedIsReplayed(t *testing.T) {
	for _, name := range []string{"ovmf", "grub", "gcp", "cos-113-intel-tdx.bin", "gdc-tdx.bin", "ubuntu-2404-intel-tdx.bin"} {
		t.Run(name, func(t *testing.T) {
			var log []byte
			if strings.HasSuffix(name, ".bin") {
				log = moduleLog(t, name)
			} else {
				log = vectors.Read(t, "eventlog/CCEL_data_"+name)
			}
			in, values := inputsOf(t, log)
			s, err := in.platform.Sequence(in.kernel)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range in.late {
				f(s)
			}
			got, err := s.RTMRs()
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				if want := hex.EncodeToString(values[i+1]); got[i] != want {
					t.Errorf("RTMR %d is predicted as %s, and replays to %s", i, got[i], want)
				}
			}
		})
	}
}

// TestRealVolume: the volume of variables in logs of two real guests is the empty one that Debian's build of OVMF ships.
func TestRealVolume(t *testing.T) {
	const path = "/usr/share/OVMF/OVMF_VARS_4M.fd"
	volume, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("%s is not here: it is in Debian's package ovmf", path)
	}
	in, _ := inputsOf(t, vectors.Read(t, "eventlog/CCEL_data_ovmf"))
	if sum := sha512.Sum384(volume); !bytes.Equal(in.platform.Volume, sum[:]) {
		t.Errorf("%x, want %x", sum, in.platform.Volume)
	}
}

func TestDirectBoot(t *testing.T) {
	in, values := inputsOf(t, vectors.Read(t, "eventlog/CCEL_data_ovmf"))
	rtmr1, _, err := DirectBoot(in.kernel, nil, "", in.platform.LateSeparator)
	if err != nil || rtmr1 != hex.EncodeToString(values[2]) {
		t.Errorf("RTMR 1 is predicted as %s, %v, and replays to %x", rtmr1, err, values[2])
	}
	if _, _, err := DirectBoot([]byte{1}, nil, "", false); err == nil {
		t.Error("a kernel's digest of one byte")
	}
	if _, _, err := DirectBoot(in.kernel, []byte{1}, "", false); err == nil {
		t.Error("an initrd's digest of one byte")
	}
	for _, test := range []struct {
		line   string
		before bool
		want   string
	}{{"quiet", false, "quiet initrd=initrd"}, {"quiet", true, "initrd=initrd quiet"}, {"", false, "initrd=initrd"}, {"", true, "initrd=initrd "}} {
		if got := Line(test.line, test.before); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
	if _, err := (&Platform{SecureBoot: boot.SecureBoot{Enabled: true, Unsupported: true}}).Sequence(nil); err == nil {
		t.Error("Secure Boot enabled and not supported")
	}
}
