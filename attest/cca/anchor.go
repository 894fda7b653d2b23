package cca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// MaxStore bounds the files of [ParseTrustAnchors] and [ParseReferenceValues], in bytes: some ten thousand platforms.
const MaxStore = 8 << 20

// TrustAnchor is the key of one platform (CPAK), as its maker endorsed it to the operator.
type TrustAnchor struct {
	InstanceID       [instanceSize]byte
	ImplementationID [implementationSize]byte
	Key              *ecdsa.PublicKey // on P-256, P-384 or P-521
}

// jwk is a key as RFC 7518, section 6.2, writes it.
type jwk struct {
	Type  string `json:"kty"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

func (k *jwk) parse() (*ecdsa.PublicKey, error) {
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[k.Curve]
	if k.Type != "EC" || curve == nil {
		return nil, errors.New("a key that is not on P-256, P-384 or P-521")
	}
	size := (curve.Params().BitSize + 7) / 8
	point := []byte{4}
	for _, text := range []string{k.X, k.Y} {
		b, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if err != nil || len(b) != size {
			return nil, fmt.Errorf("a coordinate that is not %d bytes in base64url", size)
		}
		point = append(point, b...)
	}
	return ecdsa.ParseUncompressedPublicKey(curve, point)
}

// ParseTrustAnchors reads a store of trust anchors as other CCA verifiers have it: a JSON array of {"pkey": JWK,
// "implementation-id": hex of 32 bytes, "instance-id": hex of 33 bytes}. Anything else in it, a platform twice, and
// none at all are errors.
func ParseTrustAnchors(data []byte) ([]TrustAnchor, error) {
	if len(data) > MaxStore {
		return nil, fmt.Errorf("cca: trust anchors of %d bytes: at most %d are read", len(data), MaxStore)
	}
	var list []struct {
		Key            jwk    `json:"pkey"`
		Implementation string `json:"implementation-id"`
		Instance       string `json:"instance-id"`
	}
	if err := strictjson.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("cca: trust anchors: %w", err)
	}
	anchors := make([]TrustAnchor, len(list))
	for i := range list {
		a := &anchors[i]
		err := unhex(a.ImplementationID[:], list[i].Implementation)
		err = errors.Join(err, unhex(a.InstanceID[:], list[i].Instance))
		key, keyErr := list[i].Key.parse()
		if err = errors.Join(err, keyErr); err != nil {
			return nil, fmt.Errorf("cca: trust anchor %d: %w", i, err)
		}
		a.Key = key
	}
	if _, err := index(anchors); err != nil {
		return nil, err
	}
	return anchors, nil
}

// index checks trust anchors and returns them by platform.
func index(anchors []TrustAnchor) (map[[instanceSize]byte]*TrustAnchor, error) {
	if len(anchors) == 0 {
		return nil, errors.New("cca: no trust anchor, and Arm publishes no root: without the keys of platforms no token is ever verified")
	}
	out := make(map[[instanceSize]byte]*TrustAnchor, len(anchors))
	for i := range anchors {
		a := &anchors[i]
		switch {
		case a.InstanceID[0] != 1:
			return nil, fmt.Errorf("cca: trust anchor %d has an instance id that does not begin with 01", i)
		case a.Key == nil || a.Key.Curve != elliptic.P256() && a.Key.Curve != elliptic.P384() && a.Key.Curve != elliptic.P521():
			return nil, fmt.Errorf("cca: trust anchor %d has no key on P-256, P-384 or P-521", i)
		case out[a.InstanceID] != nil:
			return nil, fmt.Errorf("cca: trust anchor %d is a second one of the platform %x", i, a.InstanceID)
		}
		out[a.InstanceID] = a
	}
	return out, nil
}

// ReferenceValue is a state of a platform's firmware that is good.
type ReferenceValue struct {
	ImplementationID [implementationSize]byte
	Config           []byte
	Components       []Component // exactly these, in any order; of each, what is not empty is compared
}

// ParseReferenceValues reads a store of reference values as other CCA verifiers have it: {"platform":
// [{"implementation-id": hex, "platform-configuration": hex, "sw-components": [{"measurement-value": hex, "signer-id":
// hex, "component-type": text, "version": text, "hash-algo-id": text}]}], "realm": […]}. The last three may be missing.
// The realm's values are not read: which measurements a realm may have is for a policy to say.
func ParseReferenceValues(data []byte) ([]ReferenceValue, error) {
	if len(data) > MaxStore {
		return nil, fmt.Errorf("cca: reference values of %d bytes: at most %d are read", len(data), MaxStore)
	}
	var store struct {
		Platform []struct {
			Implementation string `json:"implementation-id"`
			Config         string `json:"platform-configuration"`
			Components     []struct {
				Measurement string `json:"measurement-value"`
				Signer      string `json:"signer-id"`
				Type        string `json:"component-type"`
				Version     string `json:"version"`
				Hash        string `json:"hash-algo-id"`
			} `json:"sw-components"`
		} `json:"platform"`
		Realm []any `json:"realm"`
	}
	if err := strictjson.Unmarshal(data, &store); err != nil {
		return nil, fmt.Errorf("cca: reference values: %w", err)
	}
	if len(store.Platform) == 0 {
		return nil, errors.New("cca: reference values without any of a platform")
	}
	out := make([]ReferenceValue, len(store.Platform))
	for i, p := range store.Platform {
		v := &out[i]
		err := unhex(v.ImplementationID[:], p.Implementation)
		var configErr error
		if v.Config, configErr = hex.DecodeString(p.Config); configErr != nil || len(v.Config) == 0 {
			err = errors.Join(err, errors.New("a configuration that is not hex"))
		}
		for _, c := range p.Components {
			component := Component{Type: c.Type, Version: c.Version, Hash: c.Hash}
			for _, field := range []struct {
				to   *[]byte
				text string
			}{{&component.Measurement, c.Measurement}, {&component.Signer, c.Signer}} {
				b, hexErr := hex.DecodeString(field.text)
				if hexErr != nil || !digestSize(len(b)) {
					err = errors.Join(err, errors.New("a component's digest that is not hex of 32, 48 or 64 bytes"))
				}
				*field.to = b
			}
			v.Components = append(v.Components, component)
		}
		if len(v.Components) == 0 {
			err = errors.Join(err, errors.New("no components"))
		}
		if err != nil {
			return nil, fmt.Errorf("cca: reference value %d: %w", i, err)
		}
	}
	return out, nil
}

// matches reports whether p is in the state v.
func (v *ReferenceValue) matches(p *Platform) bool {
	if v.ImplementationID != p.ImplementationID || !bytes.Equal(v.Config, p.Config) || len(v.Components) != len(p.Components) {
		return false
	}
	taken := make([]bool, len(p.Components))
	for i := range v.Components {
		found := false
		for j := range p.Components {
			if !taken[j] && v.Components[i].matches(&p.Components[j]) {
				taken[j], found = true, true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// matches reports whether what c states is so of got.
func (c *Component) matches(got *Component) bool {
	stated := func(want, is string) bool { return want == "" || want == is }
	return bytes.Equal(c.Measurement, got.Measurement) && bytes.Equal(c.Signer, got.Signer) &&
		stated(c.Type, got.Type) && stated(c.Version, got.Version) && stated(c.Hash, got.Hash)
}

// unhex fills to from hex.
func unhex(to []byte, text string) error {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(to) {
		return fmt.Errorf("an identifier that is not hex of %d bytes", len(to))
	}
	copy(to, b)
	return nil
}
