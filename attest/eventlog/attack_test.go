package eventlog

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"testing"
	"unicode/utf16"

	"github.com/google/go-eventlog/testdata"
	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// builder writes logs with one SHA-256 bank.
type builder struct{ log []byte }

func le32(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }
func le16(n int) []byte { return binary.LittleEndian.AppendUint16(nil, uint16(n)) }

func header(banks ...[]byte) []byte {
	spec := append([]byte("Spec ID Event03\x00"), make([]byte, 8)...)
	spec = append(spec, le32(len(banks))...)
	spec = append(append(spec, bytes.Join(banks, nil)...), 0)
	return bytes.Join([][]byte{le32(0), le32(int(NoAction)), make([]byte, 20), le32(len(spec)), spec}, nil)
}

var sha256Bank = append(le16(0xb), le16(32)...)

func newLog() *builder { return &builder{header(sha256Bank)} }

// event appends an event whose digest is of measured and whose data is data.
func (b *builder) event(pcr int, kind EventType, measured, data []byte) *builder {
	sum := sha256.Sum256(measured)
	b.log = bytes.Join([][]byte{b.log, le32(pcr), le32(int(kind)), le32(1), le16(0xb), sum[:], le32(len(data)), data}, nil)
	return b
}

func (b *builder) true(pcr int, kind EventType, data []byte) *builder {
	return b.event(pcr, kind, data, data)
}
func (b *builder) separator(pcr int) *builder { return b.true(pcr, Separator, make([]byte, 4)) }
func (b *builder) bytes() []byte              { return b.log }

func (b *builder) boot(t *testing.T) (*attest.BootClaims, error) {
	t.Helper()
	return Boot(b.log, crypto.SHA256, quoted(t, b.log, crypto.SHA256))
}

func wide(text string) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = append(b, le16(int(unit))...)
	}
	return b
}

func variableData(guid [16]byte, name string, data []byte) []byte {
	return bytes.Join([][]byte{guid[:], le32(len(wide(name)) / 2), le32(0), le32(len(data)), le32(0), wide(name), data}, nil)
}

func secureBoot(value ...byte) []byte { return variableData(guidGlobal, "SecureBoot", value) }

