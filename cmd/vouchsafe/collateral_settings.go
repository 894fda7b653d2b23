package main

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/amd"
	"github.com/vouchsafe/vouchsafe/attest/collateral/hygon"
	"github.com/vouchsafe/vouchsafe/attest/collateral/intel"
	"github.com/vouchsafe/vouchsafe/attest/collateral/jwks"
	"github.com/vouchsafe/vouchsafe/attest/collateral/nvidia"
	"github.com/vouchsafe/vouchsafe/attest/csv"
	gpu "github.com/vouchsafe/vouchsafe/attest/nvidia"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/tdx"
	"github.com/vouchsafe/vouchsafe/attest/token"
	"github.com/vouchsafe/vouchsafe/attest/verifiers"
)

// collateralSettings say where collateral is kept and from whom it is fetched: from nobody who is not named in fetch.
type collateralSettings struct {
	Dir          string        `yaml:"dir"`
	Fetch        []string      `yaml:"fetch"`
	Grace        time.Duration `yaml:"grace"`
	RequireLists bool          `yaml:"require_lists"`
	CAFile       string        `yaml:"ca_file"`
	Proxy        string        `yaml:"proxy"`
	Timeout      time.Duration `yaml:"timeout"`
	MaxItems     int           `yaml:"max_items"`
	KDSURL       string        `yaml:"kds_url"`
	KDSInterval  time.Duration `yaml:"kds_interval"`
	PCSURL       string        `yaml:"pcs_url"`
	PCSAPIKey    string        `yaml:"pcs_api_key_file"`
	RIMURL       string        `yaml:"rim_url"`
}

// defaultCollateral is the name of the folder of collateral in the data directory.
const defaultCollateral = "collateral"

// collateralHooks are what checks the collateral of vendors whose verifiers bring their own check, and whose key sets are kept. Items of a vendor without a
// hook are neither fetched nor kept.
type collateralHooks struct {
	intel     func(name string, e *attest.Endorsement, now time.Time) error
	nvidia    func(name string, e *attest.Endorsement, now time.Time) (collateral.Validity, error)
	hygon     func(name string, e *attest.Endorsement) error
	verifiers []jwks.Verifier
}

// hooks returns the hooks of what the settings have verified.
func (s *settings) hooks(kinds []attest.Kind) collateralHooks {
	h := collateralHooks{verifiers: append(s.Tokens.keySets(), s.Callers.keySets()...)}
	if uses(kinds, attest.TDX, attest.SGX, attest.AzTDXvTPM) {
		h.intel = func(name string, e *attest.Endorsement, _ time.Time) error { return tdx.CheckCollateral(name, e) }
	}
	if uses(kinds, attest.NVIDIA) {
		h.nvidia = func(name string, e *attest.Endorsement, _ time.Time) (collateral.Validity, error) {
			return collateral.Validity{}, gpu.CheckCollateral(name, e)
		}
	}
	if uses(kinds, attest.CSV) {
		h.hygon = csv.CheckCollateral
	}
	return h
}

// requireLists reports whether AMD's chips have to be held against revocation lists.
func (s *collateralSettings) requireLists() bool { return s.RequireLists || s.fetches(collateral.AMD) }

// folder is where collateral is kept: the one that is named, or one in the data directory.
func (s *collateralSettings) folder(data string) (string, error) {
	switch {
	case s.Dir != "":
		return s.Dir, nil
	case data != "":
		return filepath.Join(data, defaultCollateral), nil
	}
	return "", errors.New("no folder of collateral: say --dir DIR, or --config FILE with data or collateral.dir")
}

// fetches reports whether a vendor's collateral is fetched.
func (s *collateralSettings) fetches(v collateral.Vendor) bool {
	return slices.Contains(s.Fetch, string(v))
}

func (s *collateralSettings) check() error {
	for _, name := range s.Fetch {
		if !slices.Contains(fetchable(), collateral.Vendor(name)) {
			return fmt.Errorf("collateral.fetch names %q, which is none of %s", name, vendorList())
		}
	}
	if s.Grace < 0 || s.Grace > verifiers.MaxGrace {
		return fmt.Errorf("collateral.grace is %v: at most 2160h (90 days) are possible", s.Grace)
	}
	if s.Timeout < 0 || s.Timeout > time.Minute {
		return fmt.Errorf("collateral.timeout is %v: at most 1m is possible", s.Timeout)
	}
	return nil
}

// fetchable are the vendors that publish collateral where it can be fetched. Hygon's is imported.
func fetchable() []collateral.Vendor {
	return slices.DeleteFunc(collateral.Vendors(), func(v collateral.Vendor) bool { return v == collateral.Hygon })
}

