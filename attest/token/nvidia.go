package token

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// device is a verifier of kind nvidia.
type device struct {
	tokens *Verifier
	local  attest.Verifier
}

// Device returns a verifier of kind nvidia that judges sets of tokens of NVIDIA's Remote Attestation Service by the verifiers of the format nvidia-ras in v.
// Evidence in any other form goes to local, which appraises it here; where local is nil, that is refused. A set of tokens is a JSON
// array, and no other evidence of a device is. It returns local where v has no verifier of that format.
func (v *Verifier) Device(local attest.Verifier) attest.Verifier {
	remote := func(is *issuer) bool { return is.Format == NVIDIARemote }
	if !slices.ContainsFunc(v.issuers, remote) {
		return local
	}
	return &device{tokens: v, local: local}
}

// Kind returns attest.NVIDIA.
func (d *device) Kind() attest.Kind { return attest.NVIDIA }

// Verify implements attest.Verifier.
func (d *device) Verify(ctx context.Context, in attest.Input) (*attest.Claims, error) {
	if text := bytes.TrimLeft(in.Evidence, " \t\r\n"); len(text) > 0 && text[0] == '[' {
		return d.tokens.tokenSet(ctx, in)
	}
	if d.local == nil {
		return nil, attest.Refuse(attest.CodeVersionUnsupported, "evidence of a device that is no set of tokens, and no verifier that appraises devices here is configured")
	}
	return d.local.Verify(ctx, in)
}

// nonceSize is how much of the digest is the nonce of a device, in bytes.
const nonceSize = 32

