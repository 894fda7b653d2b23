package token

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Format is a kind of token: who makes it, how it is signed, where its claims are and how evidence binds a nonce in it.
type Format string

// The formats.
const (
	EAR               Format = "ear"                       // Confidential Containers' Attestation Service, and brokers like this one
	ConfidentialSpace Format = "google-confidential-space" // Google Cloud Attestation
	AzureAttestation  Format = "azure-attestation"         // Microsoft Azure Attestation
	IntelTrust        Format = "intel-trust-authority"     // Intel Trust Authority
	NVIDIARemote      Format = "nvidia-ras"                // NVIDIA Remote Attestation Service: a device's token, never a machine's
)

// preset is what is fixed for a format.
type preset struct {
	algorithms []algorithm
	audience   bool          // whether its tokens have an audience of our choice, so that one must be configured
	issuer     bool          // whether its tokens always have an issuer
	notBefore  bool          // whether its tokens always have an nbf
	lifetime   time.Duration // the longest life that its issuer gives a token
}

var presets = map[Format]preset{
	EAR:               {algorithms: []algorithm{es256, es384}, lifetime: 24 * time.Hour},
	ConfidentialSpace: {algorithms: []algorithm{rs256}, audience: true, issuer: true, notBefore: true, lifetime: 2 * time.Hour},
	AzureAttestation:  {algorithms: []algorithm{rs256}, issuer: true, notBefore: true, lifetime: 24 * time.Hour},
	IntelTrust:        {algorithms: []algorithm{ps384, rs256}, issuer: true, notBefore: true, lifetime: 24 * time.Hour},
	NVIDIARemote:      {algorithms: []algorithm{es384}, issuer: true, lifetime: 24 * time.Hour},
}

// Formats returns every format, in the order documents print them.
func Formats() []Format {
	return []Format{EAR, ConfidentialSpace, AzureAttestation, IntelTrust, NVIDIARemote}
}

// Defaults and bounds of Trusted.
const (
	// DefaultMaxAge is how old a token may be. It is a result for one challenge, which lives for five minutes.
	DefaultMaxAge = 10 * time.Minute
	// MaxAge bounds Trusted.MaxAge: a token cannot be called back.
	MaxAge = 24 * time.Hour
	// MaxSkew is how far ahead of ours the clock of a token's issuer may be.
	MaxSkew = time.Minute
	// DefaultKeySetAge is for how long after it was fetched a key set is known to be its issuer's.
	DefaultKeySetAge = 24 * time.Hour
	// MaxKeySetAge bounds KeySetAge and KeySetGrace.
	MaxKeySetAge = 90 * 24 * time.Hour
)

// maxVerifiers bounds how many keys and chains one token of nobody's can be held against.
const maxVerifiers = 16

// confidentialSpaceSTS is the audience of the token that every Confidential Space workload has on its disk, made for Google's token service.
const confidentialSpaceSTS = "https://sts.googleapis.com"

// Trusted is another verifier whose tokens count. Its signing keys come from exactly one of Keys, Roots and Config.Endorsements.
type Trusted struct {
	// Name is how policies and the key set's endorsement, jwks/NAME, call it: lower-case letters, digits and hyphens, 1 to 63 of them.
	Name   string
	Format Format

	// Issuer is exactly what "iss" must be. It is empty for tokens without one, as Confidential Containers' Attestation Service
	// issues them: then a token that has one is refused.
	Issuer string

	// Audiences are those of which "aud" must name one. Confidential Space needs one that stands for this broker and nobody else. For the other formats it may be
	// empty: then a token that has an audience is refused, since it was made for someone.
	Audiences []string

	// Keys is a JWK Set that never changes, for verifiers whose key the operator pins.
	Keys []byte

	// Roots are PEM certificates of authorities that certify signers of this verifier's tokens and nothing else: whatever
	// certificate for signatures they issue is believed. The chain comes with the token. For EAR and ConfidentialSpace.
	Roots []byte

	// MaxAge is how long after "iat" a token counts, if its own "exp" is not earlier. 10 minutes when zero.
	MaxAge time.Duration

	// Passport accepts the verifier's tokens without a nonce of this broker, in the place of evidence: see [Verifier.Passport]. For EAR only.
	Passport bool
}

// Config says whose tokens count.
type Config struct {
	Verifiers []Trusted

	// Endorsements is where key sets are found. It may be nil when every verifier has Keys or Roots. One that implements [Refresher] is told when a
	// token names a key that is not in a set.
	Endorsements attest.Endorsements

	// KeySetAge is for how long a fetched key set is current, 24 hours when zero. A set that nobody fetched, such as a file, is as current as the
	// operator keeps it.
	KeySetAge time.Duration

	// KeySetGrace is for how much longer it still counts while its publisher cannot be reached; the claim collateral.stale is true then. None when zero.
	KeySetGrace time.Duration
}

