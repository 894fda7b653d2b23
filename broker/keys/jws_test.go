package keys

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

func contextWithCancel(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

func sign(t testing.TB, r *Ring, p Purpose, typ, payload string) string {
	t.Helper()
	token, err := r.SignCompact(p, typ, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// public returns the published key of p as another library reads it.
func public(t testing.TB, r *Ring, p Purpose) jose.JSONWebKey {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(r.JWKS(p), &set); err != nil || len(set.Keys) == 0 {
		t.Fatal(err)
	}
	return set.Keys[0]
}

func TestOthersVerifyWhatIsSigned(t *testing.T) {
	r := open(t, openStore(t), new(hand))
	for _, p := range []Purpose{Token, Reply} {
		compact, err := jose.ParseSigned(sign(t, r, p, "JWT", "payload"), []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		flattened, err := r.SignFlattened(p, "vouchsafe-reply+json", []byte("payload"))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := jose.ParseSignedJSON(string(flattened), []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		for _, jws := range []*jose.JSONWebSignature{compact, parsed} {
			if payload, err := jws.Verify(public(t, r, p)); err != nil || string(payload) != "payload" {
				t.Errorf("%s: %q, %v", p, payload, err)
			}
			header := jws.Signatures[0].Protected
			if header.KeyID != r.KeyID(p) || header.Algorithm != "ES256" || (header.JSONWebKey != nil) != (p == Token) {
				t.Errorf("%s: header %+v", p, header)
			}
			if p == Token && !header.JSONWebKey.Key.(*ecdsa.PublicKey).Equal(public(t, r, p).Key) {
				t.Error("the key in the header is another")
			}
		}
		var members map[string]string
		if err := json.Unmarshal(flattened, &members); err != nil || len(members) != 3 {
			t.Errorf("%s, %v", flattened, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	r := open(t, openStore(t), new(hand))
	stranger := open(t, openStore(t), new(hand))
	good := sign(t, r, Token, "JWT", `{"sub":"me"}`)
	parts := strings.Split(good, ".")
	header := func(text string) string { return b64.EncodeToString([]byte(text)) }
	strangerHeader := strings.Split(sign(t, stranger, Token, "JWT", ""), ".")[0]

	// A stranger's key in the header, with a signature by it, and our kid.
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := newPublicKey(Token, &own.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	lying := header(strings.Replace(k.header, k.kid, r.KeyID(Token), 1) + `JWT"}`)
	sum := sha256.Sum256([]byte(lying + "." + parts[1]))
	x, y, _ := ecdsa.Sign(rand.Reader, own, sum[:])
	raw := make([]byte, 64)
	x.FillBytes(raw[:32])
	y.FillBytes(raw[32:])

	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, parts[2][len(parts[2])-1])
	tests := []struct {
		name, token string
		want        error
	}{
		{"empty", "", ErrMalformed},
		{"one part", parts[0], ErrMalformed},
		{"two parts", parts[0] + "." + parts[1], ErrMalformed},
		{"four parts", good + "." + parts[2], ErrMalformed},
		{"no signature", parts[0] + "." + parts[1] + ".", ErrMalformed},
		{"short signature", good[:len(good)-1], ErrMalformed},
		{"zero signature", parts[0] + "." + parts[1] + "." + b64.EncodeToString(make([]byte, 64)), ErrSignature},
		{"stray bits", good[:len(good)-1] + string(alphabet[last|1]), ErrMalformed},
		{"line break in payload", parts[0] + "." + parts[1][:4] + "\n" + parts[1][4:] + "." + parts[2], ErrMalformed},
		{"padded payload", parts[0] + "." + parts[1] + "=." + parts[2], ErrMalformed},
		{"another payload", parts[0] + "." + header(`{"sub":"you"}`) + "." + parts[2], ErrSignature},
		{"alg none", header(`{"alg":"none"}`) + "." + parts[1] + "." + parts[2], ErrUnknownKey},
		{"alg HS256", header(`{"alg":"HS256","kid":"`+r.KeyID(Token)+`","typ":"JWT"}`) + "." + parts[1] + "." + parts[2], ErrUnknownKey},
		{"member added", header(strings.TrimSuffix(decoded(t, parts[0]), "}")+`,"crit":["x"]}`) + "." + parts[1] + "." + parts[2], ErrUnknownKey},
		{"header with space", header(strings.Replace(decoded(t, parts[0]), ",", ", ", 1)) + "." + parts[1] + "." + parts[2], ErrUnknownKey},
		{"no header", "." + parts[1] + "." + parts[2], ErrUnknownKey},
		{"stranger's", sign(t, stranger, Token, "JWT", `{"sub":"me"}`), ErrUnknownKey},
		{"stranger's header", strangerHeader + "." + parts[1] + "." + parts[2], ErrUnknownKey},
		{"stranger's key with our kid", lying + "." + parts[1] + "." + b64.EncodeToString(raw), ErrUnknownKey},
		{"another type", sign(t, r, Token, "other", `{"sub":"me"}`), ErrUnknownKey},
		{"another purpose", sign(t, r, Reply, "JWT", `{"sub":"me"}`), ErrUnknownKey},
		{"too long", good + strings.Repeat("A", MaxToken), ErrMalformed},
	}
	for _, test := range tests {
		if test.token == good {
			t.Errorf("%s: nothing changed", test.name)
		}
		if payload, _, err := r.Verify(Token, "JWT", test.token); !errors.Is(err, test.want) || payload != nil {
			t.Errorf("%s: %q, %v", test.name, payload, err)
		}
	}
	if _, _, err := r.Verify(Token, "JWT", good); err != nil {
		t.Error(err)
	}
	if _, _, err := r.Verify(Log, "JWT", good); !errors.Is(err, ErrPurpose) {
		t.Error(err)
	}
}

func decoded(t testing.TB, part string) string {
	t.Helper()
	b, err := b64.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEveryByteOfATokenCounts(t *testing.T) {
	r := open(t, openStore(t), new(hand))
	good := []byte(sign(t, r, Token, "JWT", `{"sub":"me"}`))
	for i := range good {
		for bit := range 8 {
			good[i] ^= 1 << bit
			if _, _, err := r.Verify(Token, "JWT", string(good)); err == nil {
				t.Fatalf("bit %d of character %d does not matter", bit, i)
			}
			good[i] ^= 1 << bit
		}
	}
}

func TestSignRefuses(t *testing.T) {
	r := open(t, openStore(t), new(hand))
	for _, typ := range []string{"", `a"b`, "a b", "a\\b", "é", strings.Repeat("x", 65)} {
		if _, err := r.SignCompact(Token, typ, nil); err == nil {
			t.Errorf("type %q signed", typ)
		}
		if _, _, err := r.Verify(Token, typ, ""); err == nil {
			t.Errorf("type %q verified", typ)
		}
	}
	if _, err := r.SignFlattened(Reply, "x", make([]byte, MaxPayload+1)); err == nil {
		t.Error("too much signed")
	}
	for _, p := range []Purpose{Log, "", "other"} {
		if _, err := r.SignCompact(p, "JWT", nil); !errors.Is(err, ErrPurpose) {
			t.Errorf("%q: %v", p, err)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	r := open(t, openStore(t), new(hand))
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 30 {
				token, err := r.SignCompact(Token, "JWT", []byte("x"))
				if err != nil {
					t.Error(err)
					return
				}
				if _, _, err := r.Verify(Token, "JWT", token); err != nil {
					t.Error(err)
					return
				}
				_, _ = r.JWKS(), r.List()
			}
		})
	}
	for range 10 {
		if err := r.Rotate(t.Context(), Token); err != nil {
			t.Error(err)
		}
		if err := r.Reload(t.Context()); err != nil {
			t.Error(err)
		}
	}
	wait.Wait()
}

func tokenSeeds(t testing.TB, r *Ring) [][]byte {
	return [][]byte{
		[]byte(sign(t, r, Token, "JWT", `{"sub":"me"}`)), []byte(sign(t, r, Token, "JWT", "")),
		[]byte(sign(t, r, Token, "other", "x")), []byte(sign(t, r, Reply, "JWT", "x")),
	}
}

// checkCompact holds Verify to accepting only what was signed for the purpose and type.
func checkCompact(t testing.TB, r *Ring, signed map[string]bool, text string) {
	t.Helper()
	payload, _, err := r.Verify(Token, "JWT", text)
	switch {
	case err == nil && !signed[text]:
		t.Errorf("accepted %q, which was not signed", text)
	case err != nil && signed[text]:
		t.Errorf("refused %q: %v", text, err)
	case err != nil && payload != nil:
		t.Errorf("a payload of what was refused: %q", text)
	}
}

func FuzzVerify(f *testing.F) {
	r := open(f, openStore(f), new(hand))
	seeds := tokenSeeds(f, r)
	for _, seed := range seeds {
		f.Add(string(seed))
	}
	// Each process that fuzzes has keys of its own, so that what another signed is a stranger's here.
	signed := map[string]bool{string(seeds[0]): true, string(seeds[1]): true}
	f.Fuzz(func(t *testing.T, text string) { checkCompact(t, r, signed, text) })
}

func TestTokenMutations(t *testing.T) {
	r := open(t, openStore(t), new(hand))
	seeds := tokenSeeds(t, r)
	signed := map[string]bool{string(seeds[0]): true, string(seeds[1]): true}
	mutate.Run(t, seeds, func(t *testing.T, input []byte) { checkCompact(t, r, signed, string(input)) })
}

// reportFloor measures what floor takes, the library's bare operation, and reports b's time as a multiple of it.
func reportFloor(b *testing.B, floor func()) {
	b.Helper()
	const times = 2000
	took := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
	begin := time.Now()
	for range times {
		floor()
	}
	bare := float64(time.Since(begin).Nanoseconds()) / times
	b.ReportMetric(bare, "floor-ns/op")
	b.ReportMetric(took/bare, "x-floor")
}

func BenchmarkSignCompact(b *testing.B) {
	r := open(b, openStore(b), new(hand))
	payload := []byte(strings.Repeat("x", 4096))
	for b.Loop() {
		if _, err := r.SignCompact(Token, "JWT", payload); err != nil {
			b.Fatal(err)
		}
	}
	key, sum := r.states[Token].Load().signing, sha256.Sum256(payload)
	reportFloor(b, func() { _, _ = ecdsa.SignASN1(rand.Reader, key, sum[:]) })
}

func BenchmarkVerify(b *testing.B) {
	r := open(b, openStore(b), new(hand))
	payload := strings.Repeat("x", 4096)
	token := sign(b, r, Token, "JWT", payload)
	for b.Loop() {
		if _, _, err := r.Verify(Token, "JWT", token); err != nil {
			b.Fatal(err)
		}
	}
	key, sum := r.states[Token].Load().signing, sha256.Sum256([]byte(payload))
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	reportFloor(b, func() { ecdsa.VerifyASN1(&key.PublicKey, sum[:], signature) })
}
