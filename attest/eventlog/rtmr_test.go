package eventlog

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// realDomains are logs of real trust domains, from go-eventlog, with the first bytes of what their RTMR 0 to 2 were quoted to be. The quote of
// cos-113 is in go-tdx-guest (testing/testdata/ccel).
var realDomains = map[string][3]string{
	"cos-113-intel-tdx.bin":                         {"3fa2f61f395b7f5feefb4ec2df61297f109ad8abcd6410c1b7df60f21f37b19297fc35e544039c7e1edece752afd17f6", "f62dbc072bd5d3f3438b7b35c39a727f5aea2ffc2473f43723953f530daf62504f0a7944aa62c41a86e8a878c2b122c1", "4969684dc87381fc3b3134176c8d8806eaf0a901859f5f70cfae8d17714b46c10a8de219048c9fc09f11f381a6fbe7c1"},
	"cos-113-intel-tdx-dupe-separator.bin":          {"a4de2df23e9611299123ba4359c42a5e", "0ee9366c928a77092f55e9e114c73941", "4969684dc87381fc3b3134176c8d8806"},
	"cos-113-intel-tdx-dupe-separator-unpadded.bin": {"a4de2df23e9611299123ba4359c42a5e", "0ee9366c928a77092f55e9e114c73941", "4969684dc87381fc3b3134176c8d8806"},
	"gdc-tdx.bin": {"4655ef03c877b3d74a66203e46858fb9", "bf86aac140c10507b73c23d2f3a676b6", "b65f8202d0d3c9679fe0b1f3f341a5c8"},
}

// domainLog reads a log from the test data of go-eventlog, which does not export those of trust domains.
func domainLog(tb testing.TB, name string) []byte {
	tb.Helper()
	dir, err := exec.CommandContext(tb.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/go-eventlog").Output()
	if err != nil {
		tb.Skipf("the test data of go-eventlog cannot be found: %v", err)
	}
	log, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "testdata", "eventlogs", "ccel", name))
	if err != nil {
		tb.Fatal(err)
	}
	return log
}

// quotedRTMRs returns the values of the RTMRs of the trust domain that wrote a log.
func quotedRTMRs(tb testing.TB, log []byte) (rtmrs [4][]byte) {
	tb.Helper()
	parsed, err := Parse(log)
	if err != nil {
		tb.Fatal(err)
	}
	values, err := parsed.Replay(crypto.SHA384)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range rtmrs {
		if rtmrs[i] = values[i+1]; rtmrs[i] == nil {
			rtmrs[i] = make([]byte, 48)
		}
	}
	return rtmrs
}

// TestRealDomains replays real logs to the values that were quoted.
func TestRealDomains(t *testing.T) {
	for name, want := range realDomains {
		t.Run(name, func(t *testing.T) {
			log := domainLog(t, name)
			rtmrs := quotedRTMRs(t, log)
			for i, prefix := range want {
				if !strings.HasPrefix(hex.EncodeToString(rtmrs[i]), prefix) {
					t.Errorf("RTMR %d replays to %x", i, rtmrs[i])
				}
			}
			claims, err := BootRTMR(log, rtmrs)
			if err != nil || !slices.Equal(claims.RTMRs, []int{0, 1, 2}) || claims.PCRs != nil {
				t.Fatalf("%+v, %v", claims, err)
			}
			if claims.SecureBoot == nil || *claims.SecureBoot || len(claims.BootLoaders) != 2 || len(claims.Firmware) != 2 || claims.LoaderSays == nil ||
				claims.LoaderSays.CommandLine == "" || claims.LoaderSays.Kernel == "" || claims.CommandLine+claims.Kernel+claims.Initrd != "" {
				t.Errorf("%+v", claims)
			}
		})
	}
}

