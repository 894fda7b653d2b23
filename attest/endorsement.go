package attest

import (
	"context"
	"time"
)

// Endorsement is one item of collateral: a certificate, a revocation list, a TCB level list, a key set or a reference manifest, as its
// publisher signed it. It is not trusted because it is here: the verifier that uses it verifies it against a pinned root.
type Endorsement struct {
	Name    string    // as it was asked for
	Data    []byte    // the item itself, in the publisher's format; callers do not change it
	Chain   []byte    // PEM certificates of who signed Data, signer first, where they are published beside it; else nil
	Digest  [32]byte  // SHA-256 over Data, so that what was verified from it can be cached by it; computed once, when it is loaded
	Fetched time.Time // when it was fetched from its publisher; zero where nobody knows
}

// Endorsements is where verifiers find collateral. It is safe for concurrent use.
//
// Names are slash-separated paths; package collateral documents them, with the format of each item and where it is fetched from:
//
//	amd/vcek/{product}/{hwid}-{tcb}    DER certificate        amd/vlek/{product}/{tcb}    DER certificate
//	amd/crl/{product}                  DER list by the ARK
//	intel/tcb/{sgx|tdx}/{fmspc}        JSON, with Chain       intel/identity/{qe|tdqe}    JSON, with Chain
//	intel/crl/{processor|platform}     DER list, with Chain   intel/crl/root              DER list by the Root CA
//	nvidia/rim/{id}                    XML manifest           nvidia/ocsp/{sha256}        DER OCSP response for the certificate
//	hygon/hsk_cek/{serial}             certificates of HSK and CEK, 832 and 2084 bytes, of the chip with that serial number
//	jwks/{verifier}                    JSON Web Key Set
//
// Letters in hex are lower-case.
type Endorsements interface {
	// Endorsement returns the item that is at hand, and never waits for a network. One that is not at hand is an *[Unavailable]: asking
	// for it has it fetched in the background, where that is configured, and RetryAfter says when it may be here. An item that is at hand is
	// returned however old it is: whether it still counts is for the verifier, by what the item says.
	Endorsement(ctx context.Context, name string) (*Endorsement, error)
}

// Freshness gathers how good the collateral of one appraisal is. The zero value, with At set, is ready for use.
type Freshness struct {
	At    time.Time     // of the appraisal
	Grace time.Duration // for how long past its next update a list still counts, while its publisher may be down

	late, stale bool
	expires     time.Time
	fetched     time.Time // the earliest; zero when nothing was fetched
}

// Certificate takes in the end of a certificate that was relied on and that is valid: one that is not is a refusal.
func (f *Freshness) Certificate(notAfter time.Time) { f.until(notAfter) }

// List takes in a list that was relied on: when its next is due, the zero time when it does not say, which makes it late at once; and when
// it was fetched, the zero time where nobody knows.
func (f *Freshness) List(nextUpdate, fetched time.Time) {
	if !nextUpdate.IsZero() {
		f.until(nextUpdate)
	}
	if !f.At.Before(nextUpdate) {
		f.stale = true
		if nextUpdate.IsZero() || !f.At.Before(nextUpdate.Add(f.Grace)) {
			f.late = true
		}
	}
	f.Fetch(fetched)
}

// Fetch takes in when an item that was relied on was fetched, the zero time where nobody knows: [Freshness.List] does so for lists.
func (f *Freshness) Fetch(fetched time.Time) {
	if !fetched.IsZero() && (f.fetched.IsZero() || fetched.Before(f.fetched)) {
		f.fetched = fetched
	}
}

func (f *Freshness) until(end time.Time) {
	if f.expires.IsZero() || end.Before(f.expires) {
		f.expires = end
	}
}

// Claims returns what was gathered. source is where the signing certificate came from; checked whether the chain was held against
// revocation lists.
func (f *Freshness) Claims(source string, checked bool) *CollateralClaims {
	c := &CollateralClaims{
		Current: !f.late, Stale: f.stale, Expires: f.expires.UTC(), RevocationChecked: checked, Source: source,
	}
	if !f.fetched.IsZero() {
		c.Age = Ptr(int(max(0, f.At.Sub(f.fetched)) / time.Second))
	}
	return c
}
