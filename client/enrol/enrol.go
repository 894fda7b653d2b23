// Package enrol enrols the attestation key of a host's TPM with a broker: the half that runs on the host, in one call.
//
//	enrolment, err := enrol.Host(ctx, enrol.Config{URL: "https://broker.example", CA: pem, Token: token}, "node-17", device)
//
// It sends the endorsement key's certificate and the attestation key, has the TPM open the broker's challenge, which
// only the TPM that holds both keys can, and sends what was in it. Package tpm describes the protocol.
//
// The caller holds an administrator's token, of a role that may enrol and do nothing else. The token goes to the URL's
// host only: over TLS, or to a loopback address, and never after a redirect. Nothing is tried again: a challenge is
// spent by its first answer, and the whole enrolment can simply be repeated.
//
// This is not part of package admin because a guest's program should not link a broker to call two of its operations.
package enrol

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/internal/dial"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// Paths of the two operations, below the broker's URL.
const (
	BeginPath    = "/v1/admin/enrolment-begin"
	CompletePath = "/v1/admin/enrolment-complete"
)

// DefaultTimeout is how long one request may take.
const DefaultTimeout = 30 * time.Second

// TPM is what [tpmdevice.Device] does for an enrolment.
//
// [tpmdevice.Device]: https://pkg.go.dev/github.com/vouchsafe/vouchsafe/client/tpmdevice#Device
type TPM interface {
	EnrolRequest() (*tpm.Request, error)
	Activate(*tpm.Challenge) ([]byte, error)
}

// Config says where the broker is and who asks. URL and Token are needed.
type Config struct {
	URL     string        // https://HOST[:PORT][/PATH], or http:// to a loopback address
	Token   string        // text of an administrator's token
	CA      []byte        // PEM certificates that the broker's chains to; the system's when empty
	HTTP    *http.Client  // instead of CA, for callers with a transport of their own
	Timeout time.Duration // of one request; DefaultTimeout when 0
}

// Messages of the two operations, which package wire documents.
type (
	begin struct {
		Host    string       `json:"host"`
		Request *tpm.Request `json:"request"`
	}
	challenge struct {
		ID        string        `json:"id"`
		Challenge tpm.Challenge `json:"challenge"`
	}
	complete struct {
		ID     string `json:"id"`
		Secret []byte `json:"secret"`
	}
)

// Host enrols a host's TPM under a name, which claims will carry, and returns what the broker recorded. Errors are a
// [*client.Refused], or wrap [client.ErrUnavailable] when it may succeed later, [client.ErrReply] when the answer is
// no broker's, or what the TPM said.
func Host(ctx context.Context, c Config, host string, device TPM) (*tpm.Enrolment, error) {
	e, err := newExchange(c)
	if err != nil {
		return nil, err
	}
	request, err := device.EnrolRequest()
	if err != nil {
		return nil, err
	}
	var begun challenge
	if err := e.post(ctx, BeginPath, begin{host, request}, &begun); err != nil {
		return nil, err
	}
	secret, err := device.Activate(&begun.Challenge)
	if err != nil {
		return nil, err
	}
	enrolment := new(tpm.Enrolment)
	if err := e.post(ctx, CompletePath, complete{begun.ID, secret}, enrolment); err != nil {
		return nil, err
	}
	return enrolment, nil
}

type exchange struct {
	base, token string
	timeout     time.Duration
	http        *http.Client
}

func newExchange(c Config) (*exchange, error) {
	u, err := dial.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	if err := dial.CheckToken(c.Token); err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	switch {
	case u.Scheme == "http" && !dial.Loopback(u.Hostname()):
		return nil, fmt.Errorf("enrol: the token would cross the network to %s in the clear: use https", u.Host)
	case c.Token == "":
		return nil, errors.New("enrol: the token is empty")
	case c.Timeout < 0:
		return nil, errors.New("enrol: the timeout is negative")
	}
	e := &exchange{base: dial.Base(u), token: c.Token, timeout: c.Timeout}
	if e.timeout == 0 {
		e.timeout = DefaultTimeout
	}
	if e.http, err = dial.New(dial.Config{CA: c.CA, HTTP: c.HTTP}); err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	return e, nil
}

// post sends a message and reads the answer to it into answer.
func (e *exchange) post(ctx context.Context, path string, message, answer any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+e.token)
	response, err := e.http.Do(request)
	if err != nil {
		kind := client.ErrUnavailable
		if certificate := new(tls.CertificateVerificationError); errors.As(err, &certificate) {
			kind = client.ErrReply
		}
		return fmt.Errorf("enrol: %w: %w", kind, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, release.MaxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("enrol: %w: the answer broke off: %w", client.ErrUnavailable, err)
	case len(content) > release.MaxAnswer:
		return fmt.Errorf("enrol: %w: it has over %d bytes", client.ErrReply, release.MaxAnswer)
	case response.StatusCode != http.StatusOK:
		return failure(response.StatusCode, content)
	}
	if err := strictjson.UnmarshalNewer(content, answer); err != nil {
		return fmt.Errorf("enrol: %w: %w", client.ErrReply, err)
	}
	return nil
}

// failure says what an answer other than 200 means.
func failure(status int, content []byte) error {
	answer, err := release.DecodeError(content)
	switch {
	case status == http.StatusTooManyRequests || status >= 500:
		if err != nil {
			return fmt.Errorf("enrol: %w: status %d", client.ErrUnavailable, status)
		}
		return fmt.Errorf("enrol: %w: %s", client.ErrUnavailable, answer.Message)
	case err != nil:
		return fmt.Errorf("enrol: %w: status %d, and no answer of a broker", client.ErrReply, status)
	default:
		return &client.Refused{Code: answer.Code, Message: answer.Message, Decision: answer.Decision}
	}
}
