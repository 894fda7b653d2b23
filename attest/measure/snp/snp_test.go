package snp

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/measure/ovmf"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// The ends of two builds of OVMF: see testdata/README.md.
var (
	//go:embed testdata/ovmf_AmdSev_suffix.bin
	amdSev []byte
	//go:embed testdata/ovmf_OvmfX64_suffix.bin
	ovmfX64 []byte
)

// empty is a kernel and an initrd without a byte, as the known answers use.
func empty(line string) *DirectBoot {
	return &DirectBoot{Kernel: strings.NewReader(""), Initrd: strings.NewReader(""), CommandLine: line}
}

// small is a kernel and an initrd with which answers were computed by sev-snp-measure 0.0.13.
func small() *DirectBoot {
	return &DirectBoot{Kernel: strings.NewReader("a kernel"), Initrd: strings.NewReader("an initrd"), CommandLine: "root=/dev/vda ro"}
}

// TestKnownAnswers has the launch digests that the tests of virtee's sev and sev-snp-measure expect, and more that sev-snp-measure 0.0.13 computed.
func TestKnownAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		cfg   Config
		vcpus int
		want  string
	}{
		"kernel, debug swap":     {Config{Firmware: amdSev, Kernel: empty("console=ttyS0 loglevel=7"), VCPUType: "EPYC-v4", GuestFeatures: 0x21}, 1, "803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb28c653360fe4b3aba7e534442e7e1e17895dfe778d0228977"},
		"kernel":                 {Config{Firmware: amdSev, Kernel: empty("console=ttyS0 loglevel=7"), VCPUType: "EPYC-v4"}, 1, "6d287813eb5222d770f75005c664e34c204f385ce832cc2ce7d0d6f354454362f390ef83a92046c042e706363b4b08fa"},
		"no kernel, debug swap":  {Config{Firmware: amdSev, VCPUType: "EPYC-v4", GuestFeatures: 0x21}, 1, "e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af9b63f6e8a1674dbf281a9278a4a2ebe0eed9f22adbcd0e2b"},
		"no kernel":              {Config{Firmware: amdSev, VCPUType: "EPYC-v4"}, 1, "19358ba9a7615534a9a1e2f0dfc29384dcd4dcb7062ff9c6013b26869a5fc6ecabe033c48dd6f6db5d6d76e7c5df632d"},
		"four, debug swap":       {Config{Firmware: amdSev, Kernel: empty(""), VCPUType: "EPYC-v4", GuestFeatures: 0x21}, 4, "4953b1fb416fa874980e8442b3706d345926d5f38879134e00813c5d7abcbe78eafe7b422907be0b4698e2414a631942"},
		"four":                   {Config{Firmware: amdSev, Kernel: empty(""), VCPUType: "EPYC-v4"}, 4, "5061fffb019493a903613d56d54b94912a1a2f9e4502385f5c194616753720a92441310ba6c4933de877c36e23046ad5"},
		"OvmfX64, debug swap":    {Config{Firmware: ovmfX64, VCPUType: "EPYC-v4", GuestFeatures: 0x21}, 1, "28797ae0afaba4005a81e629acebfb59e6687949d6be44007cd5506823b0dd66f146aaae26ff291eed7b493d8a64c385"},
		"OvmfX64":                {Config{Firmware: ovmfX64, VCPUType: "EPYC-v4"}, 1, "da0296de8193586a5512078dcd719eccecbd87e2b825ad4148c44f665dc87df21e5b49e21523a9ad993afdb6a30b4005"},
		"EC2, debug swap":        {Config{Firmware: amdSev, Kernel: empty(""), VMM: EC2, GuestFeatures: 0x21}, 1, "0ce9ccc06bab55eebe8abc234f3df6514883977a68a591b71052498ab52b2f1aa415db338033946ef93aa8278c0d67fb"},
		"EC2":                    {Config{Firmware: amdSev, Kernel: empty(""), VMM: EC2}, 1, "0883bd0eeb716e65b7b977a321c278d1e51b33b5c655fab985443bbcc65c086b9c15e8a0bd8811050dec7e24964e5056"},
		"GCE":                    {Config{Firmware: amdSev, Kernel: empty(""), VMM: GCE}, 1, "5da7106cf14cf46b1725ebab123eb9e53bd46a1e9f400cd0c08e7827b04b688ea8b4e403c8404efed4397ea5d5d0722e"},
		"GCE, four":              {Config{Firmware: amdSev, Kernel: empty(""), VMM: GCE}, 4, "5c5debf100fc339f90276e761ee1f1658d08922c3b20e2a2e6c7a6c3370b2452a15a00eae11886a93d6fd1e7ab81e29d"},
		"firmware digest, swap":  {Config{Firmware: amdSev, FirmwareDigest: unhex("086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74"), Kernel: empty(""), VCPUType: "EPYC-v4", GuestFeatures: 0x21}, 1, "329c8ce0972ae52343b64d34a434a86f245dfd74f5ed7aae15d22efc78fb9683632b9b50e4e1d7fa41179ef98a7ef198"},
		"firmware digest":        {Config{Firmware: amdSev, FirmwareDigest: unhex("086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74"), Kernel: empty(""), VCPUType: "EPYC-v4"}, 1, "ddc5224521617a536ee7ce9dd6224d1b58a8d4fda1c741f3ac99fc4bfa04ba6e9fc98646d4a07a9079397fa3852819b5"},
		"Milan, kernel, initrd":  {Config{Firmware: amdSev, Kernel: small(), VCPUType: "EPYC-Milan"}, 1, "6d2981ada9009d652a2d46da1d2031733a1a55e54560591f094b045eb0915f9197c1ee152ab9594c53cd8238988b50e8"},
		"Genoa, two processors":  {Config{Firmware: amdSev, Kernel: small(), VCPUType: "EPYC-Genoa-v1"}, 2, "c1dd84180c12ecb1ddbfa229676f1db879b443c0cbe8d1ed1c10cbe99e236b45ced5613544f2c0df2b5abf110c9a0631"},
		"Turin, 64 processors":   {Config{Firmware: amdSev, Kernel: small(), VCPUType: "EPYC-Turin"}, 64, "02205fc5bf81e888eec63f1d0c55da6f0ba2e87727465fa7076d6d884a3625e0113be3f2b257dfca17d788a8f3c01e74"},
		"a kernel and no initrd": {Config{Firmware: amdSev, Kernel: &DirectBoot{Kernel: strings.NewReader("a kernel")}, VCPUType: "EPYC-v4"}, 1, "c4e1501bec7b81ed5f6cc0b30c11aa0328ebb999bd9f67bc92879dd245352edb0f89be3a2059bbb77a7d93b04ea21c92"},
		"a signature":            {Config{Firmware: amdSev, VCPUSignature: 0xa10f11, GuestFeatures: 0x21}, 1, "196d5b6c3fd58f470dc82abf8ee9c8e911214a7c1f0901b410f6b743419615682fb14cd4ba3cffb3d77471c8075e410f"},
	} {
		t.Run(name, func(t *testing.T) {
			launch, err := New(test.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := launch.Measurement(test.vcpus); err != nil || got != test.want {
				t.Errorf("%s, %v, want %s", got, err, test.want)
			}
		})
	}
	if got, err := FirmwareDigest(amdSev); err != nil || got != "086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74" {
		t.Errorf("firmware digest %s, %v", got, err)
	}
}

