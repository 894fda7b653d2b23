package attest

import (
	"context"
	"time"
)

// Evidence is what an Attester presents, unverified: primary evidence of one kind, and evidence of devices with it.
type Evidence struct {
	Kind    Kind
	Primary []byte    // the kind's own bytes: JSON as KBS clients send it, or the raw format
	Devices []Device  // evidence of additional devices, in the order presented
	Init    *InitData // the init-data document presented with it, or nil
}

// Device is the evidence of one additional device.
type Device struct {
	Kind Kind
	Data []byte
}

// InitData is a document that configured the guest at launch and whose digest the hardware carries: RFC 9334 would call
// it a host-provided claim. It is trusted only where the evidence proves the digest.
type InitData struct {
	Algorithm string            // "sha256", "sha384" or "sha512"
	Digest    []byte            // of the document's raw bytes, by Algorithm
	Data      map[string]string // the document's [data] table: file name to content
}

// Input is what a [Verifier] judges.
type Input struct {
	Namespace string    // whose enrolments count; "default" where nobody names another
	Evidence  []byte    // one kind's evidence
	Binding   Binding   // what its report data must be
	Init      *InitData // the init-data presented, or nil
	Time      time.Time // the time of appraisal: certificates and lists are judged by it
}

// Verifier appraises evidence of one kind. It is safe for concurrent use, does not keep in.Evidence, and follows the rules
// in the package documentation. Its errors are *[Refusal] or *[Unavailable].
type Verifier interface {
	Kind() Kind
	Verify(ctx context.Context, in Input) (*Claims, error)
}
