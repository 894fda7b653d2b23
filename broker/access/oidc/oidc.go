package oidc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/access"
)

// Limits and defaults.
const (
	// MaxToken bounds a token in bytes: those of large directories name some hundred groups.
	MaxToken = 16 << 10
	// Leeway is by how much an issuer's clock may differ from this one.
	Leeway = 30 * time.Second
	// DefaultMaxAge is what identity providers' tokens live for.
	DefaultMaxAge = time.Hour
	// MaxMaxAge is a day: who holds a token for longer wants one of this broker's, which can be revoked.
	MaxMaxAge = 24 * time.Hour
	// DefaultKeySetAge is for how long a key set that was fetched counts without being fetched again.
	DefaultKeySetAge = 24 * time.Hour

	maxIssuers = 32
	maxRules   = 256
	maxClaims  = 16
)

// Issuer is whose tokens count.
type Issuer struct {
	Name       string   // what its subjects begin with: 1 to 50 lower-case letters, digits and hyphens
	Issuer     string   // "iss"
	Audiences  []string // one of which "aud" must hold: one that stands for this broker and nothing else
	Algorithms []string // default ES256, RS256 and EdDSA
	Keys       []byte   // a JWK Set that never changes; without it the set is the endorsement KeySet(Name)
	Untyped    bool     // take tokens whose header has no typ, too, as Kubernetes' have none
	Subject    string   // the claim that is the subject; default "sub"
	MaxAge     time.Duration
	Rules      []Rule
}

// Rule says what whoever has some claims may do.
type Rule struct {
	Claims map[string]string // all of which a token must have; at least one
	access.Grant
}

// Config says whose tokens count.
type Config struct {
	Issuers      []Issuer
	Endorsements attest.Endorsements // where key sets are found; may be nil when every issuer has Keys
	KeySetAge    time.Duration       // default DefaultKeySetAge
}

// KeySet is the name of the endorsement that is an issuer's key set.
func KeySet(issuer string) string { return "jwks/" + KeySetOf(issuer) }

// KeySetOf is an issuer's name among those whose key sets are fetched. Verifiers of evidence have others.
func KeySetOf(issuer string) string { return "caller-" + issuer }

// Verifier authenticates callers. It is safe for concurrent use.
type Verifier struct {
	issuers map[string]*issuer // by "iss"
}

// Refused is why a token does not count, for the operator's log. It is [access.ErrUnauthenticated]: the caller learns no more than that.
type Refused struct{ Reason string }

func (r *Refused) Error() string { return "oidc: the token is refused: " + r.Reason }

// Unwrap returns access.ErrUnauthenticated.
func (r *Refused) Unwrap() error { return access.ErrUnauthenticated }

func refuse(format string, args ...any) error { return &Refused{fmt.Sprintf(format, args...)} }

type issuer struct {
	Issuer
	algorithms []jose.SignatureAlgorithm
	keys       keySource
}

// New returns a Verifier, or what is wrong with the configuration.
func New(c Config) (*Verifier, error) {
	if len(c.Issuers) == 0 || len(c.Issuers) > maxIssuers {
		return nil, fmt.Errorf("oidc: %d issuers: 1 to %d are possible", len(c.Issuers), maxIssuers)
	}
	if c.KeySetAge < 0 {
		return nil, errors.New("oidc: the age of key sets is negative")
	}
	if c.KeySetAge == 0 {
		c.KeySetAge = DefaultKeySetAge
	}
	v := &Verifier{issuers: map[string]*issuer{}}
	names := map[string]bool{}
	for i := range c.Issuers {
		made, err := c.issuer(c.Issuers[i])
		if err != nil {
			return nil, fmt.Errorf("oidc: issuer %.80q: %w", c.Issuers[i].Name, err)
		}
		if names[made.Name] || v.issuers[made.Issuer.Issuer] != nil {
			return nil, fmt.Errorf("oidc: the issuer %q, or its name %q, is there twice", made.Issuer.Issuer, made.Name)
		}
		names[made.Name], v.issuers[made.Issuer.Issuer] = true, made
	}
	return v, nil
}

