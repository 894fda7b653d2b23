package azure

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/azure/azuretest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
)

// digest is what fresh evidence is bound to: as long as a runtime-data digest.
var digest = bytes.Repeat([]byte{0xd1}, 48)

// A machine makes evidence of a pretended confidential VM: its processor is the development TEE, or nothing for TDX, and its virtual TPM
// is a key made here.
type machine struct {
	tb       testing.TB
	kind     attest.Kind
	device   *virtual.Device
	ak       *rsa.PrivateKey
	verifier *Verifier
	now      time.Time
}

func newMachine(tb testing.TB, kind attest.Kind) *machine {
	tb.Helper()
	m := &machine{tb: tb, kind: kind, now: time.Now()}
	root, err := virtual.NewRoot(rand.Reader, m.now)
	if err != nil {
		tb.Fatal(err)
	}
	if m.device, err = root.NewDevice(rand.Reader, m.now, virtual.Config{Measurement: [48]byte{1, 2, 3}}); err != nil {
		tb.Fatal(err)
	}
	if m.ak, err = rsa.GenerateKey(rand.Reader, akBits); err != nil {
		tb.Fatal(err)
	}
	hardware := azuretest.VerifyTDX()
	if kind == attest.AzSNPvTPM {
		if hardware, err = azuretest.VerifySNP(root.Certificate()); err != nil {
			tb.Fatal(err)
		}
	}
	if m.verifier, err = New(Config{Hardware: hardware}); err != nil {
		tb.Fatal(err)
	}
	return m
}

// parts are what a machine makes evidence of; tests change them.
type parts struct {
	version   int
	extra     []byte // of the quote
	selection []byte // TPML_PCR_SELECTION
	pcrs      [][]byte
	digested  [][]byte // the values that the quote is over; pcrs when nil
	signer    *rsa.PrivateKey
	signature func([]byte) []byte
	quote     func(extra []byte) (message, signature []byte) // a TPM's, in the place of all above but extra and pcrs

	userData   []byte
	variable   func(string) string // the variable data
	hcl        func([]byte) []byte // the HCL report
	device     *virtual.Device
	reportData []byte // of the hardware's report; the digest of the variable data when nil
	tdQuote    func([]byte) []byte
	eventLog   []byte
	akPublic   []byte

	document func(map[string]any) // the members, before they become JSON
}

// value is what PCR i holds.
func value(i int) []byte { return bytes.Repeat([]byte{byte(i + 1)}, 32) }

// selectionOf returns a TPML_PCR_SELECTION of SHA-256 selections.
func selectionOf(pcrs ...[]int) []byte { return bankSelection(0x000b, pcrs...) }

func bankSelection(bank uint16, pcrs ...[]int) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(pcrs)))
	for _, list := range pcrs {
		mask := make([]byte, 3)
		for _, pcr := range list {
			mask[pcr/8] |= 1 << (pcr % 8)
		}
		out = binary.BigEndian.AppendUint16(out, bank)
		out = append(append(out, 3), mask...)
	}
	return out
}

// between returns the numbers from a to b, both included.
func between(a, b int) (list []int) {
	for ; a <= b; a++ {
		list = append(list, a)
	}
	return list
}

func base64url(b []byte) string { return base64.URLEncoding.EncodeToString(b) }

// evidence makes evidence, of layout 2 unless a change says otherwise.
func (m *machine) evidence(change func(*parts)) []byte {
	m.tb.Helper()
	p := &parts{version: 2, extra: digest, selection: selectionOf(between(0, 23)), signer: m.ak, device: m.device}
	for i := range 24 {
		p.pcrs = append(p.pcrs, value(i))
	}
	if change != nil {
		change(p)
	}
	if p.userData == nil && p.version == 2 {
		p.userData = p.extra
	}
	variable := m.variable(p)
	sum := sha256.Sum256(variable)
	if p.reportData == nil {
		p.reportData = sum[:]
	}
	hardware, vcek, td := m.hardware(p)
	reportType := map[attest.Kind]uint32{attest.AzSNPvTPM: azuretest.SNP, attest.AzTDXvTPM: azuretest.TDX}[m.kind]
	hcl := azuretest.Envelope(string(variable), hardware, reportType, 2600)
	if p.hcl != nil {
		hcl = p.hcl(hcl)
	}
	message, signature := m.quote(p)
	document := m.document(p, message, signature, hcl, vcek, td)
	if p.document != nil {
		p.document(document)
	}
	text, err := json.Marshal(document)
	if err != nil {
		m.tb.Fatal(err)
	}
	return text
}

