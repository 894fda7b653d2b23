package attest

import (
	"bytes"
	"crypto"
	_ "crypto/sha256" // linked for crypto.Hash.New
	_ "crypto/sha512"
	"crypto/subtle"
	"fmt"

	"github.com/vouchsafe/vouchsafe/attest/jcs"
)

// Binding is what evidence must carry to be fresh and to belong to one recipient key: a digest over the broker's nonce
// and the key. The zero Binding matches nothing.
type Binding struct {
	digest  []byte
	unbound bool
}

// BoundTo expects evidence to carry digest, of 1 to 64 bytes: see [RuntimeData] for how workloads compute it.
func BoundTo(digest []byte) Binding { return Binding{digest: bytes.Clone(digest)} }

// Unbound expects nothing of the evidence's report data. It is for looking at recorded evidence only: claims proved with it
// have Bound set to false, and the broker releases nothing for them.
func Unbound() Binding { return Binding{unbound: true} }

// IsBound reports whether evidence that matches b is tied to a nonce and key.
func (b Binding) IsBound() bool { return !b.unbound }

// Padded checks a report-data field that holds the digest right-padded with zeros, as SNP, TDX, SGX and CCA do.
// The whole field is compared. It returns a *Refusal with CodeBinding when it differs.
func (b Binding) Padded(field []byte) error {
	if len(b.digest) > len(field) {
		return b.check(nil, nil)
	}
	var space [64]byte // which is what report data has, so that none is allocated
	want := append(space[:0], b.digest...)
	return b.check(field, append(want, make([]byte, len(field)-len(want))...))
}

// Truncated checks a field that holds the first n bytes of the digest and nothing else, as TPM quotes (n = 32) and
// NVIDIA nonces do. It returns a *Refusal with CodeBinding when it differs.
func (b Binding) Truncated(field []byte, n int) error {
	if len(b.digest) < n {
		return b.check(nil, nil)
	}
	return b.check(field, b.digest[:n])
}

// Exact checks a field that holds the digest and nothing else, as Azure vTPM quotes and sample evidence do.
// It returns a *Refusal with CodeBinding when it differs.
func (b Binding) Exact(field []byte) error { return b.check(field, b.digest) }

func (b Binding) check(field, want []byte) error {
	if b.unbound {
		return nil
	}
	if len(b.digest) == 0 || len(want) == 0 || subtle.ConstantTimeCompare(field, want) != 1 {
		return Refuse(CodeBinding, "the report data does not cover this nonce and recipient key")
	}
	return nil
}

// RuntimeData is what a workload binds its evidence to. The same construction serves the KBS protocol and the native
// API: H over the RFC 8785 canonical JSON of these members, with H = SHA-384 unless the challenge chose otherwise.
type RuntimeData struct {
	Hash       crypto.Hash // crypto.SHA256, SHA384 or SHA512
	Nonce      string      // exactly as the challenge gave it
	Recipient  []byte      // the recipient key: a JWK reduced to its defining members, as canonical JSON
	Additional string      // the additional evidence, exactly as it was presented; "" when there is none
}

// Primary returns the digest that primary evidence must carry:
// H(JCS({"additional-evidence":S,"nonce":N,"tee-pubkey":K})).
func (r RuntimeData) Primary() ([]byte, error) {
	return r.sum(map[string]any{"additional-evidence": r.Additional})
}

// Device returns the digest that each additional device's evidence must carry: H(JCS({"nonce":N,"tee-pubkey":K})).
func (r RuntimeData) Device() ([]byte, error) { return r.sum(map[string]any{}) }

func (r RuntimeData) sum(members map[string]any) ([]byte, error) {
	switch r.Hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
	default:
		return nil, fmt.Errorf("attest: runtime data cannot be hashed with %v", r.Hash)
	}
	members["nonce"] = r.Nonce
	members["tee-pubkey"] = jcs.Raw(r.Recipient)
	text, err := jcs.Marshal(members)
	if err != nil {
		return nil, fmt.Errorf("attest: runtime data: %w", err)
	}
	h := r.Hash.New()
	h.Write(text)
	return h.Sum(nil), nil
}
