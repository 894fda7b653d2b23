package vaultplugin

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/azure"
	"github.com/vouchsafe/vouchsafe/attest/cca"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/csv"
	"github.com/vouchsafe/vouchsafe/attest/nitro"
	"github.com/vouchsafe/vouchsafe/attest/nvidia"
	"github.com/vouchsafe/vouchsafe/attest/se"
	"github.com/vouchsafe/vouchsafe/attest/sgx"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/tdx"
	"github.com/vouchsafe/vouchsafe/attest/token"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/broker/endorse"
	"github.com/vouchsafe/vouchsafe/store"
)

// judges are what a mount judges evidence with.
type judges struct {
	verifiers  []attest.Verifier
	enroller   *tpm.Enroller // nil where no maker's root is configured
	collateral *collateral.Manager
}

// judges makes what the configuration says. Enrolled TPMs are found in enrolments, and what nodes share of collateral is in s.
func (c *Config) judges(o *Options, enrolments tpm.Enrolments, s store.Store) (*judges, error) {
	j := &judges{}
	var err error
	if j.collateral, err = c.openCollateral(o, endorse.New(s)); err != nil {
		return nil, err
	}
	makers, err := c.makers()
	if err != nil {
		return nil, err
	}
	if len(makers.EKRoots) > 0 {
		if j.enroller, err = tpm.NewEnroller(makers); err != nil {
			return nil, err
		}
	}
	b := building{config: c, endorsements: j.collateral, enrolments: enrolments, lists: makers.RevocationLists}
	for _, kind := range c.Kinds {
		if kind.Development() {
			continue
		}
		v, err := b.verifier(kind)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		j.verifiers = append(j.verifiers, v)
	}
	if c.Purpose == store.Development {
		if o.Development == nil {
			return nil, errors.New("this program judges no development evidence")
		}
		more, err := o.Development(c)
		if err != nil {
			return nil, err
		}
		j.verifiers = append(j.verifiers, more...)
	}
	return j, nil
}

// Development makes the verifiers of those kinds of a development mount that prove nothing about hardware.
type Development func(*Config) ([]attest.Verifier, error)

// building is a configuration on its way to verifiers.
type building struct {
	config       *Config
	endorsements attest.Endorsements
	enrolments   tpm.Enrolments
	lists        []*x509.RevocationList
}

// verifier makes the verifier of one kind.
func (b *building) verifier(kind attest.Kind) (attest.Verifier, error) {
	c, grace := b.config, time.Duration(b.config.CollateralGrace)
	switch kind {
	case attest.SNP:
		return b.amd()
	case attest.TDX:
		return tdx.New(tdx.Config{Endorsements: b.endorsements, Grace: grace})
	case attest.SGX:
		return sgx.New(sgx.Config{Endorsements: b.endorsements, Grace: grace})
	case attest.AzSNPvTPM:
		// A confidential VM of Azure's is judged by the very verifier of its hardware, so that the least TCB counts there too.
		amd, err := b.amd()
		if err != nil {
			return nil, err
		}
		return azure.New(azure.Config{Hardware: amd})
	case attest.AzTDXvTPM:
		intel, err := tdx.New(tdx.Config{Endorsements: b.endorsements, Grace: grace})
		if err != nil {
			return nil, err
		}
		return azure.New(azure.Config{Hardware: intel})
	case attest.Nitro:
		return nitro.New(nitro.Config{})
	case attest.CCA:
		return b.arm()
	case attest.CSV:
		return csv.New(csv.Config{Endorsements: b.endorsements})
	case attest.SE:
		return se.New(), nil
	case attest.TPM:
		known := tpm.Config{Enrolments: b.enrolments, RevocationLists: b.lists}
		if c.TPMGoogleAK {
			known.AKRoots, known.AKIntermediates = tpm.GoogleAKRoots(), tpm.GoogleAKIntermediates()
		}
		return tpm.New(known)
	case attest.Token:
		return b.tokens()
	case attest.NVIDIA:
		return b.devices()
	default:
		return nil, errors.New("nothing here verifies it")
	}
}

func (b *building) amd() (*snp.Verifier, error) {
	c := b.config
	made := snp.Config{
		MinimumTCB: map[snp.Product]snp.TCB{}, Endorsements: b.endorsements, Grace: time.Duration(c.CollateralGrace),
		RequireLists: c.CollateralRequireLists || slices.Contains(c.CollateralFetch, string(collateral.AMD)),
	}
	for product, least := range c.SNPMinimumTCB {
		made.MinimumTCB[snp.Product(product)] = snp.TCB(least)
	}
	return snp.New(made)
}

