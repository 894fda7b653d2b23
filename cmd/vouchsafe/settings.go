package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/verifiers"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/endorse"
	"github.com/vouchsafe/vouchsafe/broker/node"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// settings are the members of a server's configuration file; docs/reference/server-config.md explains each. There is none by which development evidence
// could be accepted. Relative paths are relative to the file's folder.
type settings struct {
	Data   string        `yaml:"data"`
	Listen string        `yaml:"listen"`
	URL    string        `yaml:"url"`
	HTTP   bool          `yaml:"http"`
	TLS    tlsSettings   `yaml:"tls"`
	Seal   sealSettings  `yaml:"seal"`
	SNP    snpSettings   `yaml:"snp"`
	TPM    tpmSettings   `yaml:"tpm"`
	KBS    kbsSettings   `yaml:"kbs"`
	Limits limitSettings `yaml:"limits"`

	Kinds      []kindName         `yaml:"kinds"`
	CCA        ccaSettings        `yaml:"cca"`
	NVIDIA     nvidiaSettings     `yaml:"nvidia"`
	Tokens     tokenSettings      `yaml:"tokens"`
	Collateral collateralSettings `yaml:"collateral"`

	Callers callerSettings `yaml:"callers"`

	Store storeSettings `yaml:"store"`
	Vault vaultSettings `yaml:"vault"`

	Provenance map[string][]provenanceKey `yaml:"provenance"` // by namespace

	Log loggerSettings `yaml:"log"`
}

type tlsSettings struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

type snpSettings struct {
	Certificates    string                      `yaml:"certificates"`
	RevocationLists []string                    `yaml:"revocation_lists"`
	MinimumTCB      map[snp.Product]tcbSettings `yaml:"minimum_tcb"`
}

type tcbSettings struct {
	FMC        uint8 `yaml:"fmc"`
	Bootloader uint8 `yaml:"bootloader"`
	TEE        uint8 `yaml:"tee"`
	SNP        uint8 `yaml:"snp"`
	Microcode  uint8 `yaml:"microcode"`
}

type tpmSettings struct {
	MakerRoots      []string `yaml:"maker_roots"`
	GoogleAK        bool     `yaml:"google_ak"`
	RevocationLists []string `yaml:"revocation_lists"`
}

type kbsSettings struct {
	Off        bool `yaml:"off"`
	DenyStatus int  `yaml:"deny_status"`
	AllowRSA15 bool `yaml:"allow_rsa1_5"`

	AdminKeys []adminKeySettings `yaml:"admin_keys"`
}

type limitSettings struct {
	ChallengeLifetime time.Duration `yaml:"challenge_lifetime"`
	SessionLifetime   time.Duration `yaml:"session_lifetime"`
	RefusalsPerSecond int           `yaml:"refusals_per_second"`
	Secrets           int           `yaml:"secrets"`
}

// maxSettings bounds a configuration file, in bytes.
const maxSettings = 256 << 10

// readSettings reads a configuration file strictly: a member that is not known, or is there twice, is an error with its line.
func readSettings(path string) (*settings, error) {
	text, err := readInput(nil, path, maxSettings)
	if err != nil {
		return nil, err
	}
	s := &settings{}
	if err := decodeSettings(text, s); err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	s.below(folder)
	return s, nil
}

// below makes relative paths relative to a folder.
func (s *settings) below(folder string) {
	paths := []*string{
		&s.Data, &s.TLS.Certificate, &s.TLS.Key, &s.Seal.KeyFile, &s.Seal.PassphraseFile, &s.SNP.Certificates,
		&s.Collateral.Dir, &s.Collateral.CAFile, &s.Collateral.PCSAPIKey,
		&s.CCA.TrustAnchors, &s.CCA.ReferenceValues,
	}
	paths = append(paths, s.Tokens.files()...)
	paths = append(paths, s.Callers.files()...)
	paths = append(paths, s.Vault.files()...)
	for i := range s.KBS.AdminKeys {
		paths = append(paths, &s.KBS.AdminKeys[i].PublicKey)
	}
	paths = append(paths, s.provenanceFiles()...)
	for _, list := range [][]string{s.SNP.RevocationLists, s.TPM.MakerRoots, s.TPM.RevocationLists} {
		for i := range list {
			paths = append(paths, &list[i])
		}
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(folder, *p)
		}
	}
}

