// Package kbstest is a client of the KBS protocol for tests, written from the protocol's description alone. It shares no code with
// the server it tests and imports nothing of this module: a misreading of the protocol would have to be made twice, in two different
// ways, to go unnoticed.
//
// It does what the guests in the field do: it asks for the secret first, without a cookie; at 401 it attests, and asks again, three
// times at most; it keeps a cookie jar; and it decrypts a reply by parsing the protected header and serialising it again, so that a
// header with anything else in it, or in another order, does not decrypt. It is stricter than they are about what a server
// must send: challenges, cookies, error bodies and tokens of another form than documented are errors.
package kbstest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"regexp"
	"slices"
	"strings"
)

// Attester makes evidence of one kind.
type Attester struct {
	TEE      string // the protocol's name of the kind: "sample", "snp", …
	Evidence func(digest []byte) (json.RawMessage, error)
}

// Sample is the test attester of the real clients.
func Sample() Attester {
	return Attester{TEE: "sample", Evidence: func(digest []byte) (json.RawMessage, error) {
		return json.Marshal(map[string]string{"svn": "1", "report_data": base64.StdEncoding.EncodeToString(digest)})
	}}
}

// InitData is the document of that name, as an Attestation carries it.
type InitData struct {
	Format string `json:"format"`
	Body   string `json:"body"`
}

// Client is a guest. Set the fields and do not change them once it is in use.
type Client struct {
	URL      string             // of the server, without /kbs/v0
	HTTP     *http.Client       // http.DefaultClient's transport when nil; its cookie jar is not used
	Key      *Key               // the key secrets are encrypted to
	Attester Attester           // the primary evidence
	Devices  []Attester         // additional evidence
	InitData *InitData          // sent when not nil
	Version  string             // of the protocol, "0.4.0" when empty
	Tamper   func(*Attestation) // called before the Attestation is sent, to break it; may be nil

	jar http.CookieJar
}

// maxAttempts is how often clients ask for a resource.
const maxAttempts = 3

// Challenge is a server's, checked to be of the documented form.
type Challenge struct {
	Nonce string
	Hash  string // "sha256", "sha384" or "sha512"
}

// Attestation is the body of POST attest.
type Attestation struct {
	InitData *InitData `json:"init-data,omitempty"`
	Runtime  struct {
		Nonce  string          `json:"nonce"`
		PubKey json.RawMessage `json:"tee-pubkey"`
	} `json:"runtime-data"`
	Evidence struct {
		Primary    json.RawMessage `json:"primary_evidence"`
		Additional string          `json:"additional_evidence"`
	} `json:"tee-evidence"`
}

// Error is a server's refusal, with the error JSON that it must carry.
type Error struct {
	Status int
	Name   string // the last part of type: "PolicyDeny", "TokenNotFound", …
	Detail string
}

func (e *Error) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Name, e.Detail) }

// ErrProtocol says that the server answered in a way that the protocol's description does not allow.
var ErrProtocol = errors.New("not as the protocol has it")

// Auth begins a session and returns the challenge.
func (c *Client) Auth(ctx context.Context) (*Challenge, error) {
	version := c.Version
	if version == "" {
		version = "0.4.0"
	}
	body, err := json.Marshal(map[string]any{
		"version": version, "tee": c.Attester.TEE,
		"extra-params": map[string]any{"supported-hash-algorithms": []string{"sha256", "sha384", "sha512", "sm3"}},
	})
	if err != nil {
		return nil, err
	}
	reply, err := c.Do(ctx, http.MethodPost, "auth", body, nil)
	if err != nil {
		return nil, err
	}
	if err := checkCookie(reply); err != nil {
		return nil, err
	}
	return parseChallenge(reply.Body)
}

