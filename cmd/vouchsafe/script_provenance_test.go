package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vouchsafe/vouchsafe/policy/provenance"
)

// scriptKey is a signing key by its name, the same in each run.
func scriptKey(name string) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(fmt.Sprintf("%-32.32s", name)))
}

// signingKey writes the public key of a name: signingkey NAME FILE.
func signingKey(ts *testscript.TestScript, _ bool, args []string) {
	der, err := x509.MarshalPKIXPublicKey(scriptKey(args[0]).Public())
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
}

// envelopeOf signs a statement, as a build does, that it made a value for a set, and that it is about an artefact.
func envelopeOf(key, set, builder, value, artefact string, finished time.Time) ([]byte, error) {
	type object = map[string]any
	subjects := []object{{"name": "reference:" + set, "digest": object{"sha384": value}}}
	if artefact != "" {
		subjects = append(subjects, object{"name": "image", "digest": object{"sha256": strings.TrimPrefix(artefact, "sha256:")}})
	}
	const repository = "https://github.com/acme/payments"
	payload, err := json.Marshal(object{
		"_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": "https://slsa.dev/provenance/v1",
		"predicate": object{
			"buildDefinition": object{
				"buildType": "https://actions.github.io/buildtypes/workflow/v1",
				"externalParameters": object{"workflow": object{
					"ref": "refs/heads/main", "repository": repository, "path": ".github/workflows/release.yml",
				}},
				"resolvedDependencies": []object{{"uri": "git+" + repository + "@refs/heads/main", "digest": object{"gitCommit": strings.Repeat("ab12", 10)}}},
			},
			"runDetails": object{"builder": object{"id": builder}, "metadata": object{"finishedOn": finished.UTC().Format(time.RFC3339)}},
		},
	})
	if err != nil {
		return nil, err
	}
	sig := ed25519.Sign(scriptKey(key), fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(provenance.PayloadType), provenance.PayloadType, len(payload), payload))
	return json.Marshal(object{
		"payloadType": provenance.PayloadType, "payload": base64.StdEncoding.EncodeToString(payload),
		"signatures": []object{{"keyid": "", "sig": base64.StdEncoding.EncodeToString(sig)}},
	})
}

// statement writes a signed statement: statement FILE KEY SET BUILDER VALUE AGE.
func statement(ts *testscript.TestScript, _ bool, args []string) {
	age, err := time.ParseDuration(args[5])
	ts.Check(err)
	document, err := envelopeOf(args[1], args[2], args[3], args[4], "", time.Now().Add(-age))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), document, 0o600))
}

// ociRegistry runs a registry over TLS with an image to which cosign attached a statement and a signature, as an older one by another key before: ociregistry
// VARIABLE CAFILE KEY SET BUILDER VALUE. The variable is the image's reference, and VARIABLE_DIGEST its digest.
func ociRegistry(ts *testscript.TestScript, _ bool, args []string) {
	server := httptest.NewTLSServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	ts.Defer(server.Close)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	repository := strings.TrimPrefix(server.URL, "https://") + "/acme/payments"
	image, err := random.Image(64, 1)
	ts.Check(err)
	digest, err := image.Digest()
	ts.Check(err)
	document, err := envelopeOf(args[2], args[3], args[4], args[5], digest.String(), time.Now())
	ts.Check(err)
	other, err := envelopeOf("other", args[3], args[4], args[5], digest.String(), time.Now())
	ts.Check(err)
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"ghcr.io/acme/payments"},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, digest)
	const envelopeType = "application/vnd.dsse.envelope.v1+json"
	attestations, err := mutate.Append(empty.Image, mutate.Addendum{Layer: static.NewLayer(document, envelopeType)}, mutate.Addendum{Layer: static.NewLayer(other, envelopeType)})
	ts.Check(err)
	signatures, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:       static.NewLayer(payload, "application/vnd.dev.cosign.simplesigning.v1+json"),
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(ed25519.Sign(scriptKey(args[2]), payload))},
	})
	ts.Check(err)
	attached := repository + ":" + strings.ReplaceAll(digest.String(), ":", "-")
	for reference, image := range map[string]remote.Taggable{repository + ":v1": image, attached + ".att": attestations, attached + ".sig": signatures} {
		tag, err := name.NewTag(reference)
		ts.Check(err)
		ts.Check(remote.Push(tag, image, remote.WithTransport(server.Client().Transport)))
	}
	ts.Setenv(args[0], repository+":v1")
	ts.Setenv(args[0]+"_DIGEST", digest.String())
}