// Refresher is what an [attest.Endorsements] implements that fetches. Refresh asks for an item to be fetched again soon, since what is there seems to be old, and never
// waits. It reports whether a fetch was started or is under way, so that asking again shortly makes sense. How often
// anything is fetched is for the implementation to bound, whoever asks how often: strangers can make a verifier ask.
type Refresher interface {
	Refresh(name string) bool
}

// New returns a Verifier. It refuses what is incomplete or ambiguous: a name or issuer twice, a verifier without keys or with keys from two places, and
// settings that a format has no use for.
func New(cfg Config) (*Verifier, error) {
	v := &Verifier{endorsements: cfg.Endorsements, keySetAge: cfg.KeySetAge, keySetGrace: cfg.KeySetGrace}
	if len(cfg.Verifiers) == 0 || len(cfg.Verifiers) > maxVerifiers {
		return nil, fmt.Errorf("token: %d verifiers: 1 to %d are possible", len(cfg.Verifiers), maxVerifiers)
	}
	if v.keySetAge == 0 {
		v.keySetAge = DefaultKeySetAge
	}
	if v.keySetAge < 0 || v.keySetAge > MaxKeySetAge || v.keySetGrace < 0 || v.keySetGrace > MaxKeySetAge {
		return nil, fmt.Errorf("token: the age of a key set and its grace are each up to %v", MaxKeySetAge)
	}
	for i := range cfg.Verifiers {
		t, err := newIssuer(cfg.Verifiers[i])
		if err != nil {
			return nil, fmt.Errorf("token: verifier %q: %w", cfg.Verifiers[i].Name, err)
		}
		if t.keys == nil && t.roots == nil && cfg.Endorsements == nil {
			return nil, fmt.Errorf("token: verifier %q has neither keys nor roots, and there is nowhere to find its key set", t.Name)
		}
		for _, other := range v.issuers {
			if other.Name == t.Name {
				return nil, fmt.Errorf("token: two verifiers have the name %q", t.Name)
			}
			// Tokens without an issuer are told apart by whose key signed them.
			if other.Issuer == t.Issuer && t.Issuer != "" {
				return nil, fmt.Errorf("token: verifiers %q and %q have the same issuer: give one of them all the audiences", other.Name, t.Name)
			}
		}
		v.issuers = append(v.issuers, t)
	}
	return v, nil
}

func newIssuer(t Trusted) (*issuer, error) {
	p, known := presets[t.Format]
	if !known {
		return nil, fmt.Errorf("the format is %q, not one of %v", t.Format, Formats())
	}
	if !validName(t.Name) {
		return nil, errors.New("a name is 1 to 63 lower-case letters, digits and hyphens")
	}
	if t.Issuer == "" && p.issuer || t.Issuer != "" && (strings.TrimSpace(t.Issuer) != t.Issuer || len(t.Issuer) > maxName) {
		return nil, fmt.Errorf("the issuer is empty, over %d bytes or has white space around it", maxName)
	}
	if p.audience && len(t.Audiences) == 0 {
		return nil, fmt.Errorf("tokens of the format %q have an audience: configure the one that stands for this broker", t.Format)
	}
	for _, audience := range t.Audiences {
		switch {
		case audience == "" || len(audience) > maxName:
			return nil, fmt.Errorf("an audience is empty or over %d bytes", maxName)
		case audience == confidentialSpaceSTS && t.Format == ConfidentialSpace:
			return nil, fmt.Errorf("the audience %q is that of tokens made for Google's token service: workloads must ask for tokens with one of your own", audience)
		}
	}
	if t.MaxAge == 0 {
		t.MaxAge = DefaultMaxAge
	}
	if t.MaxAge < time.Second || t.MaxAge > MaxAge {
		return nil, fmt.Errorf("a token's age of %v: one second to %v are possible", t.MaxAge, MaxAge)
	}
	if t.Passport && t.Format != EAR {
		return nil, fmt.Errorf("only tokens of the format %q have the recipient key that a passport needs", EAR)
	}
	out := &issuer{Trusted: t, preset: p, keySet: "jwks/" + t.Name}
	out.Audiences = slices.Clone(t.Audiences)
	out.Keys, out.Roots = nil, nil
	if t.Keys != nil && t.Roots != nil {
		return nil, errors.New("both keys and roots: which of them vouches would be an accident")
	}
	var err error
	switch {
	case t.Keys != nil:
		if out.keys, err = parseKeySet(t.Keys); err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
	case t.Roots != nil:
		if t.Format != EAR && t.Format != ConfidentialSpace {
			return nil, fmt.Errorf("tokens of the format %q bring no certificates: configure a key set", t.Format)
		}
		if out.roots, err = parseRoots(t.Roots); err != nil {
			return nil, fmt.Errorf("roots: %w", err)
		}
	}
	return out, nil
}

// maxName bounds issuers and audiences, in bytes.
const maxName = 2048

func validName(name string) bool {
	return name != "" && len(name) <= 63 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
