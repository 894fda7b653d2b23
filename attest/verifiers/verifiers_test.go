package verifiers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/cca"
	"github.com/vouchsafe/vouchsafe/attest/nvidia"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/token"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
)

// asked has no collateral, and remembers what was looked for.
type asked struct{ names []string }

func (a *asked) Endorsement(_ context.Context, name string) (*attest.Endorsement, error) {
	a.names = append(a.names, name)
	return nil, &attest.Unavailable{What: name, Err: errors.New("there is none")}
}

const anchors = `[{"pkey":{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},` +
	`"implementation-id":"0000000000000000000000000000000000000000000000000000000000000001","instance-id":"010000000000000000000000000000000000000000000000000000000000000002"}]`

const keySet = `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`

// whole is a configuration with something of every kind.
func whole(t *testing.T) Config {
	t.Helper()
	trusted, err := cca.ParseTrustAnchors([]byte(anchors))
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Kinds: slices.DeleteFunc(attest.Kinds(), attest.Kind.Development), Endorsements: &asked{}, Grace: time.Hour,
		TPM: tpm.Config{AKRoots: tpm.GoogleAKRoots(), AKIntermediates: tpm.GoogleAKIntermediates()},
		CCA: cca.Config{TrustAnchors: trusted}, NVIDIA: nvidia.Config{AllowUnmeasured: true},
		Tokens: token.Config{Verifiers: []token.Trusted{
			{Name: "machines", Format: token.EAR, Issuer: "https://machines.example", Audiences: []string{"broker"}, Keys: []byte(keySet)},
		}},
	}
}

func TestEveryKind(t *testing.T) {
	c := whole(t)
	all, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range all {
		if v.Kind() != c.Kinds[i] {
			t.Errorf("%s is verified in the place of %s", v.Kind(), c.Kinds[i])
		}
	}
	if len(all) != len(c.Kinds) {
		t.Errorf("%d verifiers of %d kinds", len(all), len(c.Kinds))
	}
}

func TestRefuses(t *testing.T) {
	without := func(c *Config, k attest.Kind) {
		c.Kinds = slices.DeleteFunc(c.Kinds, func(have attest.Kind) bool { return have == k })
	}
	for name, change := range map[string]func(*Config){
		"a kind twice":             func(c *Config) { c.Kinds = append(c.Kinds, attest.SNP) },
		"a development kind":       func(c *Config) { c.Kinds = append(c.Kinds, attest.Virtual) },
		"a kind that there is not": func(c *Config) { c.Kinds = append(c.Kinds, "tee") },
		"a grace of years":         func(c *Config) { c.Grace = MaxGrace + 1 },
		"a grace below nothing":    func(c *Config) { c.Grace = -1 },
		"cca without anchors":      func(c *Config) { c.CCA = cca.Config{} },
		"anchors without cca":      func(c *Config) { without(c, attest.CCA) },
		"token of nobody":          func(c *Config) { c.Tokens.Verifiers = nil },
		"token of devices alone":   func(c *Config) { c.Tokens.Verifiers[0].Format = token.NVIDIARemote },
		"tokens without the kind":  func(c *Config) { without(c, attest.Token) },
		"devices without the kind": func(c *Config) { without(c, attest.NVIDIA) },
		"a mistake in what is not used": func(c *Config) {
			without(c, attest.SNP)
			without(c, attest.AzSNPvTPM)
			c.SNP.MinimumTCB = map[snp.Product]snp.TCB{"Naples": {}}
		},
		"no place to look for collateral":  func(c *Config) { c.Endorsements = nil },
		"a verifier of tokens with a flaw": func(c *Config) { c.Tokens.Verifiers[0].Format = "saml" },
	} {
		c := whole(t)
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: verifiers are made", name)
		}
	}
}

// TestOCSP: responses of NVIDIA's are looked for where there may be some, and nowhere else; all other collateral always is.
func TestOCSP(t *testing.T) {
	a := &asked{}
	of := withoutOCSP{a}
	if _, err := of.Endorsement(t.Context(), "nvidia/ocsp/"+strings.Repeat("0", 64)); !errors.Is(err, nvidia.ErrOCSP) || len(a.names) != 0 {
		t.Errorf("%v, asked for %q", err, a.names)
	}
	if _, err := of.Endorsement(t.Context(), "nvidia/rim/x"); err == nil || len(a.names) != 1 {
		t.Errorf("%v, asked for %q", err, a.names)
	}
}
