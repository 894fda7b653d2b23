package cca

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
)

// defaultCacheSize is how many platform tokens are remembered when Config does not say. One takes about 1 KiB.
const defaultCacheSize = 4096

// maxCacheSize bounds Config.CacheSize.
const maxCacheSize = 1 << 20

// Config says what a Verifier relies on.
type Config struct {
	// TrustAnchors are the keys of platforms. At least one is required: [ParseTrustAnchors] reads them from a file.
	TrustAnchors []TrustAnchor

	// ReferenceValues are the good states of platforms' firmware. When there are any, a platform in another state has
	// the tcb_status out-of-date; when there are none, every one has not-published. [ParseReferenceValues] reads them
	// from a file.
	ReferenceValues []ReferenceValue

	// CacheSize is how many verified platform tokens are kept, 4096 when zero.
	CacheSize int
}

// Verifier appraises evidence of kind cca.
type Verifier struct {
	anchors    map[[instanceSize]byte]*TrustAnchor
	references []ReferenceValue
	platforms  *verified.Cache[struct{}] // platform tokens whose signature was verified
}

// New returns a Verifier. No trust anchor, one that has no key or is there twice, and a cache size out of range are errors.
func New(cfg Config) (*Verifier, error) {
	anchors, err := index(cfg.TrustAnchors)
	if err != nil {
		return nil, err
	}
	for i, v := range cfg.ReferenceValues {
		if len(v.Components) == 0 || len(v.Config) == 0 {
			return nil, fmt.Errorf("cca: reference value %d has no configuration or no components", i)
		}
		for _, c := range v.Components {
			if !digestSize(len(c.Measurement)) || !digestSize(len(c.Signer)) {
				return nil, fmt.Errorf("cca: reference value %d has a component without a measurement or signer", i)
			}
		}
	}
	size := cfg.CacheSize
	if size == 0 {
		size = defaultCacheSize
	}
	if size < 0 || size > maxCacheSize {
		return nil, fmt.Errorf("cca: a cache of %d tokens: 1 to %d are possible", size, maxCacheSize)
	}
	return &Verifier{anchors: anchors, references: cfg.ReferenceValues, platforms: verified.NewCache[struct{}](size)}, nil
}

// Kind returns attest.CCA.
func (v *Verifier) Kind() attest.Kind { return attest.CCA }

// Verify appraises a token in any form that [Parse] reads, as the package documentation describes. It implements
// attest.Verifier.
func (v *Verifier) Verify(ctx context.Context, in attest.Input) (*attest.Claims, error) {
	t, err := Parse(in.Evidence)
	if err != nil {
		return nil, err
	}
	// What costs nothing comes first: stale and stolen evidence never gets as far as the public-key operations.
	if err := in.Binding.Padded(t.Realm.Challenge[:]); err != nil {
		return nil, err
	}
	keyDigest := t.Realm.keyDigest()
	if subtle.ConstantTimeCompare(keyDigest, t.Platform.Challenge) != 1 {
		return nil, attest.Refuse(attest.CodeKeyNotReported, "the platform token is about another key than that of the realm token")
	}
	anchor := v.anchors[t.Platform.InstanceID]
	if anchor == nil {
		return nil, attest.Refuse(attest.CodeKeyNotEnrolled,
			"no trust anchor of the platform %x is configured: its maker has its key", t.Platform.InstanceID)
	}
	if anchor.ImplementationID != t.Platform.ImplementationID {
		return nil, attest.Refuse(attest.CodeCertMismatch,
			"the platform %x says that it is of the implementation %x, and its trust anchor is for %x",
			t.Platform.InstanceID, t.Platform.ImplementationID, anchor.ImplementationID)
	}
	if err := ctx.Err(); err != nil {
		return nil, &attest.Unavailable{What: "time for the appraisal", Err: err}
	}
	// The anchor follows from the token, so the token alone is the key.
	key := verified.KeyOf(t.platformRaw)
	if _, known := v.platforms.Get(key); !known {
		if err := verify(t.platform, anchor.Key, "platform"); err != nil {
			return nil, err
		}
		v.platforms.Put(key, struct{}{})
	}
	if err := verify(t.realm, t.Realm.Key, "realm"); err != nil {
		return nil, err
	}
	claims := t.claims(keyDigest)
	claims.Bound = attest.Ptr(in.Binding.IsBound())
	claims.TCBStatus = v.tcbStatus(&t.Platform)
	fresh := attest.Freshness{At: in.Time}
	claims.Collateral = fresh.Claims("local", false)
	bindInitData(claims, t.Realm.Personalization, in.Init)
	return claims, nil
}

func (v *Verifier) tcbStatus(p *Platform) string {
	if len(v.references) == 0 {
		return attest.TCBNotPublished
	}
	for i := range v.references {
		if v.references[i].matches(p) {
			return attest.TCBUpToDate
		}
	}
	return attest.TCBOutOfDate
}

// claims returns what a verified token says. What depends on the appraisal is left for the caller.
func (t *Token) claims(keyDigest []byte) *attest.Claims {
	p, r := &t.Platform, &t.Realm
	c := &attest.CCAClaims{
		PlatformProfile:     p.Profile,
		ImplementationID:    hex.EncodeToString(p.ImplementationID[:]),
		InstanceID:          hex.EncodeToString(p.InstanceID[:]),
		Config:              hex.EncodeToString(p.Config),
		Lifecycle:           p.Lifecycle,
		LifecycleState:      lifecycles[p.Lifecycle>>12],
		VerificationService: p.Service,
		PlatformHash:        p.Hash,
		RealmProfile:        r.Profile,
		RealmHash:           r.Hash,
		RealmKey:            hex.EncodeToString(keyDigest),
	}
	for _, s := range p.Components {
		c.Components = append(c.Components, attest.CCAComponent{
			Type: s.Type, Version: s.Version, Hash: s.Hash,
			Measurement: hex.EncodeToString(s.Measurement), Signer: hex.EncodeToString(s.Signer),
		})
	}
	for _, m := range r.ExtensibleMeasurements {
		c.ExtensibleMeasurements = append(c.ExtensibleMeasurements, hex.EncodeToString(m))
	}
	return &attest.Claims{
		Kind:         attest.CCA,
		HardwareRoot: attest.RootCCA,
		Measurement:  hex.EncodeToString(r.InitialMeasurement),
		ReportData:   hex.EncodeToString(r.Challenge[:]),
		InitData:     hex.EncodeToString(r.Personalization[:]),
		Debug:        attest.Ptr(p.debug()),
		CCA:          c,
	}
}

// bindInitData fills in the claims about the init-data document that was presented, nil when none was. One that is not
// carried is not a refusal here; the policy baseline judges it.
func bindInitData(claims *attest.Claims, field [personalizationSize]byte, init *attest.InitData) {
	if init == nil {
		return
	}
	want, err := Personalization(init)
	bound := err == nil && bytes.Equal(want[:], field[:])
	claims.InitDataBound = attest.Ptr(bound)
	if bound {
		claims.InitDataClaims = init.Data
	}
}

// Personalization returns the personalisation value that carries init: its digest, filled with zeros to 64 bytes. A
// digest that is not as long as its algorithm makes it is an error; an empty one would otherwise be carried by every
// realm that has no init-data.
func Personalization(init *attest.InitData) (field [personalizationSize]byte, err error) {
	size := map[string]int{"sha256": 32, "sha384": 48, "sha512": 64}[init.Algorithm]
	if size == 0 || len(init.Digest) != size {
		return field, errors.New("cca: init-data with a digest that is not of its algorithm")
	}
	copy(field[:], init.Digest)
	return field, nil
}