// TestDomainClaims has every claim of the tables among the vectors, and one more real one.
func TestDomainClaims(t *testing.T) {
	prefixes := func(claims *attest.BootClaims) string {
		var text []string
		add := func(name string, values ...string) {
			for i := range values {
				values[i] = values[i][:min(8, len(values[i]))]
			}
			text = append(text, name+"="+strings.Join(values, ","))
		}
		text = append(text, fmt.Sprint("rtmrs=", claims.RTMRs, " secure=", *claims.SecureBoot))
		add("firmware", slices.Clone(claims.Firmware)...)
		add("loaders", slices.Clone(claims.BootLoaders)...)
		add("authorities", slices.Clone(claims.SecureBootDB)...)
		add("kernel", claims.Kernel)
		add("initrd", claims.Initrd)
		add("line", claims.LineDigest)
		add("text", claims.CommandLine)
		if said := claims.LoaderSays; said != nil {
			add("said", said.Kernel, said.Initrd, said.LineDigest, said.CommandLine)
		}
		return strings.Join(text, " ")
	}
	for name, want := range map[string]string{
		"grub": "rtmrs=[0 1 2] secure=true firmware=05dc148f,696d17fe loaders=4637fb5c,eb68d5c4,4637fb5c,4f194711,ea83db0b " +
			"authorities=48e99b99,ed1fe72c kernel= initrd= line= text= said=,15485f8c,f45887f3,",
		"ovmf": "rtmrs=[0 1 2] secure=false firmware=0b8772e5,344bc51c loaders=a2ccae1e authorities= kernel= initrd=b15af928 line=4230f848 text=",
		"gcp":  "rtmrs=[0 1] secure=false firmware=458994da,6c1819b2 loaders=8a00de1d,476f35ba authorities= kernel= initrd= line= text=",
	} {
		t.Run(name, func(t *testing.T) {
			log := vectors.Read(t, "eventlog/CCEL_data_"+name)
			claims, err := BootRTMR(log, quotedRTMRs(t, log))
			if err != nil {
				t.Fatal(err)
			}
			if got := prefixes(claims); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if names := len(claims.Variables); names != 4 {
				t.Errorf("%d Secure Boot variables", names)
			}
		})
	}
	log := domainLog(t, "gdc-tdx.bin")
	claims, err := BootRTMR(log, quotedRTMRs(t, log))
	if err != nil {
		t.Fatal(err)
	}
	const want = "rtmrs=[0 1 2] secure=false firmware=a916fc3f,344bc51c loaders=6bc98a48,299852a8 authorities= kernel= initrd= line= text= said=2e3d20fb,fda8a563,124042f7,/vmlinuz"
	if got := prefixes(claims); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestGoldenReplay replays the digests of the golden parses, apart from any parser of ours.
func TestGoldenReplay(t *testing.T) {
	for _, name := range []string{"grub", "ovmf"} {
		var golden struct {
			Events []struct {
				Index   int `json:"index"`
				Digests []struct {
					Digest string `json:"digest"`
				} `json:"digests"`
			} `json:"uefi_event_logs"`
		}
		if err := json.Unmarshal(vectors.Read(t, "eventlog/CCEL_data_"+name+"_out.json"), &golden); err != nil {
			t.Fatal(err)
		}
		want := [4][]byte{make([]byte, 48), make([]byte, 48), make([]byte, 48), make([]byte, 48)}
		for _, event := range golden.Events {
			digest, err := hex.DecodeString(event.Digests[0].Digest)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha512.Sum384(append(want[event.Index-1], digest...))
			want[event.Index-1] = sum[:]
		}
		if got := quotedRTMRs(t, vectors.Read(t, "eventlog/CCEL_data_"+name)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s replays to %x, want %x", name, got, want)
		}
	}
}

func TestCoverRTMR(t *testing.T) {
	log := domainLog(t, "cos-113-intel-tdx-dupe-separator-unpadded.bin")
	rtmrs := func() [4][]byte { return quotedRTMRs(t, log) }
	for i := range 48 {
		for register := range lastFirmwareRTMR + 1 {
			values := rtmrs()
			values[register][i] ^= 1
			_, err := BootRTMR(log, values)
			refused(t, err, attest.CodeEventLog)
		}
	}
	t.Run("extended by the running system", func(t *testing.T) {
		values := rtmrs()
		values[2][0] ^= 1
		values[3][0] ^= 1
		claims, err := BootRTMR(log, values)
		if err != nil || !slices.Equal(claims.RTMRs, []int{0, 1}) || claims.CommandLine != "" || claims.Kernel != "" || len(claims.BootLoaders) != 2 {
			t.Errorf("%+v, %v", claims, err)
		}
	})
	t.Run("nothing quoted", func(t *testing.T) {
		_, err := BootRTMR(log, [4][]byte{})
		refused(t, err, attest.CodeEventLog)
	})
	t.Run("a header alone", func(t *testing.T) {
		_, err := BootRTMR(newDomain().bytes(), rtmrs())
		refused(t, err, attest.CodeEventLog)
	})
	t.Run("no log", func(t *testing.T) {
		_, err := BootRTMR(nil, rtmrs())
		refused(t, err, attest.CodeMalformed)
	})
	t.Run("of a TPM", func(t *testing.T) {
		_, err := BootRTMR(newLog().separator(1).bytes(), rtmrs())
		refused(t, err, attest.CodeEventLog)
	})
	t.Run("RTMR 4", func(t *testing.T) {
		log := newDomain().separator(1).separator(5).bytes()
		_, err := BootRTMR(log, quotedRTMRs(t, log))
		refused(t, err, attest.CodeMalformed)
	})
	t.Run("MRTD alone", func(t *testing.T) {
		log := newDomain().separator(0).bytes()
		_, err := BootRTMR(log, quotedRTMRs(t, log))
		refused(t, err, attest.CodeEventLog)
	})
	t.Run("MRTD is not replayed", func(t *testing.T) {
		log := newDomain().true(0, IPL, []byte("x")).true(0, NoAction, []byte("y")).separator(2).bytes()
		claims, err := BootRTMR(log, quotedRTMRs(t, log))
		if err != nil || !slices.Equal(claims.RTMRs, []int{1}) || claims.Firmware != nil {
			t.Errorf("%+v, %v", claims, err)
		}
	})
}

// TestDomainFlips flips each byte of a synthetic log, and every seventh of a real one. No claim may then have another value than the true one: it
// is absent, or the log is refused.
func TestDomainFlips(t *testing.T) {
	line := append(wide("quiet"), 0, 0)
	synthetic := started(1).separator(1).true(1, EFIVariableAuthority, variableData(guidImageSecurity, "db", make([]byte, 40))).separator(2).
		event(2, EFIBootApplication, []byte("MZ"), []byte("path")).event(3, IPL, []byte(".linux\x00"), nil).event(3, IPL, []byte("kernel"), nil).
		true(3, IPL, line).event(3, Tag, line, []byte(tagLoadOptions)).event(3, Tag, []byte("rd"), []byte(tagInitrd))
	flips(t, synthetic.bytes(), 1)
	flips(t, domainLog(t, "cos-113-intel-tdx-dupe-separator-unpadded.bin"), 7*mutate.Stride(1))
}

func flips(t *testing.T, log []byte, step int) {
	t.Helper()
	rtmrs := quotedRTMRs(t, log)
	truth, err := BootRTMR(log, rtmrs)
	if err != nil {
		t.Fatal(err)
	}
	same, refusals := 0, 0
	for i := 0; i < len(log) && !t.Failed(); i += step {
		log[i] ^= 1 << (i % 8)
		got, err := BootRTMR(log, rtmrs)
		log[i] ^= 1 << (i % 8)
		if err != nil {
			refusals++
			continue
		}
		if reflect.DeepEqual(got, truth) {
			same++
			continue
		}
		want, have := reflect.ValueOf(*truth), reflect.ValueOf(*got)
		for f := range want.NumField() {
			name := want.Type().Field(f).Name
			if have.Field(f).IsZero() || name == "RTMRs" || name == "LoaderSays" || reflect.DeepEqual(have.Field(f).Interface(), want.Field(f).Interface()) {
				continue
			}
			if name == "BootLoaders" && len(got.BootLoaders) > len(truth.BootLoaders) {
				continue // what is not known to be none counts as one
			}
			t.Errorf("byte %d: %s is %.200v", i, name, have.Field(f).Interface())
		}
	}
	if refusals < 16 || same < 16 { // else it shows nothing
		t.Errorf("%d refusals, %d without effect", refusals, same)
	}
}

// domain writes logs of trust domains: one SHA-384 bank.
type domain struct{ builder }

func newDomain() *domain { return &domain{builder{header(append(le16(0xc), le16(48)...))}} }

func (d *domain) event(index int, kind EventType, measured, data []byte) *domain {
	sum := sha512.Sum384(measured)
	d.log = bytes.Join([][]byte{d.log, le32(index), le32(int(kind)), le32(1), le16(0xc), sum[:], le32(len(data)), data}, nil)
	return d
}

func (d *domain) true(index int, kind EventType, data []byte) *domain {
	return d.event(index, kind, data, data)
}
func (d *domain) separator(index int) *domain { return d.true(index, Separator, make([]byte, 4)) }

func (d *domain) boot(t *testing.T) (*attest.BootClaims, error) {
	t.Helper()
	return BootRTMR(d.log, quotedRTMRs(t, d.log))
}

// started is what EDK II has measured into RTMR 0 when it starts to boot.
func started(secure byte) *domain {
	d := newDomain().event(1, 0x8000000b, []byte("list"), []byte("TdxTable")).event(1, 0x8000000a, []byte("volume"), []byte("Fv"))
	d.true(1, EFIVariableConfig, secureBoot(secure))
	for _, name := range []string{"PK", "KEK", "db", "dbx"} {
		d.true(1, EFIVariableConfig, variableData(owners[name], name, []byte("content of "+name)))
	}
	d.separator(1)
	for range maxTables {
		d.event(1, 0xa, []byte("tables"), []byte("ACPI DATA"))
	}
	order := variableData(guidGlobal, "BootOrder", []byte{1, 0})
	return d.event(1, 0x80000002, []byte{1, 0}, order)
}

func TestDomainSecureBoot(t *testing.T) {
	admitted := append(make([]byte, 16), []byte("certificate")...)
	authority := variableData(guidImageSecurity, "db", admitted)
	sum := sha256.Sum256([]byte("certificate"))
	name := hex.EncodeToString(sum[:])
	t.Run("on", func(t *testing.T) {
		claims, err := started(1).separator(1).true(1, EFIVariableAuthority, authority).boot(t)
		db := sha256.Sum256([]byte("content of db"))
		if err != nil || !*claims.SecureBoot || !slices.Equal(claims.SecureBootDB, []string{name}) || claims.Variables["db"] != hex.EncodeToString(db[:]) || len(claims.Variables) != 4 {
			t.Errorf("%+v, %v", claims, err)
		}
	})
	t.Run("off measured, on logged", func(t *testing.T) {
		_, err := newDomain().event(1, EFIVariableConfig, secureBoot(0), secureBoot(1)).separator(1).boot(t)
		refused(t, err, attest.CodeEventLog)
	})
	for label, d := range map[string]*domain{
		"an authority behind tables":           started(1).event(1, 0xa, authority, []byte("ACPI DATA")),
		"an authority behind a boot variable":  started(1).event(1, 0x80000002, authority, variableData(guidGlobal, "Boot0000", []byte("x"))),
		"an authority behind a separator":      started(1).separator(1).event(1, Separator, authority, make([]byte, 4)),
		"an authority behind another's":        started(1).true(1, EFIVariableAuthority, authority).event(1, EFIVariableAuthority, []byte("other"), authority),
		"one authority too many in the tables": newDomain().true(1, EFIVariableConfig, secureBoot(1)).separator(1).event(1, 0xa, []byte("1"), nil).event(1, 0xa, []byte("2"), nil).event(1, 0xa, []byte("3"), nil).event(1, 0xa, authority, nil),
	} {
		if claims, err := d.boot(t); err != nil || claims.SecureBootDB != nil || !*claims.SecureBoot {
			t.Errorf("%s: %+v, %v", label, claims, err)
		}
	}
	t.Run("an authority as the value of a boot variable", func(t *testing.T) {
		claims, err := started(1).event(1, 0x80000002, authority, variableData(guidGlobal, "Boot0000", authority)).boot(t)
		if err != nil || !slices.Equal(claims.SecureBootDB, []string{name}) {
			t.Errorf("%+v, %v", claims, err)
		}
	})
	t.Run("a variable hidden", func(t *testing.T) {
		d := newDomain().true(1, EFIVariableConfig, secureBoot(1)).event(1, EFIVariableConfig, []byte("other"), variableData(guidImageSecurity, "db", nil))
		claims, err := d.true(1, EFIVariableConfig, variableData(guidImageSecurity, "db", []byte("second"))).separator(1).boot(t)
		if err != nil || claims.Variables != nil {
			t.Errorf("%+v, %v", claims, err)
		}
	})
	t.Run("a variable twice", func(t *testing.T) {
		dbx := variableData(guidImageSecurity, "dbx", []byte("x"))
		claims, err := newDomain().true(1, EFIVariableConfig, secureBoot(1)).true(1, EFIVariableConfig, dbx).true(1, EFIVariableConfig, dbx).separator(1).boot(t)
		if err != nil || claims.Variables != nil {
			t.Errorf("%+v, %v", claims, err)
		}
	})
	t.Run("of another vendor", func(t *testing.T) {
		claims, err := newDomain().true(1, EFIVariableConfig, secureBoot(1)).true(1, EFIVariableConfig, variableData(guidGlobal, "db", nil)).separator(1).boot(t)
		if err != nil || len(claims.Variables) != 0 {
			t.Errorf("%+v, %v", claims, err)
		}
	})
}

func TestDomainBootLoaders(t *testing.T) {
	d := newDomain().true(2, 0x80000007, []byte(actions[0])).separator(2).true(2, 0x80000006, []byte("EFI PART")).
		event(2, EFIBootApplication, []byte("MZ1"), []byte("path")).
		true(2, 0x80000006, []byte("MZ2")).                         // a program in the place of the partition table
		event(2, 0x80000006, []byte("MZ3"), []byte("EFI PART too")) // and behind one
	claims, err := d.boot(t)
	if err != nil || len(claims.BootLoaders) != 3 {
		t.Fatalf("%+v, %v", claims, err)
	}
	for i, image := range []string{"MZ1", "MZ2", "MZ3"} {
		if sum := sha512.Sum384([]byte(image)); claims.BootLoaders[i] != hex.EncodeToString(sum[:]) {
			t.Errorf("boot loader %d is %s", i, claims.BootLoaders[i])
		}
	}
}

func TestDomainLinux(t *testing.T) {
	line, other := append(wide("quiet"), 0, 0), append(wide("init=/bin/sh"), 0, 0)
	sections := func() *domain {
		return newDomain().event(3, IPL, []byte(".linux\x00"), wide(".linux\x00")).event(3, IPL, []byte("kernel"), wide(".linux\x00"))
	}
	options := func(d *domain, measured []byte) *domain { return d.event(3, Tag, measured, []byte(tagLoadOptions)) }
	initrd := func(d *domain, measured []byte) *domain { return d.event(3, Tag, measured, []byte(tagInitrd)) }
	for name, test := range map[string]struct {
		log  *domain
		want string
	}{
		"a stub's line":                        {sections().true(3, IPL, line), "quiet"},
		"before the sections":                  {newDomain().true(3, IPL, line).event(3, IPL, []byte(".linux\x00"), nil).event(3, IPL, []byte("kernel"), nil), "quiet"},
		"and the kernel's measurements":        {initrd(options(sections().true(3, IPL, line), line), []byte("rd")), "quiet"},
		"and what was appended":                {options(sections().true(3, IPL, line), line).true(3, IPL, other), "quiet"},
		"the kernel took another":              {options(sections().true(3, IPL, line), other), ""},
		"the true line behind the initrd":      {initrd(sections(), other).true(3, IPL, line), ""},
		"something after it":                   {initrd(sections().true(3, IPL, line), []byte("rd")), ""},
		"an add-on's line":                     {sections().true(3, IPL, line).true(3, IPL, other), ""},
		"the true line behind another's data":  {sections().event(3, IPL, other, []byte("credentials")).true(3, IPL, line), ""},
		"the true line behind the false one's": {sections().event(3, IPL, other, line).true(3, IPL, line), ""},
		"the kernel's behind a label":          {newDomain().event(3, IPL, other, []byte("/grub.cfg")).true(3, IPL, line), ""},
		"GRUB's line":                          {newDomain().event(3, IPL, []byte("/vmlinuz quiet"), []byte("kernel_cmdline: /vmlinuz quiet")), ""},
		"GRUB's and a stub's":                  {newDomain().event(3, IPL, []byte("/vmlinuz"), []byte("kernel_cmdline: /vmlinuz")).true(3, IPL, line), ""},
		"GRUB's behind a label, a stub's":      {newDomain().event(3, IPL, []byte("/vmlinuz"), []byte("grub_cmd: x")).true(3, IPL, line), ""},
		"in RTMR 1":                            {newDomain().true(2, IPL, line), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if claims, err := test.log.boot(t); err != nil || claims.CommandLine != test.want {
				t.Errorf("%+v, %v", claims, err)
			}
		})
	}
	// A host booted the kernel with another command line and initrd. What they started runs as root, appends what a good boot
	// would have measured, and presents a log in which the true events have other labels.
	t.Run("a boot that the host chose, relabelled", func(t *testing.T) {
		for _, hidden := range []string{"/boot/grub.cfg\x00", "MokList\x00", tagInitrd, "grub_cmd: x"} {
			d := newDomain().event(3, IPL, other, []byte(hidden)).event(3, IPL, []byte("evil"), []byte(hidden))
			d.log = initrd(options(d, line), []byte("rd")).log
			claims, err := d.boot(t)
			if err != nil || claims.LineDigest+claims.Initrd+claims.Kernel+claims.CommandLine != "" {
				t.Errorf("%q: %+v, %v", hidden, claims, err)
			}
		}
		evil := options(options(newDomain(), other), line)
		if claims, err := evil.boot(t); err != nil || claims.LineDigest == hexSum(line) {
			t.Errorf("a second command line: %+v, %v", claims, err)
		}
		late := initrd(options(newDomain(), line), []byte("rd")).event(3, IPL, []byte(".linux\x00"), nil).event(3, IPL, []byte("kernel"), nil)
		if claims, err := late.boot(t); err != nil || claims.Kernel != "" {
			t.Errorf("sections that were appended: %+v, %v", claims, err)
		}
	})
	t.Run("the kernel's measurements in PCR 9", func(t *testing.T) {
		sum := sha256.Sum256(line)
		tagged := func(b *builder, measured []byte) *builder { return b.event(9, Tag, measured, []byte(tagLoadOptions)) }
		claims, err := tagged(tagged(newLog(), line), other).boot(t)
		if err != nil || claims.LineDigest != hex.EncodeToString(sum[:]) || claims.LoaderSays != nil {
			t.Errorf("%+v, %v", claims, err)
		}
		claims, err = tagged(newLog().event(9, IPL, other, []byte("/grub.cfg\x00")), line).boot(t)
		if err != nil || claims.LineDigest != "" {
			t.Errorf("behind another event: %+v, %v", claims, err)
		}
	})
	t.Run("GRUB says", func(t *testing.T) {
		d := newDomain().event(3, IPL, []byte("/vmlinuz quiet"), []byte("kernel_cmdline: /vmlinuz quiet")).event(3, IPL, []byte("k"), []byte("/vmlinuz\x00"))
		claims, err := options(d, line).boot(t)
		if err != nil || claims.LoaderSays == nil || claims.LoaderSays.CommandLine != "/vmlinuz quiet" || claims.LoaderSays.Kernel != hexSum([]byte("k")) ||
			claims.LoaderSays.LineDigest != hexSum(line) || claims.LineDigest != "" {
			t.Errorf("%+v, %v", claims, err)
		}
		_, err = newDomain().event(3, IPL, []byte("/vmlinuz init=/bin/sh"), []byte("kernel_cmdline: /vmlinuz quiet")).boot(t)
		refused(t, err, attest.CodeEventLog)
	})
	t.Run("what the kernel took", func(t *testing.T) {
		claims, err := initrd(options(newDomain(), line), []byte("rd")).boot(t)
		took, rd := sha512.Sum384(line), sha512.Sum384([]byte("rd"))
		if err != nil || claims.LineDigest != hex.EncodeToString(took[:]) || claims.Initrd != hex.EncodeToString(rd[:]) {
			t.Errorf("%+v, %v", claims, err)
		}
		claims, err = initrd(sections().event(3, IPL, []byte(".initrd\x00"), nil).event(3, IPL, []byte("rd"), nil), []byte("another")).boot(t)
		if err != nil || claims.Initrd != "" || claims.Kernel == "" {
			t.Errorf("an initrd that is not the stub's: %+v, %v", claims, err)
		}
	})
}

