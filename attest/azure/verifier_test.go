package azure

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/azure/azuretest"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
)

var kinds = []attest.Kind{attest.AzSNPvTPM, attest.AzTDXvTPM}

// TestAccepts has every layout of both kinds made here.
func TestAccepts(t *testing.T) {
	for _, kind := range kinds {
		m := newMachine(t, kind)
		spki, err := x509.MarshalPKIXPublicKey(&m.ak.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		for name, change := range map[string]func(*parts){
			"layout 2":            nil,
			"layout 1":            func(p *parts) { p.version = 1 },
			"layout 0":            func(p *parts) { p.version = 0 },
			"layout 1, fresh":     func(p *parts) { p.version, p.userData = 1, digest },
			"with its key":        func(p *parts) { p.akPublic = spki },
			"header of version 2": func(p *parts) { p.hcl = set32(4, 2) },
			"no zeros after":      func(p *parts) { p.hcl = func(b []byte) []byte { return bytes.TrimRight(b, "\x00") } },
			"lower-case user data": func(p *parts) {
				p.variable = func(s string) string { i := strings.Index(s, `"user-data"`); return s[:i] + strings.ToLower(s[i:]) }
			},
			"a member more": func(p *parts) { p.variable = replace(`"console-enabled"`, `"new":[1],"console-enabled"`) },
		} {
			claims, err := m.verify(m.evidence(change))
			if err != nil {
				t.Errorf("%s, %s: %v", kind, name, err)
				continue
			}
			wantFresh := name != "layout 1" && name != "layout 0"
			if claims.Kind != kind || !*claims.Bound || claims.ReportData != hex.EncodeToString(digest) || claims.Azure.UserDataBound != wantFresh ||
				claims.TPM.AKName != hexSum(spki) || claims.TPM.AKDigest != hexSum(spki) || claims.TPM.Enrolled || claims.TPM.Clock != 12345 || !claims.TPM.ClockSafe ||
				claims.Azure.HostData == "" || claims.InitData != "" || claims.InitDataBound != nil || claims.Boot != nil {
				t.Errorf("%s, %s: %+v\n%+v\n%+v", kind, name, claims, claims.Azure, claims.TPM)
			}
		}
		// Old paravisors report neither user data nor a configuration.
		claims, err := m.verify(m.evidence(func(p *parts) {
			p.version = 1
			p.variable = func(s string) string { return s[:strings.Index(s, `,"vm-configuration"`)] + "}" }
		}))
		if err != nil || claims.Azure.UserData != "" || claims.Azure.UserDataBound || claims.Azure.VMUniqueID != "" || claims.Azure.SecureBoot != nil {
			t.Errorf("%s: %+v, %v", kind, claims, err)
		}
	}
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// set32 sets a little-endian number of an HCL report.
func set32(at int, n uint32) func([]byte) []byte {
	return func(b []byte) []byte {
		b[at], b[at+1], b[at+2], b[at+3] = byte(n), byte(n>>8), byte(n>>16), byte(n>>24)
		return b
	}
}

func replace(old, with string) func(string) string {
	return func(s string) string {
		if !strings.Contains(s, old) {
			panic("the text to replace is not there: " + old)
		}
		return strings.Replace(s, old, with, 1)
	}
}

// refusals are what must be refused of both kinds, with the code that says why.
var refusals = []struct {
	name   string
	code   attest.Code
	change func(m *machine, p *parts)
}{
	{"another nonce", attest.CodeBinding, func(_ *machine, p *parts) { p.extra = bytes.Repeat([]byte{1}, 48) }},
	{"no nonce", attest.CodeBinding, func(_ *machine, p *parts) { p.extra = []byte{} }},
	{"the first 32 bytes of the digest", attest.CodeBinding, func(_ *machine, p *parts) { p.extra = digest[:32] }},
	{"the digest with zeros after it", attest.CodeBinding, func(_ *machine, p *parts) { p.extra = append(bytes.Clone(digest), 0, 0) }},
	{"layout 2 whose hardware report is old", attest.CodeBinding, func(_ *machine, p *parts) { p.userData = make([]byte, 64) }},
	{"layout 2 with the digest late in the user data", attest.CodeBinding, func(_ *machine, p *parts) { p.userData = append([]byte{0}, digest...) }},
	{"layout 2 with more after the digest", attest.CodeBinding, func(_ *machine, p *parts) { p.userData = append(bytes.Clone(digest), 1) }},
	{"layout 2 without user data", attest.CodeBinding, func(_ *machine, p *parts) {
		p.variable = func(s string) string { return s[:strings.Index(s, `,"user-data"`)] + "}" }
	}},

	{"23 values", attest.CodePCRCount, func(_ *machine, p *parts) { p.pcrs = p.pcrs[:23] }},
	{"23 values of 23 PCRs", attest.CodePCRCount, func(_ *machine, p *parts) { p.pcrs, p.selection = p.pcrs[:23], selectionOf(between(0, 22)) }},
	{"25 values", attest.CodePCRCount, func(_ *machine, p *parts) { p.pcrs = append(p.pcrs, value(24)) }},
	{"no values", attest.CodePCRCount, func(_ *machine, p *parts) { p.pcrs = nil }},
	{"PCRs 0 to 22", attest.CodePCRSelection, func(_ *machine, p *parts) { p.selection = selectionOf(between(0, 22)) }},
	{"all but PCR 11", attest.CodePCRSelection, func(_ *machine, p *parts) {
		p.selection, p.digested = selectionOf(append(between(0, 10), between(12, 23)...)), slices.Delete(slices.Clone(p.pcrs), 11, 12)
	}},
	{"no PCR", attest.CodePCRSelection, func(_ *machine, p *parts) { p.selection = selectionOf(nil) }},
	{"no selection", attest.CodePCRSelection, func(_ *machine, p *parts) { p.selection = selectionOf() }},
	{"two selections that together are all", attest.CodePCRSelection, func(_ *machine, p *parts) { p.selection = selectionOf(between(0, 11), between(12, 23)) }},
	{"all PCRs twice", attest.CodePCRSelection, func(_ *machine, p *parts) { p.selection = selectionOf(between(0, 23), between(0, 23)) }},
	{"PCR 12 in the place of 11", attest.CodePCRSelection, func(_ *machine, p *parts) {
		p.selection = selectionOf(between(0, 10), []int{12}, between(12, 23))
	}},
	{"17 selections", attest.CodePCRSelection, func(_ *machine, p *parts) { p.selection = selectionOf(make([][]int, 17)...) }},
	{"PCR 16 in the place of 11", attest.CodePCRResettable, func(_ *machine, p *parts) {
		p.selection = selectionOf(between(0, 10), []int{16}, between(12, 23))
	}},
	{"PCR 23 in the place of 11", attest.CodePCRResettable, func(_ *machine, p *parts) {
		p.selection = selectionOf(between(0, 10), []int{23}, between(12, 23))
	}},
	{"PCR 16 last, and all moved", attest.CodePCRResettable, func(_ *machine, p *parts) {
		p.selection = selectionOf(append(between(0, 10), between(12, 23)...), []int{16})
	}},
	{"bank SHA-1", attest.CodePCRBank, func(_ *machine, p *parts) { p.selection = bankSelection(0x0004, between(0, 23)) }},
	{"bank SHA-384", attest.CodePCRBank, func(_ *machine, p *parts) { p.selection = bankSelection(0x000c, between(0, 23)) }},
	{"bank SHA-1 beside", attest.CodePCRBank, func(_ *machine, p *parts) {
		p.selection = append(selectionOf(between(0, 23)), bankSelection(0x0004, between(0, 23))[4:]...)
		p.selection[3] = 2
	}},
	{"values of 20 bytes", attest.CodePCRBank, func(_ *machine, p *parts) {
		for i := range p.pcrs {
			p.pcrs[i] = p.pcrs[i][:20]
		}
	}},
	{"an empty value", attest.CodePCRBank, func(_ *machine, p *parts) { p.pcrs[5] = nil }},
	{"another value", attest.CodePCRDigest, func(_ *machine, p *parts) {
		p.digested = slices.Clone(p.pcrs)
		p.digested[11] = value(99)
	}},
	{"values in another order", attest.CodePCRDigest, func(_ *machine, p *parts) {
		p.digested = slices.Clone(p.pcrs)
		p.digested[11], p.digested[12] = p.digested[12], p.digested[11]
	}},

	{"another key's signature", attest.CodeSignature, func(m *machine, p *parts) { p.signer = newAK(m.tb) }},
	{"no signature", attest.CodeSignature, func(_ *machine, p *parts) { p.signature = func([]byte) []byte { return nil } }},
	{"a short signature", attest.CodeSignature, func(_ *machine, p *parts) { p.signature = func(b []byte) []byte { return b[1:] } }},
	{"a signature with the TPM's header", attest.CodeSignature, func(_ *machine, p *parts) {
		p.signature = func(b []byte) []byte { return append([]byte{0, 0x14, 0, 0x0b, 1, 0}, b...) }
	}},
	{"a long signature", attest.CodeTooLarge, func(_ *machine, p *parts) { p.signature = func([]byte) []byte { return make([]byte, 513) } }},

	{"another key presented", attest.CodeKeyNotReported, func(m *machine, p *parts) {
		p.akPublic, _ = x509.MarshalPKIXPublicKey(newAK(m.tb).Public())
	}},
	{"a key presented that is none", attest.CodeKeyNotReported, func(_ *machine, p *parts) { p.akPublic = []byte{1} }},
	{"a key of one's own in the variable data", attest.CodeKeyNotReported, func(m *machine, p *parts) {
		// The hardware's report stays that of the good variable data.
		sum := sha256.Sum256(m.variable(&parts{userData: digest}))
		p.reportData, p.signer = sum[:], newAK(m.tb)
		p.variable = func(string) string { return string((&machine{ak: p.signer}).variable(&parts{userData: digest})) }
	}},
	{"no attestation key", attest.CodeKeyNotReported, func(_ *machine, p *parts) { p.variable = replace(`"HCLAkPub"`, `"HCLAKPub"`) }},
	{"two attestation keys", attest.CodeKeyNotReported, func(_ *machine, p *parts) { p.variable = replace(`"HCLEkPub"`, `"HCLAkPub"`) }},
	{"keys null", attest.CodeKeyNotReported, func(_ *machine, p *parts) { p.variable = func(string) string { return `{"keys":null}` } }},
	{"nine keys", attest.CodeTooLarge, func(_ *machine, p *parts) { p.variable = replace(`"keys":[`, `"keys":[{},{},{},{},{},{},{},`) }},
	{"an attestation key that decrypts", attest.CodeKeyAttributes, func(_ *machine, p *parts) { p.variable = replace(`["sign"]`, `["sign","decrypt"]`) }},
	{"an attestation key for nothing", attest.CodeKeyAttributes, func(_ *machine, p *parts) { p.variable = replace(`"key_ops":["sign"],`, ``) }},
	{"an elliptic-curve attestation key", attest.CodeAlgorithm, func(_ *machine, p *parts) { p.variable = replace(`"RSA"`, `"EC"`) }},
	{"exponent 3", attest.CodeAlgorithm, func(_ *machine, p *parts) { p.variable = replace(`"AQAB"`, `"Aw"`) }},
	{"exponent 1", attest.CodeAlgorithm, func(_ *machine, p *parts) { p.variable = replace(`"AQAB"`, `"AQ"`) }},
	{"a short modulus", attest.CodeAlgorithm, func(_ *machine, p *parts) { p.variable = modulus("AQAB") }},
	{"no modulus", attest.CodeAlgorithm, func(_ *machine, p *parts) { p.variable = modulus("") }},
	{"a modulus that is not base64url", attest.CodeMalformed, func(_ *machine, p *parts) { p.variable = modulus("+/+/") }},
	{"an even modulus", attest.CodeSignature, func(_ *machine, p *parts) { p.variable = modulus(strings.Repeat("_", 341) + "g") }},
	{"a modulus with a zero before it", attest.CodeAlgorithm, func(_ *machine, p *parts) { p.variable = modulus("AA" + strings.Repeat("_", 339) + "w") }},
	{"a long modulus", attest.CodeMalformed, func(_ *machine, p *parts) { p.variable = modulus(strings.Repeat("A", 400)) }},
	{"keys twice", attest.CodeMalformed, func(_ *machine, p *parts) { p.variable = replace(`"user-data"`, `"keys":[],"user-data"`) }},
	{"Keys beside keys", attest.CodeMalformed, func(_ *machine, p *parts) { p.variable = replace(`"user-data"`, `"Keys":[],"user-data"`) }},
	{"variable data that is no JSON", attest.CodeMalformed, func(_ *machine, p *parts) { p.variable = func(string) string { return "{" } }},
	{"no variable data", attest.CodeMalformed, func(_ *machine, p *parts) { p.variable = func(string) string { return "" } }},
	{"user data of 63 bytes", attest.CodeMalformed, func(_ *machine, p *parts) { p.variable = replace(`00"}`, `"}`) }},
	{"user data that is not hex", attest.CodeMalformed, func(_ *machine, p *parts) { p.variable = replace(`00"}`, `0x"}`) }},
	{"a long identifier", attest.CodeTooLarge, func(_ *machine, p *parts) {
		p.variable = replace(`"26F8BC30`, `"`+strings.Repeat("0", 128))
	}},

	{"an HCL report of another thing", attest.CodeMalformed, func(_ *machine, p *parts) { p.hcl = set32(0, 0) }},
	{"an HCL report of version 0", attest.CodeVersionUnsupported, func(_ *machine, p *parts) { p.hcl = set32(4, 0) }},
	{"an HCL report of version 3", attest.CodeVersionUnsupported, func(_ *machine, p *parts) { p.hcl = set32(4, 3) }},
	{"an HCL report for a key's release", attest.CodeMalformed, func(_ *machine, p *parts) { p.hcl = set32(12, 1) }},
	{"an HCL report with a status", attest.CodeMalformed, func(_ *machine, p *parts) { p.hcl = set32(16, 1) }},
	{"an HCL report with a reserved byte", attest.CodeMalformed, func(_ *machine, p *parts) { p.hcl = set32(28, 1<<24) }},
	{"data of version 2", attest.CodeVersionUnsupported, func(_ *machine, p *parts) { p.hcl = set32(1220, 2) }},
	{"hash type SHA-384", attest.CodeAlgorithm, func(_ *machine, p *parts) { p.hcl = set32(1228, 2) }},
	{"hash type 0", attest.CodeAlgorithm, func(_ *machine, p *parts) { p.hcl = set32(1228, 0) }},
	{"report type VBS", attest.CodeVersionUnsupported, func(_ *machine, p *parts) { p.hcl = set32(1224, 1) }},
	{"report type 3", attest.CodeVersionUnsupported, func(_ *machine, p *parts) { p.hcl = set32(1224, 3) }},
	{"bytes after the HCL report", attest.CodeMalformed, func(_ *machine, p *parts) { p.hcl = func(b []byte) []byte { b[len(b)-1] = 1; return b } }},
	{"a large HCL report", attest.CodeTooLarge, func(_ *machine, p *parts) { p.hcl = func(b []byte) []byte { return append(b, make([]byte, 8<<10)...) } }},
	{"hardware's report about half the digest", attest.CodeKeyNotReported, func(_ *machine, p *parts) { p.reportData = digest[:16] }},
	{"hardware's report with more after the digest", attest.CodeKeyNotReported, func(m *machine, p *parts) {
		sum := sha256.Sum256(m.variable(&parts{userData: digest}))
		p.reportData = append(sum[:], 1)
	}},

	{"layout 3", attest.CodeVersionUnsupported, withMember("version", 3)},
	{"layout 0 by number", attest.CodeVersionUnsupported, withMember("version", 0)},
	{"layout 2^32", attest.CodeMalformed, withMember("version", int64(1)<<32)},
	{"layout -1", attest.CodeMalformed, withMember("version", -1)},
	{"layout 1.5", attest.CodeMalformed, withMember("version", 1.5)},
	{"layout as text", attest.CodeMalformed, withMember("version", "2")},
	{"layout null", attest.CodeMalformed, withMember("version", nil)},
	{"no version, but of a later layout", attest.CodeMalformed, without("version")},
	{"an unknown member", attest.CodeMalformed, withMember("extra", 1)},
	{"the first layout's member", attest.CodeMalformed, withMember("report", []int{1})},
	{"an HCL report in numbers", attest.CodeMalformed, withMember("hcl_report", []int{1, 2})},
	{"an HCL report in base64 of the other alphabet", attest.CodeMalformed, withMember("hcl_report", "+/+/")},
	{"an HCL report with a line break", attest.CodeMalformed, withMember("hcl_report", "SENM\nQQ==")},
	{"an empty HCL report", attest.CodeMalformed, withMember("hcl_report", "")},
	{"no HCL report", attest.CodeMalformed, without("hcl_report")},
	{"no quote", attest.CodeMalformed, without("tpm_quote")},
	{"a quote that is text", attest.CodeMalformed, withMember("tpm_quote", "x")},
	{"a quote with a member more", attest.CodeMalformed, quoted("bank", "sha256")},
	{"a message in base64", attest.CodeMalformed, quoted("message", "_1RDRw==")},
	{"a message in upper case", attest.CodeMalformed, quoted("message", "FF544347")},
	{"a message in numbers", attest.CodeMalformed, quoted("message", []int{255, 84})},
	{"half a message", attest.CodeMalformed, quoted("message", "ff544347801")},
	{"no message", attest.CodeMalformed, quoted("message", "")},
	{"a long message", attest.CodeTooLarge, quoted("message", strings.Repeat("ff", 1025))},
	{"values in text", attest.CodeMalformed, quoted("pcrs", "x")},
	{"values in numbers", attest.CodeMalformed, quoted("pcrs", make([]int, 24))},
	{"values null", attest.CodeMalformed, quoted("pcrs", make([]any, 24))},
	{"an event log that is none", attest.CodeMalformed, func(_ *machine, p *parts) { p.eventLog = []byte("log") }},
}

func newAK(tb testing.TB) *rsa.PrivateKey {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, akBits)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// modulus gives the first key of the variable data another modulus.
func modulus(text string) func(string) string {
	return func(s string) string {
		from := strings.Index(s, `"n":"`) + 5
		return s[:from] + text + s[from+strings.Index(s[from:], `"`):]
	}
}

func withMember(name string, value any) func(*machine, *parts) {
	return func(_ *machine, p *parts) { p.document = func(d map[string]any) { d[name] = value } }
}

func without(name string) func(*machine, *parts) {
	return func(_ *machine, p *parts) { p.document = func(d map[string]any) { delete(d, name) } }
}

func quoted(name string, value any) func(*machine, *parts) {
	return func(_ *machine, p *parts) {
		p.document = func(d map[string]any) { d["tpm_quote"].(map[string]any)[name] = value }
	}
}

func TestRefusals(t *testing.T) {
	for _, kind := range kinds {
		m := newMachine(t, kind)
		for _, test := range refusals {
			t.Run(string(kind)+"/"+test.name, func(t *testing.T) {
				_, err := m.verify(m.evidence(func(p *parts) { test.change(m, p) }))
				wantCode(t, err, test.code)
			})
		}
	}
}

// TestRefusalsOfText changes the JSON itself: what is there twice, and what follows.
func TestRefusalsOfText(t *testing.T) {
	m := newMachine(t, attest.AzSNPvTPM)
	good := string(m.evidence(nil))
	if _, err := m.verify([]byte(" " + good + "\n")); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a version more":      strings.Replace(good, `"version":2`, `"version":2,"version":1`, 1),
		"the version escaped": strings.Replace(good, `"version":2`, `"version":2,"versio\u006e":1`, 1),
		"another case":        strings.Replace(good, `"version":2`, `"version":2,"Version":2`, 1),
		"a message more":      strings.Replace(good, `"message":`, `"message":"ff","message":`, 1),
		"pcrs more":           strings.Replace(good, `"pcrs":`, `"pcrs":[],"pcrs":`, 1),
		"a document more":     good + good,
		"bytes after it":      good + "\x00",
		"a list of it":        "[" + good + "]",
		"not UTF-8":           strings.Replace(good, `"version":2`, "\"version\":2,\"\xff\":1", 1),
		"nothing":             "",
		"null":                "null",
		"an empty object":     "{}",
	} {
		if text == good {
			t.Errorf("%s: nothing was changed", name)
		}
		_, err := m.verify([]byte(text))
		wantCode(t, err, attest.CodeMalformed)
	}
}

// TestRefusalsOfMessages changes what a TPM writes.
func TestRefusalsOfMessages(t *testing.T) {
	m := newMachine(t, attest.AzSNPvTPM)
	for name, change := range map[string]func(string) string{
		"not a TPM's":    func(s string) string { return "fe" + s[2:] },
		"not a quote":    func(s string) string { return s[:8] + "8017" + s[12:] },
		"a byte after":   func(s string) string { return s + "00" },
		"a byte less":    func(s string) string { return s[:len(s)-2] },
		"safe is two":    func(s string) string { i := strings.Index(s, "000000020000000001") + 16; return s[:i] + "02" + s[i+2:] },
		"a huge extra":   func(s string) string { i := strings.Index(s, "0030d1d1"); return s[:i] + "ffff" + s[i+4:] },
		"a huge mask":    func(s string) string { return strings.Replace(s, "000b03ffffff", "000bffffffff", 1) },
		"a huge digest":  func(s string) string { return strings.Replace(s, "03ffffff0020", "03ffffffffff", 1) },
		"another digest": nil,
	} {
		evidence := m.evidence(func(p *parts) {
			p.document = func(d map[string]any) {
				quote := d["tpm_quote"].(map[string]any)
				if change != nil {
					changed := change(quote["message"].(string))
					if changed == quote["message"] {
						t.Errorf("%s: nothing was changed", name)
					}
					quote["message"] = changed
				} else {
					quote["pcrs"].([]any)[0] = hex.EncodeToString(value(77))
				}
			}
		})
		_, err := m.verify(evidence)
		if change == nil {
			wantCode(t, err, attest.CodePCRDigest)
		} else {
			wantCode(t, err, attest.CodeMalformed)
		}
	}
}

// TestRefusalsOfHardware has reports of SEV-SNP that are genuine and not the paravisor's.
func TestRefusalsOfHardware(t *testing.T) {
	m := newMachine(t, attest.AzSNPvTPM)
	change := func(change func(*virtual.Config)) func(*parts) {
		device, err := m.device.With(change)
		if err != nil {
			t.Fatal(err)
		}
		return func(p *parts) { p.device = device }
	}
	// A guest that can ask for reports, but not at VMPL 0, with a TPM that is a program.
	for vmpl := range uint32(4) {
		claims, err := m.verify(m.evidence(change(func(c *virtual.Config) { c.VMPL = vmpl })))
		if vmpl == 0 {
			if err != nil || *claims.VMPL != 0 {
				t.Errorf("VMPL 0: %v", err)
			}
			continue
		}
		wantCode(t, err, attest.CodeKeyNotReported)
	}
	claims, err := m.verify(m.evidence(change(func(c *virtual.Config) { c.Debug, c.MigrationAgent = true, true })))
	if err != nil || !*claims.Debug || !*claims.MigrationAgent {
		t.Errorf("a guest open to its host: %+v, %v", claims, err)
	}
	_, err = m.verify(m.evidence(func(p *parts) { p.device = newMachine(t, attest.AzSNPvTPM).device }))
	wantCode(t, err, attest.CodeCertUntrusted)
	for name, value := range map[string]any{"empty": "", "null": nil} {
		_, err = m.verify(m.evidence(func(p *parts) { p.document = func(d map[string]any) { d["vcek"] = value } }))
		if wantCode(t, err, attest.CodeCertMissing); t.Failed() { // as the development TEE has it
			t.Log(name)
		}
	}
	_, err = m.verify(m.evidence(func(p *parts) { p.document = func(d map[string]any) { d["vcek"] = base64url(make([]byte, 4<<10+1)) } }))
	wantCode(t, err, attest.CodeTooLarge)
	_, err = m.verify(m.evidence(func(p *parts) { p.document = func(d map[string]any) { d["td_quote"] = "AAAA" } }))
	wantCode(t, err, attest.CodeMalformed)
}

// TestRefusalsOfTDQuotes has TD quotes that are not of the machine whose HCL report is presented.
func TestRefusalsOfTDQuotes(t *testing.T) {
	m := newMachine(t, attest.AzTDXvTPM)
	for name, test := range map[string]struct {
		code   attest.Code
		change func(*parts)
	}{
		"another machine's":   {attest.CodeKeyNotReported, func(p *parts) { p.tdQuote = func(b []byte) []byte { b[azuretest.QuoteReportData] ^= 1; return b } }},
		"more report data":    {attest.CodeKeyNotReported, func(p *parts) { p.tdQuote = func(b []byte) []byte { b[azuretest.QuoteReportData+40] = 1; return b } }},
		"not a quote":         {attest.CodeMalformed, func(p *parts) { p.tdQuote = func(b []byte) []byte { return b[:8] } }},
		"none":                {attest.CodeMalformed, func(p *parts) { p.document = func(d map[string]any) { delete(d, "td_quote") } }},
		"null":                {attest.CodeMalformed, func(p *parts) { p.document = func(d map[string]any) { d["td_quote"] = nil } }},
		"empty":               {attest.CodeMalformed, func(p *parts) { p.document = func(d map[string]any) { d["td_quote"] = "" } }},
		"large":               {attest.CodeTooLarge, func(p *parts) { p.tdQuote = func(b []byte) []byte { return append(b, make([]byte, 16<<10)...) } }},
		"with a VCEK":         {attest.CodeMalformed, func(p *parts) { p.document = func(d map[string]any) { d["vcek"] = "AAAA" } }},
		"a TD report and on":  {attest.CodeMalformed, func(p *parts) { p.hcl = set32(headerSize+tdReportSize, 1) }},
		"another TD report's": {attest.CodeKeyNotReported, func(p *parts) { p.hcl = set32(headerSize+tdReportData, 1) }},
	} {
		_, err := m.verify(m.evidence(test.change))
		t.Run(name, func(t *testing.T) { wantCode(t, err, test.code) })
	}
}

// TestInitData binds init-data by PCR 8.
func TestInitData(t *testing.T) {
	for _, kind := range kinds {
		m := newMachine(t, kind)
		document := &attest.InitData{Algorithm: "sha256", Digest: bytes.Repeat([]byte{5}, 32), Data: map[string]string{"a": "b"}}
		extended := sha256.Sum256(append(make([]byte, 32), document.Digest...))
		with := func(pcr8 []byte, init *attest.InitData) (*attest.Claims, error) {
			return m.verifier.Verify(t.Context(), attest.Input{
				Evidence: m.evidence(func(p *parts) { p.pcrs[8] = pcr8 }), Binding: attest.BoundTo(digest), Init: init, Time: m.now,
			})
		}
		claims, err := with(extended[:], document)
		if err != nil || !*claims.InitDataBound || claims.InitDataClaims["a"] != "b" || claims.InitData != hex.EncodeToString(document.Digest) {
			t.Errorf("%s: %+v, %v", kind, claims, err)
		}
		for name, pcr8 := range map[string][]byte{"another": value(8), "never extended": make([]byte, 32), "the digest itself": document.Digest} {
			if claims, err = with(pcr8, document); err != nil || *claims.InitDataBound || claims.InitDataClaims != nil || claims.InitData != "" {
				t.Errorf("%s, PCR 8 is %s: %+v, %v", kind, name, claims, err)
			}
		}
		for _, size := range []int{0, 20, 31, 33, 48, 64} {
			_, err = with(extended[:], &attest.InitData{Algorithm: "sha384", Digest: make([]byte, size)})
			wantCode(t, err, attest.CodeInitData)
		}
	}
}

// broken is a verifier of hardware that says what it is told to.
type broken struct {
	kind   attest.Kind
	claims *attest.Claims
	err    error
}

func (b broken) Kind() attest.Kind { return b.kind }
func (b broken) Verify(context.Context, attest.Input) (*attest.Claims, error) {
	return b.claims, b.err
}

func TestHardwareVerifier(t *testing.T) {
	for _, config := range []Config{{}, {Hardware: broken{kind: attest.AzSNPvTPM}}, {Hardware: broken{kind: attest.Virtual}}} {
		if _, err := New(config); err == nil {
			t.Errorf("%+v is a configuration", config)
		}
	}
	m := newMachine(t, attest.AzSNPvTPM)
	yes := attest.Ptr(true)
	for name, hardware := range map[string]broken{
		"no claims":       {},
		"of another kind": {claims: &attest.Claims{Kind: attest.TDX, Bound: yes, VMPL: new(int)}},
		"not bound":       {claims: &attest.Claims{Kind: attest.SNP, Bound: new(bool), VMPL: new(int)}},
		"bound to what":   {claims: &attest.Claims{Kind: attest.SNP, VMPL: new(int)}},
		"unavailable":     {err: &attest.Unavailable{What: "a certificate"}},
	} {
		hardware.kind = attest.SNP
		v, err := New(Config{Hardware: hardware})
		if err != nil {
			t.Fatal(err)
		}
		var unavailable *attest.Unavailable
		_, err = v.Verify(t.Context(), attest.Input{Evidence: m.evidence(nil), Binding: attest.BoundTo(digest)})
		if !errors.As(err, &unavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	v, err := New(Config{Hardware: broken{kind: attest.SNP, claims: &attest.Claims{Kind: attest.SNP, Bound: yes}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), attest.Input{Evidence: m.evidence(nil), Binding: attest.BoundTo(digest)})
	wantCode(t, err, attest.CodeKeyNotReported) // a report that does not say who asked for it
}

// booted is a hardware verifier that takes a quote with a log beside it, in JSON, and then proves a boot, as that of tdx does.
type booted struct{ attest.Verifier }

func (b booted) Verify(ctx context.Context, in attest.Input) (*attest.Claims, error) {
	var document struct {
		Quote []byte `json:"quote"`
	}
	if json.Unmarshal(in.Evidence, &document) == nil {
		in.Evidence = document.Quote
	}
	claims, err := b.Verifier.Verify(ctx, in)
	if err == nil {
		claims.Boot = &attest.BootClaims{Kernel: "00", RTMRs: []int{2}}
	}
	return claims, err
}

// TestBootIsTheGuests: what the log of a paravisor's trust domain says is never taken for what the guest's TPM proves.
func TestBootIsTheGuests(t *testing.T) {
	m := newMachine(t, attest.AzTDXvTPM)
	var err error
	if m.verifier, err = New(Config{Hardware: booted{azuretest.VerifyTDX()}}); err != nil {
		t.Fatal(err)
	}
	claims, err := m.verify(m.evidence(nil))
	if err != nil || claims.Boot != nil {
		t.Errorf("a quote alone: %+v, %v", claims, err)
	}
	for _, form := range []string{`{"quote":"%s"}`, " \n{\"quote\":\"%s\",\"cc_eventlog\":\"AAAA\"}"} {
		_, err := m.verify(m.evidence(func(p *parts) {
			p.tdQuote = func(td []byte) []byte {
				return []byte(strings.Replace(form, "%s", base64.StdEncoding.EncodeToString(td), 1))
			}
		}))
		wantCode(t, err, attest.CodeMalformed)
	}
}
