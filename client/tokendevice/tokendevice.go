// Package tokendevice presents the word of another verifier in the place of evidence (kind token): in a workload of Google's Confidential Space, it asks
// the launcher for a token about the digest. What such a token is and how it is verified is described in package attest/token, as the format
// google-confidential-space.
//
// # The protocol
//
// The launcher listens in the container, on a Unix socket ([DefaultSocket]), for HTTP: POST /v1/token with
//
//	{"audience": "https://broker.example.org", "token_type": "OIDC", "nonces": ["TEXT"]}
//
// is answered with the token itself, a JWT, which Google Cloud Attestation signed after it verified the machine (google/go-tpm-tools,
// launcher/teeserver). TEXT is the digest in base64url without padding. A nonce has 10 to 74 characters, so a digest has at most 55 bytes: SHA-256's and
// SHA-384's fit, SHA-512's does not. With the type OIDC the token is signed by a key of Google's key set, with PKI by one that a chain to Google's root
// vouches for.
//
// # Limits
//
// The token is made for each digest anew. One that was made before cannot be presented: its nonce would be another. It is asked for the
// configured audience, which must be the broker's alone: a token for several could be presented by one to the other. Nothing is verified here but that the answer has
// the form of a token, for this audience and about this digest: it is the broker that must not believe the guest.
package tokendevice

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// DefaultSocket is where the launcher of Confidential Space listens in a workload's container.
const DefaultSocket = "/run/container_launcher/teeserver.sock"

// The types of tokens.
const (
	OIDC = "OIDC" // signed by a key of the issuer's published set
	PKI  = "PKI"  // signed by a key with a chain of certificates to the issuer's root
)

// Sizes, in bytes.
const (
	minDigest   = 32
	maxDigest   = 55 // 74 characters in base64url, the longest nonce
	maxToken    = 64 << 10
	maxReason   = 300 // of an error that the launcher gives
	maxAudience = 512 // as the attestation service has it
)

// defaultTimeout bounds one request. The launcher has the machine quote and asks a service of Google's, which takes seconds.
const defaultTimeout = 30 * time.Second

// Config says whom to ask for what. Audience is needed.
type Config struct {
	Socket   string        // DefaultSocket when empty
	Audience string        // for whom the token is made: what the broker's configuration says of this verifier
	Type     string        // OIDC when empty, or PKI
	Timeout  time.Duration // of one request; 30 seconds when zero
}

// Device asks for tokens. It is safe for concurrent use.
type Device struct {
	c    Config
	http *http.Client
}

// Open returns a Device, or an error that says what the machine lacks. It asks for no token.
func Open(c Config) (*Device, error) {
	if c.Socket == "" {
		c.Socket = DefaultSocket
	}
	if c.Type == "" {
		c.Type = OIDC
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	switch {
	case c.Audience == "" || len(c.Audience) > maxAudience:
		return nil, fmt.Errorf("tokendevice: an audience of %d bytes, not 1 to %d", len(c.Audience), maxAudience)
	case c.Type != OIDC && c.Type != PKI:
		return nil, fmt.Errorf("tokendevice: the type of token is %.32q, not %s or %s", c.Type, OIDC, PKI)
	case c.Timeout < 0:
		return nil, fmt.Errorf("tokendevice: a time of %v", c.Timeout)
	}
	info, err := os.Stat(c.Socket)
	if err != nil {
		return nil, fmt.Errorf("tokendevice: no launcher of Confidential Space: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("tokendevice: %s is not the socket of a launcher", c.Socket)
	}
	return &Device{c: c, http: &http.Client{
		Timeout: c.Timeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Kind returns [attest.Token].
func (d *Device) Kind() attest.Kind { return attest.Token }

// Evidence returns a token about digest, of 32 to 55 bytes.
func (d *Device) Evidence(ctx context.Context, digest []byte) ([]byte, error) {
	if len(digest) < minDigest || len(digest) > maxDigest {
		return nil, fmt.Errorf("tokendevice: a digest of %d bytes, not %d to %d", len(digest), minDigest, maxDigest)
	}
	nonce := base64.RawURLEncoding.EncodeToString(digest)
	token, err := d.ask(ctx, nonce)
	if err == nil {
		err = d.check(token, nonce)
	}
	if err != nil {
		return nil, fmt.Errorf("tokendevice: %w", err)
	}
	return token, nil
}

// ask asks the launcher.
func (d *Device) ask(ctx context.Context, nonce string) ([]byte, error) {
	body, err := json.Marshal(struct {
		Audience string   `json:"audience"`
		Type     string   `json:"token_type"`
		Nonces   []string `json:"nonces"`
	}{d.c.Audience, d.c.Type, []string{nonce}})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/v1/token", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := d.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the launcher: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxToken+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("asking the launcher: %w", err)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the launcher gives no token, with status %d: %q", response.StatusCode, answer[:min(len(answer), maxReason)])
	case len(answer) > maxToken:
		return nil, fmt.Errorf("the launcher's answer has over %d bytes", maxToken)
	}
	return bytes.TrimSpace(answer), nil
}

// check holds a token against what was asked for. Its signature is the broker's to verify.
func (d *Device) check(token []byte, nonce string) error {
	parts := strings.Split(string(token), ".")
	if len(parts) != 3 {
		return errors.New("what the launcher gave is no token")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return errors.New("what the launcher gave is no token")
	}
	var claims struct {
		Audience oneOrMore `json:"aud"`
		Nonce    oneOrMore `json:"eat_nonce"`
	}
	switch err := json.Unmarshal(payload, &claims); {
	case err != nil:
		return fmt.Errorf("what the launcher gave is no token: %w", err)
	case !slices.Contains(claims.Audience, d.c.Audience):
		return fmt.Errorf("the token is for %.200q, not for %.200q", claims.Audience, d.c.Audience)
	case !slices.Contains(claims.Nonce, nonce):
		return errors.New("the token is about other data than it was asked for")
	}
	return nil
}

// oneOrMore is a text or a list of texts, as tokens have it.
type oneOrMore []string

// UnmarshalJSON implements [json.Unmarshaler].
func (s *oneOrMore) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*s = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(s))
}
