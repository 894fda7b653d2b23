package broker_test

import (
	"crypto/rand"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/sample"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// TestInvariant6DevelopmentCannotLeak has production accept what only development may, in every way that the packages offer.
func TestInvariant6DevelopmentCannotLeak(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{})
	hardware, err := snp.New(snp.Config{})
	if err != nil {
		t.Fatal(err)
	}
	development := configOf(t, b).Verifiers[0]
	for name, verifiers := range map[string][]attest.Verifier{
		"virtual":           {development},
		"sample":            {sample.New()},
		"sampledevice":      {sample.NewDevice()},
		"beside a real one": {hardware, development},
	} {
		c := configOf(t, b)
		c.Purpose, c.Verifiers = store.Production, verifiers
		if _, err := broker.New(t.Context(), c); err == nil {
			t.Errorf("%s: a production broker accepts it", name)
		}
	}
	for name, change := range map[string]func(*broker.Config){
		"no purpose":        func(c *broker.Config) { c.Purpose = "" },
		"an unknown one":    func(c *broker.Config) { c.Purpose = "Production" },
		"no verifier":       func(c *broker.Config) { c.Verifiers = nil },
		"a nil verifier":    func(c *broker.Config) { c.Verifiers = []attest.Verifier{nil} },
		"one kind twice":    func(c *broker.Config) { c.Verifiers = append(c.Verifiers, c.Verifiers[0]) },
		"no issuer":         func(c *broker.Config) { c.Issuer = "" },
		"no log":            func(c *broker.Config) { c.Logs = nil },
		"two logs":          func(c *broker.Config) { c.Log = b.Data.Log },
		"no shared keys":    func(c *broker.Config) { c.Shared = &broker.Shared{} },
		"no store":          func(c *broker.Config) { c.Store = nil },
		"a negative limit":  func(c *broker.Config) { c.Limits.Waiting = -1 },
		"an endless nonce":  func(c *broker.Config) { c.Limits.ChallengeLifetime = 24 * time.Hour },
		"a nonce that is 0": func(c *broker.Config) { c.Limits.ChallengeLifetime = -1 },
		"no randomness":     func(c *broker.Config) { c.Shared, c.Rand = nil, strings.NewReader("") },
	} {
		c := configOf(t, b)
		change(&c)
		if _, err := broker.New(t.Context(), c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}

	// In production, evidence of development has no challenge, and no verifier either.
	c := configOf(t, b)
	c.Purpose, c.Verifiers = store.Production, []attest.Verifier{hardware}
	production, err := broker.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []attest.Kind{attest.Virtual, attest.Sample, attest.SampleDevice} {
		scope := newGuest(t, production, b.Device).scope
		scope.Kind = kind
		if _, err := production.Challenge(t.Context(), scope); codeOf(err) != broker.CodeInvalid {
			t.Errorf("%s: %v", kind, err)
		}
	}
	// And virtual evidence passed off as real, which has its layout, has another root.
	g := newGuest(t, production, b.Device)
	g.scope.Kind = attest.SNP
	_, err = production.Attest(t.Context(), g.request(g.nonce()))
	e := wantCode(t, err, broker.CodeEvidence)
	explained, err := production.Explain(t.Context(), b.Admin, ns, e.Decision)
	if err != nil || explained.Decision.Refusal.Code != attest.CodeCertUntrusted {
		t.Errorf("%+v, %v", explained.Decision.Refusal, err)
	}
}

func TestInvariant6DirectoriesAreOfOnePurpose(t *testing.T) {
	purposes := []store.Purpose{store.Production, store.Development}
	for i, made := range purposes {
		dir := t.TempDir()
		key, err := seal.CreateKeyFile(filepath.Join(dir, "key"), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := data.Config{Dir: filepath.Join(dir, "data"), Purpose: made, Seal: key, Origin: "test/log"}
		d, err := data.Create(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		c.Purpose = purposes[1-i]
		var purpose *bolt.PurposeError
		if d, err := data.Open(t.Context(), c); d != nil || !errors.As(err, &purpose) {
			t.Errorf("made for %s, opened for %s: %v", made, c.Purpose, err)
		}
		c.Purpose = made
		if d, err = data.Open(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestInvariant6ServersDoNotLinkDevelopment holds what the packages of a production server import: no code that accepts development
// evidence is in them to be switched on. The program vouchsafe has "vouchsafe dev" and looks at evidence offline, so it links it; from there
// a broker gets a verifier only through package dev.
func TestInvariant6ServersDoNotLinkDevelopment(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("the go command is not here")
	}
	for _, server := range []string{"./broker", "./broker/kbs", "./broker/api", "./broker/server", "./broker/node", "./broker/data"} {
		command := exec.CommandContext(t.Context(), goTool, "list", "-deps", server)
		command.Dir = ".."
		out, err := command.Output()
		if err != nil {
			t.Fatalf("%s: %v", server, err)
		}
		for dependency := range strings.FieldsSeq(string(out)) {
			for _, forbidden := range []string{"/attest/virtual", "/attest/sample", "/broker/dev", "/broker/brokertest", "/internal/bench", "/internal/faultstore"} {
				if strings.HasSuffix(dependency, forbidden) {
					t.Errorf("%s links %s", server, dependency)
				}
			}
		}
	}
}