func unhex(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return b
}

// TestWholeImage measures a firmware of 2 MiB that Debian 12 ships, by what sev-snp-measure 0.0.13 says of it.
func TestWholeImage(t *testing.T) {
	const path, build = "/usr/share/ovmf/OVMF.fd", "7b456907dd0786d415999e801a1ac4637b8ed4d7cf5378cfc6edbe5e574dd773" // ovmf 2022.11-6+deb12u2
	image, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("%s is not here: it is in Debian's package ovmf", path)
	}
	if sum := sha256.Sum256(image); hex.EncodeToString(sum[:]) != build {
		t.Skipf("%s is another build than the one whose digests are known", path)
	}
	for _, test := range []struct {
		cfg   Config
		vcpus int
		want  string
	}{
		{Config{VCPUType: "EPYC-Milan"}, 1, "80479ca85a2b182c026f6a3a2f2b180ab968d84b17540dd30de39039e70b8c0c33ead2cae6d34e37750035fcff60bfc8"},
		{Config{VCPUType: "EPYC-Genoa"}, 2, "143c7e1f11948ce6cbc700b16c3acff0797146df54b0b3d6c5899dc30dc8e31c34a2217d162a219bbbf7a2a1aedd104a"},
		{Config{VCPUType: "EPYC-Turin"}, 64, "ded1ef29cc4dcb1fed83742ea2f2c97eace9a36c8e48b984b2c1ff935a1e3ebc7364704e2defb0c832938952dcadd336"},
		{Config{VMM: EC2}, 2, "7f6fef705ba886215518820a96b21feaa2f874814889d8b5a776b1abf0058c913ca457043ab5a3092f35847c3078c93c"},
		{Config{VMM: GCE}, 2, "54089cc1872606eb58e09c0c780095ec910d96faf61d0ddbc608539b6b3338fb109b89f3e3662ee6cdb74552629e86d5"},
	} {
		test.cfg.Firmware = image
		launch, err := New(test.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := launch.Measurement(test.vcpus); err != nil || got != test.want {
			t.Errorf("%v, %d: %s, %v, want %s", test.cfg.VMM, test.vcpus, got, err, test.want)
		}
	}
}

