package attest

import (
	"errors"
	"fmt"
	"time"
)

// Code is the stable, machine-readable reason of a [Refusal]. Operators filter and alert on codes, so one is never
// renamed or given another meaning; it is never shown to the workload that was refused.
type Code string

// The codes of refusals. Each verifier's documentation says which of them it returns.
const (
	CodeMalformed          Code = "evidence_malformed"    // cannot be parsed, or has members it must not have
	CodeTooLarge           Code = "evidence_too_large"    // over a size limit, before parsing
	CodeKindUnknown        Code = "kind_unknown"          // no verifier of that kind is configured
	CodeKindNotPrimary     Code = "kind_not_primary"      // a device's evidence in the place of the primary
	CodeVersionUnsupported Code = "version_unsupported"   // a layout or version that is not verified here
	CodeAlgorithm          Code = "algorithm_unsupported" // a signature or hash algorithm that is not accepted
	CodeBinding            Code = "binding_mismatch"      // does not cover this nonce and recipient key
	CodeSignature          Code = "signature_invalid"     // the evidence's own signature does not verify
	CodeCertMissing        Code = "certificate_missing"   // no certificate for the signing key was presented or known
	CodeCertMalformed      Code = "certificate_malformed" // a certificate cannot be parsed or lacks what it must state
	CodeCertUntrusted      Code = "certificate_untrusted" // does not chain to a pinned root
	CodeCertExpired        Code = "certificate_expired"   // outside its validity at the time of appraisal
	CodeCertRevoked        Code = "certificate_revoked"   // named by its issuer's revocation list
	CodeCertMismatch       Code = "certificate_mismatch"  // is not the certificate of the chip or TCB in the evidence
	CodeKeyNotEnrolled     Code = "key_not_enrolled"      // an attestation key nobody enrolled and no root certified
	CodeKeyAttributes      Code = "key_attributes"        // an attestation key that could sign what a TPM did not make
	CodePCRSelection       Code = "pcr_selection"         // the quote is over other PCRs than those presented
	CodePCRCount           Code = "pcr_count"             // not the value of every PCR was presented
	CodePCRBank            Code = "pcr_bank"              // the quote is over a bank whose hash is not accepted
	CodePCRResettable      Code = "pcr_resettable"        // a PCR that anyone may reset was quoted in the place of one that nobody can
	CodeKeyNotReported     Code = "key_not_reported"      // an attestation key that the hardware's report does not cover
	CodePCRDigest          Code = "pcr_digest"            // the presented PCR values are not those quoted
	CodeEventLog           Code = "event_log_mismatch"    // the event log does not replay to the quoted registers
	CodeInitData           Code = "init_data_unsupported" // init-data this kind cannot bind
	CodeDeviceTwice        Code = "device_duplicate"      // the same device's evidence presented twice
	CodeUnbound            Code = "evidence_unbound"      // judged without a binding, so good for inspection only
	CodeDeviceMismatch     Code = "device_mismatch"       // a device that is not of the machine which the primary evidence proves
	CodeIssuer             Code = "issuer_untrusted"      // a token of an issuer that is not configured
	CodeIssuerKey          Code = "issuer_key_unknown"    // a token signed by a key that its issuer does not publish
	CodeAudience           Code = "audience_mismatch"     // a token made for someone else
	CodeTokenTime          Code = "token_expired"         // a token that is not good yet or no longer, or for longer than is accepted
	CodeVerdict            Code = "verdict_negative"      // a token in which its verifier says that what it attests is not to be trusted
	CodeNotVerifiable      Code = "not_verifiable"        // evidence that nothing this broker can have would let it verify
	CodeNotADevice         Code = "kind_not_a_device"     // evidence that cannot accompany a primary
	CodeIdentity           Code = "identity_mismatch"     // an enclave or module that the evidence relies on is not its vendor's
)

// Refusal says that evidence is bad, and why, to the operator. It carries nothing secret, but more than a stranger
// should learn: front ends answer a workload with a coarse code of their own.
type Refusal struct {
	Code   Code   // why, stable
	Detail string // why, in words: what was expected and what was there
	Err    error  // the cause, or nil
}

// Refuse makes a Refusal with a formatted detail. A %w verb in format sets the cause.
func Refuse(code Code, format string, args ...any) *Refusal {
	err := fmt.Errorf(format, args...)
	return &Refusal{Code: code, Detail: err.Error(), Err: errors.Unwrap(err)}
}

func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Detail }
func (r *Refusal) Unwrap() error { return r.Err }

// Unavailable says that evidence cannot be judged now. Nothing is released, and the workload is asked to come back.
type Unavailable struct {
	What       string        // what is missing: "enrolment store", "revocation list of ARK-Milan"
	RetryAfter time.Duration // when to come back; DefaultRetryAfter when zero
	Err        error         // the cause, or nil
}

// DefaultRetryAfter is told to a workload when an Unavailable names no time of its own. A few seconds: long enough that
// a fleet that is booting does not add to an outage, short enough for a boot to wait.
const DefaultRetryAfter = 5 * time.Second

func (u *Unavailable) Error() string {
	if u.Err == nil {
		return "cannot judge now: " + u.What + " is not available"
	}
	return fmt.Sprintf("cannot judge now: %s is not available: %v", u.What, u.Err)
}
func (u *Unavailable) Unwrap() error { return u.Err }
