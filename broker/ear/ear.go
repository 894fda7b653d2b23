package ear

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/jcs"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
	"github.com/vouchsafe/vouchsafe/store"
)

// Type is the "typ" of the token's protected header.
const Type = "JWT"

// Profile is the token's eat_profile: that of the tokens whose shape this is, since consumers may look for it.
const Profile = "tag:github.com,2024:confidential-containers/Trustee"

// Developer is in ear.verifier-id.
const Developer = "https://github.com/vouchsafe/vouchsafe"

// Limits, in bytes.
const (
	// MaxInitData bounds the init-data bodies repeated in the annotated evidence.
	MaxInitData = 2 << 10
	// MaxMember bounds each member below a kind's name in the annotated evidence. The registers of a quote have up to 3 KiB.
	MaxMember = 4 << 10
	// MaxClaims bounds a payload in which the broker gives itself the claims: in base64, with a signature, it is a token that the broker
	// reads in a header. Claims of a machine have 2 to 6 KiB and each GPU 8; the rest is for init-data whose bodies policies judge.
	MaxClaims = 64 << 10
	// MaxPayload bounds a payload of any kind. In base64 it fits the 1 MiB that servers allow for headers.
	MaxPayload = 256 << 10
	// maxText bounds what is copied in from elsewhere: issuer, audience, ids, nonce. KBS nonces have 44.
	maxText = 2048
)

// MaxLifetime bounds what a token may say of its own life. A token cannot be called back.
const MaxLifetime = 24 * time.Hour

// The errors of Encode, Decode and Check.
var (
	ErrMalformed = errors.New("not an attestation result of this broker")
	ErrNoClaims  = errors.New("the claims were too large for the token: the session must be used in its place")
	ErrTooLarge  = errors.New("attestation result too large for a token")
	ErrUnbound   = errors.New("claims that are not bound to a nonce and key cannot become a token")
	ErrExpired   = errors.New("attestation result has expired")
	ErrEarly     = errors.New("attestation result is not valid yet: check the clocks")
	ErrElsewhere = errors.New("attestation result has another issuer or audience")
)

// Token is an attestation result.
type Token struct {
	ID       string    // unique
	Issuer   string    // the broker's URL
	Audience string    // who should rely on it; "" for anyone
	Issued   time.Time // whole seconds
	Expires  time.Time // whole seconds
	Build    string    // name and version of the program, such as "vouchsafe 1.0"

	Namespace string
	Nonce     string         // that the evidence covers
	Recipient []byte         // the TEE's public key: a JWK reduced to its defining members, as canonical JSON
	Evidence  string         // digest of the evidence, "sha256:" and hex
	Decision  string         // id of the record of its acceptance; may be ""
	Attested  time.Time      // when the evidence was verified
	Claims    *attest.Claims // that were proved, of devices too
	Policies  Appraiser      // attestation policies, which make the vectors; nil where there are none. Decode does not set it
}

// document is the token's JSON. The order of its members is part of the format.
type document struct {
	Profile   string            `json:"eat_profile"`
	Issued    int64             `json:"iat"`
	NotBefore int64             `json:"nbf"`
	Expires   int64             `json:"exp"`
	Issuer    string            `json:"iss"`
	ID        string            `json:"jti"`
	Audience  string            `json:"aud,omitempty"`
	Confirm   confirm           `json:"cnf"`
	Verifier  verifierID        `json:"ear.verifier-id"`
	Submods   map[string]submod `json:"submods"`
	Private   private           `json:"vouchsafe"`
}

type confirm struct {
	JWK json.RawMessage `json:"jwk"`
}

type verifierID struct {
	Build     string `json:"build"`
	Developer string `json:"developer"`
}

type submod struct {
	Status    Status          `json:"ear.status"`
	Vector    Vector          `json:"ear.trustworthiness-vector"`
	Policy    string          `json:"ear.appraisal-policy-id"`
	Annotated json.RawMessage `json:"ear.veraison.annotated-evidence"`
}

type private struct {
	Namespace string          `json:"namespace"`
	Nonce     string          `json:"nonce"`
	Evidence  string          `json:"evidence"`
	Decision  string          `json:"decision,omitempty"`
	Attested  time.Time       `json:"attested_at"`
	Claims    json.RawMessage `json:"claims,omitempty"` // as attest.Claims; left out where the payload would be over MaxClaims
}

// Encode returns the token's payload, to be signed. The errors are ErrUnbound, ErrTooLarge, or say which field cannot be.
func (t *Token) Encode() ([]byte, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	claims, err := marshal(t.Claims)
	if err != nil {
		return nil, fmt.Errorf("ear: claims: %w", err)
	}
	d, err := t.document(false)
	if err != nil {
		return nil, err
	}
	d.Private.Claims = claims
	payload, err := marshal(d)
	if err == nil && len(payload) > MaxClaims {
		d.Private.Claims = nil
		payload, err = marshal(d)
	}
	if err != nil {
		return nil, fmt.Errorf("ear: %w", err)
	}
	if len(payload) > MaxPayload {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(payload), MaxPayload)
	}
	return payload, nil
}

// Input returns what a resource policy sees of t: the payload of Encode, but for the claims in "vouchsafe", and with everything in the annotated evidence that
// is left out of a token for its size. Unlike Encode it does not ask for what a token must have: policies judge passports too.
func (t *Token) Input() ([]byte, error) {
	d, err := t.document(true)
	if err != nil {
		return nil, err
	}
	input, err := marshal(d)
	if err != nil {
		return nil, fmt.Errorf("ear: %w", err)
	}
	return input, nil
}

