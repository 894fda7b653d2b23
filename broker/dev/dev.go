// Package dev is a broker for trying things out: one folder with everything in it, a development TEE, a secret, a policy, and an
// administrator's token, ready in less than a second.
//
// A folder has
//
//	dev.json                      url, ca_cert and token_file, and what else scripts want to know
//	admin.token                   an administrator's token with every role
//	data/, seal.key               the broker's data, made for development; a production server refuses it. With Config.Shared only the key
//	tls/                          the certificates of package localca
//	virtual-root.pem              the development root, whose private key is what makes its evidence worthless elsewhere
//	tee/                          a virtual TEE of the good image
//	tee-tampered/                 one on the same host of an image with another measurement
//	policy.yaml                   the policy of the sample secret
//
// It accepts the kinds virtual, sample and sampledevice, and snp and tpm as a production broker does. This is the only package that
// links the first three into a program.
package dev

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/sample"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/localca"
	"github.com/vouchsafe/vouchsafe/broker/node"
	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/internal/atomicfile"
	"github.com/vouchsafe/vouchsafe/policy/provenance"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// The sample that a new folder holds.
const (
	SampleSecret     = "demo/app/password"
	sampleReferences = "demo-image"
)

// Config says where to start. Dir and Listen are needed.
type Config struct {
	Dir      string
	Listen   string // host:port, on loopback when HTTP is set
	HTTP     bool   // no TLS
	Enroller *tpm.Enroller
	Sources  []source.Source // where secrets may lie, beside being stored
	Shared   *data.Shared    // a store in the place of data/, of which brokers of one folder are the only ones

	// Provenance is the keys by which signed statements of reference values are verified, by namespace.
	Provenance map[string]provenance.Config
	Build      string
	Logger     *slog.Logger
	Now        func() time.Time // default: time.Now
}

// Info is what dev.json holds. Paths are absolute.
type Info struct {
	URL         string `json:"url"`
	CACert      string `json:"ca_cert"` // "" with plain HTTP
	TokenFile   string `json:"token_file"`
	Tee         string `json:"tee"`          // folder of a good virtual TEE
	TeeTampered string `json:"tee_tampered"` // and of one that the sample policy refuses
	Secret      string `json:"secret"`       // the sample secret's name
	Policy      string `json:"policy"`       // file of the sample policy
}

