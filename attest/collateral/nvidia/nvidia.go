// Package nvidia fetches NVIDIA's reference manifests from its RIM service, and the state of certificates from its OCSP service (RFC 6960):
//
//	nvidia/rim/{id}       GET BASE/v1/rim/{id}: JSON, whose member rim is the XML manifest in base64
//	nvidia/ocsp/{sha256}  POST to the OCSP service, for the certificate with that SHA-256
//
// An OCSP request names the certificate's issuer and serial number, which its SHA-256 does not tell: [Config].Request makes the request for those that are
// known, such as those of a chain file, with [OCSPRequest]. Of others the answer can only be imported.
//
// A manifest is kept when it is XML, and a response when it is DER, and the hook [Config].Verify finds NVIDIA's signature good; without that New fails.
package nvidia

import (
	"bytes"
	"context"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// The services that NVIDIA runs.
const (
	DefaultRIM  = "https://rim.attestation.nvidia.com"
	DefaultOCSP = "https://ocsp.ndis.nvidia.com"
)

// Limits of answers, in bytes.
const (
	maxRIM  = collateral.MaxData // decoded; base64 in JSON has a half more
	maxOCSP = 16 << 10
)

// Config says where to ask, and how NVIDIA's signatures are verified.
type Config struct {
	// Verify holds an item against NVIDIA's roots and returns what it says of its time; needed.
	Verify func(name string, e *attest.Endorsement, now time.Time) (collateral.Validity, error)

	// Request returns the OCSP request for the certificate of a SHA-256, in hex; false when it is not known. Nil knows none.
	Request func(sha256 string) (der []byte, ok bool)

	Client   *collateral.Client // nil: nothing is fetched
	RIM      string             // default [DefaultRIM]
	OCSP     string             // default [DefaultOCSP]
	Interval time.Duration      // default 1 s
}

// New returns the publisher of NVIDIA's collateral.
func New(c Config) (collateral.Publisher, error) {
	if c.Verify == nil {
		return collateral.Publisher{}, errors.New("nvidia: nothing would verify the signature of what is fetched")
	}
	p := collateral.Publisher{Vendor: collateral.NVIDIA, Check: c.check, Interval: c.Interval}
	if c.Client == nil {
		return p, nil
	}
	if c.RIM == "" {
		c.RIM = DefaultRIM
	}
	if c.OCSP == "" {
		c.OCSP = DefaultOCSP
	}
	s := &source{client: c.Client, request: c.Request}
	var err error
	if s.rim, err = collateral.Base(c.RIM); err != nil {
		return p, err
	}
	if s.ocsp, err = collateral.Base(c.OCSP); err != nil {
		return p, err
	}
	p.Source = s
	return p, nil
}

type source struct {
	client    *collateral.Client
	rim, ocsp *url.URL
	request   func(string) ([]byte, bool)
}

// Fetch implements collateral.Source.
func (s *source) Fetch(ctx context.Context, name collateral.Name) (*collateral.Fetched, error) {
	switch name.Type() {
	case collateral.TypeRIM:
		r, err := s.client.Do(ctx, collateral.Request{URL: s.rim.JoinPath("v1", "rim", name.Arg(0)), Limit: maxRIM*3/2 + 4096})
		if err != nil {
			return nil, err
		}
		manifest, err := unwrap(r.Body, name.Arg(0))
		if err != nil {
			return nil, collateral.Invalid(r.URL, "%w", err)
		}
		return &collateral.Fetched{Data: manifest, URL: r.URL}, nil
	case collateral.TypeOCSP:
		var (
			der   []byte
			known bool
		)
		if s.request != nil {
			der, known = s.request(name.Arg(0))
		}
		if !known {
			return nil, collateral.Unsupported("the certificate of %s is not known here, so nobody can be asked about it", name)
		}
		r, err := s.client.Do(ctx, collateral.Request{
			URL: s.ocsp, Method: http.MethodPost, Body: string(der), Limit: maxOCSP,
			Header: http.Header{"Content-Type": {"application/ocsp-request"}, "Accept": {"application/ocsp-response"}},
		})
		if err != nil {
			return nil, err
		}
		return &collateral.Fetched{Data: r.Body, URL: r.URL}, nil
	}
	return nil, collateral.Unsupported("NVIDIA does not publish %s", name)
}

// unwrap takes the manifest out of the service's answer.
func unwrap(body []byte, id string) ([]byte, error) {
	members, err := strictjson.Object(body)
	if err != nil {
		return nil, err
	}
	var is, text string
	if raw := members["id"]; raw != nil && (json.Unmarshal(raw, &is) != nil || is != id) {
		return nil, fmt.Errorf("it is the manifest %.100q", is)
	}
	if json.Unmarshal(members["rim"], &text) != nil {
		return nil, errors.New("it has no manifest")
	}
	manifest, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("its manifest: %w", err)
	}
	return manifest, nil
}

// check implements collateral.Check.
func (c *Config) check(name collateral.Name, e *attest.Endorsement, now time.Time) (collateral.Validity, error) {
	var err error
	switch name.Type() {
	case collateral.TypeRIM:
		err = wellFormed(e.Data)
	case collateral.TypeOCSP:
		var outer asn1.RawValue
		rest, bad := asn1.Unmarshal(e.Data, &outer)
		if bad != nil || len(rest) != 0 || outer.Tag != asn1.TagSequence || len(e.Data) > maxOCSP {
			err = errors.New("it is no OCSP response")
		}
	default:
		err = errors.New("no collateral of NVIDIA's")
	}
	var v collateral.Validity
	if err == nil {
		v, err = c.Verify(name.String(), e, now)
	}
	if err != nil {
		return v, fmt.Errorf("nvidia: %s: %w", name, err)
	}
	return v, nil
}

// wellFormed reports whether data is one XML document without a document type, whose entities could grow without bound.
func wellFormed(data []byte) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	roots, depth := 0, 0
	for {
		token, err := d.RawToken()
		switch {
		case errors.Is(err, io.EOF) && roots == 1 && depth == 0:
			return nil
		case err != nil:
			return fmt.Errorf("it is no XML document: %w", err)
		}
		switch token.(type) {
		case xml.StartElement:
			if depth == 0 {
				roots++
			}
			if depth++; depth > 64 {
				return errors.New("it is no XML document of a manifest: its elements nest over 64 deep")
			}
		case xml.EndElement:
			depth--
		case xml.Directive:
			return errors.New("it has a document type")
		}
		if roots > 1 || depth < 0 {
			return errors.New("it is more than one XML document")
		}
	}
}
