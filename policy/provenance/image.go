package provenance

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// imageType is what cosign writes into the payload that it signs.
const imageType = "cosign container image signature"

// maxImagePayload bounds what cosign signs, which is a few hundred bytes and what a signer adds as annotations, in bytes.
const maxImagePayload = 64 << 10

type imagePayload struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional json.RawMessage `json:"optional"` // anything, and without meaning here
}

// Image verifies cosign's signature of an OCI image: the payload, and the signature in base64 as it stands beside it. The value is the digest of the image's manifest.
// Such a signature has no time: its key must be valid now. Every error is a [*Refusal].
func (c Config) Image(payload []byte, signature string, want Want) (Result, error) {
	if len(payload) > maxImagePayload {
		return Result{}, malformed("the payload has %d bytes, more than %d", len(payload), maxImagePayload)
	}
	sig, err := decodeBase64(signature)
	if err != nil || len(sig) == 0 || len(sig) > maxSignature {
		return Result{}, malformed("the signature is not base64 of 1 to %d bytes", maxSignature)
	}
	signers := c.signers(payload, [][]byte{sig})
	if len(signers) == 0 {
		return Result{}, refuse(ReasonKey, "none of the %d configured keys made this signature", len(c.Keys))
	}
	var p imagePayload
	if err := strictjson.Unmarshal(payload, &p); err != nil {
		return Result{}, malformed("not what cosign signs: %v", err)
	}
	digestHex, ok := strings.CutPrefix(p.Critical.Image.Digest, "sha256:")
	if raw, err := hex.DecodeString(digestHex); !ok || err != nil || len(raw) != 32 || digestHex != strings.ToLower(digestHex) {
		return Result{}, malformed("the image's digest %.80q is not sha256: and 64 digits of hex", p.Critical.Image.Digest)
	}
	if p.Critical.Type != imageType {
		return Result{}, malformed("the payload has the type %.64q, not %q", p.Critical.Type, imageType)
	}
	image := p.Critical.Identity.Reference
	return first(signers, func(k *Key) (Result, *Refusal) {
		switch {
		case !slices.Contains(k.ImageSets, want.Set):
			return Result{}, refuse(ReasonSet, "the key %q may sign no image for the set %q", k.ID, want.Set)
		case !slices.Contains(k.Images, image):
			return Result{}, refuse(ReasonSubject, "the image %.200q is none that the key %q signs", image, k.ID)
		case want.Artefact != "" && want.Artefact != p.Critical.Image.Digest:
			return Result{}, refuse(ReasonArtefact, "the signature is of %s, not of %s, to which it is attached", p.Critical.Image.Digest, want.Artefact)
		}
		if refusal := k.validAt(want.Now); refusal != nil {
			return Result{}, refusal
		}
		values, refusal := narrow([]string{p.Critical.Image.Digest}, want.Values)
		if refusal != nil {
			return Result{}, refusal
		}
		return Result{Values: values, Origin: Origin{Key: k.ID, Statement: digest(payload), Image: image}}, nil
	})
}
