package kbs

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

var authSeeds = []string{
	`{"version":"0.4.0","tee":"snp","extra-params":{"supported-hash-algorithms":["sha256","sha384","sha512","sm3"]}}`,
	`{"version":"0.4.7","tee":"sample","extra-params":""}`,
	`{"version":"0.3.0","tee":"tdx","extra-params":null,"unknown":{"a":[1,2,{"b":"c"}]}}`,
}

var attestationSeeds = []string{
	`{"init-data":null,"runtime-data":{"nonce":"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=","tee-pubkey":{"kty":"EC","crv":"P-256","alg":"ECDH-ES+A256KW",` +
		`"x":"weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ","y":"e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck"}},` +
		`"tee-evidence":{"primary_evidence":{"svn":"1","report_data":"AAAA"},"additional_evidence":""}}`,
	`{"init-data":{"format":"toml","body":"algorithm = \"sha384\"\nversion = \"0.1.0\"\n\n[data]\n"},"runtime-data":{"nonce":"n","tee-pubkey":{}},` +
		`"tee-evidence":{"primary_evidence":[1,2,3],"additional_evidence":"{\"sampledevice\":{}}"}}`,
}

// checkAuth holds what parseAuth accepts to what it may accept, by another reader of the same bytes.
func checkAuth(t *testing.T, body []byte) {
	req, err := parseAuth(body)
	var f *failure
	if err != nil {
		if !errors.As(err, &f) || f.status != 400 || len(f.detail) > 1000 || req != nil {
			t.Fatalf("%q: %v, %+v", body, err, req)
		}
		return
	}
	var m struct {
		Version string
		TEE     string
		Extra   json.RawMessage `json:"extra-params"`
	}
	if !utf8.Valid(body) || !json.Valid(body) || json.Unmarshal(body, &m) != nil {
		t.Fatalf("accepted %q", body)
	}
	if !strings.HasPrefix(m.Version, "0.4.") || len(m.Version) > 12 || m.TEE != req.tee && !strings.Contains(strings.ToLower(string(body)), `"tee"`) {
		t.Fatalf("accepted %q as %+v", body, req)
	}
}

func checkAttestation(t *testing.T, body []byte) {
	a, err := parseAttestation(body)
	var f *failure
	if err != nil {
		if !errors.As(err, &f) || f.status != 400 || len(f.detail) > 1000 {
			t.Fatalf("%q: %v", body, err)
		}
		return
	}
	// What it gives out is in the message, byte for byte: nothing was made up or put together.
	for _, part := range [][]byte{a.recipient, a.primary} {
		if len(part) == 0 || !bytes.Contains(body, part) || !json.Valid(part) {
			t.Fatalf("%q: a part is %q", body, part)
		}
	}
	if !json.Valid(body) || !utf8.ValidString(a.nonce+a.additional+a.initBody+a.initFormat) || !a.hasInit && a.initBody != "" {
		t.Fatalf("accepted %q as %+v", body, a)
	}
	// Said again with members in another order, it means the same.
	text := func(s string) json.RawMessage { b, _ := json.Marshal(s); return b }
	again := map[string]any{
		"runtime-data": map[string]any{"nonce": text(a.nonce), "tee-pubkey": a.recipient},
		"tee-evidence": map[string]any{"primary_evidence": a.primary, "additional_evidence": text(a.additional)},
	}
	if a.hasInit {
		again["init-data"] = map[string]any{"format": text(a.initFormat), "body": text(a.initBody)}
	}
	spelled, err := json.Marshal(again)
	if err != nil {
		t.Fatal(err)
	}
	b, err := parseAttestation(spelled)
	if err != nil || b.nonce != a.nonce || b.additional != a.additional || b.initBody != a.initBody || b.initFormat != a.initFormat || b.hasInit != a.hasInit {
		t.Fatalf("%q read again is %+v, %v", body, b, err)
	}
}

func bytesOf(seeds []string) (out [][]byte) {
	for _, s := range seeds {
		out = append(out, []byte(s))
	}
	return out
}

func FuzzParseAuth(f *testing.F) {
	for _, seed := range authSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(checkAuth)
}

func FuzzParseAttestation(f *testing.F) {
	for _, seed := range attestationSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(checkAttestation)
}

func TestAuthMutations(t *testing.T) { mutate.Run(t, bytesOf(authSeeds), checkAuth) }
func TestAttestationMutations(t *testing.T) {
	mutate.Run(t, bytesOf(attestationSeeds), checkAttestation)
}

// TestSessionIDs reads back what a challenge's session id says, and nothing from others.
func TestSessionIDs(t *testing.T) {
	k := &KBS{namespace: "default"}
	seen := map[string]bool{}
	for kind := range 5 {
		for hash := range hashes {
			id, err := challengeID(kind, hash)
			if err != nil || seen[id] {
				t.Fatal(id, err)
			}
			seen[id] = true
			scope, ok := k.scopeOf(id)
			if !ok || scope.Session != id || scope.Hash != hashes[hash].hash || scope.Namespace != "default" {
				t.Errorf("%s: %+v, %v", id, scope, ok)
			}
			for _, bad := range []string{"", id[:31], id + "0", strings.ToUpper(id), id[:28] + "ff" + id[30:], id[:30] + "ff", id[:31] + "\x00"} {
				if bad == id {
					continue
				}
				if scope, ok := k.scopeOf(bad); ok {
					t.Errorf("%q: %+v", bad, scope)
				}
			}
		}
	}
	mutate.Run(t, [][]byte{[]byte(slices.Sorted(maps.Keys(seen))[0])}, func(t *testing.T, input []byte) {
		if scope, ok := k.scopeOf(string(input)); ok && (len(input) != 32 || scope.Session != string(input)) {
			t.Errorf("%q: %+v", input, scope)
		}
	})
}
