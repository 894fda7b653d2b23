// Package amd fetches AMD's collateral from its key distribution service (AMD publication 57230, "Versioned Chip Endorsement Key (VCEK) Certificate and
// KDS Interface Specification"), or from a mirror of it:
//
//	amd/vcek/{product}/{hwid}-{tcb}  GET BASE/vcek/v1/{product}/{hwid}?blSPL=…&teeSPL=…&snpSPL=…&ucodeSPL=…, and fmcSPL= first on Turin
//	amd/crl/{product}                GET BASE/vcek/v1/{product}/crl
//
// Both answers are DER. AMD publishes no VLEK certificates: they come from the cloud that has the key, in evidence or in a file.
//
// A certificate is kept when it chains to AMD's root and is for the chip and TCB that its name says, a list when the root signed it.
package amd

import (
	"context"
	"encoding/hex"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/snp"
)

// DefaultBase is AMD's service.
const DefaultBase = "https://kdsintf.amd.com"

// DefaultInterval is the least time between two requests: what AMD's service answers without throttling.
const DefaultInterval = 10 * time.Second

// Limits of answers, in bytes.
const (
	maxCertificate = 4 << 10 // they have up to 1700
	maxList        = 1 << 20 // they have a few KiB
)

// Checker verifies an item of that name: *snp.Collateral does.
type Checker interface {
	Check(name string, data []byte) (from, until time.Time, err error)
}

// Config says where to ask.
type Config struct {
	Checker  Checker            // needed
	Client   *collateral.Client // nil: nothing is fetched
	Base     string             // default [DefaultBase]
	Interval time.Duration      // default [DefaultInterval]
}

// New returns the publisher of AMD's collateral. Where it is fetched, the revocation lists of all products are always wanted.
func New(c Config) (collateral.Publisher, error) {
	if c.Checker == nil {
		return collateral.Publisher{}, errors.New("amd: nothing would check what is fetched")
	}
	p := collateral.Publisher{Vendor: collateral.AMD, Check: check(c.Checker), Interval: c.Interval}
	if p.Interval == 0 {
		p.Interval = DefaultInterval
	}
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
	p.Source = &source{c.Client, base}
	for _, product := range snp.Products() {
		p.Always = append(p.Always, snp.CRLName(product))
	}
	return p, nil
}

func check(c Checker) collateral.Check {
	return func(name collateral.Name, e *attest.Endorsement, _ time.Time) (collateral.Validity, error) {
		from, until, err := c.Check(name.String(), e.Data)
		return collateral.Validity{Issued: from, Expires: until}, err
	}
}

type source struct {
	client *collateral.Client
	base   *url.URL
}

// Fetch implements collateral.Source.
func (s *source) Fetch(ctx context.Context, name collateral.Name) (*collateral.Fetched, error) {
	q := collateral.Request{}
	switch name.Type() {
	case collateral.TypeAMDCRL:
		q.URL, q.Limit = s.base.JoinPath("vcek", "v1", name.Arg(0), "crl"), maxList
	case collateral.TypeVCEK:
		chip, tcb, _ := strings.Cut(name.Arg(1), "-")
		query, err := levels(snp.Product(name.Arg(0)), tcb)
		if err != nil {
			return nil, err
		}
		q.URL, q.Limit = s.base.JoinPath("vcek", "v1", name.Arg(0), chip), maxCertificate
		q.URL.RawQuery = query
	default:
		return nil, collateral.Unsupported("AMD does not publish %s: evidence brings it, or a file does", name)
	}
	r, err := s.client.Do(ctx, q)
	if err != nil {
		return nil, err
	}
	return &collateral.Fetched{Data: r.Body, URL: r.URL}, nil
}

// levels writes the security patch levels of a TCB as the service wants them.
func levels(p snp.Product, tcb string) (string, error) {
	var version snp.TCBVersion
	if n, err := hex.Decode(version[:], []byte(tcb)); err != nil || n != len(version) {
		return "", collateral.Unsupported("%q is no TCB", tcb)
	}
	t, err := version.Decode(p)
	if err != nil {
		return "", collateral.Unsupported("%w", err)
	}
	query := ""
	if p == snp.Turin {
		query = "fmcSPL=" + strconv.Itoa(int(t.FMC)) + "&"
	}
	return query + "blSPL=" + strconv.Itoa(int(t.Bootloader)) + "&teeSPL=" + strconv.Itoa(int(t.TEE)) +
		"&snpSPL=" + strconv.Itoa(int(t.SNP)) + "&ucodeSPL=" + strconv.Itoa(int(t.Microcode)), nil
}