func TestSecureBoot(t *testing.T) {
	on, off := secureBoot(1), secureBoot(0)
	tests := []struct {
		name string
		log  *builder
		want *bool
		code attest.Code
	}{
		{"on", newLog().true(7, EFIVariableConfig, on).separator(7), attest.Ptr(true), ""},
		{"off", newLog().true(7, EFIVariableConfig, off).separator(7), attest.Ptr(false), ""},
		{"variable absent", newLog().true(7, EFIVariableConfig, secureBoot()).separator(7), attest.Ptr(false), ""},
		{"off measured, on logged", newLog().event(7, EFIVariableConfig, off, on).separator(7), nil, attest.CodeEventLog},
		{"twice", newLog().true(7, EFIVariableConfig, off).true(7, EFIVariableConfig, on).separator(7), nil, attest.CodeEventLog},
		{"neither", newLog().true(7, EFIVariableConfig, secureBoot(2)).separator(7), nil, attest.CodeEventLog},
		{"two bytes", newLog().true(7, EFIVariableConfig, secureBoot(1, 0)).separator(7), nil, attest.CodeEventLog},
		{"appended by the running system", newLog().separator(7).true(7, EFIVariableConfig, on), nil, ""},
		{"no separator", newLog().true(7, EFIVariableConfig, on), nil, ""},
		{"of another vendor", newLog().true(7, EFIVariableConfig, variableData([16]byte{}, "SecureBoot", []byte{1})).separator(7), nil, ""},
		{"in another PCR", newLog().true(1, EFIVariableConfig, on).separator(7), nil, ""},
		{"not measured at all", newLog().true(7, NoAction, on).separator(7), nil, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			claims, err := test.log.boot(t)
			if test.code != "" {
				refused(t, err, test.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := claims.SecureBoot; (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
				t.Errorf("secure_boot %v", got)
			}
		})
	}
}

func TestAuthorities(t *testing.T) {
	certificate := append([]byte{0x30, 0x82}, make([]byte, 30)...)
	entry := variableData([16]byte{1}, "db", append(make([]byte, 16), certificate...))
	second := variableData([16]byte{1}, "db", append(make([]byte, 16), 1, 2, 3))
	sum := sha256.Sum256(certificate)
	base := func() *builder { return newLog().true(7, EFIVariableConfig, secureBoot(1)).separator(7) }
	claims, err := base().true(7, EFIVariableAuthority, entry).true(7, EFIVariableAuthority, entry).boot(t)
	if err != nil || len(claims.SecureBootDB) != 1 || claims.SecureBootDB[0] != hex.EncodeToString(sum[:]) {
		t.Errorf("%+v, %v", claims, err)
	}
	claims, err = base().true(7, EFIVariableAuthority, variableData([16]byte{2}, "Shim", certificate)).boot(t)
	if err != nil || len(claims.SecureBootDB) != 1 || claims.SecureBootDB[0] != hex.EncodeToString(sum[:]) {
		t.Errorf("shim's own: %+v, %v", claims, err)
	}
	claims, err = base().true(7, EFIVariableAuthority, entry).true(7, Separator, second).boot(t)
	if err != nil || len(claims.SecureBootDB) != 2 {
		t.Errorf("an authority under another label is lost: %+v, %v", claims, err)
	}
	claims, err = newLog().true(7, EFIVariableConfig, secureBoot(1)).true(7, EFIVariableConfig, variableData([16]byte{1}, "db", []byte("all"))).
		true(7, EFIVariableConfig, entry).separator(7).boot(t)
	if err != nil || len(claims.SecureBootDB) != 1 {
		t.Errorf("the authority of a driver, labelled as configuration: %+v, %v", claims, err)
	}
	claims, err = base().true(7, EFIVariableAuthority, entry).event(7, EFIVariableAuthority, second, entry).boot(t)
	if err != nil || claims.SecureBootDB != nil {
		t.Errorf("an authority behind another's data: %+v, %v", claims, err)
	}
}

func TestBootLoaders(t *testing.T) {
	image := []byte("image")
	sum := sha256.Sum256(image)
	claims, err := newLog().true(4, 0x80000007, []byte(actions[0])).separator(4).
		event(4, EFIBootApplication, image, []byte("path")).
		event(4, 0x80000007, image, []byte(actions[1])). // a boot application labelled as an action
		boot(t)
	if err != nil || len(claims.BootLoaders) != 2 || claims.BootLoaders[1] != hex.EncodeToString(sum[:]) {
		t.Errorf("%+v, %v", claims, err)
	}
}

func TestCommandLine(t *testing.T) {
	const line = "/vmlinuz root=/dev/vda"
	label := []byte("kernel_cmdline: " + line + "\x00")
	stub := append(wide(line), 0, 0)
	file := func(b *builder, name string) *builder {
		return b.event(9, IPL, []byte(name), []byte("(hd0,gpt1)"+name+"\x00"))
	}
	tests := []struct {
		name string
		log  *builder
		want string
		code attest.Code
	}{
		{"GRUB", newLog().event(8, IPL, []byte(line), label), line, ""},
		{"GRUB that measures the zero", newLog().event(8, IPL, []byte(line+"\x00"), label), line, ""},
		{"old GRUB", newLog().event(8, IPL, []byte(line), []byte("grub_kernel_cmdline "+line)), line, ""},
		{"another line measured", newLog().event(8, IPL, []byte("/vmlinuz init=/bin/sh"), label), "", attest.CodeEventLog},
		{"a line with a zero in it", newLog().event(8, IPL, []byte("a\x00b"), []byte("kernel_cmdline: a\x00b\x00")), "", attest.CodeEventLog},
		{"not UTF-8", newLog().event(8, IPL, []byte("\xff"), []byte("kernel_cmdline: \xff")), "", attest.CodeEventLog},
		{"twice", newLog().event(8, IPL, []byte(line), label).event(8, IPL, []byte(line), label), "", ""},
		{"in another PCR", newLog().event(5, IPL, []byte(line), label), "", ""},
		{"systemd-stub", newLog().true(12, IPL, stub), line, ""},
		{"systemd-stub, another measured", newLog().event(12, IPL, wide("x"), stub), "", ""},
		{"systemd-stub with an add-on", newLog().true(12, IPL, stub).true(12, IPL, stub), "", ""},
		{"lone surrogate", newLog().true(12, IPL, []byte{0, 0xd8, 0, 0}), "", ""},
		{"both", newLog().event(8, IPL, []byte(line), label).true(12, IPL, stub), "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			claims, err := test.log.boot(t)
			if test.code != "" {
				refused(t, err, test.code)
			} else if err != nil || claims.CommandLine != test.want {
				t.Errorf("%+v, %v", claims, err)
			}
		})
	}
	t.Run("kernel and initrd", func(t *testing.T) {
		log := newLog().event(8, IPL, []byte(line), label).event(8, IPL, []byte("initrd /initrd.img"), []byte("grub_cmd: initrd /initrd.img\x00"))
		claims, err := file(file(file(log, "/vmlinuz"), "/initrd.img"), "/grub.cfg").boot(t)
		kernel, initrd := sha256.Sum256([]byte("/vmlinuz")), sha256.Sum256([]byte("/initrd.img"))
		if err != nil || claims.Kernel != hex.EncodeToString(kernel[:]) || claims.Initrd != hex.EncodeToString(initrd[:]) {
			t.Errorf("%+v, %v", claims, err)
		}
	})
	t.Run("PE sections", func(t *testing.T) {
		claims, err := newLog().event(11, IPL, []byte(".linux\x00"), nil).event(11, IPL, []byte("kernel"), nil).boot(t)
		kernel := sha256.Sum256([]byte("kernel"))
		if err != nil || claims.Kernel != hex.EncodeToString(kernel[:]) || claims.Initrd != "" {
			t.Errorf("%+v, %v", claims, err)
		}
	})
}