// TestEverythingCounts changes each thing that is measured, and wants another digest each time.
func TestEverythingCounts(t *testing.T) {
	seen := map[string]string{}
	for name, change := range map[string]func(*Config) int{
		"as it is":      func(*Config) int { return 2 },
		"processors":    func(*Config) int { return 3 },
		"type":          func(c *Config) int { c.VCPUType = "EPYC-Genoa"; return 2 },
		"features":      func(c *Config) int { c.GuestFeatures = 0x21; return 2 },
		"hypervisor":    func(c *Config) int { c.VMM = EC2; return 2 },
		"another":       func(c *Config) int { c.VMM = GCE; return 2 },
		"kernel":        func(c *Config) int { c.Kernel.Kernel = strings.NewReader("A kernel"); return 2 },
		"initrd":        func(c *Config) int { c.Kernel.Initrd = strings.NewReader("an initrD"); return 2 },
		"no initrd":     func(c *Config) int { c.Kernel.Initrd = nil; return 2 },
		"command line":  func(c *Config) int { c.Kernel.CommandLine += " "; return 2 },
		"no kernel":     func(c *Config) int { c.Kernel = nil; return 2 },
		"firmware":      func(c *Config) int { c.Firmware = bytes.Clone(c.Firmware); c.Firmware[0] ^= 1; return 2 },
		"more firmware": func(c *Config) int { c.Firmware = append(make([]byte, 4096), c.Firmware...); return 2 },
	} {
		cfg := Config{Firmware: amdSev, Kernel: small(), VCPUType: "EPYC-Milan"}
		vcpus := change(&cfg)
		launch, err := New(cfg)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := launch.Measurement(vcpus)
		if other, same := seen[got]; err != nil || same {
			t.Errorf("%s: %v, or the digest is the same as for %s", name, err, other)
		}
		seen[got] = name
	}
}