// quote returns a TPMS_ATTEST and its signature.
func (m *machine) quote(p *parts) (message, signature []byte) {
	m.tb.Helper()
	if p.quote != nil {
		return p.quote(p.extra)
	}
	message = p.message()
	hash := sha256.Sum256(message)
	signature, err := rsa.SignPKCS1v15(nil, p.signer, crypto.SHA256, hash[:])
	if err != nil {
		m.tb.Fatal(err)
	}
	if p.signature != nil {
		signature = p.signature(signature)
	}
	return message, signature
}

// variable returns the variable data.
func (m *machine) variable(p *parts) []byte {
	ak := &m.ak.PublicKey
	keys := azuretest.Key("HCLAkPub", "sign", ak) + "," + azuretest.Key("HCLEkPub", "encrypt", ak)
	text := azuretest.VariableData(keys, p.userData)
	if p.variable != nil {
		text = p.variable(text)
	}
	return []byte(text)
}

// hardware returns the hardware's report, and what vouches for it.
func (m *machine) hardware(p *parts) (report, vcek, td []byte) {
	m.tb.Helper()
	if m.kind == attest.AzSNPvTPM {
		extended, err := p.device.Evidence(rand.Reader, p.reportData)
		if err != nil {
			m.tb.Fatal(err)
		}
		parsed, err := snp.Parse(extended)
		if err != nil {
			m.tb.Fatal(err)
		}
		return extended[:snp.ReportSize], parsed.Certificates.VCEK, nil
	}
	report = azuretest.TDReport(p.reportData)
	td = azuretest.TDQuote(report)
	if p.tdQuote != nil {
		td = p.tdQuote(td)
	}
	return report, nil, td
}

// message returns the TPMS_ATTEST.
func (p *parts) message() []byte {
	digested := p.digested
	if digested == nil {
		digested = p.pcrs
	}
	sum := sha256.Sum256(bytes.Join(digested, nil))
	sized := func(out, b []byte) []byte { return append(binary.BigEndian.AppendUint16(out, uint16(len(b))), b...) }
	out := []byte{0xff, 'T', 'C', 'G', 0x80, 0x18}
	out = sized(out, append([]byte{0, 0x0b}, make([]byte, 32)...))
	out = sized(out, p.extra)
	out = append(binary.BigEndian.AppendUint64(out, 12345), 0, 0, 0, 2, 0, 0, 0, 0, 1) // clock, resets, restarts, safe
	out = binary.BigEndian.AppendUint64(out, 0x2020031200120003)
	out = append(out, p.selection...)
	return sized(out, sum[:])
}

// document returns the members of the layout.
func (m *machine) document(p *parts, message, signature, hcl, vcek, td []byte) map[string]any {
	if p.version == 0 {
		pcrs := make([]any, len(p.pcrs))
		for i, value := range p.pcrs {
			pcrs[i] = integers(value)
		}
		quote := map[string]any{"message": integers(message), "signature": integers(signature), "pcrs": pcrs}
		if m.kind == attest.AzTDXvTPM {
			return map[string]any{"tpm_quote": quote, "hcl_report": integers(hcl), "td_quote": integers(td)}
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: vcek})
		return map[string]any{"quote": quote, "report": integers(hcl), "vcek": string(text)}
	}
	pcrs := make([]any, len(p.pcrs))
	for i, value := range p.pcrs {
		pcrs[i] = hex.EncodeToString(value)
	}
	document := map[string]any{
		"version":    p.version,
		"tpm_quote":  map[string]any{"message": hex.EncodeToString(message), "signature": hex.EncodeToString(signature), "pcrs": pcrs},
		"hcl_report": base64url(hcl),
	}
	for name, value := range map[string][]byte{"vcek": vcek, "td_quote": td, "event_log": p.eventLog, "ak_public": p.akPublic} {
		if value != nil {
			document[name] = base64url(value)
		}
	}
	return document
}

// integers makes JSON of bytes an array of numbers.
func integers(b []byte) []int {
	out := make([]int, len(b))
	for i, c := range b {
		out[i] = int(c)
	}
	return out
}

// verify judges evidence bound to digest.
func (m *machine) verify(evidence []byte) (*attest.Claims, error) {
	return m.verifier.Verify(context.Background(), attest.Input{
		Namespace: "default", Evidence: evidence, Binding: attest.BoundTo(digest), Time: m.now,
	})
}

func wantCode(tb testing.TB, err error, code attest.Code) {
	tb.Helper()
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		tb.Errorf("got %v, want a refusal with %s", err, code)
	}
}
