// Package intel fetches Intel's collateral for SGX and TDX from the Provisioning Certification Service, version 4, or from a caching service (PCCS) that
// an operator runs:
//
//	intel/tcb/{sgx|tdx}/{fmspc}  GET BASE/{sgx|tdx}/certification/v4/tcb?fmspc={fmspc}    chain: SGX-TCB-Info-Issuer-Chain or TCB-Info-Issuer-Chain
//	intel/identity/qe            GET BASE/sgx/certification/v4/qe/identity                chain: SGX-Enclave-Identity-Issuer-Chain
//	intel/identity/tdqe          GET BASE/tdx/certification/v4/qe/identity                chain: the same
//	intel/crl/{ca}               GET BASE/sgx/certification/v4/pckcrl?ca={ca}&encoding=der  chain: SGX-PCK-CRL-Issuer-Chain
//	intel/crl/root               GET https://certificates.trustedservices.intel.com/IntelSGXRootCA.der, or of a PCCS BASE/sgx/certification/v4/rootcacrl
//
// Chains come as PEM, URL-encoded, in a header. Lists come as DER; services write them as hex or PEM too, and DER is what is kept.
//
// # What is checked
//
// That the JSON has each member once, is of the technology, and of the FMSPC or quoting enclave that the name says, and says when it was made and when its
// next is due; that a list is one and says the same. Then the hook [Config].Verify has to find Intel's signature good: without it New fails, since what
// anybody could have made must not be kept.
package intel

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// The services that Intel runs.
const (
	DefaultBase    = "https://api.trustedservices.intel.com"
	DefaultRootCRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
)

// Limits of answers, in bytes.
const (
	maxTCB      = 1 << 20  // they have some 10 KiB
	maxIdentity = 64 << 10 // they have 1 KiB
	maxList     = 4 << 20  // a cloud's list may be long
)

// apiKeyHeader carries a subscription's key.
const apiKeyHeader = "Ocp-Apim-Subscription-Key"

// Config says where to ask, and how Intel's signatures are verified.
type Config struct {
	// Verify holds an item against Intel's root; needed. It is called after the checks of this package, with the name, the item and its chain.
	Verify func(name string, e *attest.Endorsement, now time.Time) error

	Client   *collateral.Client // nil: nothing is fetched
	Base     string             // of the service; default [DefaultBase]
	RootCRL  string             // URL of the root's list; default [DefaultRootCRL], of another Base that of a PCCS
	APIKey   string             // of a subscription; none is needed for what is fetched here
	Interval time.Duration      // default 1 s
}

// New returns the publisher of Intel's collateral. Where it is fetched, the revocation lists and the identities of the quoting enclaves are always wanted.
func New(c Config) (collateral.Publisher, error) {
	if c.Verify == nil {
		return collateral.Publisher{}, errors.New("intel: nothing would verify the signature of what is fetched")
	}
	p := collateral.Publisher{Vendor: collateral.Intel, Check: c.check, Interval: c.Interval, Workers: 2}
	if c.Client == nil {
		return p, nil
	}
	if c.Base == "" {
		c.Base = DefaultBase
	}
	base, err := collateral.Base(c.Base)
	if err != nil {
		return p, err
	}
	s := &source{client: c.Client, base: base}
	switch {
	case c.RootCRL != "":
	case c.Base == DefaultBase:
		c.RootCRL = DefaultRootCRL
	default:
		c.RootCRL = base.JoinPath("sgx", "certification", "v4", "rootcacrl").String()
	}
	if s.rootCRL, err = collateral.Base(c.RootCRL); err != nil {
		return p, err
	}
	if c.APIKey != "" {
		s.header = http.Header{apiKeyHeader: {c.APIKey}}
	}
	p.Source = s
	p.Always = []string{"intel/crl/processor", "intel/crl/platform", "intel/crl/root", "intel/identity/qe", "intel/identity/tdqe"}
	return p, nil
}

type source struct {
	client        *collateral.Client
	base, rootCRL *url.URL
	header        http.Header // with the key; never sent to another host, since redirects stay on theirs
}

// Fetch implements collateral.Source.
func (s *source) Fetch(ctx context.Context, name collateral.Name) (*collateral.Fetched, error) {
	var (
		q      = collateral.Request{Header: s.header}
		chains []string
	)
	at := func(technology string, path ...string) *url.URL {
		return s.base.JoinPath(append([]string{technology, "certification", "v4"}, path...)...)
	}
	switch name.Type() {
	case collateral.TypeTCB:
		q.URL, q.Limit = at(name.Arg(0), "tcb"), maxTCB
		q.URL.RawQuery = "fmspc=" + name.Arg(1)
		chains = []string{"TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"}
	case collateral.TypeIdentity:
		q.URL, q.Limit = at(map[string]string{"qe": "sgx", "tdqe": "tdx"}[name.Arg(0)], "qe", "identity"), maxIdentity
		chains = []string{"SGX-Enclave-Identity-Issuer-Chain"}
	case collateral.TypeIntelCRL:
		if q.Limit = maxList; name.Arg(0) == "root" {
			u := *s.rootCRL
			if u.Host != s.base.Host {
				q.Header = nil // the key is for the other service
			}
			q.URL = &u
			break
		}
		q.URL = at("sgx", "pckcrl")
		q.URL.RawQuery = "ca=" + name.Arg(0) + "&encoding=der"
		chains = []string{"SGX-PCK-CRL-Issuer-Chain"}
	default:
		return nil, collateral.Unsupported("Intel does not publish %s", name)
	}
	r, err := s.client.Do(ctx, q)
	if err != nil {
		return nil, err
	}
	got := &collateral.Fetched{Data: r.Body, URL: r.URL}
	if name.Type() == collateral.TypeIntelCRL {
		got.Data = der(r.Body)
	}
	if chains == nil {
		return got, nil
	}
	if got.Chain, err = chain(r.Header, chains); err != nil {
		return nil, collateral.Invalid(r.URL, "%w", err)
	}
	return got, nil
}