// Start makes what is missing in the folder and returns a node that Run starts. dev.json is written last.
func Start(ctx context.Context, c Config) (_ *node.Node, _ Info, err error) {
	fail := func(err error) (*node.Node, Info, error) { return nil, Info{}, fmt.Errorf("dev: %w", err) }
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return fail(err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fail(err)
	}
	s := setup{Config: c}
	root, err := s.root()
	if err != nil {
		return fail(err)
	}
	sealed, made, err := s.data(ctx)
	if err != nil {
		return fail(err)
	}
	nc := node.Config{
		Data:      s.store(sealed),
		Verifiers: func(d *data.Data) ([]attest.Verifier, error) { return verifiers(d, root) },
		Enroller:  c.Enroller, Sources: c.Sources, Provenance: c.Provenance, Build: c.Build, Listen: c.Listen, HTTP: c.HTTP, Logger: c.Logger, Now: c.Now,
	}
	info := Info{
		TokenFile: s.path("admin.token"), Tee: s.path("tee"), TeeTampered: s.path("tee-tampered"),
		Secret: SampleSecret, Policy: s.path("policy.yaml"),
	}
	if !c.HTTP {
		files, err := localca.Ensure(s.path("tls"), hosts(c.Listen), c.Now())
		if err != nil {
			return fail(err)
		}
		nc.Certificate, nc.Key, info.CACert = files.Certificate, files.Key, files.CA
	}
	n, err := node.Open(ctx, nc)
	if err != nil {
		return fail(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	info.URL = n.URL
	if made {
		if err := s.fill(ctx, n, root); err != nil {
			return fail(err)
		}
	}
	text, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return fail(err)
	}
	if err := atomicfile.Write(s.path("dev.json"), append(text, '\n'), 0o600); err != nil {
		return fail(err)
	}
	return n, info, nil
}

// setup makes a folder's parts.
type setup struct{ Config }

func (s setup) path(name string) string { return filepath.Join(s.Dir, name) }

// store is where the broker's data is.
func (s setup) store(key seal.Seal) data.Config {
	return data.Config{Dir: s.path("data"), Shared: s.Shared, Purpose: store.Development, Seal: key, Logger: s.Logger, Now: s.Now}
}

// root reads the development root, or makes it.
func (s setup) root() (*virtual.Root, error) {
	text, err := os.ReadFile(s.path("virtual-root.pem"))
	if err == nil {
		return virtual.ParseRoot(text)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	root, err := virtual.NewRoot(rand.Reader, s.Now())
	if err != nil {
		return nil, err
	}
	if text, err = root.Marshal(); err != nil {
		return nil, err
	}
	return root, atomicfile.Write(s.path("virtual-root.pem"), text, 0o600)
}

// data returns the seal of the data directory, which it makes when there is none or when the last attempt at a folder did not get to the
// end: dev.json says that one did.
func (s setup) data(ctx context.Context) (sealed seal.Seal, made bool, err error) {
	if _, err := os.Stat(s.path("dev.json")); err == nil {
		key, err := seal.NewKeyFile(s.path("seal.key"))
		return key, false, err
	}
	if _, err := os.Stat(filepath.Join(s.path("data"), data.StoreFile)); s.Shared == nil && err == nil {
		// A store made for production is refused here by its purpose, before anything is written to it.
		key, err := seal.NewKeyFile(s.path("seal.key"))
		if err != nil {
			return nil, false, fmt.Errorf("%s holds data and no dev.json, so it was not made here; choose another folder: %w", s.Dir, err)
		}
		d, err := data.Open(ctx, s.store(key))
		if err != nil {
			return nil, false, err
		}
		return key, true, d.Close()
	}
	key, err := seal.CreateKeyFile(s.path("seal.key"), nil)
	if errors.Is(err, fs.ErrExist) {
		key, err = seal.NewKeyFile(s.path("seal.key"))
	}
	if err != nil {
		return nil, false, err
	}
	c := s.store(key)
	c.Origin = "vouchsafe.localhost/dev"
	d, err := data.Create(ctx, c)
	if s.Shared != nil && errors.Is(err, seal.ErrAlreadySealed) {
		d, err = data.Open(ctx, c) // made by an attempt at this folder, or the key does not fit
	}
	if err != nil {
		return nil, false, err
	}
	return key, true, d.Close()
}

func verifiers(d *data.Data, root *virtual.Root) ([]attest.Verifier, error) {
	development, err := virtual.NewVerifier(root.Certificate())
	if err != nil {
		return nil, err
	}
	amd, err := snp.New(snp.Config{})
	if err != nil {
		return nil, err
	}
	hosts, err := tpm.New(tpm.Config{Enrolments: broker.NewEnrolments(d.Store)})
	if err != nil {
		return nil, err
	}
	return []attest.Verifier{development, amd, hosts, sample.New(), sample.NewDevice()}, nil
}

// fill makes the token, the TEEs and the sample of a new folder.
func (s setup) fill(ctx context.Context, n *node.Node, root *virtual.Root) error {
	token, _, err := n.Broker.FirstToken(ctx, "dev", 0)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(s.path("admin.token"), []byte(token.Reveal()+"\n"), 0o600); err != nil {
		return err
	}
	who, err := n.Broker.Authenticate(ctx, token.Reveal(), "127.0.0.1")
	if err != nil {
		return err
	}
	good, err := s.tees(root)
	if err != nil {
		return err
	}
	source := samplePolicy()
	if err := atomicfile.Write(s.path("policy.yaml"), source, 0o600); err != nil {
		return err
	}
	return s.sample(ctx, n.Broker, who, hex.EncodeToString(good[:]), source)
}

// tees makes the two TEEs and returns the good one's measurement.
func (s setup) tees(root *virtual.Root) (good [snp.MeasurementSize]byte, err error) {
	copy(good[:], bytes.Repeat([]byte("vouchsafe-demo-image"), 3))
	device, err := root.NewDevice(rand.Reader, s.Now(), virtual.Config{Measurement: good})
	if err != nil {
		return good, err
	}
	if err := device.Save(s.path("tee")); err != nil {
		return good, err
	}
	tampered, err := device.With(func(c *virtual.Config) { c.Measurement[0] ^= 0xff })
	if err != nil {
		return good, err
	}
	return good, tampered.Save(s.path("tee-tampered"))
}

func (s setup) sample(ctx context.Context, b *broker.Broker, who access.Caller, measurement string, source []byte) error {
	_, err := b.PutReferences(ctx, who, store.DefaultNamespace, sampleReferences, []reference.Value{
		{Value: measurement, Note: "the image in tee/"},
	})
	if err != nil {
		return err
	}
	if _, err := b.ApplyPolicy(ctx, who, store.DefaultNamespace, "policy.yaml", source, false); err != nil {
		return err
	}
	_, err = b.PutSecret(ctx, who, store.DefaultNamespace, broker.PutSecret{
		Name: SampleSecret, Value: []byte("correct horse battery staple"), ContentType: "text/plain", Activate: true,
	})
	return err
}

// samplePolicy is a policy that says something about each thing a policy can say.
func samplePolicy() []byte {
	return []byte(`apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata:
  name: demo
  description: The demo image on the development TEE
spec:
  secrets: ["demo/app/*"]
  require:
    - name: development-tee
      that: claims.kind == "virtual"
    - name: approved-image
      that: claims.measurement in reference("` + sampleReferences + `")
      message: this image is not in the approved set
  release: {maxEvidenceAge: 60s, lease: 1h}
`)
}

// hosts are the names that clients may use for a broker that listens at an address.
func hosts(listen string) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	host, _, err := net.SplitHostPort(listen)
	if err != nil || host == "" || host == names[0] || host == names[1] || host == names[2] {
		return names
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return names
	}
	return append(names, host)
}
