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
	"fmt"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
)

// digest is what fresh evidence is bound to: as long as a runtime-data digest.
var digest = bytes.Repeat([]byte{0xd1}, 48)

// developmentSNP has the development TEE, whose reports have SEV-SNP's layout, stand for a verifier of kind snp.
type developmentSNP struct{ *virtual.Verifier }

func (developmentSNP) Kind() attest.Kind { return attest.SNP }

func (v developmentSNP) Verify(ctx context.Context, in attest.Input) (*attest.Claims, error) {
	claims, err := v.Verifier.Verify(ctx, in)
	if err == nil {
		claims.Kind, claims.HardwareRoot = attest.SNP, attest.RootGenoa
	}
	return claims, err
}

// developmentTDX stands for a verifier of kind tdx. It checks what this package relies on, that the quote's own report data is the binding, and
// no signature: it takes a quote of version 4 for what it says.
type developmentTDX struct{}

// Of a TDX quote of version 4, in bytes.
const (
	quoteReportData = 48 + 520
	quoteMRTD       = 48 + 136
	quoteBodyEnd    = 48 + 584
)

func (developmentTDX) Kind() attest.Kind { return attest.TDX }

func (developmentTDX) Verify(_ context.Context, in attest.Input) (*attest.Claims, error) {
	if len(in.Evidence) < quoteBodyEnd || binary.LittleEndian.Uint16(in.Evidence) != 4 {
		return nil, attest.Refuse(attest.CodeMalformed, "not a quote")
	}
	if err := in.Binding.Padded(in.Evidence[quoteReportData:quoteBodyEnd]); err != nil {
		return nil, err
	}
	return &attest.Claims{
		Kind: attest.TDX, HardwareRoot: attest.RootIntel, Bound: attest.Ptr(in.Binding.IsBound()),
		Measurement: hex.EncodeToString(in.Evidence[quoteMRTD:][:48]), InitData: hex.EncodeToString(make([]byte, 48)),
		Debug: attest.Ptr(false), MigrationAgent: attest.Ptr(false), TCBStatus: attest.TCBUpToDate,
		Collateral: &attest.CollateralClaims{Current: true}, TDX: &attest.TDXClaims{QuoteVersion: 4},
		Intel: &attest.IntelClaims{FMSPC: "00"},
	}, nil
}

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
	hardware := attest.Verifier(developmentTDX{})
	if kind == attest.AzSNPvTPM {
		v, err := virtual.NewVerifier(root.Certificate())
		if err != nil {
			tb.Fatal(err)
		}
		hardware = developmentSNP{v}
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
	hcl := envelope(variable, hardware, map[attest.Kind]uint32{attest.AzSNPvTPM: 2, attest.AzTDXvTPM: 4}[m.kind])
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
	key := func(id, operation string) string {
		return fmt.Sprintf(`{"kid":"%s","key_ops":["%s"],"kty":"RSA","e":"AQAB","n":"%s"}`, id, operation,
			base64.RawURLEncoding.EncodeToString(m.ak.N.Bytes()))
	}
	userData := make([]byte, 64)
	copy(userData, p.userData)
	text := fmt.Sprintf(`{"keys":[%s,%s],"vm-configuration":{"console-enabled":true,"secure-boot":true,"tpm-enabled":true,`+
		`"vmUniqueId":"26F8BC30-774E-4290-8E7A-535F3B672AEE"},"user-data":"%X"}`,
		key("HCLAkPub", "sign"), key("HCLEkPub", "encrypt"), userData)
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
	report = make([]byte, tdReportSize)
	report[0] = 0x81
	copy(report[tdReportData:], p.reportData)
	td = make([]byte, quoteBodyEnd+64)
	td[0] = 4
	copy(td[quoteReportData:], p.reportData)
	if p.tdQuote != nil {
		td = p.tdQuote(td)
	}
	return report, nil, td
}

// envelope returns an HCL report as it is in its NV index.
func envelope(variable, hardware []byte, kind uint32) []byte {
	u32 := binary.LittleEndian.AppendUint32
	out := []byte("HCLA")
	for _, n := range []int{1, variableOffset + len(variable), 2, 0, 0, 0, 0} {
		out = u32(out, uint32(n))
	}
	area := make([]byte, hardwareSize)
	copy(area, hardware)
	out = append(out, area...)
	for _, n := range []int{dataHeaderSize + len(variable), 1, int(kind), 1, len(variable)} {
		out = u32(out, uint32(n))
	}
	out = append(out, variable...)
	return append(out, make([]byte, max(0, 2600-len(out)))...)
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
