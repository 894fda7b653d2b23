package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/azure"
	"github.com/vouchsafe/vouchsafe/attest/cca"
	"github.com/vouchsafe/vouchsafe/attest/collateral/jwks"
	"github.com/vouchsafe/vouchsafe/attest/csv"
	"github.com/vouchsafe/vouchsafe/attest/nitro"
	"github.com/vouchsafe/vouchsafe/attest/nvidia"
	"github.com/vouchsafe/vouchsafe/attest/se"
	"github.com/vouchsafe/vouchsafe/attest/sgx"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/tdx"
	"github.com/vouchsafe/vouchsafe/attest/token"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
)

// verifierSet is what the verifiers of settings are made of: everything that the settings name has been read.
type verifierSet struct {
	kinds        []attest.Kind
	endorsements attest.Endorsements
	snp          snp.Config
	tpm          tpm.Config
	cca          cca.Config
	tokens       token.Config
	settings     *settings
}

// verifiers reads what the settings name for verifying evidence, by endorsements that are at hand.
func (s *settings) verifiers(e attest.Endorsements) (*verifierSet, error) {
	v := &verifierSet{endorsements: e, settings: s}
	var err error
	if v.kinds, err = s.verified(); err != nil {
		return nil, err
	}
	if v.snp, err = s.SNP.config(); err != nil {
		return nil, err
	}
	v.snp.Endorsements, v.snp.Grace, v.snp.RequireLists = e, s.Collateral.Grace, s.Collateral.requireLists()
	if v.tpm.RevocationLists, err = readRevocationLists(s.TPM.RevocationLists); err != nil {
		return nil, err
	}
	if s.TPM.GoogleAK {
		v.tpm.AKRoots, v.tpm.AKIntermediates = tpm.GoogleAKRoots(), tpm.GoogleAKIntermediates()
	}
	if v.cca, err = s.CCA.config(); err != nil {
		return nil, err
	}
	v.tokens, err = s.Tokens.config()
	v.tokens.Endorsements = e
	return v, err
}

// build makes the verifiers, one of each kind that is to be verified. TPMs that are enrolled are found in enrolments.
func (v *verifierSet) build(enrolments tpm.Enrolments) ([]attest.Verifier, error) {
	// A confidential VM of Azure's is judged by the very verifiers of its hardware, so that what a vendor revokes, and the least TCB, count there too.
	amd, err := snp.New(v.snp)
	if err != nil {
		return nil, err
	}
	grace := v.settings.Collateral.Grace
	intel, err := tdx.New(tdx.Config{Endorsements: v.endorsements, Grace: grace})
	if err != nil {
		return nil, err
	}
	var tokens *token.Verifier
	if len(v.tokens.Verifiers) > 0 {
		if tokens, err = token.New(v.tokens); err != nil {
			return nil, err
		}
	}
	var all []attest.Verifier
	for _, kind := range v.kinds {
		var made attest.Verifier
		switch kind {
		case attest.SNP:
			made = amd
		case attest.TDX:
			made = intel
		case attest.SGX:
			made, err = sgx.New(sgx.Config{Endorsements: v.endorsements, Grace: grace})
		case attest.AzSNPvTPM:
			made, err = azure.New(azure.Config{Hardware: amd})
		case attest.AzTDXvTPM:
			made, err = azure.New(azure.Config{Hardware: intel})
		case attest.Nitro:
			made, err = nitro.New(nitro.Config{})
		case attest.CCA:
			made, err = cca.New(v.cca)
		case attest.CSV:
			made, err = csv.New(csv.Config{Endorsements: v.endorsements})
		case attest.SE:
			made = se.New()
		case attest.TPM:
			known := v.tpm
			known.Enrolments = enrolments
			made, err = tpm.New(known)
		case attest.Token:
			made = tokens
		case attest.NVIDIA:
			made, err = v.devices(tokens)
		default:
			err = fmt.Errorf("nothing here verifies evidence of kind %s", kind)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, made)
	}
	return all, nil
}

// devices returns the verifier of NVIDIA's devices: by their evidence, and by tokens of NVIDIA's service where those count.
func (v *verifierSet) devices(tokens *token.Verifier) (attest.Verifier, error) {
	local, err := nvidia.New(nvidia.Config{
		Endorsements: withoutOCSP{v.endorsements}, AllowUnmeasured: v.settings.NVIDIA.AllowUnmeasured, Grace: v.settings.Collateral.Grace,
	})
	if err != nil || tokens == nil {
		return local, err
	}
	return tokens.Device(local), nil
}

// withoutOCSP has no OCSP responses of NVIDIA's that a manager of collateral would fetch: nobody can be asked about a certificate by its digest, so that they
// would be wanted for ever. Those in files are found.
type withoutOCSP struct{ attest.Endorsements }

// Endorsement implements attest.Endorsements.
func (w withoutOCSP) Endorsement(ctx context.Context, name string) (*attest.Endorsement, error) {
	if _, files := w.Endorsements.(itemFiles); !files && strings.HasPrefix(name, "nvidia/ocsp/") {
		return nil, &attest.Unavailable{What: name, Err: nvidia.ErrOCSP}
	}
	return w.Endorsements.Endorsement(ctx, name)
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
