package provenance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/policy"
)

// DefaultMaxAge is how old a statement may be whose key says nothing else: a release that was not imported in a month is built again.
const DefaultMaxAge = 30 * 24 * time.Hour

// Limits of a configuration.
const (
	// MaxKeys bounds the keys, each of which is tried on each signature.
	MaxKeys = 64
	// minRSA and maxRSA are sizes of moduli in bits: below is too weak, and above costs more than anybody needs.
	minRSA, maxRSA = 2048, 8192
)

// Key is a public key and what it may say. A key states provenance when Sets is not empty, and signs images when Images is not; one of both must be so.
type Key struct {
	ID     string           // the operator's name for it, which records show
	Public crypto.PublicKey // as ParseKey returns it

	Sets       []string // the sets of reference values for which it may speak
	Builders   []string // SLSA builder.id, exactly; needed with Sets
	Repository string   // URI of the source without "git+" and ref, exactly; needed with Sets
	Refs       []string // "refs/heads/main", exactly, or all that begin with what is before a last "*"; needed with Sets
	Workflows  []string // paths, exactly; empty: any in the repository

	Images []string // docker references that it may sign, exactly as cosign writes them, without tag. Their digests are values of ImageSets
	// ImageSets are the sets that images' digests may be put into; needed with Images.
	ImageSets []string

	NotBefore, NotAfter time.Time     // when it may sign; zero: always. Of images, which have no time, that is when they are imported
	MaxAge              time.Duration // of a statement; 0: DefaultMaxAge
}

// Config is the keys of one namespace. The zero Config believes nobody.
type Config struct{ Keys []Key }

// Check reports what is wrong with a configuration, or nil.
func (c Config) Check() error {
	if len(c.Keys) > MaxKeys {
		return fmt.Errorf("%d provenance keys, more than %d", len(c.Keys), MaxKeys)
	}
	seen := map[string]bool{}
	for i, k := range c.Keys {
		if k.ID == "" || len(k.ID) > 64 {
			return fmt.Errorf("provenance key %d needs an id of 1 to 64 bytes", i+1)
		}
		if seen[k.ID] {
			return fmt.Errorf("there are two provenance keys %q", k.ID)
		}
		seen[k.ID] = true
		if err := k.check(); err != nil {
			return fmt.Errorf("provenance key %q: %w", k.ID, err)
		}
	}
	return nil
}

func (k *Key) check() error {
	if err := usable(k.Public); err != nil {
		return err
	}
	for _, name := range append(slices.Clone(k.Sets), k.ImageSets...) {
		if err := policy.CheckName(name); err != nil {
			return fmt.Errorf("set %.64q: %w", name, err)
		}
	}
	for _, list := range [][]string{k.Builders, k.Refs, k.Workflows, k.Images} {
		for _, text := range list {
			if text == "" || text == "*" {
				return fmt.Errorf("%q would let anything pass: name what may", text)
			}
		}
	}
	switch {
	case len(k.Sets) == 0 && len(k.Images) == 0:
		return errors.New("it may say nothing: name the sets it speaks for, or the images it signs")
	case len(k.Sets) > 0 && (len(k.Builders) == 0 || k.Repository == "" || len(k.Refs) == 0):
		return errors.New("to speak for sets it needs builders, a repository and refs")
	case len(k.Sets) == 0 && (len(k.Builders) > 0 || k.Repository != "" || len(k.Refs) > 0 || len(k.Workflows) > 0):
		return errors.New("builders, repository, refs and workflows bind what it says of sets, and it names none")
	case (len(k.Images) == 0) != (len(k.ImageSets) == 0):
		return errors.New("images and image sets need each other")
	case strings.HasPrefix(k.Repository, "git+") || strings.Contains(k.Repository, "@"):
		return fmt.Errorf("write the repository %q without git+ and without a ref", k.Repository)
	case k.MaxAge < 0:
		return errors.New("its greatest age is negative")
	case !k.NotAfter.IsZero() && !k.NotBefore.Before(k.NotAfter):
		return errors.New("it ends before it begins")
	}
	return nil
}

// ParseKey reads one public key in PEM, as "cosign public-key" and "openssl pkey -pubout" write it: ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits.
func ParseKey(text []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("not one public key in PEM (BEGIN PUBLIC KEY)")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("not a public key: %w", err)
	}
	return key, usable(key)
}

func usable(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return nil
		}
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize {
			return nil
		}
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n >= minRSA && n <= maxRSA && k.E >= 3 {
			return nil
		}
	}
	return errors.New("the key is none of ECDSA P-256 or P-384, Ed25519, RSA of 2048 to 8192 bits")
}

// signed reports whether the key made a signature over message. cosign hashes with SHA-256 whatever the key; newer versions of it hash for P-384 with
// SHA-384. RSA is PKCS #1 v1.5 by default, and PSS where a key management service signs.
func signed(key crypto.PublicKey, message, signature []byte) bool {
	short := sha256.Sum256(message)
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(k, short[:], signature) {
			return true
		}
		long := sha512.Sum384(message)
		return k.Curve == elliptic.P384() && ecdsa.VerifyASN1(k, long[:], signature)
	case ed25519.PublicKey:
		return ed25519.Verify(k, message, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, short[:], signature) == nil ||
			rsa.VerifyPSS(k, crypto.SHA256, short[:], signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	return false
}

// validAt reports why the key may not have signed at a time.
func (k *Key) validAt(at time.Time) *Refusal {
	if at.Before(k.NotBefore) || !k.NotAfter.IsZero() && !at.Before(k.NotAfter) {
		return refuse(ReasonValidity, "the key %q was not valid at %s", k.ID, at.Format(time.RFC3339))
	}
	return nil
}

// allowsRef reports whether a list names a ref, exactly or by what it begins with.
func allowsRef(list []string, ref string) bool {
	return slices.ContainsFunc(list, func(want string) bool {
		if prefix, ok := strings.CutSuffix(want, "*"); ok {
			return strings.HasPrefix(ref, prefix)
		}
		return ref == want
	})
}