func TestRefused(t *testing.T) {
	for name, test := range map[string]struct {
		cfg  Config
		says string
	}{
		"no firmware":                {Config{VCPUType: "EPYC"}, "pages"},
		"half a page":                {Config{Firmware: make([]byte, 2048), VCPUType: "EPYC"}, "pages"},
		"no table":                   {Config{Firmware: make([]byte, 4096), VCPUType: "EPYC"}, "OVMF's table"},
		"too long":                   {Config{Firmware: make([]byte, ovmf.MaxImage+4096), VCPUType: "EPYC"}, "limit"},
		"no type":                    {Config{Firmware: amdSev}, "type is missing"},
		"unknown type":               {Config{Firmware: amdSev, VCPUType: "EPYC-Milan-v99"}, "EPYC-Milan-v99"},
		"type and signature":         {Config{Firmware: amdSev, VCPUType: "EPYC", VCPUSignature: 1}, "one of them"},
		"features without SNP":       {Config{Firmware: amdSev, VCPUType: "EPYC", GuestFeatures: 0x20}, "bit 0"},
		"unknown hypervisor":         {Config{Firmware: amdSev, VMM: "xen"}, "xen"},
		"a short firmware digest":    {Config{Firmware: amdSev, VCPUType: "EPYC", FirmwareDigest: []byte{1}}, "48"},
		"an initrd without a kernel": {Config{Firmware: amdSev, VCPUType: "EPYC", Kernel: &DirectBoot{Initrd: strings.NewReader("")}}, "without a kernel"},
		"a zero in the line":         {Config{Firmware: amdSev, VCPUType: "EPYC", Kernel: empty("a\x00b")}, "zero byte"},
		"nowhere for the hashes":     {Config{Firmware: ovmfX64, VCPUType: "EPYC", Kernel: empty("")}, "would not be measured"},
		"a kernel that cannot be read": {Config{Firmware: amdSev, VCPUType: "EPYC", Kernel: &DirectBoot{Kernel: broken{}}},
			"reading the kernel"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(test.cfg); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v", err)
			}
		})
	}
	launch, err := New(Config{Firmware: amdSev, VCPUType: "EPYC"})
	if err != nil {
		t.Fatal(err)
	}
	for _, vcpus := range []int{-1, 0, MaxVCPUs + 1} {
		if _, err := launch.Measurement(vcpus); err == nil {
			t.Errorf("%d processors were measured", vcpus)
		}
	}
	if _, err := launch.Measurement(MaxVCPUs); err != nil {
		t.Error(err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// metadataAt is where the sections of amdSev begin.
func metadataAt(t *testing.T) int {
	t.Helper()
	at := bytes.Index(amdSev, []byte("ASEV"))
	if at < 0 {
		t.Fatal("no metadata")
	}
	return at
}

// TestDamagedMetadata puts into each field of the metadata what it must not have.
func TestDamagedMetadata(t *testing.T) {
	at := metadataAt(t)
	for name, change := range map[string]func(m []byte){
		"signature":          func(m []byte) { m[0] = 'X' },
		"version":            func(m []byte) { m[8] = 2 },
		"count":              func(m []byte) { m[12] = maxSections + 1 },
		"a huge count":       func(m []byte) { binary.LittleEndian.PutUint32(m[12:], 0xffffffff) },
		"address":            func(m []byte) { m[16] = 1 },
		"size":               func(m []byte) { m[20] = 1 },
		"a huge size":        func(m []byte) { binary.LittleEndian.PutUint32(m[20:], 0xfffff000) },
		"type":               func(m []byte) { m[24] = 0x77 },
		"no page for hashes": func(m []byte) { changeKind(m, sectionHashes, sectionCAA) },
		"two pages for them": func(m []byte) { changeKind(m, sectionCPUID, sectionHashes) },
		"hashes elsewhere":   func(m []byte) { moveHashes(m) },
	} {
		t.Run(name, func(t *testing.T) {
			damaged := bytes.Clone(amdSev)
			change(damaged[at:])
			if _, err := New(Config{Firmware: damaged, VCPUType: "EPYC", Kernel: empty("")}); !errors.Is(err, ovmf.ErrImage) {
				t.Errorf("%v", err)
			}
		})
	}
}

func changeKind(m []byte, from, to uint32) {
	for i := range binary.LittleEndian.Uint32(m[12:]) {
		if kind := m[16+12*i+8:]; binary.LittleEndian.Uint32(kind) == from {
			binary.LittleEndian.PutUint32(kind, to)
		}
	}
}

func moveHashes(m []byte) {
	for i := range binary.LittleEndian.Uint32(m[12:]) {
		if s := m[16+12*i:]; binary.LittleEndian.Uint32(s[8:]) == sectionHashes {
			binary.LittleEndian.PutUint32(s, binary.LittleEndian.Uint32(s)+pageSize)
		}
	}
}

func TestSignature(t *testing.T) {
	for name, want := range map[string]uint32{
		"EPYC": 0x800f12, "EPYC-v4": 0x800f12, "EPYC-IBPB": 0x800f12, "EPYC-Rome": 0x830f10, "EPYC-Milan": 0xa00f11, "EPYC-Milan-v2": 0xa00f11,
		"EPYC-Genoa": 0xa10f10, "EPYC-Turin": 0xb00f00, "EPYC-Turin-v1": 0xb00f00,
	} {
		if got, known := Signature(name); !known || got != want {
			t.Errorf("%s is %#x, %v, want %#x", name, got, known, want)
		}
	}
	for _, name := range []string{"", "epyc", "EPYC-v0", "EPYC-v6", "EPYC-v01", "EPYC-v+1", "EPYC-IBPB-v1", "Opteron"} {
		if _, known := Signature(name); known {
			t.Errorf("%q is known", name)
		}
	}
	if names := VCPUTypes(); !slices.Contains(names, "EPYC-Milan") {
		t.Errorf("types %v", names)
	}
}

func check(t *testing.T, image []byte) {
	launch, err := New(Config{Firmware: image, VCPUType: "EPYC-Milan", Kernel: empty("")})
	if err != nil {
		if launch != nil {
			t.Fatal("a launch with an error")
		}
		return
	}
	if got, err := launch.Measurement(1); err != nil || len(got) != 2*Size {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestMutations(t *testing.T) { mutate.Run(t, [][]byte{amdSev, ovmfX64}, check) }

func FuzzNew(f *testing.F) {
	f.Add(amdSev)
	f.Add(ovmfX64)
	f.Fuzz(check)
}

func BenchmarkNew(b *testing.B) {
	image := append(make([]byte, 4<<20-len(amdSev)), amdSev...)
	b.SetBytes(int64(len(image)))
	for b.Loop() {
		if _, err := New(Config{Firmware: image, VCPUType: "EPYC-Milan"}); err != nil {
			b.Fatal(err)
		}
	}
}
