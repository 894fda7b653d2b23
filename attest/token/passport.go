package token

import (
	"context"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Passport is a token that another verifier issued to a workload, presented without a challenge of this broker: the passport model of RFC 9334, section 5.1.
type Passport struct {
	Claims    *attest.Claims // of kind token; Bound is false, because no nonce of this broker is in it, and Token.Passport is true
	Recipient []byte         // the workload's key, a JWK as canonical JSON, which the verifier says the evidence covers
	Nonce     string         // that verifier's nonce, which the evidence covers too; "" when the token does not say
	Issued    time.Time      // when that verifier appraised the evidence
	Expires   time.Time      // the token's own end, or that of the configured age if it is earlier
}

// maxNonce bounds another verifier's nonce, in bytes: it goes into answers. That of the KBS protocol has 44.
const maxNonce = 256

// Passport verifies a compact token of a verifier that is configured with Trusted.Passport. It checks what [Verifier.Verify] checks but for the binding. In its place
// the token must name the workload's key as part of the runtime data that the evidence covers: whoever
// presents the token, what is released for it is encrypted to that key. The token can be presented any number of times until it expires.
func (v *Verifier) Passport(ctx context.Context, compact []byte, at time.Time) (*Passport, error) {
	s, err := v.authenticate(ctx, compact, at)
	if err != nil {
		return nil, err
	}
	if !s.issuer.Trusted.Passport {
		return nil, attest.Refuse(attest.CodeBinding, "the verifier %q is not configured for passports: its tokens count with a nonce of this broker only", s.issuer.Name)
	}
	claims, err := s.appraise()
	if err != nil {
		return nil, err
	}
	recipient, err := s.recipient()
	if err != nil {
		return nil, err
	}
	if recipient == nil {
		return nil, attest.Refuse(attest.CodeBinding, "the token names no key of the workload that its evidence covers")
	}
	runtime := s.payload.inner("submods").inner(machine).inner("ear.veraison.annotated-evidence").inner("runtime_data_claims")
	nonce := runtime.text("nonce")
	if err := s.payload.err(); err != nil {
		return nil, err
	}
	if len(nonce) > maxNonce {
		return nil, attest.Refuse(attest.CodeMalformed, "the token's runtime data has a nonce of %d bytes: at most %d are read", len(nonce), maxNonce)
	}
	claims.Bound, claims.Token.Passport = attest.Ptr(false), true
	out := &Passport{Claims: claims, Recipient: recipient, Nonce: nonce, Issued: s.issued, Expires: s.issued.Add(s.issuer.MaxAge)}
	if s.expires.Before(out.Expires) {
		out.Expires = s.expires
	}
	return out, nil
}

// Passports reports whether any verifier is configured for passports.
func (v *Verifier) Passports() bool {
	for _, is := range v.issuers {
		if is.Trusted.Passport {
			return true
		}
	}
	return false
}
