package token

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/jsonscan"
)

// Verifier appraises tokens of the configured verifiers: evidence of kind token, by [Verifier.Device] that of devices, and by [Verifier.Passport]
// tokens that nothing of this broker's is in.
type Verifier struct {
	issuers      []*issuer
	endorsements attest.Endorsements
	keySetAge    time.Duration
	keySetGrace  time.Duration
}

// issuer is a configured verifier, ready for use.
type issuer struct {
	Trusted
	preset preset
	keySet string // name of the endorsement that is its key set
	keys   keySet // configured; nil otherwise
	roots  *roots // configured; nil otherwise

	fetched atomic.Pointer[parsedSet] // the key set that was last parsed
	header  atomic.Pointer[header]    // of the token that its key last verified
}

// keep keeps the header of a token that the issuer's key verified, since the next one mostly has the same: it says no more than which key signed, and
// with a certificate chain is longer than the rest.
func (is *issuer) keep(t *jws) {
	if t.header.encoded == nil {
		encoded, _, _ := bytes.Cut(t.input, []byte{'.'})
		t.header.encoded = bytes.Clone(encoded)
		is.header.Store(t.header)
	}
}

// knownHeader returns the header that was last kept of an issuer, where it was read from encoded.
func (v *Verifier) knownHeader(encoded []byte) *header {
	for _, is := range v.issuers {
		if h := is.header.Load(); h != nil && bytes.Equal(h.encoded, encoded) {
			return h
		}
	}
	return nil
}

// parsedSet is a key set with the digest of what it was parsed from.
type parsedSet struct {
	digest [32]byte
	keys   keySet
}

// Kind returns attest.Token.
func (v *Verifier) Kind() attest.Kind { return attest.Token }

// maxRuntime bounds the data that a report carries the hash of, in bytes. It is a digest.
const maxRuntime = 64

// parseEvidence reads what a workload presents: the token, and what a format's binding needs besides.
func parseEvidence(data []byte) (token, runtime []byte, err error) {
	if len(data) > MaxEvidence {
		return nil, nil, attest.Refuse(attest.CodeTooLarge, "%d bytes: at most %d are read", len(data), MaxEvidence)
	}
	if len(data) == 0 || data[0] != '{' {
		return data, nil, nil
	}
	s := jsonscan.New(data)
	var haveToken, haveRuntime bool
	s.Object(func(name []byte) {
		switch string(name) {
		case "token":
			s.Once(&haveToken, name)
			token = s.String()
		case "runtime_data":
			s.Once(&haveRuntime, name)
			if !s.Null() {
				runtime = s.Base64(base64.StdEncoding, MaxEvidence)
			}
		default:
			s.Fail("member %.80q, which is not known,", name)
		}
	})
	s.End()
	if err := s.Err(); err != nil {
		return nil, nil, err
	}
	if len(runtime) > maxRuntime {
		return nil, nil, attest.Refuse(attest.CodeTooLarge, "runtime_data has %d bytes: at most %d are read", len(runtime), maxRuntime)
	}
	return token, runtime, nil
}

// Verify appraises one token, as the package documentation describes. It implements attest.Verifier.
func (v *Verifier) Verify(ctx context.Context, in attest.Input) (*attest.Claims, error) {
	compact, runtime, err := parseEvidence(in.Evidence)
	if err != nil {
		return nil, err
	}
	if in.Init != nil {
		return nil, attest.Refuse(attest.CodeInitData,
			"an init-data document cannot be held against a token: present it to the verifier whose token it is")
	}
	s, err := v.authenticate(ctx, compact, in.Time)
	if err != nil {
		return nil, err
	}
	if s.issuer.Format == NVIDIARemote {
		return nil, attest.Refuse(attest.CodeKindNotPrimary, "the token of %q is about devices: it accompanies the evidence of a machine", s.issuer.Name)
	}
	if runtime != nil && s.issuer.Format != AzureAttestation {
		return nil, attest.Refuse(attest.CodeMalformed, "runtime_data beside a token of the format %q, which has no use for it", s.issuer.Format)
	}
	claims, err := s.appraise()
	if err != nil {
		return nil, err
	}
	if err := s.bind(in.Binding, claims, runtime); err != nil {
		return nil, err
	}
	claims.Bound = attest.Ptr(in.Binding.IsBound())
	return claims, nil
}

// signed is a token that a configured verifier signed, for us, not too long ago.
type signed struct {
	issuer  *issuer
	key     *key
	payload object
	at      time.Time
	issued  time.Time
	expires time.Time // as it says
	claims  *attest.Claims
}

