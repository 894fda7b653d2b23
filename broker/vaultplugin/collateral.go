package vaultplugin

import (
	"fmt"
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
)

// CollateralVariable is the variable of the plugin's environment, set when it is registered, that names the folder of [Options].Collateral.
const CollateralVariable = "VOUCHSAFE_COLLATERAL_DIR"

// openCollateral opens what has the collateral of the kinds that are verified. Vendors are asked that the configuration names, and nobody else.
func (c *Config) openCollateral(o *Options, shared collateral.Shared) (*collateral.Manager, error) {
	if err := c.checkCollateralDir(o.Collateral); err != nil {
		return nil, err
	}
	publishers, err := c.publishers()
	if err != nil {
		return nil, err
	}
	return collateral.Open(collateral.Config{Dir: c.CollateralDir, Publishers: publishers, Shared: shared, Logger: o.Logger, Now: o.Now})
}

// checkCollateralDir refuses a folder outside the one that the plugin was registered with. Who configures a mount need have no right on Vault's machine, and
// must not have the plugin read and write there as Vault's own user can. It goes by the path: who can put links into the folder has that right already.
func (c *Config) checkCollateralDir(root string) error {
	if c.CollateralDir == "" {
		return nil
	}
	if root == "" {
		return fmt.Errorf("collateral_dir is %.200q, and this plugin is registered without a folder for collateral: register it with -env=%s=FOLDER, or leave "+
			"collateral_dir empty", c.CollateralDir, CollateralVariable)
	}
	below, err := filepath.Rel(root, c.CollateralDir)
	if err != nil || !filepath.IsAbs(c.CollateralDir) || !filepath.IsLocal(below) || strings.ContainsRune(c.CollateralDir, 0) {
		return fmt.Errorf("collateral_dir is %.200q, and has to be %s or a folder below it, for which this plugin is registered", c.CollateralDir, root)
	}
	return nil
}

// uses reports whether any of some kinds is verified.
func (c *Config) uses(some ...attest.Kind) bool {
	return slices.ContainsFunc(some, func(k attest.Kind) bool { return slices.Contains(c.Kinds, k) })
}

// publishers returns one of each vendor whose items can be checked.
func (c *Config) publishers() ([]collateral.Publisher, error) {
	client, err := collateral.NewClient(collateral.ClientConfig{UserAgent: "vault-plugin-vouchsafe"})
	if err != nil {
		return nil, err
	}
	of := func(v collateral.Vendor) *collateral.Client {
		if slices.Contains(c.CollateralFetch, string(v)) {
			return client
		}
		return nil
	}
	checker, err := snp.NewCollateral()
	if err != nil {
		return nil, err
	}
	p, err := amd.New(amd.Config{Checker: checker, Client: of(collateral.AMD)})
	if err != nil {
		return nil, err
	}
	all := []collateral.Publisher{p}
	if c.uses(attest.TDX, attest.SGX, attest.AzTDXvTPM) {
		verify := func(name string, e *attest.Endorsement, _ time.Time) error { return tdx.CheckCollateral(name, e) }
		if p, err = intel.New(intel.Config{Verify: verify, Client: of(collateral.Intel)}); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	if c.uses(attest.NVIDIA) {
		verify := func(name string, e *attest.Endorsement, _ time.Time) (collateral.Validity, error) {
			return collateral.Validity{}, gpu.CheckCollateral(name, e)
		}
		if p, err = nvidia.New(nvidia.Config{Verify: verify, Client: of(collateral.NVIDIA)}); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	if c.uses(attest.CSV) {
		if p, err = hygon.New(csv.CheckCollateral); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	if sets := c.keySets(); len(sets) > 0 {
		if p, err = jwks.New(jwks.Config{Verifiers: sets, Usable: token.CheckKeySet, Client: of(collateral.JWKS)}); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	for _, name := range c.CollateralFetch {
		if !slices.ContainsFunc(all, func(p collateral.Publisher) bool { return string(p.Vendor) == name }) {
			return nil, fmt.Errorf("collateral_fetch names %.40q, whose collateral no kind of this configuration uses", name)
		}
	}
	return all, nil
}

// keySets are the verifiers whose keys are collateral.
func (c *Config) keySets() []jwks.Verifier {
	var sets []jwks.Verifier
	for _, v := range c.TokenVerifiers {
		switch {
		case v.JWKSURL != "":
			sets = append(sets, jwks.Verifier{Name: v.Name, URL: v.JWKSURL})
		case v.Discovery:
			sets = append(sets, jwks.Verifier{Name: v.Name, Issuer: v.Issuer, Hosts: v.JWKSHosts})
		}
	}
	return sets
}
