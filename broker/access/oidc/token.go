package oidc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// parsed is a token taken apart, of which nothing is verified.
type parsed struct {
	alg, kid string
	typed    bool
	claims   claims
	members  map[string]json.RawMessage // all claims
}

// claims are those that every token has.
type claims struct {
	Issuer                     string
	Audience                   []string
	Expires, Issued, NotBefore time.Time
}

// parse takes a token apart.
func parse(token string) (*parsed, error) {
	if len(token) > MaxToken {
		return nil, refuse("it has %d bytes, over %d", len(token), MaxToken)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, refuse("it is no JWT in compact form: three parts with dots between them")
	}
	var texts [3][]byte
	for i, part := range parts {
		var err error
		// The decoder passes over line breaks: two texts must not be one token.
		if texts[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil || part == "" || strings.ContainsAny(part, "\r\n") {
			return nil, refuse("part %d is not base64url", i+1)
		}
	}
	t := &parsed{}
	if err := t.header(texts[0]); err != nil {
		return nil, err
	}
	members, err := strictjson.Object(texts[1])
	if err != nil {
		return nil, refuse("its claims: %v", err)
	}
	t.members = members
	return t, t.claims.read(members)
}

// header reads the protected header.
func (t *parsed) header(text []byte) error {
	members, err := strictjson.Object(text)
	if err != nil {
		return refuse("its header: %v", err)
	}
	for _, name := range [...]string{"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc", "cty"} {
		if _, there := members[name]; there {
			return refuse("its header has a member %q, and tokens with that do not count", name)
		}
	}
	var typ string
	for name, to := range map[string]*string{"alg": &t.alg, "kid": &t.kid, "typ": &typ} {
		if raw, there := members[name]; there {
			if *to, err = strictjson.String(raw); err != nil {
				return refuse("%s in its header is no text", name)
			}
		}
	}
	switch strings.TrimPrefix(strings.ToLower(typ), "application/") {
	case "jwt", "at+jwt":
		t.typed = true
	case "":
	default:
		return refuse("its type is %.40q, not JWT or at+jwt", typ)
	}
	return nil
}

func (c *claims) read(members map[string]json.RawMessage) error {
	var err error
	if c.Issuer, err = strictjson.String(members["iss"]); err != nil || c.Issuer == "" {
		return refuse("it has no issuer")
	}
	if c.Audience = texts(members["aud"]); len(c.Audience) == 0 {
		return refuse("it has no audience")
	}
	for _, at := range []struct {
		name string
		to   *time.Time
		need bool
	}{{"exp", &c.Expires, true}, {"iat", &c.Issued, true}, {"nbf", &c.NotBefore, false}} {
		raw, there := members[at.name]
		if !there && !at.need {
			continue
		}
		var seconds float64
		// A time after the year 2255 is a mistake, and so is one before 1970; json takes null for nothing.
		if !there || string(raw) == "null" || json.Unmarshal(raw, &seconds) != nil || math.IsNaN(seconds) || seconds <= 0 || seconds > 9e9 {
			return refuse("%s is missing, or no time in seconds", at.name)
		}
		*at.to = time.Unix(int64(seconds), 0).UTC()
	}
	return nil
}

// texts are what a claim holds that is a text or a list of them; nothing of any other.
func texts(raw json.RawMessage) []string {
	if text, err := strictjson.String(raw); err == nil {
		return []string{text}
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return nil
	}
	var list []string
	for _, item := range items {
		if text, err := strictjson.String(item); err == nil {
			list = append(list, text)
		}
	}
	return list
}

// verify checks the signature.
func (i *issuer) verify(ctx context.Context, t *parsed, token string, now time.Time) error {
	alg := jose.SignatureAlgorithm(t.alg)
	switch {
	case !slices.Contains(i.algorithms, alg):
		return refuse("it is signed with %.20q, and of %s only %v count", t.alg, i.Name, i.algorithms)
	case !t.typed && !i.Untyped:
		return refuse("its header says no type")
	}
	set, err := i.keys.current(ctx, now)
	if err != nil {
		return err
	}
	k := set.find(t.kid)
	if k == nil {
		i.keys.refresh()
		return refuse("its key %.80q is not in the key set of %s", t.kid, i.Name)
	}
	if !k.suits(alg) {
		return refuse("its key %.80q is not for %s", t.kid, alg)
	}
	signed, err := jose.ParseSignedCompact(token, i.algorithms)
	if err != nil {
		return refuse("%v", err)
	}
	if _, err := signed.Verify(k.public); err != nil {
		return refuse("its signature is not that of the key %.80q", t.kid)
	}
	return nil
}

// subject returns who the token is of.
func (i *issuer) subject(members map[string]json.RawMessage) (string, error) {
	value, err := strictjson.String(members[i.Subject])
	if err != nil || value == "" {
		return "", refuse("it has no claim %s", i.Subject)
	}
	subject := i.Name + ":" + value
	if i.Subject == "email" {
		// Some providers write the truth as a text.
		if verified := string(members["email_verified"]); verified != "true" && verified != `"true"` {
			return "", refuse("its issuer did not verify the address %.100q", value)
		}
		subject = strings.ToLower(value)
	}
	if err := access.CheckSubject(subject); err != nil {
		return "", refuse("%v", err)
	}
	return subject, nil
}

// matches reports whether a token has all claims of a rule.
func (r *Rule) matches(members map[string]json.RawMessage) bool {
	for name, want := range r.Claims {
		if !slices.Contains(texts(find(members, name)), want) {
			return false
		}
	}
	return true
}

// find returns a claim by its name, or by a JSON Pointer into objects.
func find(members map[string]json.RawMessage, name string) json.RawMessage {
	if !strings.HasPrefix(name, "/") {
		return members[name]
	}
	unescape := strings.NewReplacer("~1", "/", "~0", "~")
	path := strings.Split(name[1:], "/")
	for i, step := range path {
		raw := members[unescape.Replace(step)]
		if i == len(path)-1 {
			return raw
		}
		var err error
		if members, err = strictjson.Object(raw); err != nil {
			return nil
		}
	}
	return nil
}