// node makes the configuration of a node, reading what the settings name.
func (s *settings) node(conn *vaultconn.Conn, logger *slog.Logger) (node.Config, error) {
	fail := func(err error) (node.Config, error) { return node.Config{}, err }
	if err := s.Store.check(); err != nil {
		return fail(err)
	}
	if s.Data == "" && s.Store.Kind != inVault {
		return fail(errNoData)
	}
	sealed, err := s.Seal.open(s.Data, conn)
	if err != nil {
		return fail(err)
	}
	kinds, err := s.verified()
	if err != nil {
		return fail(err)
	}
	var sharing collateral.Shared
	endorsed := endorse.Later()
	if s.Store.Kind == inVault {
		sharing = endorsed
	}
	items, err := s.Collateral.open(s.Data, s.hooks(kinds), toServe, sharing, logger)
	if err != nil {
		return fail(err)
	}
	made, err := s.verifiers(items)
	if err != nil {
		return fail(err)
	}
	c := node.Config{
		Collateral: items, Logger: logger,
		Endorse: endorsed,
		Data:    data.Config{Dir: s.Data, Seal: sealed, Logger: logger},
		Verifiers: func(d *data.Data) ([]attest.Verifier, error) {
			made := made
			made.TPM.Enrolments = broker.NewEnrolments(d.Store)
			return verifiers.New(made)
		},
		URL: s.URL, Listen: s.Listen, Certificate: s.TLS.Certificate, Key: s.TLS.Key, HTTP: s.HTTP, Build: "vouchsafe " + version(),
		KBS: node.KBS{Off: s.KBS.Off, DenyStatus: s.KBS.DenyStatus, AllowRSA15: s.KBS.AllowRSA15},
		Limits: broker.Limits{
			ChallengeLifetime: s.Limits.ChallengeLifetime, SessionLifetime: s.Limits.SessionLifetime,
			RefusalsPerSecond: s.Limits.RefusalsPerSecond, Secrets: s.Limits.Secrets,
		},
	}
	if c.KBS.AdminKeys, err = s.KBS.adminKeys(); err != nil {
		return fail(err)
	}
	c.Vault, c.Data.Shared = conn, s.shared(conn, logger)
	if c.OIDC, c.Certificates, err = s.Callers.open(items); err != nil {
		return fail(err)
	}
	if c.Provenance, err = s.provenanceKeys(); err != nil {
		return fail(err)
	}
	c.Enroller, err = enroller(s.TPM.MakerRoots, made.TPM.RevocationLists)
	return c, err
}

// enroller returns what enrols TPM keys by the roots of TPM makers in PEM files, nil when there are none.
func enroller(files []string, revoked []*x509.RevocationList) (*tpm.Enroller, error) {
	if len(files) == 0 {
		return nil, nil
	}
	c := tpm.EnrollerConfig{RevocationLists: revoked}
	for _, path := range files {
		text, err := readInput(nil, path, maxSettings)
		if err != nil {
			return nil, err
		}
		if err := c.AddPEM(text); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return tpm.NewEnroller(c)
}

func readRevocationLists(files []string) ([]*x509.RevocationList, error) {
	var lists []*x509.RevocationList
	for _, path := range files {
		content, err := readInput(nil, path, 16<<20)
		if err != nil {
			return nil, err
		}
		if block, _ := pem.Decode(content); block != nil && block.Type == "X509 CRL" {
			content = block.Bytes
		}
		list, err := x509.ParseRevocationList(content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(list.Raw) != len(content) {
			return nil, fmt.Errorf("%s: bytes follow the revocation list", path)
		}
		lists = append(lists, list)
	}
	return lists, nil
}