// authenticate verifies a token but for its binding, and begins its claims. Who issued it is decided by whose key verifies it; what it says of its issuer only
// selects the keys that are tried.
func (v *Verifier) authenticate(ctx context.Context, compact []byte, at time.Time) (*signed, error) {
	t, err := parseJWS(compact, v.knownHeader)
	if err != nil {
		return nil, err
	}
	says := t.payload.text("iss")
	if err := t.payload.err(); err != nil {
		return nil, err
	}
	// The first failure is reported, but what may pass takes precedence: then somebody can judge the token, if not now.
	var refusal, unavailable error
	for _, is := range v.issuers {
		if is.Issuer != says {
			continue
		}
		s, err := v.signedBy(ctx, is, t, at)
		var missing *attest.Unavailable
		switch {
		case err == nil:
			is.keep(t)
			return s, s.begin()
		case errors.As(err, &missing):
			if unavailable == nil {
				unavailable = err
			}
		case refusal == nil:
			refusal = err
		}
	}
	switch {
	case unavailable != nil:
		return nil, unavailable
	case refusal != nil:
		return nil, refusal
	}
	return nil, attest.Refuse(attest.CodeIssuer, "no verifier is configured whose tokens have the issuer %.200q", says)
}

// signedBy verifies that a token was signed by a key of a verifier.
func (v *Verifier) signedBy(ctx context.Context, is *issuer, t *jws, at time.Time) (*signed, error) {
	if err := ctx.Err(); err != nil {
		return nil, &attest.Unavailable{What: "time for the appraisal", Err: err}
	}
	n := slices.IndexFunc(is.preset.algorithms, func(a algorithm) bool { return a.name == t.header.alg })
	if n < 0 {
		return nil, attest.Refuse(attest.CodeAlgorithm, "the token is signed by %.40q, and tokens of %q by one of %s", t.header.alg, is.Name, is.preset.names())
	}
	algorithm := &is.preset.algorithms[n]
	fresh := attest.Freshness{At: at, Grace: v.keySetGrace}
	k, source, err := v.keyOf(ctx, is, t.header, &fresh)
	if err != nil {
		return nil, err
	}
	if k.alg != "" && k.alg != algorithm.name || !algorithm.suits(k.public) {
		return nil, attest.Refuse(attest.CodeAlgorithm, "the token is signed by %s, which is not what the key of %q is for", algorithm.name, is.Name)
	}
	if !algorithm.verify(k.public, t.input, t.signature) {
		return nil, attest.Refuse(attest.CodeSignature, "the signature is not of the key of %q that the token names", is.Name)
	}
	s := &signed{issuer: is, key: k, payload: t.payload, at: at}
	collateral := fresh.Claims(source, false)
	s.claims = &attest.Claims{Kind: attest.Token, HardwareRoot: attest.RootVerifier, Collateral: collateral}
	return s, nil
}

// keyOf finds the key that a header names among those of a verifier, and where it came from.
func (v *Verifier) keyOf(ctx context.Context, is *issuer, h *header, fresh *attest.Freshness) (*key, string, error) {
	if is.roots != nil {
		if len(h.chain) == 0 {
			return nil, "", attest.Refuse(attest.CodeCertMissing, "the token brings no certificate, by which %q is known", is.Name)
		}
		chain, err := is.roots.verify(h, fresh.At)
		if err != nil {
			return nil, "", err
		}
		fresh.Certificate(chain.until)
		return &chain.key, "evidence", nil
	}
	if _, err := decodeChain(h.chain); err != nil { // nobody asks for it, and what is malformed is refused all the same
		return nil, "", err
	}
	keys := is.keys
	if keys == nil {
		var err error
		if keys, err = v.keySetOf(ctx, is, fresh); err != nil {
			return nil, "", err
		}
	}
	k := keys.find(h)
	if k == nil {
		return nil, "", v.unknownKey(is, h)
	}
	if !k.notAfter.IsZero() {
		if fresh.At.Before(k.notYet) || fresh.At.After(k.notAfter) {
			return nil, "", attest.Refuse(attest.CodeCertExpired, "the certificate of the key %.80q of %q is good from %v to %v", k.id, is.Name, k.notYet, k.notAfter)
		}
		fresh.Certificate(k.notAfter)
	}
	return k, "local", nil
}

// keySetOf returns the key set of a verifier that is at hand.
func (v *Verifier) keySetOf(ctx context.Context, is *issuer, fresh *attest.Freshness) (keySet, error) {
	item, err := v.endorsements.Endorsement(ctx, is.keySet)
	if err != nil {
		var unavailable *attest.Unavailable
		if !errors.As(err, &unavailable) {
			err = &attest.Unavailable{What: "the key set of " + is.Name, Err: err}
		}
		return nil, err
	}
	known := is.fetched.Load()
	if known == nil || known.digest != item.Digest {
		keys, err := parseKeySet(item.Data)
		if err != nil {
			// Not wrapped: how the set's text was read may have been a refusal, and the set is not evidence.
			return nil, &attest.Unavailable{What: "a good key set of " + is.Name, Err: errors.New(err.Error())}
		}
		known = &parsedSet{digest: item.Digest, keys: keys}
		is.fetched.Store(known)
	}
	if !item.Fetched.IsZero() {
		fresh.List(item.Fetched.Add(v.keySetAge), item.Fetched)
	}
	return known.keys, nil
}