func hexSum(data []byte) string {
	sum := sha512.Sum384(data)
	return hex.EncodeToString(sum[:])
}

// checkDomain has what parses covered by its own replay.
func checkDomain(t *testing.T, data []byte) {
	log, err := Parse(data)
	if err != nil {
		return
	}
	values, err := log.Replay(crypto.SHA384)
	if err != nil {
		return
	}
	var rtmrs [4][]byte
	logged := 0
	for i := range rtmrs {
		if rtmrs[i] = values[i+1]; rtmrs[i] != nil {
			logged++
		}
	}
	covered, err := log.CoverRTMR(rtmrs)
	if err != nil {
		if other := slices.ContainsFunc(log.Events, func(e Event) bool { return e.PCR > maxIndex }); !other && logged > 0 {
			t.Fatalf("a log does not cover its own replay: %v", err)
		}
		return
	}
	if len(covered.RTMRs) != logged {
		t.Fatalf("%v of %d registers covered", covered.RTMRs, logged)
	}
	_, _ = covered.Boot()
}

func domainSeeds(tb testing.TB) [][]byte {
	return [][]byte{
		domainLog(tb, "cos-113-intel-tdx-dupe-separator-unpadded.bin"),
		started(1).separator(1).bytes(),
		newDomain().event(3, IPL, []byte(".linux\x00"), nil).event(3, IPL, []byte("k"), nil).true(3, IPL, append(wide("quiet"), 0, 0)).event(3, Tag, nil, []byte(tagInitrd)).bytes(),
	}
}

