package attest

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

func TestBinding(t *testing.T) {
	digest := bytes.Repeat([]byte{0xAB}, 48)
	pad := func(b []byte, n int) []byte { return append(bytes.Clone(b), make([]byte, n-len(b))...) }
	zero, empty, bound := Binding{}, BoundTo(nil), BoundTo(digest)
	truncated := func(b Binding, n int) func([]byte) error {
		return func(field []byte) error { return b.Truncated(field, n) }
	}
	for name, test := range map[string]struct {
		check func([]byte) error
		field []byte
		ok    bool
	}{
		"padded":                     {bound.Padded, pad(digest, 64), true},
		"padded to its own length":   {bound.Padded, digest, true},
		"padding not zero":           {bound.Padded, append(pad(digest, 63), 1), false},
		"first byte differs":         {bound.Padded, pad(append([]byte{0}, digest[1:]...), 64), false},
		"field shorter than digest":  {bound.Padded, digest[:32], false},
		"field empty":                {bound.Padded, nil, false},
		"field zero":                 {bound.Padded, make([]byte, 64), false},
		"exact":                      {bound.Exact, digest, true},
		"exact and padded":           {bound.Exact, pad(digest, 64), false},
		"exact and cut off":          {bound.Exact, digest[:47], false},
		"exact and empty":            {bound.Exact, nil, false},
		"truncated":                  {truncated(bound, 32), digest[:32], true},
		"truncated and whole":        {truncated(bound, 32), digest, false},
		"truncated and shorter":      {truncated(bound, 32), digest[:31], false},
		"truncated past the digest":  {truncated(bound, 64), pad(digest, 64), false},
		"truncated to nothing":       {truncated(bound, 0), nil, false},
		"zero value, padded":         {zero.Padded, make([]byte, 64), false},
		"zero value, padded, empty":  {zero.Padded, nil, false},
		"zero value, exact":          {zero.Exact, nil, false},
		"zero value, truncated":      {truncated(zero, 0), nil, false},
		"empty digest, padded":       {empty.Padded, make([]byte, 64), false},
		"empty digest, exact":        {empty.Exact, []byte{}, false},
		"unbound, padded":            {Unbound().Padded, []byte("anything"), true},
		"unbound, truncated":         {truncated(Unbound(), 32), []byte("anything"), true},
		"unbound, exact and nothing": {Unbound().Exact, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.check(test.field)
			var refusal *Refusal
			if test.ok && err != nil || !test.ok && (!errors.As(err, &refusal) || refusal.Code != CodeBinding) {
				t.Errorf("%v", err)
			}
		})
	}
	if !zero.IsBound() || !bound.IsBound() || Unbound().IsBound() {
		t.Error("IsBound is wrong: only Unbound is not")
	}
	// The caller's buffer is its own again.
	mine := bytes.Clone(digest)
	b := BoundTo(mine)
	mine[0] = 0
	if b.Exact(digest) != nil {
		t.Error("the binding changed with the caller's buffer")
	}
}

func TestRuntimeData(t *testing.T) {
	var answers struct {
		P256 struct {
			Key json.RawMessage `json:"tee_pubkey"`
		} `json:"p256"`
		Runtime struct {
			Primary string `json:"primary"`
			SHA384  string `json:"primary_sha384"`
			Device  string `json:"device_sha384"`
		} `json:"runtime"`
	}
	if err := json.Unmarshal(vectors.Read(t, "kbs-known-answers.json"), &answers); err != nil {
		t.Fatal(err)
	}
	var text struct {
		Nonce string          `json:"nonce"`
		Key   json.RawMessage `json:"tee-pubkey"`
	}
	if err := json.Unmarshal([]byte(answers.Runtime.Primary), &text); err != nil {
		t.Fatal(err)
	}
	data := RuntimeData{Hash: crypto.SHA384, Nonce: text.Nonce, Recipient: text.Key}
	primary, err := data.Primary()
	if err != nil || hex.EncodeToString(primary) != answers.Runtime.SHA384 {
		t.Errorf("primary %x, %v, want %s", primary, err, answers.Runtime.SHA384)
	}
	device, err := data.Device()
	if err != nil || hex.EncodeToString(device) != answers.Runtime.Device {
		t.Errorf("device %x, %v, want %s", device, err, answers.Runtime.Device)
	}
}

// TestRuntimeDataApart: whatever differs, the digest differs, and a member cannot be moved into another.
func TestRuntimeDataApart(t *testing.T) {
	base := RuntimeData{Hash: crypto.SHA256, Nonce: "n", Recipient: []byte(`{"kty":"EC"}`)}
	variants := []RuntimeData{base}
	change := func(f func(*RuntimeData)) {
		v := base
		f(&v)
		variants = append(variants, v)
	}
	change(func(r *RuntimeData) { r.Hash = crypto.SHA384 })
	change(func(r *RuntimeData) { r.Nonce = "m" })
	change(func(r *RuntimeData) { r.Recipient = []byte(`{"kty":"RSA"}`) })
	change(func(r *RuntimeData) { r.Additional = `{"sampledevice":{}}` })
	change(func(r *RuntimeData) { r.Nonce = `n","tee-pubkey":{"kty":"RSA"}}` })
	change(func(r *RuntimeData) { r.Additional = `","nonce":"n` })
	var digests []string
	for _, v := range variants {
		for _, f := range []func() ([]byte, error){v.Primary, v.Device} {
			digest, err := f()
			if err != nil {
				t.Fatal(err)
			}
			digests = append(digests, string(digest))
		}
	}
	slices.Sort(digests)
	// Two variants differ in what the device's digest does not cover.
	if n := len(slices.Compact(digests)); n != 2*len(variants)-2 {
		t.Errorf("%d digests of %d variants", n, len(variants))
	}
	for _, hash := range []crypto.Hash{0, crypto.SHA1, crypto.MD5, crypto.SHA512_256} {
		if _, err := (RuntimeData{Hash: hash}).Primary(); err == nil {
			t.Errorf("hashed with %v", hash)
		}
	}
	if _, err := (RuntimeData{Hash: crypto.SHA256, Nonce: "\xff"}).Device(); err == nil {
		t.Error("a nonce that is not UTF-8 was hashed")
	}
}