// der returns a list's DER, which some services write in hex or PEM. What is neither is left as it is.
func der(body []byte) []byte {
	if block, _ := pem.Decode(body); block != nil && block.Type == "X509 CRL" {
		return block.Bytes
	}
	if text := bytes.TrimSpace(body); len(text) > 0 && text[0] == '3' {
		if raw, err := hex.DecodeString(string(text)); err == nil {
			return raw
		}
	}
	return body
}

// chain reads the issuer's chain from the first of the headers that is there: PEM, URL-encoded.
func chain(h http.Header, names []string) ([]byte, error) {
	for _, name := range names {
		values := h.Values(name)
		if len(values) == 0 {
			continue
		}
		if len(values) > 1 {
			return nil, fmt.Errorf("the header %s is there %d times", name, len(values))
		}
		text, err := url.PathUnescape(values[0])
		if err != nil {
			return nil, fmt.Errorf("the header %s: %w", name, err)
		}
		certs := 0
		for rest := []byte(text); len(bytes.TrimSpace(rest)) > 0; certs++ {
			block, more := pem.Decode(rest)
			if block == nil || block.Type != "CERTIFICATE" || certs > 3 {
				return nil, fmt.Errorf("the header %s has no chain of up to four certificates in PEM", name)
			}
			rest = more
		}
		if certs == 0 {
			return nil, fmt.Errorf("the header %s is empty", name)
		}
		return []byte(text), nil
	}
	return nil, fmt.Errorf("there is no header %s", strings.Join(names, " or "))
}

// check implements collateral.Check.
func (c *Config) check(name collateral.Name, e *attest.Endorsement, now time.Time) (collateral.Validity, error) {
	var (
		v   collateral.Validity
		err error
	)
	switch name.Type() {
	case collateral.TypeTCB:
		v, err = checkTCB(name, e.Data)
	case collateral.TypeIdentity:
		v, err = checkIdentity(name, e.Data)
	case collateral.TypeIntelCRL:
		v, err = checkList(e.Data)
	default:
		err = errors.New("no collateral of Intel's")
	}
	if err == nil {
		err = c.Verify(name.String(), e, now)
	}
	if err != nil {
		return v, fmt.Errorf("intel: %s: %w", name, err)
	}
	return v, nil
}

// signed splits a document of one member and a signature.
func signed(data []byte, member string) (map[string]json.RawMessage, error) {
	outer, err := strictjson.Object(data)
	if err != nil {
		return nil, err
	}
	if outer[member] == nil || outer["signature"] == nil {
		return nil, fmt.Errorf("it lacks %s or signature", member)
	}
	return strictjson.Object(outer[member])
}

func checkTCB(name collateral.Name, data []byte) (collateral.Validity, error) {
	body, err := signed(data, "tcbInfo")
	if err != nil {
		return collateral.Validity{}, err
	}
	technology, fmspc := text(body["id"]), text(body["fmspc"])
	if technology != strings.ToUpper(name.Arg(0)) || fmspc != strings.ToUpper(name.Arg(1)) && fmspc != name.Arg(1) {
		return collateral.Validity{}, fmt.Errorf("it is the TCB info of %.20q for %.20q", technology, fmspc)
	}
	return times(body)
}

func checkIdentity(name collateral.Name, data []byte) (collateral.Validity, error) {
	body, err := signed(data, "enclaveIdentity")
	if err != nil {
		return collateral.Validity{}, err
	}
	want := map[string]string{"qe": "QE", "tdqe": "TD_QE"}[name.Arg(0)]
	if id := text(body["id"]); id != want {
		return collateral.Validity{}, fmt.Errorf("it is the identity of %.20q, not of %s", id, want)
	}
	return times(body)
}

// text returns a JSON string, "" for anything else.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

func times(body map[string]json.RawMessage) (v collateral.Validity, err error) {
	if v.Issued, err = time.Parse(time.RFC3339, text(body["issueDate"])); err != nil {
		return v, fmt.Errorf("its issueDate: %w", err)
	}
	if v.Expires, err = time.Parse(time.RFC3339, text(body["nextUpdate"])); err != nil {
		return v, fmt.Errorf("its nextUpdate: %w", err)
	}
	if !v.Expires.After(v.Issued) {
		return v, errors.New("its next is due before it was made")
	}
	return v, nil
}

func checkList(data []byte) (collateral.Validity, error) {
	list, err := x509.ParseRevocationList(data)
	if err != nil {
		return collateral.Validity{}, err
	}
	if len(list.Raw) != len(data) {
		return collateral.Validity{}, errors.New("bytes follow the list")
	}
	if list.NextUpdate.IsZero() {
		return collateral.Validity{}, errors.New("the list does not say when its next is due")
	}
	return collateral.Validity{Issued: list.ThisUpdate, Expires: list.NextUpdate}, nil
}
