package registry_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/vouchsafe/vouchsafe/policy/provenance"
	"github.com/vouchsafe/vouchsafe/policy/provenance/registry"
)

// hosted is a real registry, over TLS on loopback.
type hosted struct {
	*httptest.Server
	t *testing.T
}

func start(t *testing.T) *hosted {
	t.Helper()
	s := httptest.NewTLSServer(memory.New(memory.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return &hosted{s, t}
}

func (h *hosted) repository() string { return strings.TrimPrefix(h.URL, "https://") + "/acme/payments" }

func (h *hosted) push(reference string, image v1.Image) {
	h.t.Helper()
	ref, err := name.ParseReference(reference)
	if err == nil {
		err = remote.Write(ref, image, remote.WithTransport(h.Client().Transport))
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// attach adds layers as cosign does.
func (h *hosted) attach(digest, suffix string, layers ...mutate.Addendum) {
	h.t.Helper()
	image, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layers...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.push(h.repository()+":"+strings.ReplaceAll(digest, ":", "-")+"."+suffix, image)
}

const (
	payloadMediaType  = "application/vnd.dev.cosign.simplesigning.v1+json"
	envelopeMediaType = "application/vnd.dsse.envelope.v1+json"
)

func layer(content []byte, mediaType types.MediaType, signature string) mutate.Addendum {
	a := mutate.Addendum{Layer: static.NewLayer(content, mediaType)}
	if signature != "" {
		a.Annotations = map[string]string{"dev.cosignproject.cosign/signature": signature}
	}
	return a
}

// TestFind has an artefact signed and attested in a registry, and what is found verified.
func TestFind(t *testing.T) {
	h := start(t)
	image, err := random.Image(1024, 1)
	if err != nil {
		t.Fatal(err)
	}
	h.push(h.repository()+":v1", image)
	hash, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	digest := hash.String()
	config := registry.Config{Transport: h.Client().Transport}
	if got, err := registry.Find(t.Context(), config, h.repository()+":v1"); err != nil || got.Digest != digest || len(got.Signatures)+len(got.Statements) > 0 {
		t.Fatalf("with nothing attached: %+v, %v", got, err)
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(message []byte) string {
		sum := sha256.Sum256(message)
		sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(sig)
	}
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`,
		h.repository(), digest)
	value := strings.Repeat("ab", 48)
	statement := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":%q,"digest":{"sha256":%q}}],"predicateType":"https://slsa.dev/provenance/v1",
"predicate":{"buildDefinition":{"buildType":"b","externalParameters":{},"resolvedDependencies":[{"uri":"git+https://git.acme.org/p@refs/heads/main","digest":{"gitCommit":%q}}]},
"runDetails":{"builder":{"id":"b"},"metadata":{"finishedOn":"2026-03-01T12:00:00Z"},"byproducts":[{"name":"reference:images","digest":{"sha384":%q}}]}}}`,
		h.repository(), hash.Hex, strings.Repeat("0", 40), value)
	document := fmt.Appendf(nil, `{"payloadType":%q,"payload":%q,"signatures":[{"keyid":"","sig":%q}]}`, provenance.PayloadType,
		base64.StdEncoding.EncodeToString(statement), sign(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(provenance.PayloadType), provenance.PayloadType, len(statement), statement)))
	h.attach(digest, "sig", layer([]byte("{}"), "text/plain", ""), layer(payload, payloadMediaType, sign(payload)))
	h.attach(digest, "att", layer(document, envelopeMediaType, ""), layer([]byte(`{}`), envelopeMediaType, ""))

	for _, reference := range []string{h.repository() + ":v1", h.repository() + "@" + digest} {
		got, err := registry.Find(t.Context(), config, reference)
		if err != nil || got.Digest != digest || len(got.Signatures) != 1 || len(got.Statements) != 2 || !bytes.Equal(got.Statements[1], document) {
			t.Fatalf("%s: %+v, %v", reference, got, err)
		}
		keys := provenance.Config{Keys: []provenance.Key{{
			ID: "k", Public: key.Public(), Sets: []string{"images"}, Builders: []string{"b"}, Repository: "https://git.acme.org/p", Refs: []string{"refs/heads/main"},
			Images: []string{h.repository()}, ImageSets: []string{"digests"},
		}}}
		now := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
		believed, err := keys.Image(got.Signatures[0].Payload, got.Signatures[0].Base64, provenance.Want{Set: "digests", Artefact: got.Digest, Now: now})
		if err != nil || believed.Values[0] != digest {
			t.Errorf("the signature: %+v, %v", believed, err)
		}
		believed, err = keys.Statement(got.Statements[1], provenance.Want{Set: "images", Artefact: got.Digest, Now: now})
		if err != nil || believed.Values[0] != value {
			t.Errorf("the attestation: %+v, %v", believed, err)
		}
	}
}

// TestFindRefuses: no artefact, no TLS, an authority that is not trusted, too much.
func TestFindRefuses(t *testing.T) {
	h := start(t)
	config := registry.Config{Transport: h.Client().Transport}
	if _, err := registry.Find(t.Context(), config, "Not A Reference"); !errors.Is(err, registry.ErrReference) {
		t.Error(err)
	}
	if _, err := registry.Find(t.Context(), config, h.repository()+":none"); err == nil {
		t.Error("an artefact that is not there was found")
	}
	if _, err := registry.Find(t.Context(), registry.Config{}, h.repository()+":v1"); err == nil {
		t.Error("a certificate of nobody's was accepted")
	}
	plain := httptest.NewServer(memory.New(memory.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(plain.Close)
	if _, err := registry.Find(t.Context(), registry.Config{}, strings.TrimPrefix(plain.URL, "http://")+"/acme/payments:v1"); !errors.Is(err, registry.ErrPlain) {
		t.Errorf("plain HTTP: %v", err)
	}
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	h.push(h.repository()+":v1", image)
	hash, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	h.attach(hash.String(), "att", layer(bytes.Repeat([]byte(" "), provenance.MaxDocument+1), envelopeMediaType, ""))
	if _, err := registry.Find(t.Context(), config, h.repository()+":v1"); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a large layer: %v", err)
	}
	var many []mutate.Addendum
	for i := range 257 {
		many = append(many, layer(fmt.Appendf(nil, "%d", i), envelopeMediaType, ""))
	}
	h.attach(hash.String(), "att", many...)
	if _, err := registry.Find(t.Context(), config, h.repository()+":v1"); err == nil || !strings.Contains(err.Error(), "257 layers") {
		t.Errorf("many layers: %v", err)
	}
}
