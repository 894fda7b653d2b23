// Package jwks fetches the key sets (RFC 7517) of other verifiers, whose tokens are evidence of kind token:
//
//	jwks/{verifier}  GET the verifier's URL; or, of an issuer with OpenID discovery, GET ISSUER/.well-known/openid-configuration and then its jwks_uri
//
// A key set is signed by nobody: what vouches for it is TLS to the host that the operator named. Therefore jwks_uri must be on the issuer's host, or on one
// that the operator allows, and the document must be of that issuer. Verifiers are those of the configuration; no other name is ever fetched or kept.
//
// A set is kept when it has 1 to 64 keys, each valid, public and asymmetric. A key in it that is not understood, of an algorithm that nobody here
// uses, is passed over, as RFC 7517, section 5, says.
package jwks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// Limits of answers.
const (
	maxSet       = 256 << 10 // bytes
	maxDiscovery = 64 << 10  // bytes
	maxKeys      = 64
)

// Verifier is whose keys are fetched, from one of two places.
type Verifier struct {
	Name   string   // of the item jwks/NAME
	URL    string   // of the key set
	Issuer string   // whose discovery document names the key set, instead of URL
	Hosts  []string // on which that may be, besides the issuer's own: HOST or HOST:PORT

	Usable func(set []byte) error // of this verifier, instead of Config.Usable
}

// Config says whose keys are kept.
type Config struct {
	Verifiers []Verifier
	// Usable says whether a set is one that its reader can use, so that one which it cannot never takes the place of one that it can. It is called after the
	// checks of this package. Default: every set is.
	Usable   func(set []byte) error
	Client   *collateral.Client // nil: nothing is fetched
	Interval time.Duration      // default 1 s
}

// New returns the publisher of key sets. All of them are always wanted where they are fetched.
func New(c Config) (collateral.Publisher, error) {
	p := collateral.Publisher{Vendor: collateral.JWKS, Interval: c.Interval, Workers: 2}
	s := &source{client: c.Client, verifiers: map[string]verifier{}}
	for _, v := range c.Verifiers {
		name := "jwks/" + v.Name
		if _, err := collateral.ParseName(name); err != nil {
			return p, err
		}
		if _, twice := s.verifiers[name]; twice {
			return p, fmt.Errorf("jwks: the verifier %s twice", v.Name)
		}
		known, err := v.parse()
		if err != nil {
			return p, fmt.Errorf("jwks: %s: %w", v.Name, err)
		}
		if known.usable = v.Usable; known.usable == nil {
			known.usable = c.Usable
		}
		s.verifiers[name] = known
		if c.Client != nil {
			p.Always = append(p.Always, name)
		}
	}
	p.Check = s.check
	if c.Client != nil {
		p.Source = s
	}
	return p, nil
}

type verifier struct {
	set       *url.URL // nil for discovery
	discovery *url.URL
	issuer    string
	hosts     []string
	usable    func([]byte) error // may be nil
}

func (v *Verifier) parse() (verifier, error) {
	if (v.URL == "") == (v.Issuer == "") {
		return verifier{}, errors.New("either the URL of its key set or its issuer is needed")
	}
	if v.URL != "" {
		u, err := url.Parse(v.URL)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
			return verifier{}, fmt.Errorf("%q is not a URL like https://HOST/PATH", v.URL)
		}
		return verifier{set: u}, nil
	}
	u, err := collateral.Base(v.Issuer)
	if err != nil {
		return verifier{}, err
	}
	return verifier{discovery: u.JoinPath(".well-known", "openid-configuration"), issuer: v.Issuer, hosts: append([]string{u.Host}, v.Hosts...)}, nil
}

type source struct {
	client    *collateral.Client
	verifiers map[string]verifier
}

// Fetch implements collateral.Source.
func (s *source) Fetch(ctx context.Context, name collateral.Name) (*collateral.Fetched, error) {
	v, ok := s.verifiers[name.String()]
	if !ok {
		return nil, collateral.Unsupported("no verifier %s is configured", name.Arg(0))
	}
	at := v.set
	if at == nil {
		var err error
		if at, err = s.discover(ctx, v); err != nil {
			return nil, err
		}
	}
	r, err := s.client.Do(ctx, collateral.Request{URL: at, Limit: maxSet})
	if err != nil {
		return nil, err
	}
	return &collateral.Fetched{Data: r.Body, URL: r.URL}, nil
}

// discover asks an issuer where its key set is (OpenID Connect Discovery 1.0, section 4).
func (s *source) discover(ctx context.Context, v verifier) (*url.URL, error) {
	r, err := s.client.Do(ctx, collateral.Request{URL: v.discovery, Limit: maxDiscovery})
	if err != nil {
		return nil, err
	}
	at, err := v.keySet(r.Body)
	if err != nil {
		return nil, collateral.Invalid(r.URL, "%w", err)
	}
	return at, nil
}

// keySet reads in an issuer's discovery document where its key set is.
func (v *verifier) keySet(document []byte) (*url.URL, error) {
	members, err := strictjson.Object(document)
	if err != nil {
		return nil, fmt.Errorf("the discovery document: %w", err)
	}
	var issuer, text string
	if json.Unmarshal(members["issuer"], &issuer) != nil || issuer != v.issuer {
		return nil, fmt.Errorf("the discovery document is of the issuer %.100q, not %s", issuer, v.issuer)
	}
	if json.Unmarshal(members["jwks_uri"], &text) != nil {
		return nil, errors.New("the discovery document has no jwks_uri")
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.User != nil || !slices.Contains(v.hosts, u.Host) {
		return nil, fmt.Errorf("the key set is at %.200q, not on one of the hosts %v", text, v.hosts)
	}
	return u, nil
}

// check implements collateral.Check.
func (s *source) check(name collateral.Name, e *attest.Endorsement, _ time.Time) (collateral.Validity, error) {
	v, ok := s.verifiers[name.String()]
	if !ok {
		return collateral.Validity{}, fmt.Errorf("jwks: no verifier %s is configured", name.Arg(0))
	}
	if err := Check(e.Data); err != nil {
		return collateral.Validity{}, fmt.Errorf("jwks: %s: %w", name, err)
	}
	if v.usable != nil {
		return collateral.Validity{}, v.usable(e.Data)
	}
	return collateral.Validity{}, nil
}

// Check says whether data is a key set that can be used.
func Check(data []byte) error {
	if len(data) > maxSet {
		return fmt.Errorf("a key set of %d bytes: at most %d are read", len(data), maxSet)
	}
	members, err := strictjson.Object(data)
	if err != nil {
		return err
	}
	var keys []json.RawMessage
	if err := json.Unmarshal(members["keys"], &keys); err != nil || len(keys) == 0 || len(keys) > maxKeys {
		return fmt.Errorf("it has not 1 to %d keys", maxKeys)
	}
	usable := 0
	for i, raw := range keys {
		key, err := strictjson.Object(raw)
		if err != nil {
			return fmt.Errorf("key %d: %w", i, err)
		}
		// A private or shared key that is published is nobody's any more.
		if key["d"] != nil || key["k"] != nil {
			return fmt.Errorf("key %d is not a public key", i)
		}
		var parsed jose.JSONWebKey
		if err := parsed.UnmarshalJSON(raw); err == nil && parsed.Valid() && parsed.IsPublic() {
			usable++
		}
	}
	if usable == 0 {
		return errors.New("none of its keys can be used here")
	}
	return nil
}