func TestMutationsDomain(t *testing.T) { mutate.Run(t, domainSeeds(t), checkDomain) }

func FuzzDomain(f *testing.F) {
	for _, seed := range domainSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(checkDomain)
}

func TestDomainTruncation(t *testing.T) {
	log := domainLog(t, "cos-113-intel-tdx-dupe-separator-unpadded.bin")
	rtmrs := quotedRTMRs(t, log)
	truth, _ := BootRTMR(log, rtmrs)
	for n := 0; n < len(log); n += mutate.Stride(1) {
		if claims, err := BootRTMR(log[:n], rtmrs); err == nil && slices.Equal(claims.RTMRs, truth.RTMRs) {
			// Without its last events, of RTMR 1, it would be refused; so nothing was lost.
			t.Errorf("cut at %d: %+v", n, claims)
		}
	}
}

func BenchmarkBootRTMR(b *testing.B) {
	log := domainLog(b, "gdc-tdx.bin")
	rtmrs := quotedRTMRs(b, log)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := BootRTMR(log, rtmrs); err != nil {
			b.Fatal(err)
		}
	}
}

// TestFirmware has what firmware measures of itself, and no more.
func TestFirmware(t *testing.T) {
	version := sha256.Sum256([]byte("version"))
	claims, err := newLog().event(0, 8, []byte("version"), nil).separator(0).true(0, IPL, []byte("later")).boot(t)
	if err != nil || !slices.Equal(claims.Firmware, []string{hex.EncodeToString(version[:])}) {
		t.Errorf("%+v, %v", claims, err)
	}
	if claims, err = newLog().event(0, 8, []byte("version"), nil).boot(t); err != nil || claims.Firmware != nil {
		t.Errorf("without a separator: %+v, %v", claims, err)
	}
	list, volume := sha512.Sum384([]byte("list")), sha512.Sum384([]byte("volume"))
	claims, err = started(0).boot(t)
	if err != nil || !slices.Equal(claims.Firmware, []string{hex.EncodeToString(list[:]), hex.EncodeToString(volume[:])}) {
		t.Errorf("%+v, %v", claims, err)
	}
	if claims, err = newDomain().true(1, IPL, []byte("x")).separator(1).true(1, EFIVariableConfig, secureBoot(1)).boot(t); err != nil || claims.Firmware != nil {
		t.Errorf("without Secure Boot before the separator: %+v, %v", claims, err)
	}
}