func vendorList() string {
	var names []string
	for _, v := range fetchable() {
		names = append(names, string(v))
	}
	return strings.Join(names, ", ")
}

// opening says for what the manager of collateral is opened.
type opening int

const (
	toServe  opening = iota // by a server, which writes down what it wants
	toChange                // by a command, beside which a server may run
	toLook
)

// open opens the manager of collateral. Data is the data directory. What is fetched is shared with other brokers by sharing, nil for none.
func (s *collateralSettings) open(data string, h collateralHooks, what opening, sharing collateral.Shared, logger *slog.Logger) (*collateral.Manager, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	dir, err := s.folder(data)
	if err != nil && what != toServe { // a server whose store is elsewhere may have no data directory, and keeps it in memory
		return nil, err
	}
	if _, err := os.Stat(data); s.Dir == "" && what == toServe && errors.Is(err, fs.ErrNotExist) {
		dir = "" // nothing is made where there is no data directory; whoever opens that says so
	}
	publishers, err := s.publishers(h)
	if err != nil {
		return nil, err
	}
	return collateral.Open(collateral.Config{
		Dir: dir, Publishers: publishers, MaxItems: s.MaxItems, ReadOnly: what == toLook, Command: what != toServe, Logger: logger, Shared: sharing,
	})
}

// publishers returns one of each vendor whose items can be checked.
func (s *collateralSettings) publishers(h collateralHooks) ([]collateral.Publisher, error) {
	var client *collateral.Client
	if len(s.Fetch) > 0 {
		var err error
		if client, err = s.client(); err != nil {
			return nil, err
		}
	}
	of := func(v collateral.Vendor) *collateral.Client {
		if s.fetches(v) {
			return client
		}
		return nil
	}
	checker, err := snp.NewCollateral()
	if err != nil {
		return nil, err
	}
	p, err := amd.New(amd.Config{Checker: checker, Client: of(collateral.AMD), Base: s.KDSURL, Interval: s.KDSInterval})
	if err != nil {
		return nil, fmt.Errorf("collateral.kds_url: %w", err)
	}
	all := []collateral.Publisher{p}
	if h.intel != nil {
		key, err := s.apiKey()
		if err != nil {
			return nil, err
		}
		if p, err = intel.New(intel.Config{Verify: h.intel, Client: of(collateral.Intel), Base: s.PCSURL, APIKey: key}); err != nil {
			return nil, fmt.Errorf("collateral.pcs_url: %w", err)
		}
		all = append(all, p)
	}
	if h.nvidia != nil {
		if p, err = nvidia.New(nvidia.Config{Verify: h.nvidia, Client: of(collateral.NVIDIA), RIM: s.RIMURL}); err != nil {
			return nil, fmt.Errorf("collateral.rim_url: %w", err)
		}
		all = append(all, p)
	}
	if h.hygon != nil {
		if p, err = hygon.New(h.hygon); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	if len(h.verifiers) > 0 {
		if p, err = jwks.New(jwks.Config{Verifiers: h.verifiers, Usable: token.CheckKeySet, Client: of(collateral.JWKS)}); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	for _, name := range s.Fetch {
		if !slices.ContainsFunc(all, func(p collateral.Publisher) bool { return string(p.Vendor) == name }) {
			return nil, fmt.Errorf("collateral.fetch names %s, whose collateral no verifier of this configuration uses", name)
		}
	}
	return all, nil
}

// client makes what asks vendors.
func (s *collateralSettings) client() (*collateral.Client, error) {
	c := collateral.ClientConfig{Timeout: s.Timeout, UserAgent: "vouchsafe/" + version()}
	if s.CAFile != "" {
		text, err := readInput(nil, s.CAFile, maxSettings)
		if err != nil {
			return nil, err
		}
		c.Roots = x509.NewCertPool()
		if !c.Roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("collateral.ca_file: %s has no certificate in PEM", s.CAFile)
		}
	}
	if s.Proxy != "" {
		u, err := url.Parse(s.Proxy)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
			return nil, errors.New("collateral.proxy is not a URL like http://HOST:PORT, without user and password")
		}
		c.Proxy = http.ProxyURL(u)
	}
	return collateral.NewClient(c)
}

func (s *collateralSettings) apiKey() (string, error) {
	if s.PCSAPIKey == "" {
		return "", nil
	}
	text, err := readInput(nil, s.PCSAPIKey, 4096)
	if err != nil {
		return "", err
	}
	key := string(bytes.TrimSpace(text))
	if key == "" || strings.ContainsAny(key, " \t\r\n") {
		return "", fmt.Errorf("collateral.pcs_api_key_file: %s is not one line with a key", s.PCSAPIKey)
	}
	return key, nil
}