func (c *Config) issuer(i Issuer) (*issuer, error) {
	switch {
	case i.Name == "" || len(i.Name) > 50 || strings.Trim(i.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return nil, errors.New("a name is 1 to 50 lower-case letters, digits and hyphens")
	case i.Issuer == "" || len(i.Issuer) > 1024:
		return nil, errors.New("the issuer, as \"iss\" has it, is missing or over 1024 bytes")
	case len(i.Audiences) == 0 || slices.Contains(i.Audiences, ""):
		return nil, errors.New("audiences are missing, or one is empty: name one that stands for this broker, or tokens made for others would count")
	case len(i.Rules) == 0 || len(i.Rules) > maxRules:
		return nil, fmt.Errorf("%d rules: 1 to %d are possible", len(i.Rules), maxRules)
	case i.Keys == nil && c.Endorsements == nil:
		return nil, errors.New("it has no keys, and there is nowhere to find its key set")
	}
	if i.Subject == "" {
		i.Subject = "sub"
	}
	if i.MaxAge == 0 {
		i.MaxAge = DefaultMaxAge
	}
	if i.MaxAge < time.Minute || i.MaxAge > MaxMaxAge {
		return nil, fmt.Errorf("a maximum age of %v: 1m to %v are possible", i.MaxAge, MaxMaxAge)
	}
	made := &issuer{Issuer: i, keys: keySource{name: KeySet(i.Name), endorsements: c.Endorsements, age: c.KeySetAge}}
	var err error
	if made.algorithms, err = algorithmsOf(i.Algorithms); err != nil {
		return nil, err
	}
	if i.Keys != nil {
		if made.keys.pinned, err = parseKeySet(i.Keys); err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
	}
	for n := range i.Rules {
		rule := &i.Rules[n]
		if len(rule.Claims) == 0 || len(rule.Claims) > maxClaims {
			return nil, fmt.Errorf("rule %d: it names %d claims, not 1 to %d: without one, everyone whom the issuer knows would hold its roles", n+1, len(rule.Claims), maxClaims)
		}
		for claim, value := range rule.Claims {
			if claim == "" || value == "" {
				return nil, fmt.Errorf("rule %d: a claim without a name or a value", n+1)
			}
		}
		if err := rule.Check(); err != nil {
			return nil, fmt.Errorf("rule %d: %w", n+1, err)
		}
	}
	return made, nil
}

// Authenticate returns the caller whose token it is. The error is a *[Refused] when the token does not count, and another one when the issuer's keys are not at
// hand.
func (v *Verifier) Authenticate(ctx context.Context, token string, now time.Time) (access.Caller, error) {
	parsed, err := parse(token)
	if err != nil {
		return access.Caller{}, err
	}
	from := v.issuers[parsed.claims.Issuer]
	if from == nil {
		return access.Caller{}, refuse("nobody here trusts its issuer %.200q", parsed.claims.Issuer)
	}
	if err := from.verify(ctx, parsed, token, now); err != nil {
		return access.Caller{}, err
	}
	if err := from.times(&parsed.claims, now); err != nil {
		return access.Caller{}, err
	}
	if !slices.ContainsFunc(from.Audiences, func(a string) bool { return slices.Contains(parsed.claims.Audience, a) }) {
		return access.Caller{}, refuse("its audience is %.200q, and not this broker", parsed.claims.Audience)
	}
	subject, err := from.subject(parsed.members)
	if err != nil {
		return access.Caller{}, err
	}
	sum := sha256.Sum256([]byte(token))
	who := access.Caller{
		Token: "oidc:" + from.Name + ":" + hex.EncodeToString(sum[:8]), Name: short(subject), Subject: subject, Via: access.ViaOIDC,
	}
	var grants []access.Grant
	for i := range from.Rules {
		if from.Rules[i].matches(parsed.members) {
			grants = append(grants, from.Rules[i].Grant)
		}
	}
	joined := access.Join(grants)
	who.Roles, who.Namespace, who.Scope = joined.Roles, joined.Namespace, joined.Scope
	return who, nil
}

// times holds a token's times to the clock.
func (i *issuer) times(c *claims, now time.Time) error {
	switch {
	case !now.Before(c.Expires.Add(Leeway)):
		return refuse("it expired at %v", c.Expires)
	case c.Issued.After(now.Add(Leeway)):
		return refuse("it was issued at %v, which is to come", c.Issued)
	case now.Sub(c.Issued) > i.MaxAge+Leeway:
		return refuse("it was issued at %v, and counts for %v only", c.Issued, i.MaxAge)
	case c.NotBefore.After(now.Add(Leeway)):
		return refuse("it does not count before %v", c.NotBefore)
	}
	return nil
}

// short cuts a subject to the length of a name.
func short(subject string) string {
	if len(subject) <= access.MaxName {
		return subject
	}
	const dots = "…"
	return strings.ToValidUTF8(subject[:access.MaxName-len(dots)], "") + dots
}
