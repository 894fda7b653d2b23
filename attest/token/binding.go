package token

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/hex"

	"github.com/vouchsafe/vouchsafe/attest"
)

// bind holds a token against the digest over nonce and recipient key that it must carry. Where it is, is a matter of the format; only what the evidence itself covered, and what the
// workload alone could have put there, counts. runtime is what was presented beside the token, or nil.
func (s *signed) bind(binding attest.Binding, claims *attest.Claims, runtime []byte) error {
	places := make([][]byte, 0, 3) // that may hold the digest and nothing else
	reported, _ := hex.DecodeString(claims.ReportData)
	p := s.payload
	switch s.issuer.Format {
	case EAR:
		if len(reported) > 0 && binding.Padded(reported) == nil {
			return nil
		}
		// "eat_nonce" is an echo of what somebody asked for, over whosever evidence: it does not count.
		data := p.inner("submods").inner(machine).inner("ear.veraison.annotated-evidence")
		if raw, ok := data.raw("runtime_data_claims"); ok && raw[0] == '{' {
			canonical, err := canonicalJSON(raw)
			if err != nil {
				return attest.Refuse(attest.CodeMalformed, "the token's runtime data: %w", err)
			}
			for _, hash := range [...]crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
				h := hash.New()
				h.Write(canonical)
				places = append(places, h.Sum(nil))
			}
		}
	case ConfidentialSpace:
		for _, nonce := range p.list("eat_nonce") {
			if decoded, ok := decodeURL([]byte(nonce)); ok {
				places = append(places, decoded)
			}
		}
	case AzureAttestation:
		switch p.text("x-ms-attestation-type") {
		case azureVM:
			// What the hardware reports is the paravisor's; the payload is covered by the quote of the TPM.
			reported = nil
			nonce := p.inner("x-ms-runtime").inner("client-payload").text("nonce")
			if text, ok := decodeStd(nonce); ok {
				if decoded, ok := decodeURL(text); ok {
					places = append(places, decoded)
				}
			}
		case "sgx":
			if held, ok := decodeURL([]byte(p.text("x-ms-sgx-ehd"))); ok {
				places = append(places, held)
			}
		}
		if runtime != nil {
			// The report has the hash of the data, which MAA does not repeat in the token.
			sum := sha256.Sum256(runtime)
			field := make([]byte, 64)
			copy(field, sum[:])
			if !bytes.Equal(reported, field) {
				return attest.Refuse(attest.CodeBinding, "runtime_data is not what the report covers")
			}
			places = append(places, runtime)
		}
	case IntelTrust:
		// "verifier_nonce" is that service's own.
		if held, ok := decodeStd(s.intelHardware().text("attester_held_data")); ok {
			places = append(places, held)
		}
	}
	if err := p.err(); err != nil {
		return err
	}
	for _, place := range places {
		if binding.Exact(place) == nil {
			return nil
		}
	}
	if len(reported) > 0 && binding.Padded(reported) == nil {
		return nil
	}
	return binding.Exact(nil) // a refusal, but of a binding that expects nothing
}
