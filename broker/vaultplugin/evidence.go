package vaultplugin

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/cca"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/nvidia"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/token"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/verifiers"
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
	made, err := c.verifiers(j.collateral)
	if err != nil {
		return nil, err
	}
	made.TPM.Enrolments, made.TPM.RevocationLists = enrolments, makers.RevocationLists
	if j.verifiers, err = verifiers.New(made); err != nil {
		return nil, err
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

// verifiers reads what the kinds that prove something are verified by. What is known of TPMs is left to be said.
func (c *Config) verifiers(e attest.Endorsements) (verifiers.Config, error) {
	made := verifiers.Config{
		Kinds:        slices.DeleteFunc(slices.Clone(c.Kinds), attest.Kind.Development),
		Endorsements: e, Grace: time.Duration(c.CollateralGrace),
		SNP: snp.Config{
			MinimumTCB:   map[snp.Product]snp.TCB{},
			RequireLists: c.CollateralRequireLists || slices.Contains(c.CollateralFetch, string(collateral.AMD)),
		},
		NVIDIA: nvidia.Config{AllowUnmeasured: c.NVIDIAAllowUnmeasured},
	}
	for product, least := range c.SNPMinimumTCB {
		made.SNP.MinimumTCB[snp.Product(product)] = snp.TCB(least)
	}
	if c.TPMGoogleAK {
		made.TPM.AKRoots, made.TPM.AKIntermediates = tpm.GoogleAKRoots(), tpm.GoogleAKIntermediates()
	}
	var err error
	if c.CCATrustAnchors != "" {
		if made.CCA.TrustAnchors, err = cca.ParseTrustAnchors([]byte(c.CCATrustAnchors)); err != nil {
			return made, fmt.Errorf("cca_trust_anchors: %w", err)
		}
	}
	if c.CCAReferenceValues != "" {
		if made.CCA.ReferenceValues, err = cca.ParseReferenceValues([]byte(c.CCAReferenceValues)); err != nil {
			return made, fmt.Errorf("cca_reference_values: %w", err)
		}
	}
	made.Tokens.Verifiers, err = c.tokens()
	return made, err
}

// tokens reads whose tokens count.
func (c *Config) tokens() ([]token.Trusted, error) {
	var all []token.Trusted
	for _, v := range c.TokenVerifiers {
		ways := 0
		for _, given := range []bool{len(v.Keys) > 0, v.Roots != "", v.JWKSURL != "", v.Discovery} {
			if given {
				ways++
			}
		}
		if ways != 1 {
			return nil, fmt.Errorf("token_verifiers: the keys of %.80q come from one of keys, roots, jwks_url and discovery, and %d are given", v.Name, ways)
		}
		if len(v.JWKSHosts) > 0 && !v.Discovery {
			return nil, fmt.Errorf("token_verifiers: %.80q: jwks_hosts is for discovery", v.Name)
		}
		all = append(all, token.Trusted{
			Name: v.Name, Format: token.Format(v.Format), Issuer: v.Issuer, Audiences: v.Audiences,
			Keys: v.Keys, Roots: []byte(v.Roots), MaxAge: time.Duration(v.MaxAge),
		})
	}
	return all, nil
}

// makers reads the roots of TPM makers, and revocation lists.
func (c *Config) makers() (m tpm.EnrollerConfig, err error) {
	if c.TPMMakerRoots != "" {
		if err := m.AddPEM([]byte(c.TPMMakerRoots)); err != nil {
			return m, fmt.Errorf("tpm_maker_roots: %w", err)
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