func (t *Token) document(whole bool) (document, error) {
	mods, err := t.submods(whole)
	if err != nil {
		return document{}, err
	}
	return document{
		Profile: Profile, Issued: t.Issued.Unix(), NotBefore: t.Issued.Unix(), Expires: t.Expires.Unix(),
		Issuer: t.Issuer, ID: t.ID, Audience: t.Audience, Confirm: confirm{JWK: t.Recipient},
		Verifier: verifierID{Build: t.Build, Developer: Developer},
		Submods:  mods,
		Private: private{
			Namespace: t.Namespace, Nonce: t.Nonce, Evidence: t.Evidence, Decision: t.Decision, Attested: t.Attested.UTC(),
		},
	}, nil
}

// check holds t to what both Encode and Decode demand.
func (t *Token) check() error {
	for _, field := range [...]struct {
		name, value string
		needed      bool
	}{
		{"id", t.ID, true}, {"issuer", t.Issuer, true}, {"audience", t.Audience, false}, {"build", t.Build, true},
		{"namespace", t.Namespace, true}, {"nonce", t.Nonce, true}, {"evidence digest", t.Evidence, true}, {"decision", t.Decision, false},
	} {
		if len(field.value) > maxText || field.needed && field.value == "" {
			return fmt.Errorf("ear: the %s is empty or over %d bytes", field.name, maxText)
		}
	}
	switch {
	case t.Claims == nil || t.Claims.Kind == "" || t.Claims.Kind.Device():
		return errors.New("ear: no claims of primary evidence")
	case t.Claims.Bound == nil || !*t.Claims.Bound:
		return ErrUnbound
	case t.Issued.Unix() <= 0 || t.Expires.Unix() <= t.Issued.Unix() || t.Expires.Sub(t.Issued) > MaxLifetime:
		return fmt.Errorf("ear: a token issued at %v cannot expire at %v: its life is up to %v", t.Issued, t.Expires, MaxLifetime)
	case t.Attested.IsZero() || t.Attested.After(t.Issued.Add(time.Second)):
		return fmt.Errorf("ear: a token issued at %v cannot be about evidence verified at %v", t.Issued, t.Attested)
	}
	return checkRecipient(t.Recipient)
}

// checkRecipient refuses what is not a JWK in canonical form, whose members are strings.
func checkRecipient(jwk []byte) error {
	bad := errors.New("ear: the recipient is not a canonical JWK")
	if len(jwk) > maxText*4 { // an ML-KEM-768 or RSA-4096 key has under 2 KiB
		return bad
	}
	var members map[string]string
	if err := strictjson.Unmarshal(jwk, &members); err != nil || members["kty"] == "" {
		return bad
	}
	if canonical, err := jcs.Marshal(members); err != nil || !bytes.Equal(canonical, jwk) {
		return bad
	}
	return nil
}

// Decode reads a payload whose signature was verified. The error wraps ErrMalformed or ErrNoClaims. Times, issuer and audience are for [Token.Check].
func Decode(payload []byte) (*Token, error) {
	bad := func(format string, args ...any) (*Token, error) {
		return nil, fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
	if len(payload) > MaxPayload {
		return bad("over %d bytes", MaxPayload)
	}
	// What encoding/json lets pass (members twice, unknown, in another case or order) is not there, or is elsewhere, when it is written again.
	var d document
	if err := json.Unmarshal(payload, &d); err != nil {
		return bad("%v", err)
	}
	again, err := marshal(d)
	if err != nil || !bytes.Equal(again, payload) {
		return bad("not written as this version writes it")
	}
	if d.Profile != Profile || d.NotBefore != d.Issued || d.Verifier.Developer != Developer {
		return bad("another profile or verifier")
	}
	switch {
	case len(d.Private.Claims) == 0:
		return nil, ErrNoClaims
	case len(payload) > MaxClaims:
		return bad("over %d bytes, and claims", MaxClaims)
	}
	claims, err := decodeClaims(d.Private.Claims)
	if err != nil {
		return bad("claims: %v", err)
	}
	t := &Token{
		ID: d.ID, Issuer: d.Issuer, Audience: d.Audience, Issued: time.Unix(d.Issued, 0).UTC(), Expires: time.Unix(d.Expires, 0).UTC(),
		Build: d.Verifier.Build, Namespace: d.Private.Namespace, Nonce: d.Private.Nonce, Recipient: d.Confirm.JWK,
		Evidence: d.Private.Evidence, Decision: d.Private.Decision, Attested: d.Private.Attested, Claims: claims,
	}
	if err := t.check(); err != nil {
		return bad("%v", err)
	}
	return t, nil
}

func decodeClaims(text []byte) (*attest.Claims, error) {
	claims := new(attest.Claims)
	if err := json.Unmarshal(text, claims); err != nil {
		return nil, err
	}
	if again, err := marshal(claims); err != nil || !bytes.Equal(again, text) {
		return nil, errors.New("not written as this version writes them")
	}
	return claims, nil
}

// Check refuses a token at now that has expired or is not valid yet, or whose issuer or audience is not exactly the one given, with ErrExpired,
// ErrEarly or ErrElsewhere.
func (t *Token) Check(now time.Time, issuer, audience string) error {
	switch {
	case t.Issuer != issuer || t.Audience != audience:
		return ErrElsewhere
	case !now.Before(t.Expires):
		return ErrExpired
	case t.Issued.After(now.Add(store.MaxSkew)):
		return ErrEarly
	}
	return nil
}

// marshal is json.Marshal without escapes for HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