// TestRuntimePCRs has a PCR that the running system extended after boot: its events prove nothing, the others still do.
func TestRuntimePCRs(t *testing.T) {
	log := newLog().true(12, IPL, append(wide("quiet"), 0, 0)).true(7, EFIVariableConfig, secureBoot(1)).separator(7)
	pcrs := quoted(t, log.bytes(), crypto.SHA256)
	pcrs[12][0] ^= 1
	claims, err := Boot(log.bytes(), crypto.SHA256, pcrs)
	if err != nil || claims.CommandLine != "" || len(claims.PCRs) != 1 || claims.SecureBoot == nil {
		t.Errorf("%+v, %v", claims, err)
	}
}

func TestHeader(t *testing.T) {
	event := newLog().separator(0).bytes()[len(newLog().bytes()):]
	many := slices.Repeat([][]byte{sha256Bank}, maxBanks+1)
	for name, test := range map[string]struct {
		log  []byte
		code attest.Code
	}{
		"no banks":                {header(), attest.CodeMalformed},
		"the same bank twice":     {header(sha256Bank, sha256Bank), attest.CodeMalformed},
		"a bank of another size":  {header(append(le16(0xb), le16(20)...)), attest.CodeMalformed},
		"a bank of no size":       {header(append(le16(0x99), le16(0)...)), attest.CodeMalformed},
		"a bank of 65 KB":         {header(append(le16(0x99), le16(65535)...)), attest.CodeMalformed},
		"too many banks":          {header(many...), attest.CodeMalformed},
		"PCR 24":                  {append(newLog().bytes(), append([]byte{24}, event[1:]...)...), attest.CodeMalformed},
		"two digests":             {append(newLog().bytes(), bytes.Replace(event, le32(1), le32(2), 1)...), attest.CodeMalformed},
		"a digest of no bank":     {append(newLog().bytes(), bytes.Replace(event, le16(0xb), le16(0xc), 1)...), attest.CodeMalformed},
		"locality after an event": {append(newLog().separator(0).bytes(), newLog().true(0, NoAction, []byte("StartupLocality\x00\x03")).bytes()[len(newLog().bytes()):]...), attest.CodeMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(test.log)
			refused(t, err, test.code)
		})
	}
	for _, filler := range []byte{0, 0xff} {
		padded := append(newLog().separator(0).bytes(), bytes.Repeat([]byte{filler}, 100)...)
		if log, err := Parse(padded); err != nil || len(log.Events) != 1 {
			t.Errorf("padding of %#x: %v", filler, err)
		}
	}
	locality := newLog().true(0, NoAction, []byte("StartupLocality\x00\x03")).separator(0)
	if value := quoted(t, locality.bytes(), crypto.SHA256)[0]; bytes.Equal(value, quoted(t, newLog().separator(0).bytes(), crypto.SHA256)[0]) {
		t.Error("the startup locality does not change PCR 0")
	}
}