// tokenSet appraises a detached bundle as NVIDIA's service returns it (RFC 9711, section 5; NVIDIA, "GPU Claims" and "nvSwitch Claims", versions 2.0 and 3.0):
//
//	[["JWT", overall], {"GPU-0": detached, …}]
func (v *Verifier) tokenSet(ctx context.Context, in attest.Input) (*attest.Claims, error) {
	overall, detached, err := parseSet(in.Evidence)
	if err != nil {
		return nil, err
	}
	s, err := v.authenticate(ctx, overall, in.Time)
	if err != nil {
		return nil, err
	}
	if s.issuer.Format != NVIDIARemote {
		return nil, attest.Refuse(attest.CodeIssuer, "the token of %q is not about devices", s.issuer.Name)
	}
	if err := s.deviceNonce(in.Binding); err != nil {
		return nil, err
	}
	p, c := s.payload, s.claims
	if version := p.text("x-nvidia-ver"); version != "2.0" && version != "3.0" {
		return nil, attest.Refuse(attest.CodeVersionUnsupported, "claims of version %.40q: 2.0 and 3.0 are known", version)
	}
	if passed := p.flag("x-nvidia-overall-att-result"); passed == nil || !*passed {
		return nil, attest.Refuse(attest.CodeVerdict, "the verifier %q says that the attestation of the devices failed", s.issuer.Name)
	}
	submods := p.inner("submods")
	if err := p.err(); err != nil {
		return nil, err
	}
	names := submods.names()
	if !slices.Equal(names, slices.Sorted(maps.Keys(detached))) || len(names) == 0 {
		return nil, attest.Refuse(attest.CodeMalformed, "the tokens of the set are not those of the devices in the overall token")
	}
	c.Kind = attest.NVIDIA
	c.Bound, c.ReportData = attest.Ptr(in.Binding.IsBound()), p.text("eat_nonce")
	c.Token.Stated = stated(p)
	for _, name := range names {
		if err := checkDigest(submods, name, detached[name]); err != nil {
			return nil, err
		}
		if err := v.deviceToken(ctx, in, s, name, detached[name]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// parseSet takes a set apart.
func parseSet(text []byte) (overall []byte, detached map[string]string, err error) {
	malformed := func() ([]byte, map[string]string, error) {
		return nil, nil, attest.Refuse(attest.CodeMalformed, `the set of tokens is not of the form [["JWT", token], {name: token}], or has over %d tokens`, attest.MaxDevices)
	}
	if len(text) > MaxEvidence {
		return nil, nil, attest.Refuse(attest.CodeTooLarge, "%d bytes: at most %d are read", len(text), MaxEvidence)
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil || len(parts) != 2 {
		return malformed()
	}
	var first []string
	if err := strictjson.Unmarshal(parts[0], &first); err != nil || len(first) != 2 || first[0] != "JWT" {
		return malformed()
	}
	if err := strictjson.Unmarshal(parts[1], &detached); err != nil || len(detached) > attest.MaxDevices {
		return malformed()
	}
	return []byte(first[1]), detached, nil
}

// deviceNonce holds eat_nonce against the binding: the first 32 bytes of the digest, in lower-case hex.
func (s *signed) deviceNonce(binding attest.Binding) error {
	text := s.payload.text("eat_nonce")
	if err := s.payload.err(); err != nil {
		return err
	}
	nonce, err := hex.DecodeString(text)
	if err != nil || len(nonce) != nonceSize || strings.ToLower(text) != text {
		return attest.Refuse(attest.CodeBinding, "eat_nonce is not %d bytes in lower-case hex", nonceSize)
	}
	return binding.Truncated(nonce, nonceSize)
}

// checkDigest holds a detached token against its digest in the overall one: ["DIGEST", ["SHA-256", hex]] (RFC 9711, section 4.2.18.1.2).
func checkDigest(submods object, name, token string) error {
	malformed := attest.Refuse(attest.CodeMalformed, "the overall token does not have the digest of %.80q in the form [\"DIGEST\", [\"SHA-256\", hex]]", name)
	raw, _ := submods.raw(name)
	var outer []json.RawMessage
	if err := json.Unmarshal([]byte(raw), &outer); err != nil || len(outer) != 2 || string(outer[0]) != `"DIGEST"` {
		return malformed
	}
	var inner []string
	if err := json.Unmarshal(outer[1], &inner); err != nil || len(inner) != 2 || inner[0] != "SHA-256" && inner[0] != "SHA256" {
		return malformed
	}
	sum := sha256.Sum256([]byte(token))
	if inner[1] != hex.EncodeToString(sum[:]) {
		return attest.Refuse(attest.CodeSignature, "the token of %.80q is not the one whose digest the overall token has", name)
	}
	return nil
}

// architectures maps how hwmodel begins to the name of the architecture.
var architectures = []struct{ prefix, name string }{{"GH1", "HOPPER"}, {"GB1", "BLACKWELL"}, {"GB2", "BLACKWELL"}, {"LS10", "LS10"}}

// demanded are the claims about a device without which the service has not appraised it for this nonce, below x-nvidia-gpu- or x-nvidia-switch-.
var demanded = []string{"attestation-report-signature-verified", "attestation-report-nonce-match"}

// certificateChain ends the names of the claims about a chain: of the device, and of the signers of its manifests.
const certificateChain = "-cert-chain"

// goodChain reports whether the service says nothing bad of a chain. Its overall verdict leaves that to who relies on it: a certificate may be on hold, or
// was valid when the manifest was signed.
func (o object) goodChain() bool {
	status, revocation := o.text("x-nvidia-cert-status"), o.text("x-nvidia-cert-ocsp-status")
	return (status == "" || status == "valid") && (revocation == "" || revocation == "good")
}

// deviceToken appraises the token of one device and adds it to the claims of the set.
func (v *Verifier) deviceToken(ctx context.Context, in attest.Input, set *signed, name, token string) error {
	s, err := v.authenticate(ctx, []byte(token), in.Time)
	if err != nil {
		return err
	}
	if s.issuer != set.issuer {
		return attest.Refuse(attest.CodeIssuer, "the token of %.80q is not of the verifier that issued the overall one", name)
	}
	if err := s.deviceNonce(in.Binding); err != nil {
		return err
	}
	p, c := s.payload, set.claims
	d := attest.TokenDevice{Name: name, ID: p.text("ueid"), HardwareModel: p.text("hwmodel"), SecureBoot: p.flag("secboot"), Warning: p.text("x-nvidia-attestation-warning")}
	sort := "gpu"
	if strings.HasPrefix(d.HardwareModel, "LS10") {
		sort = "switch"
	}
	prefix := "x-nvidia-" + sort + "-"
	d.Driver, d.Firmware = p.text(prefix+"driver-version"), p.text(prefix+"vbios-version")
	if sort == "switch" {
		d.Firmware = p.text(prefix + "bios-version")
	}
	switch p.text("dbgstat") {
	case "disabled":
		d.Debug = attest.Ptr(false)
	case "enabled":
		d.Debug = attest.Ptr(true)
	}
	failed := func(what string) error {
		return attest.Refuse(attest.CodeVerdict, "the verifier %q says of %.80q that %.120s does not hold", s.issuer.Name, name, what)
	}
	if p.text("measres") != "success" {
		return failed("that its measurements are those of its manifests (measres)")
	}
	for _, claim := range demanded {
		if holds := p.flag(prefix + claim); holds == nil || !*holds {
			return failed(prefix + claim)
		}
	}
	for claim, value := range p.all() {
		if !strings.HasPrefix(claim, prefix) {
			continue
		}
		if value == "false" || strings.HasSuffix(claim, certificateChain) && !p.inner(claim).goodChain() {
			return failed(claim)
		}
	}
	if err := p.err(); err != nil {
		return err
	}
	for _, a := range architectures {
		if strings.HasPrefix(d.HardwareModel, a.prefix) {
			d.Architecture = a.name
		}
	}
	switch {
	case d.Architecture == "":
		return attest.Refuse(attest.CodeVersionUnsupported, "a device of the model %.80q, whose architecture is not known here", d.HardwareModel)
	case d.ID != "" && slices.ContainsFunc(c.Token.GPUs, func(other attest.TokenDevice) bool { return other.ID == d.ID }):
		return attest.Refuse(attest.CodeDeviceTwice, "the device %.80q is in the set twice", d.ID)
	}
	// One that can be debugged makes the set one; one that does not say leaves it unsaid.
	switch {
	case d.Debug != nil && *d.Debug, len(c.Token.GPUs) == 0, d.Debug == nil && (c.Debug == nil || !*c.Debug):
		c.Debug = d.Debug
	}
	c.Token.GPUs = append(c.Token.GPUs, d)
	return nil
}
