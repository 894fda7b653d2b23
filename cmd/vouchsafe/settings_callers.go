package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral/jwks"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/access/certificate"
	"github.com/vouchsafe/vouchsafe/broker/access/oidc"
	"github.com/vouchsafe/vouchsafe/store"
)

// callerSettings say how administrators are known, beside by tokens of the broker.
type callerSettings struct {
	OIDC         []issuerSettings    `yaml:"oidc"`
	Certificates certificateSettings `yaml:"certificates"`
}

type issuerSettings struct {
	Name       string               `yaml:"name"`
	Issuer     string               `yaml:"issuer"`
	Audiences  []string             `yaml:"audiences"`
	KeysFile   string               `yaml:"keys_file"`
	JWKSURL    string               `yaml:"jwks_url"`
	Discovery  bool                 `yaml:"discovery"`
	JWKSHosts  []string             `yaml:"jwks_hosts"`
	Algorithms []string             `yaml:"algorithms"`
	Untyped    bool                 `yaml:"untyped"`
	Subject    string               `yaml:"subject"`
	MaxAge     time.Duration        `yaml:"max_age"`
	Rules      []issuerRuleSettings `yaml:"rules"`
}

type issuerRuleSettings struct {
	Claims    map[string]string `yaml:"claims"`
	Roles     []string          `yaml:"roles"`
	Namespace string            `yaml:"namespace"`
	Paths     []string          `yaml:"paths"`
}

type certificateSettings struct {
	CAFile          string                    `yaml:"ca_file"`
	RevocationLists []string                  `yaml:"revocation_lists"`
	Rules           []certificateRuleSettings `yaml:"rules"`
}

type certificateRuleSettings struct {
	DNS       string   `yaml:"dns"`
	URI       string   `yaml:"uri"`
	Email     string   `yaml:"email"`
	CN        string   `yaml:"cn"`
	Subject   string   `yaml:"subject"`
	Roles     []string `yaml:"roles"`
	Namespace string   `yaml:"namespace"`
	Paths     []string `yaml:"paths"`
}

// files are the settings that name a file.
func (s *callerSettings) files() []*string {
	files := []*string{&s.Certificates.CAFile}
	for i := range s.OIDC {
		files = append(files, &s.OIDC[i].KeysFile)
	}
	for i := range s.Certificates.RevocationLists {
		files = append(files, &s.Certificates.RevocationLists[i])
	}
	return files
}

// keySets are the issuers whose keys are collateral.
func (s *callerSettings) keySets() []jwks.Verifier {
	var sets []jwks.Verifier
	for i := range s.OIDC {
		from := jwks.Verifier{Name: oidc.KeySetOf(s.OIDC[i].Name), Usable: oidc.CheckKeySet}
		switch {
		case s.OIDC[i].JWKSURL != "":
			from.URL = s.OIDC[i].JWKSURL
		case s.OIDC[i].Discovery:
			from.Issuer, from.Hosts = s.OIDC[i].Issuer, s.OIDC[i].JWKSHosts
		default:
			continue
		}
		sets = append(sets, from)
	}
	return sets
}

// grant reads what a rule gives.
func grant(roles []string, namespace string, paths []string) (access.Grant, error) {
	g := access.Grant{Namespace: namespace}
	if g.Namespace == "" {
		g.Namespace = store.DefaultNamespace
	}
	var err error
	if g.Roles, err = access.ParseSet(roles...); err != nil {
		return g, err
	}
	g.Scope, err = access.ParseScope(paths...)
	return g, err
}

// open reads what the settings name. Nil is returned of what is not configured.
func (s *callerSettings) open(items attest.Endorsements) (*oidc.Verifier, *certificate.Verifier, error) {
	var (
		issuers *oidc.Verifier
		certs   *certificate.Verifier
		err     error
	)
	if len(s.OIDC) > 0 {
		c := oidc.Config{Endorsements: items}
		for i := range s.OIDC {
			made, err := s.OIDC[i].read()
			if err != nil {
				return nil, nil, fmt.Errorf("callers.oidc: %s: %w", orUnnamed(s.OIDC[i].Name), err)
			}
			c.Issuers = append(c.Issuers, made)
		}
		if issuers, err = oidc.New(c); err != nil {
			return nil, nil, fmt.Errorf("callers.oidc: %w", err)
		}
	}
	if s.Certificates.CAFile != "" || len(s.Certificates.Rules) > 0 || len(s.Certificates.RevocationLists) > 0 {
		if certs, err = s.Certificates.open(); err != nil {
			return nil, nil, fmt.Errorf("callers.certificates: %w", err)
		}
	}
	return issuers, certs, nil
}

func (s *issuerSettings) read() (oidc.Issuer, error) {
	i := oidc.Issuer{
		Name: s.Name, Issuer: s.Issuer, Audiences: s.Audiences, Algorithms: s.Algorithms, Untyped: s.Untyped, Subject: s.Subject, MaxAge: s.MaxAge,
	}
	ways := 0
	for _, given := range []bool{s.KeysFile != "", s.JWKSURL != "", s.Discovery} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return i, fmt.Errorf("its keys come from one of keys_file, jwks_url and discovery, and %d are given", ways)
	case len(s.JWKSHosts) > 0 && !s.Discovery:
		return i, errors.New("jwks_hosts is for discovery")
	}
	if s.KeysFile != "" {
		var err error
		if i.Keys, err = readInput(nil, s.KeysFile, 1<<20); err != nil {
			return i, err
		}
	}
	for n, r := range s.Rules {
		g, err := grant(r.Roles, r.Namespace, r.Paths)
		if err != nil {
			return i, fmt.Errorf("rule %d: %w", n+1, err)
		}
		i.Rules = append(i.Rules, oidc.Rule{Claims: r.Claims, Grant: g})
	}
	return i, nil
}

func (s *certificateSettings) open() (*certificate.Verifier, error) {
	c := certificate.Config{Revoked: s.RevocationLists}
	var err error
	if c.Authorities, err = readInput(nil, s.CAFile, maxSettings); err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	for n, r := range s.Rules {
		g, err := grant(r.Roles, r.Namespace, r.Paths)
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", n+1, err)
		}
		c.Rules = append(c.Rules, certificate.Rule{DNS: r.DNS, URI: r.URI, Email: r.Email, CommonName: r.CN, Subject: r.Subject, Grant: g})
	}
	return certificate.New(c, time.Now())
}