// unknownKey answers a token that names a key which is not in the set at hand. Its issuer may have begun to use a new one, so it asks for the set to be fetched, and as long as
// that is under way nobody can tell; when the set was fetched too recently to be fetched again, the key is nobody's.
func (v *Verifier) unknownKey(is *issuer, h *header) error {
	if fetcher, ok := v.endorsements.(Refresher); ok && is.keys == nil && fetcher.Refresh(is.keySet) {
		return &attest.Unavailable{What: "a newer key set of " + is.Name}
	}
	if h.kid == "" && h.jwk.count() == 0 {
		return attest.Refuse(attest.CodeIssuerKey, "the token does not say which key of %q signed it", is.Name)
	}
	return attest.Refuse(attest.CodeIssuerKey, "the key %.80q is not in the key set of %q", h.kid, is.Name)
}

// begin holds the claims that all formats share against the clock and the configuration.
func (s *signed) begin() error {
	p := s.payload
	issued, hasIssued := p.number("iat")
	expires, hasExpires := p.number("exp")
	notBefore, hasNotBefore := p.number("nbf")
	audience := p.list("aud")
	t := &attest.TokenClaims{
		Verifier: s.issuer.Name, Format: string(s.issuer.Format), Issuer: s.issuer.Issuer, Audience: audience,
		Subject: p.text("sub"), ID: p.text("jti"), Profile: p.text("eat_profile"), KeyID: s.key.id, SigningKey: s.key.spki,
	}
	if err := p.err(); err != nil {
		return err
	}
	if !hasIssued || !hasExpires || s.issuer.preset.notBefore && !hasNotBefore {
		return attest.Refuse(attest.CodeTokenTime, "the token lacks one of iat, exp and nbf, and nobody can say how old it is")
	}
	s.issued, s.expires = time.Unix(issued, 0).UTC(), time.Unix(expires, 0).UTC()
	ahead := s.at.Add(MaxSkew)
	switch {
	case s.issued.After(ahead) || hasNotBefore && time.Unix(notBefore, 0).After(ahead):
		return attest.Refuse(attest.CodeTokenTime, "the token is of %v, which is yet to come: check the clocks", s.issued)
	case !s.at.Before(s.expires):
		return attest.Refuse(attest.CodeTokenTime, "the token expired at %v", s.expires)
	case s.expires.Sub(s.issued) > s.issuer.preset.lifetime:
		return attest.Refuse(attest.CodeTokenTime, "the token is good for %v, and those of its format for at most %v", s.expires.Sub(s.issued), s.issuer.preset.lifetime)
	case s.at.Sub(s.issued) > s.issuer.MaxAge:
		return attest.Refuse(attest.CodeTokenTime, "the token is %v old, and %v is configured as the limit for %q", s.at.Sub(s.issued), s.issuer.MaxAge, s.issuer.Name)
	}
	ours := func(audience string) bool { return slices.Contains(s.issuer.Audiences, audience) }
	if len(audience) > 0 || len(s.issuer.Audiences) > 0 {
		if !slices.ContainsFunc(audience, ours) {
			return attest.Refuse(attest.CodeAudience, "the token was made for %.200q, which is not configured as the audience for %q", audience, s.issuer.Name)
		}
	}
	t.Issued, t.Expires = s.issued, s.expires
	t.Age = int(max(0, s.at.Sub(s.issued)) / time.Second)
	s.claims.Token = t
	if c := s.claims.Collateral; c.Expires.IsZero() || s.expires.Before(c.Expires) {
		c.Expires = s.expires
	}
	return nil
}

// appraise fills in the claims of the token's format.
func (s *signed) appraise() (*attest.Claims, error) {
	var err error
	switch s.issuer.Format {
	case EAR:
		err = s.ear()
	case ConfidentialSpace:
		s.confidentialSpace()
	case AzureAttestation:
		err = s.azure()
	case IntelTrust:
		err = s.intel()
	}
	if err == nil {
		err = s.payload.err()
	}
	if err != nil {
		return nil, err
	}
	return s.claims, nil
}

func (p *preset) names() string {
	var b bytes.Buffer
	for i, a := range p.algorithms {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.name)
	}
	return b.String()
}
