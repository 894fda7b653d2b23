package azuredevice

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/dial"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// DefaultIMDS is the address of the metadata service, which is link-local: the host answers.
const DefaultIMDS = "http://169.254.169.254"

// Paths of the metadata service.
const (
	pathVCEK    = "/metadata/THIM/amd/certification"
	pathTDQuote = "/acc/tdquote"
)

// Bounds on answers, in bytes.
const (
	maxAnswer  = 64 << 10
	maxVCEK    = 4 << 10  // the certificate: what a broker reads
	maxTDQuote = 16 << 10 // likewise; they have about 5000
)

// imdsTimeout bounds one request. A quote takes about a second.
const imdsTimeout = 10 * time.Second

// IMDSConfig says where the metadata service is.
type IMDSConfig struct {
	Address string       // DefaultIMDS when empty
	HTTP    *http.Client // one that uses no proxy and takes 10 seconds at most when nil. Redirects are never followed
}

// IMDS is Azure's Instance Metadata Service. Nothing that it says is believed here; the broker verifies it. It is safe for concurrent use.
type IMDS struct {
	base string
	http *http.Client
}

// NewIMDS returns an IMDS.
func NewIMDS(config IMDSConfig) (*IMDS, error) {
	if config.Address == "" {
		config.Address = DefaultIMDS
	}
	address, err := dial.Parse(config.Address)
	if err != nil {
		return nil, fmt.Errorf("azuredevice: the metadata service's address: %w", err)
	}
	// Not the default transport: a proxy would be asked for another machine's metadata, or learn of this one's.
	client := &http.Client{Transport: &http.Transport{}, Timeout: imdsTimeout}
	if config.HTTP != nil {
		own := *config.HTTP
		client = &own
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &IMDS{base: dial.Base(address), http: client}, nil
}

// VCEK implements [Metadata].
func (m *IMDS) VCEK(ctx context.Context) ([]byte, error) {
	var answer struct {
		VCEK string `json:"vcekCert"` // PEM. There are the certificates of its issuers too, which brokers have
	}
	if err := m.ask(ctx, http.MethodGet, pathVCEK, nil, &answer); err != nil {
		return nil, fmt.Errorf("azuredevice: the processor's certificate: %w", err)
	}
	block, rest := pem.Decode([]byte(answer.VCEK))
	if block == nil || block.Type != "CERTIFICATE" || len(block.Bytes) > maxVCEK || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("azuredevice: the metadata service's vcekCert is not one certificate in PEM")
	}
	return block.Bytes, nil
}

// TDQuote implements [Metadata].
func (m *IMDS) TDQuote(ctx context.Context, report []byte) ([]byte, error) {
	body, err := json.Marshal(map[string]string{"report": base64.RawURLEncoding.EncodeToString(report)})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Quote string `json:"quote"`
	}
	if err := m.ask(ctx, http.MethodPost, pathTDQuote, body, &answer); err != nil {
		return nil, fmt.Errorf("azuredevice: the TD quote: %w", err)
	}
	quote, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(answer.Quote, "="))
	if err != nil || len(quote) == 0 || len(quote) > maxTDQuote {
		return nil, fmt.Errorf("azuredevice: the metadata service's quote is not up to %d bytes in base64url", maxTDQuote)
	}
	return quote, nil
}

// ask makes a request and decodes the answer.
func (m *IMDS) ask(ctx context.Context, method, path string, body []byte, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, m.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Metadata", "true") // proves that the request was not made by someone who can have a URL fetched and no more
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := m.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return err
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("the metadata service answers %s with status %d", path, response.StatusCode)
	case len(content) > maxAnswer:
		return fmt.Errorf("the metadata service answers %s with over %d bytes", path, maxAnswer)
	}
	return strictjson.UnmarshalNewer(content, answer)
}