func parseChallenge(body []byte) (*Challenge, error) {
	var m struct {
		Nonce string          `json:"nonce"`
		Extra json.RawMessage `json:"extra-params"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("challenge: %w: %w", ErrProtocol, err)
	}
	if nonce, err := base64.StdEncoding.DecodeString(m.Nonce); err != nil || len(nonce) != 32 || len(m.Nonce) != 44 {
		return nil, fmt.Errorf("challenge: %w: nonce %q is not base64 of 32 bytes", ErrProtocol, m.Nonce)
	}
	if m.Extra == nil {
		return nil, fmt.Errorf("challenge: %w: no extra-params", ErrProtocol)
	}
	challenge := &Challenge{Nonce: m.Nonce, Hash: "sha384"}
	if string(m.Extra) == `""` {
		return challenge, nil
	}
	var extra struct {
		Selected string `json:"selected-hash-algorithm"`
	}
	if err := json.Unmarshal(m.Extra, &extra); err != nil || !slices.Contains([]string{"sha256", "sha384", "sha512"}, extra.Selected) {
		return nil, fmt.Errorf("challenge: %w: extra-params %s", ErrProtocol, m.Extra)
	}
	challenge.Hash = extra.Selected
	return challenge, nil
}

// Attest does the whole handshake and returns the token. The session's cookie is kept.
func (c *Client) Attest(ctx context.Context) (string, error) {
	challenge, err := c.Auth(ctx)
	if err != nil {
		return "", err
	}
	return c.Answer(ctx, challenge)
}

// Answer does the second half of the handshake.
func (c *Client) Answer(ctx context.Context, challenge *Challenge) (string, error) {
	attestation, err := c.evidence(challenge)
	if err != nil {
		return "", err
	}
	if c.Tamper != nil {
		c.Tamper(attestation)
	}
	body, err := json.Marshal(attestation)
	if err != nil {
		return "", err
	}
	reply, err := c.Do(ctx, http.MethodPost, "attest", body, nil)
	if err != nil {
		return "", err
	}
	if err := checkCookie(reply); err != nil {
		return "", err
	}
	var m struct{ Token string }
	if err := json.Unmarshal(reply.Body, &m); err != nil || strings.Count(m.Token, ".") != 2 {
		return "", fmt.Errorf("attest: %w: no token in %.200q", ErrProtocol, reply.Body)
	}
	return m.Token, nil
}

func (c *Client) evidence(challenge *Challenge) (*Attestation, error) {
	bound := map[string]any{"nonce": challenge.Nonce, "tee-pubkey": c.Key.members()}
	deviceDigest, err := digest(challenge.Hash, bound)
	if err != nil {
		return nil, err
	}
	a := &Attestation{InitData: c.InitData}
	if len(c.Devices) > 0 {
		all := map[string]json.RawMessage{}
		for _, device := range c.Devices {
			if all[device.TEE], err = device.Evidence(deviceDigest); err != nil {
				return nil, err
			}
		}
		additional, err := json.Marshal(all)
		if err != nil {
			return nil, err
		}
		a.Evidence.Additional = string(additional)
	}
	bound["additional-evidence"] = a.Evidence.Additional
	primaryDigest, err := digest(challenge.Hash, bound)
	if err != nil {
		return nil, err
	}
	if a.Evidence.Primary, err = c.Attester.Evidence(primaryDigest); err != nil {
		return nil, err
	}
	a.Runtime.Nonce = challenge.Nonce
	a.Runtime.PubKey, err = json.Marshal(c.Key.jwk())
	return a, err
}

// Get fetches a resource, named "repository/type/tag", as a guest does: asking first, attesting when told to.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	var err error
	for range maxAttempts {
		var reply *Reply
		reply, err = c.Do(ctx, http.MethodGet, "resource/"+path, nil, nil)
		if err == nil {
			return c.Key.Open(reply.Body)
		}
		var refused *Error
		if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
			return nil, err
		}
		if _, attestErr := c.Attest(ctx); attestErr != nil {
			return nil, attestErr
		}
	}
	return nil, fmt.Errorf("asked %d times: %w", maxAttempts, err)
}

// GetBearer fetches a resource once, with a token and without the session's cookie.
func (c *Client) GetBearer(ctx context.Context, token, path string) ([]byte, error) {
	bare := *c
	bare.jar = nil
	reply, err := bare.Do(ctx, http.MethodGet, "resource/"+path, nil, http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		return nil, err
	}
	return c.Key.Open(reply.Body)
}

// Reply is a successful answer.
type Reply struct {
	Header  http.Header
	Cookies []*http.Cookie
	Body    []byte
}

// maxReply is over the largest secret in base64, twice.
const maxReply = 4 << 20

// Do sends one request to a path under /kbs/v0/ with the cookies of the jar. An answer of another status than 200 is an
// *[Error], or wraps ErrProtocol where its body is not the error JSON.
func (c *Client) Do(ctx context.Context, method, path string, body []byte, header http.Header) (*Reply, error) {
	if c.jar == nil {
		jar, err := cookiejar.New(nil)
		if err != nil {
			return nil, err
		}
		c.jar = jar
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+"/kbs/v0/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		request.Header[name] = values
	}
	doer := http.Client{Jar: c.jar}
	if c.HTTP != nil {
		doer.Transport = c.HTTP.Transport
	}
	response, err := doer.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, parseError(response, content)
	}
	return &Reply{Header: response.Header, Cookies: response.Cookies(), Body: content}, nil
}

// ForgetSession empties the cookie jar, as a client that was started again has it.
func (c *Client) ForgetSession() { c.jar = nil }

const errorPrefix = "https://github.com/confidential-containers/kbs/errors/"

func parseError(response *http.Response, body []byte) error {
	var m struct{ Type, Detail *string }
	err := json.Unmarshal(body, &m)
	if err != nil || m.Type == nil || m.Detail == nil || !strings.HasPrefix(*m.Type, errorPrefix) ||
		!strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		return fmt.Errorf("%w: status %d without the error JSON: %s %.200q", ErrProtocol, response.StatusCode,
			response.Header.Get("Content-Type"), body)
	}
	return &Error{Status: response.StatusCode, Name: strings.TrimPrefix(*m.Type, errorPrefix), Detail: *m.Detail}
}

var sessionID = regexp.MustCompile(`^[0-9a-f]{32}$`)

func checkCookie(reply *Reply) error {
	for _, cookie := range reply.Cookies {
		if cookie.Name != "kbs-session-id" {
			continue
		}
		if !sessionID.MatchString(cookie.Value) {
			return fmt.Errorf("%w: session id %q is not 32 hex digits", ErrProtocol, cookie.Value)
		}
		return nil
	}
	return fmt.Errorf("%w: no kbs-session-id cookie", ErrProtocol)
}

// Admin is an operator's client.
type Admin struct {
	URL    string
	HTTP   *http.Client
	Header http.Header // what authenticates it
}

// SetResource writes a resource.
func (a *Admin) SetResource(ctx context.Context, path string, content []byte) error {
	return a.do(ctx, http.MethodPost, "resource/"+path, content)
}

// DeleteResource deletes a resource.
func (a *Admin) DeleteResource(ctx context.Context, path string) error {
	return a.do(ctx, http.MethodDelete, "resource/"+path, nil)
}

func (a *Admin) do(ctx context.Context, method, path string, body []byte) error {
	c := &Client{URL: a.URL, HTTP: a.HTTP}
	header := a.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", "application/octet-stream")
	_, err := c.Do(ctx, method, path, body, header)
	return err
}