// check parses anything, and has the parser's own replay covered by itself.
func check(t *testing.T, data []byte) {
	log, err := Parse(data)
	if err != nil {
		return
	}
	if len(log.Events) > len(data)/36 {
		t.Fatalf("%d events from %d bytes", len(log.Events), len(data))
	}
	for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384} {
		values, err := log.Replay(hash)
		if err != nil || len(values) == 0 {
			continue
		}
		pcrs := make([][]byte, maxPCR+1)
		for i := range pcrs {
			pcrs[i] = values[i]
		}
		covered, err := log.Cover(hash, pcrs)
		if err != nil || len(covered.PCRs) != len(values) {
			t.Fatalf("a log does not cover its own replay: %v", err)
		}
		_, _ = covered.Boot()
		covered.guest = true
		claims, err := covered.Boot()
		if err == nil && claims.LoaderSays != nil && claims.CommandLine+claims.LineDigest+claims.Kernel+claims.Initrd != "" {
			t.Fatalf("what a boot loader says, and proof: %+v", claims)
		}
	}
}

// TestTruncation cuts a real log at every length, and puts extremes into every byte and every 32-bit word.
func TestTruncation(t *testing.T) {
	log := testdata.ArchLinuxWorkstationEventLog
	pcrs := quoted(t, log, crypto.SHA256)
	for n := 0; n < len(log); n += mutate.Stride(1) {
		_, _ = Boot(log[:n], crypto.SHA256, pcrs)
		if n%7 != 0 { // every position would take a minute
			continue
		}
		for _, value := range []byte{0, 1, 0xff} {
			damaged := bytes.Clone(log)
			copy(damaged[n:], bytes.Repeat([]byte{value}, 4))
			_, _ = Boot(damaged, crypto.SHA256, pcrs)
		}
	}
}

func TestMutations(t *testing.T) {
	mutate.Run(t, seeds(t), check)
}

func seeds(tb testing.TB) [][]byte {
	return [][]byte{
		testdata.ArchLinuxWorkstationEventLog, testdata.Cos101AmdSevEventLog,
		newLog().true(7, EFIVariableConfig, secureBoot(1)).separator(7).event(8, IPL, []byte("x"), []byte("kernel_cmdline: x")).bytes(),
		newLog().true(12, IPL, append(wide("quiet"), 0, 0)).bytes(),
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(check)
}

// TestMemory holds parsing to the bound that its limits promise, on the log with the most events that fits.
func TestMemory(t *testing.T) {
	event := newLog().separator(0).bytes()[len(newLog().bytes()):]
	log := append(newLog().bytes(), bytes.Repeat(event, (MaxLog-100)/len(event))...)
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Parse(log); err != nil {
				b.Fatal(err)
			}
		}
	})
	if most := int64(8 << 20); result.AllocedBytesPerOp() > most {
		t.Errorf("%d bytes allocated for a log of %d; at most %d", result.AllocedBytesPerOp(), len(log), most)
	}
}

func BenchmarkBoot(b *testing.B) {
	log := testdata.Ubuntu2404AmdSevSnpEventLog
	pcrs := quoted(b, log, crypto.SHA256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Boot(log, crypto.SHA256, pcrs); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRealTablesParse has every CCEL table as ACPI gives it, padding and all.
func TestRealTablesParse(t *testing.T) {
	for _, name := range []string{"grub", "ovmf", "gcp"} {
		check(t, vectors.Read(t, "eventlog/CCEL_data_"+name))
	}
}