func (b *building) arm() (attest.Verifier, error) {
	if b.config.CCATrustAnchors == "" {
		return nil, errors.New("nobody publishes the keys of platforms: cca_trust_anchors has those you trust")
	}
	var (
		made cca.Config
		err  error
	)
	if made.TrustAnchors, err = cca.ParseTrustAnchors([]byte(b.config.CCATrustAnchors)); err != nil {
		return nil, fmt.Errorf("cca_trust_anchors: %w", err)
	}
	if b.config.CCAReferenceValues != "" {
		if made.ReferenceValues, err = cca.ParseReferenceValues([]byte(b.config.CCAReferenceValues)); err != nil {
			return nil, fmt.Errorf("cca_reference_values: %w", err)
		}
	}
	return cca.New(made)
}

func (b *building) tokens() (*token.Verifier, error) {
	made := token.Config{Endorsements: b.endorsements}
	for _, v := range b.config.TokenVerifiers {
		ways := 0
		for _, given := range []bool{len(v.Keys) > 0, v.Roots != "", v.JWKSURL != "", v.Discovery} {
			if given {
				ways++
			}
		}
		if ways != 1 {
			return nil, fmt.Errorf("token_verifiers: the keys of %.80q come from one of keys, roots, jwks_url and discovery, and %d are given", v.Name, ways)
		}
		made.Verifiers = append(made.Verifiers, token.Trusted{
			Name: v.Name, Format: token.Format(v.Format), Issuer: v.Issuer, Audiences: v.Audiences,
			Keys: v.Keys, Roots: []byte(v.Roots), MaxAge: time.Duration(v.MaxAge),
		})
	}
	return token.New(made)
}

func (b *building) devices() (attest.Verifier, error) {
	local, err := nvidia.New(nvidia.Config{
		Endorsements: withoutOCSP{b.endorsements}, AllowUnmeasured: b.config.NVIDIAAllowUnmeasured, Grace: time.Duration(b.config.CollateralGrace),
	})
	if err != nil || !slices.ContainsFunc(b.config.TokenVerifiers, func(v TokenVerifier) bool { return token.Format(v.Format) == token.NVIDIARemote }) {
		return local, err
	}
	tokens, err := b.tokens()
	if err != nil {
		return nil, err
	}
	return tokens.Device(local), nil
}

// withoutOCSP has no OCSP responses of NVIDIA's: nobody can be asked about a certificate by its digest, so that they would be wanted for ever.
type withoutOCSP struct{ attest.Endorsements }

// Endorsement implements attest.Endorsements.
func (w withoutOCSP) Endorsement(ctx context.Context, name string) (*attest.Endorsement, error) {
	if strings.HasPrefix(name, "nvidia/ocsp/") {
		return nil, &attest.Unavailable{What: name, Err: nvidia.ErrOCSP}
	}
	return w.Endorsements.Endorsement(ctx, name)
}

// makers reads the roots of TPM makers, and revocation lists.
func (c *Config) makers() (m tpm.EnrollerConfig, err error) {
	if c.TPMMakerRoots != "" {
		certificates, err := tpm.ParsePEM([]byte(c.TPMMakerRoots))
		if err != nil {
			return m, fmt.Errorf("tpm_maker_roots: %w", err)
		}
		for _, cert := range certificates {
			// What did not sign itself is an authority below a root.
			if bytes.Equal(cert.RawIssuer, cert.RawSubject) {
				m.EKRoots = append(m.EKRoots, cert)
			} else {
				m.EKIntermediates = append(m.EKIntermediates, cert)
			}
		}
		if len(m.EKRoots) == 0 {
			return m, errors.New("tpm_maker_roots has no root")
		}
	}
	rest := []byte(c.TPMRevocationLists)
	for len(bytes.TrimSpace(rest)) > 0 {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "X509 CRL" {
			return m, errors.New("tpm_revocation_lists is not PEM of X509 CRL")
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return m, fmt.Errorf("tpm_revocation_lists: %w", err)
		}
		m.RevocationLists = append(m.RevocationLists, list)
	}
	return m, nil
}
