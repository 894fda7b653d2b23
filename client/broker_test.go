package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/client/release"
)

// collector makes evidence that is the digest itself.
type collector struct{ err error }

func (c collector) Kind() attest.Kind { return attest.Virtual }
func (c collector) Evidence(_ context.Context, digest []byte) ([]byte, error) {
	return append([]byte("evidence of "), digest...), c.err
}

// broker answers as the wire format has it, over TLS, with real envelopes and signatures by another JOSE implementation. It
// judges nothing: tests of the real broker with this client are the broker's.
type broker struct {
	*httptest.Server
	t       *testing.T
	signing *ecdsa.PrivateKey
	kid     string
	values  map[string]string

	nonces   map[string]bool
	asked    []string                                          // paths
	requests []*release.Request                                // that were well-formed
	before   func(w http.ResponseWriter, r *http.Request) bool // answers instead when it returns true; may be nil
	reply    func(*release.Reply)                              // changes a reply before it is signed; may be nil
	signed   func([]byte) []byte                               // changes a signed reply; may be nil
	lastSeal []byte
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{t: t, values: map[string]string{"a/b/c": "secret", "empty": ""}, nonces: map[string]bool{}}
	b.rotate("k1")
	b.Server = httptest.NewTLSServer(b)
	t.Cleanup(b.Close)
	return b
}

func (b *broker) rotate(kid string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.t.Fatal(err)
	}
	b.signing, b.kid = key, kid
}

func (b *broker) jwks() []byte {
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: &b.signing.PublicKey, KeyID: b.kid, Algorithm: "ES256", Use: "sig"},
	}})
	if err != nil {
		b.t.Fatal(err)
	}
	return set
}

func (b *broker) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Certificate().Raw})
}

func fail(w http.ResponseWriter, status int, code release.Code, retryAfter string) {
	if retryAfter != "" {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(release.Error{Code: code, Message: "told so", Decision: "d-refused"})
}

func (b *broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.asked = append(b.asked, r.URL.Path)
	if b.before != nil && b.before(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Error(err)
	}
	switch r.Method + " " + r.URL.Path {
	case "GET " + release.KeysPath:
		w.Write(b.jwks())
	case "POST " + release.ChallengePath:
		request, err := release.DecodeChallengeRequest(body)
		if err != nil || request.Kind != attest.Virtual {
			b.t.Errorf("challenge request %q: %v", body, err)
		}
		random := make([]byte, 32)
		rand.Read(random)
		nonce := base64.StdEncoding.EncodeToString(random)
		b.nonces[nonce] = true
		json.NewEncoder(w).Encode(release.Challenge{Nonce: nonce, Expires: time.Now().Add(time.Minute), Hash: "sha384"})
	case "POST " + release.ReleasePath:
		request, err := release.DecodeRequest(body)
		if err != nil {
			b.t.Errorf("request %q: %v", body, err)
			return
		}
		b.requests = append(b.requests, request)
		b.release(w, request)
	default:
		fail(w, http.StatusNotFound, "not_found", "")
	}
}

func (b *broker) release(w http.ResponseWriter, request *release.Request) {
	if !b.nonces[request.Nonce] {
		fail(w, http.StatusForbidden, release.CodeNonce, "")
		return
	}
	delete(b.nonces, request.Nonce)
	recipient, err := envelope.ParseRecipient(request.Recipient, envelope.Options{})
	if err != nil {
		b.t.Error(err)
		return
	}
	digest, err := request.Binding("sha384", recipient)
	if err != nil || string(request.Evidence.Data) != "evidence of "+string(digest) {
		b.t.Errorf("the evidence is not bound: %v", err)
	}
	sum := sha256.Sum256(request.Evidence.Data)
	reply := &release.Reply{
		Decision: "d-1", Issued: time.Now().UTC(), Nonce: request.Nonce, Recipient: recipient.Thumbprint(),
		Evidence: "sha256:" + hex.EncodeToString(sum[:]), Receipt: "the receipt",
	}
	for _, want := range request.Secrets {
		result := release.Result{Secret: want.Name, Version: max(want.Version, 3), Policy: "sha256:00"}
		value, ok := b.values[want.Name]
		if !ok {
			reply.Results = append(reply.Results, release.Result{Secret: want.Name, Code: release.CodeDenied})
			continue
		}
		if result.Envelope, err = recipient.Seal(reply.Context(&result), []byte(value)); err != nil {
			b.t.Error(err)
		}
		result.Lease = &release.Lease{ID: "l-1", Expires: reply.Issued.Add(time.Hour)}
		reply.Results = append(reply.Results, result)
	}
	if b.reply != nil {
		b.reply(reply)
	}
	payload, err := json.Marshal(reply)
	if err != nil {
		b.t.Error(err)
	}
	signed := b.sign(payload)
	if b.signed != nil {
		signed = b.signed(signed)
	}
	b.lastSeal = slices.Clone(signed)
	w.Header().Set("Content-Type", release.ReplyMediaType)
	w.Write(signed)
}

func (b *broker) sign(payload []byte) []byte {
	options := (&jose.SignerOptions{}).WithType(release.ReplyType)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: b.signing, KeyID: b.kid}}, options)
	if err != nil {
		b.t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		b.t.Fatal(err)
	}
	return []byte(jws.FullSerialize())
}

// waits records how long a client would have waited.
type waits []time.Duration

func (w *waits) sleep(ctx context.Context, d time.Duration) error {
	*w = append(*w, d)
	return ctx.Err()
}

// client returns a client of the broker that does not really wait. change may be nil.
func (b *broker) client(change func(*Config)) (*Client, *waits) {
	b.t.Helper()
	w := new(waits)
	c := Config{URL: b.URL, CA: b.ca(), Collector: collector{}, Sleep: w.sleep, Jitter: func() float64 { return 0.5 }}
	if change != nil {
		change(&c)
	}
	client, err := New(c)
	if err != nil {
		b.t.Fatal(err)
	}
	return client, w
}

func (w waits) String() string { return fmt.Sprint([]time.Duration(w)) }
