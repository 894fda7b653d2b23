package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/cca"
	"github.com/vouchsafe/vouchsafe/attest/collateral/jwks"
	"github.com/vouchsafe/vouchsafe/attest/nvidia"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/token"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/verifiers"
)

// verifiers reads what the settings name for verifying evidence, by endorsements that are at hand. Which TPMs are enrolled is left to be said.
func (s *settings) verifiers(e attest.Endorsements) (c verifiers.Config, err error) {
	c = verifiers.Config{Endorsements: e, Grace: s.Collateral.Grace, NVIDIA: nvidia.Config{AllowUnmeasured: s.NVIDIA.AllowUnmeasured}}
	if c.Kinds, err = s.verified(); err != nil {
		return c, err
	}
	if c.SNP, err = s.SNP.config(); err != nil {
		return c, err
	}
	c.SNP.RequireLists = s.Collateral.requireLists()
	if c.TPM.RevocationLists, err = readRevocationLists(s.TPM.RevocationLists); err != nil {
		return c, err
	}
	if s.TPM.GoogleAK {
		c.TPM.AKRoots, c.TPM.AKIntermediates = tpm.GoogleAKRoots(), tpm.GoogleAKIntermediates()
	}
	if c.CCA, err = s.CCA.config(); err != nil {
		return c, err
	}
	if c.Tokens, err = s.Tokens.config(); err != nil {
		return c, err
	}
	return c, c.Check()
}

func (s *ccaSettings) config() (c cca.Config, err error) {
	if s.TrustAnchors == "" {
		if s.ReferenceValues != "" {
			return c, errors.New("cca.reference_values says what is good of platforms, and cca.trust_anchors trusts none")
		}
		return c, nil
	}
	text, err := readInput(nil, s.TrustAnchors, cca.MaxStore)
	if err != nil {
		return c, err
	}
	if c.TrustAnchors, err = cca.ParseTrustAnchors(text); err != nil {
		return c, fmt.Errorf("cca.trust_anchors: %s: %w", s.TrustAnchors, err)
	}
	if s.ReferenceValues == "" {
		return c, nil
	}
	if text, err = readInput(nil, s.ReferenceValues, cca.MaxStore); err != nil {
		return c, err
	}
	if c.ReferenceValues, err = cca.ParseReferenceValues(text); err != nil {
		return c, fmt.Errorf("cca.reference_values: %s: %w", s.ReferenceValues, err)
	}
	return c, nil
}

// config reads whose tokens count.
func (s *tokenSettings) config() (token.Config, error) {
	c := token.Config{KeySetAge: s.KeySetAge, KeySetGrace: s.KeySetGrace}
	for i := range s.Verifiers {
		v := &s.Verifiers[i]
		t := token.Trusted{
			Name: v.Name, Format: token.Format(v.Format), Issuer: v.Issuer, Audiences: v.Audiences, MaxAge: v.MaxAge, Passport: v.Passport,
		}
		ways := 0
		for _, given := range []bool{v.KeysFile != "", v.RootsFile != "", v.JWKSURL != "", v.Discovery} {
			if given {
				ways++
			}
		}
		if ways != 1 {
			return c, fmt.Errorf("tokens.verifiers: %s: its keys come from one of keys_file, roots_file, jwks_url and discovery, and %d are given", orUnnamed(v.Name), ways)
		}
		if len(v.JWKSHosts) > 0 && !v.Discovery {
			return c, fmt.Errorf("tokens.verifiers: %s: jwks_hosts is for discovery", orUnnamed(v.Name))
		}
		for from, to := range map[string]*[]byte{v.KeysFile: &t.Keys, v.RootsFile: &t.Roots} {
			if from == "" {
				continue
			}
			text, err := readInput(nil, from, 1<<20)
			if err != nil {
				return c, fmt.Errorf("tokens.verifiers: %s: %w", orUnnamed(v.Name), err)
			}
			*to = text
		}
		c.Verifiers = append(c.Verifiers, t)
	}
	return c, nil
}

func orUnnamed(name string) string {
	if name == "" {
		return "one without a name"
	}
	return fmt.Sprintf("%.80s", name)
}

// keySets are the verifiers whose keys are collateral.
func (s *tokenSettings) keySets() []jwks.Verifier {
	var sets []jwks.Verifier
	for _, v := range s.Verifiers {
		switch {
		case v.JWKSURL != "":
			sets = append(sets, jwks.Verifier{Name: v.Name, URL: v.JWKSURL})
		case v.Discovery:
			sets = append(sets, jwks.Verifier{Name: v.Name, Issuer: v.Issuer, Hosts: v.JWKSHosts})
		}
	}
	return sets
}

// noEnrolments knows no TPM.
type noEnrolments struct{}

// Lookup implements tpm.Enrolments.
func (noEnrolments) Lookup(context.Context, string, string) (*tpm.Enrolment, error) {
	return nil, tpm.ErrNotEnrolled
}

// uses reports whether collateral of any of some kinds is used.
func uses(kinds []attest.Kind, some ...attest.Kind) bool {
	return slices.ContainsFunc(some, func(k attest.Kind) bool { return slices.Contains(kinds, k) })
}

// config reads what snp evidence is judged by.
func (s *snpSettings) config() (snp.Config, error) {
	c := snp.Config{MinimumTCB: map[snp.Product]snp.TCB{}}
	if s.Certificates != "" {
		c.Certificates = os.DirFS(s.Certificates)
	}
	for _, path := range s.RevocationLists {
		list, err := readInput(nil, path, maxSettings)
		if err != nil {
			return c, err
		}
		c.RevocationLists = append(c.RevocationLists, list)
	}
	for product, least := range s.MinimumTCB {
		c.MinimumTCB[product] = snp.TCB(least)
	}
	return c, nil
}
