// Package verifiers makes the verifiers of a broker from one configuration, one for each kind of evidence that it takes, so that a server, a command and a mount of the
// plugin in Vault judge evidence alike. Each of those reads settings of its own form into a [Config]; which verifier is made of what, and what goes
// together, is said here alone.
//
// # What goes together
//
// A confidential VM of Azure's is judged by the very verifier of its hardware, so that what a vendor revokes, and the least TCB, count there too. A kind whose
// anchors are not configured is an error, and so are anchors of a kind that is not verified: whoever wrote them down believes that they count.
//
// # What is not here
//
// Evidence that proves nothing about hardware: a development kind is an error. Who wants it brings its verifiers (package broker/dev, the plugin's package development).
package verifiers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/azure"
	"github.com/vouchsafe/vouchsafe/attest/cca"
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

// MaxGrace bounds Config.Grace, for all vendors alike.
const MaxGrace = 90 * 24 * time.Hour

// Config says which evidence is verified, and by what. Kinds and Endorsements are needed.
type Config struct {
	Kinds        []attest.Kind       // each once
	Endorsements attest.Endorsements // where the collateral of all of them is found
	Grace        time.Duration       // for how long past its end collateral counts while none newer can be had; default: not at all, at most MaxGrace

	// OCSP says that Endorsements may have OCSP responses of NVIDIA's, as files have. A manager of collateral has none, and nobody can be asked about a
	// certificate by its digest, so that they would be wanted for ever.
	OCSP bool

	// What the kinds have of their own. Their Endorsements and Grace are the above.
	SNP    snp.Config
	TPM    tpm.Config
	CCA    cca.Config
	NVIDIA nvidia.Config
	Tokens token.Config
}

// named reports whether a kind is to be verified.
func (c *Config) named(k attest.Kind) bool { return slices.Contains(c.Kinds, k) }

// formats reports whether tokens of machines, and whether tokens of devices, count.
func (c *Config) formats() (machines, devices bool) {
	for i := range c.Tokens.Verifiers {
		device := c.Tokens.Verifiers[i].Format == token.NVIDIARemote
		machines, devices = machines || !device, devices || device
	}
	return machines, devices
}

// Check says what does not go together, before any verifier is made.
func (c *Config) Check() error {
	for i, k := range c.Kinds {
		if slices.Contains(c.Kinds[:i], k) {
			return fmt.Errorf("kinds names %s twice", k)
		}
	}
	machines, devices := c.formats()
	switch {
	case c.Grace < 0 || c.Grace > MaxGrace:
		return fmt.Errorf("the grace of collateral is %v: at most %v (90 days) is possible", c.Grace, MaxGrace)
	case c.named(attest.CCA) && len(c.CCA.TrustAnchors) == 0:
		return errors.New("kinds names cca, whose platforms' keys nobody publishes: trust anchors, the keys of those you trust, are needed")
	case c.named(attest.Token) && !machines:
		return errors.New("kinds names token, and there is no verifier whose tokens of machines count")
	case !c.named(attest.CCA) && len(c.CCA.TrustAnchors)+len(c.CCA.ReferenceValues) > 0:
		return errors.New("cca is configured, and kinds does not name it")
	case !c.named(attest.Token) && machines:
		return errors.New("there are verifiers of tokens of machines, and kinds does not name token")
	case !c.named(attest.NVIDIA) && (devices || c.NVIDIA.AllowUnmeasured):
		return errors.New("nvidia, or a verifier of its tokens, is configured, and kinds does not name nvidia")
	}
	return nil
}

// New makes the verifiers, in the order of the kinds. What is configured of a kind is checked, whether it is to be verified or not.
func New(c Config) ([]attest.Verifier, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c.SNP.Endorsements, c.SNP.Grace = c.Endorsements, c.Grace
	c.NVIDIA.Endorsements, c.NVIDIA.Grace = c.Endorsements, c.Grace
	c.Tokens.Endorsements = c.Endorsements
	if !c.OCSP {
		c.NVIDIA.Endorsements = withoutOCSP{c.Endorsements}
	}
	m := maker{Config: &c}
	var err error
	if m.amd, err = snp.New(c.SNP); err != nil {
		return nil, err
	}
	if m.intel, err = tdx.New(tdx.Config{Endorsements: c.Endorsements, Grace: c.Grace}); err != nil {
		return nil, err
	}
	if len(c.Tokens.Verifiers) > 0 {
		if m.tokens, err = token.New(c.Tokens); err != nil {
			return nil, err
		}
	}
	all := make([]attest.Verifier, 0, len(c.Kinds))
	for _, kind := range c.Kinds {
		made, err := m.verifier(kind)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		all = append(all, made)
	}
	return all, nil
}

// maker has the verifiers that several kinds are judged by.
type maker struct {
	*Config
	amd    *snp.Verifier
	intel  *tdx.Verifier
	tokens *token.Verifier // nil where none count
}

// verifier makes the verifier of one kind.
func (m *maker) verifier(kind attest.Kind) (attest.Verifier, error) {
	switch kind {
	case attest.SNP:
		return m.amd, nil
	case attest.TDX:
		return m.intel, nil
	case attest.SGX:
		return sgx.New(sgx.Config{Endorsements: m.Endorsements, Grace: m.Grace})
	case attest.AzSNPvTPM:
		return azure.New(azure.Config{Hardware: m.amd})
	case attest.AzTDXvTPM:
		return azure.New(azure.Config{Hardware: m.intel})
	case attest.Nitro:
		return nitro.New(nitro.Config{})
	case attest.CCA:
		return cca.New(m.CCA)
	case attest.CSV:
		return csv.New(csv.Config{Endorsements: m.Endorsements})
	case attest.SE:
		return se.New(), nil
	case attest.TPM:
		return tpm.New(m.TPM)
	case attest.Token:
		return m.tokens, nil // which Check has seen to
	case attest.NVIDIA:
		local, err := nvidia.New(m.NVIDIA)
		if err != nil || m.tokens == nil {
			return local, err
		}
		return m.tokens.Device(local), nil
	default:
		return nil, errors.New("nothing here verifies it")
	}
}

// withoutOCSP has no OCSP responses of NVIDIA's: see [Config].OCSP.
type withoutOCSP struct{ attest.Endorsements }

// Endorsement implements attest.Endorsements.
func (w withoutOCSP) Endorsement(ctx context.Context, name string) (*attest.Endorsement, error) {
	if strings.HasPrefix(name, "nvidia/ocsp/") {
		return nil, &attest.Unavailable{What: name, Err: nvidia.ErrOCSP}
	}
	return w.Endorsements.Endorsement(ctx, name)
}
