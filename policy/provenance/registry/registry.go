// Package registry finds what cosign attached to an OCI artefact: signatures and attestations, in the layout that cosign keeps them in beside it. It is the only
// package of reference values that uses the network, and programs of people run it, not the broker.
//
// # What it finds
//
// For the artefact with the digest sha256:D, the image with the tag "sha256-D.sig" has a layer for each signature, whose content is what was signed and whose
// annotation is the signature, and the one with the tag "sha256-D.att" has a layer for each attestation, a DSSE envelope. Attachments by referrers, and
// the bundles that keyless signing makes, are not looked for.
//
// # What it trusts
//
// Nothing: whatever a registry says is verified by package provenance, at the broker. Here sizes are bounded, blobs are held against their digests, TLS is verified
// always, and plain HTTP is not used, also where a registry library would: credentials are sent to the registry.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/vouchsafe/vouchsafe/policy/provenance"
)

// What cosign writes.
const (
	signatureType       = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureAnnotation = "dev.cosignproject.cosign/signature"
	attestationType     = "application/vnd.dsse.envelope.v1+json"
)

// maxAttachments bounds the layers that are read of one kind: an artefact that was signed anew each day has some hundred.
const maxAttachments = 256

// Config says how a registry is reached.
type Config struct {
	Transport http.RoundTripper // default: http.DefaultTransport
	Keychain  authn.Keychain    // default: nobody's credentials
}

// Signature is one signature of an artefact.
type Signature struct {
	Payload []byte // what was signed
	Base64  string
}

// Attached is what is attached to an artefact.
type Attached struct {
	Digest     string // of the artefact's manifest: "sha256:" and hex
	Signatures []Signature
	Statements [][]byte // DSSE envelopes
}

// ErrReference says that a text names no artefact.
var ErrReference = errors.New("not a reference to an OCI artefact")

// ErrPlain is returned instead of using plain HTTP.
var ErrPlain = errors.New("the registry answers by plain HTTP only, which is not used")

// tlsOnly refuses plain HTTP.
type tlsOnly struct{ http.RoundTripper }

func (t tlsOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, ErrPlain
	}
	return t.RoundTripper.RoundTrip(r)
}

// Find returns what is attached to an artefact, "HOST/NAME:TAG" or "HOST/NAME@sha256:…". That nothing is attached is no error.
func Find(ctx context.Context, c Config, artefact string) (Attached, error) {
	ref, err := name.ParseReference(artefact)
	if err != nil {
		return Attached{}, fmt.Errorf("%w: %w", ErrReference, err)
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	if c.Keychain == nil {
		c.Keychain = authn.NewMultiKeychain()
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithTransport(tlsOnly{c.Transport}), remote.WithAuthFromKeychain(c.Keychain)}
	head, err := remote.Head(ref, options...)
	if err != nil {
		return Attached{}, fmt.Errorf("%s: %w", artefact, err)
	}
	out := Attached{Digest: head.Digest.String()}
	err = attachments(ref, head.Digest, "sig", signatureType, options, func(content []byte, annotations map[string]string) {
		out.Signatures = append(out.Signatures, Signature{content, annotations[signatureAnnotation]})
	})
	if err != nil {
		return Attached{}, err
	}
	err = attachments(ref, head.Digest, "att", attestationType, options, func(content []byte, _ map[string]string) {
		out.Statements = append(out.Statements, content)
	})
	return out, err
}

// attachments calls found for each layer of a type of what cosign keeps beside an artefact, the newest first.
func attachments(ref name.Reference, of v1.Hash, suffix, mediaType string, options []remote.Option, found func([]byte, map[string]string)) error {
	tag := ref.Context().Tag(of.Algorithm + "-" + of.Hex + "." + suffix)
	image, err := remote.Image(tag, options...)
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", tag, err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		return fmt.Errorf("%s: %w", tag, err)
	}
	if len(manifest.Layers) > maxAttachments {
		return fmt.Errorf("%s has %d layers, more than %d", tag, len(manifest.Layers), maxAttachments)
	}
	for _, d := range slices.Backward(manifest.Layers) {
		if string(d.MediaType) != mediaType {
			continue
		}
		content, err := blob(image, d)
		if err != nil {
			return fmt.Errorf("%s: layer %s: %w", tag, d.Digest, err)
		}
		found(content, d.Annotations)
	}
	return nil
}

// blob reads a layer, whose content the library holds against its digest.
func blob(image v1.Image, d v1.Descriptor) (_ []byte, err error) {
	if d.Size < 0 || d.Size > provenance.MaxDocument {
		return nil, fmt.Errorf("it has %d bytes, more than %d", d.Size, provenance.MaxDocument)
	}
	layer, err := image.LayerByDigest(d.Digest)
	if err != nil {
		return nil, err
	}
	content, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	text, err := io.ReadAll(io.LimitReader(content, provenance.MaxDocument+1))
	if err == nil && len(text) > provenance.MaxDocument {
		err = fmt.Errorf("it has over %d bytes", provenance.MaxDocument)
	}
	return text, err
}
