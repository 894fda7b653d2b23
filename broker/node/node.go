// Package node puts a whole broker process together: a data directory, the core over it, both front ends and the server. Programs
// and tests that need more than the core start here.
//
// What a node accepts as evidence is given to it as a function over its open data, so that this package links no verifier: a production
// program cannot be made to accept development evidence by any setting here.
package node

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access/certificate"
	"github.com/vouchsafe/vouchsafe/broker/access/oidc"
	"github.com/vouchsafe/vouchsafe/broker/api"
	"github.com/vouchsafe/vouchsafe/broker/callers"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/endorse"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/broker/kbs"
	"github.com/vouchsafe/vouchsafe/broker/server"
	"github.com/vouchsafe/vouchsafe/broker/session"
	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/broker/tenants"
	"github.com/vouchsafe/vouchsafe/policy/provenance"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/backup"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// Config is what a node is made of.
type Config struct {
	Data      data.Config
	Verifiers func(*data.Data) ([]attest.Verifier, error) // needed
	Enroller  *tpm.Enroller                               // nil: no TPM can be enrolled
	Sources   []source.Source                             // where secrets may lie, beside being stored
	// Provenance is the keys by which signed statements of reference values are verified, by namespace.
	Provenance map[string]provenance.Config

	// Endorse is where Collateral shares what it fetched, to be bound to the store when that is shared; nil where it shares nothing.
	Endorse *endorse.Shared
	// Collateral is what the verifiers find collateral with, if that is fetched in the background: Run runs it, and metrics tell of it.
	Collateral *collateral.Manager

	// Vault is the connection of whatever is in Vault, which stays the caller's: metrics tell of it. Nil where nothing is.
	Vault *vaultconn.Conn

	URL    string // by which workloads reach the broker; default: from the address listened on
	Build  string // name and version of the program
	Limits broker.Limits

	Listen      string
	Certificate string // PEM files; or HTTP
	Key         string
	HTTP        bool

	KBS KBS

	// Callers are how administrators are known, beside by tokens of the broker; nil: by nothing else.
	OIDC         *oidc.Verifier
	Certificates *certificate.Verifier

	Logger *slog.Logger     // default: slog.Default
	Now    func() time.Time // default: time.Now
}

// KBS are the settings of the KBS front end.
type KBS struct {
	Off        bool
	DenyStatus int
	AllowRSA15 bool
	AdminKeys  []kbs.AdminKey
}

// Node is a broker process. Close it when it is no longer needed, also when Run was not called.
type Node struct {
	Broker   *broker.Broker
	Data     *data.Data
	URL      string
	server   *server.Server
	listener net.Listener

	collateral *collateral.Manager
}

// Open opens the data directory and the listener. What fails is closed again.
func Open(ctx context.Context, c Config) (_ *Node, err error) {
	if c.Verifiers == nil {
		return nil, errors.New("node: no verifiers")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	d, err := data.Open(ctx, c.Data)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	c.renewSeal(ctx, d)
	if c.Endorse != nil && d.Shared != nil {
		c.Endorse.Bind(d.Store)
	}
	verifiers, err := c.Verifiers(d)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, listener.Close())
		}
	}()
	if c.URL == "" {
		c.URL = c.address(listener.Addr())
	}
	metrics := server.NewMetrics()
	var shared *broker.Shared
	if d.Shared != nil {
		shared = &broker.Shared{NonceKeys: d.Nonces, Staleness: d.Shared.Staleness, Check: d.Check}
	}
	b, err := broker.New(ctx, broker.Config{
		Purpose: d.Purpose, Store: d.Store, Logs: d.Logs, Shared: shared, Keys: d.Keys, Tokens: d.Tokens,
		Verifiers: verifiers, Sources: c.Sources, Provenance: c.Provenance, Enroller: c.Enroller, Issuer: c.URL, Build: c.Build,
		Limits: c.Limits, Observer: metrics, Logger: c.Logger, Now: c.Now,
	})
	if err != nil {
		return nil, err
	}
	routes, err := c.routes(b, d)
	if err != nil {
		return nil, err
	}
	var authorities *x509.CertPool
	if c.Certificates != nil {
		authorities = c.Certificates.Authorities()
	}
	s, err := server.New(server.Config{
		Listener: listener, Certificate: c.Certificate, Key: c.Key, HTTP: c.HTTP, ClientAuthorities: authorities,
		Broker: b, Routes: routes, Metrics: metrics, Logger: c.Logger, Now: c.Now,
	})
	if err != nil {
		return nil, err
	}
	now := c.Now
	if now == nil {
		now = time.Now
	}
	if c.Collateral != nil {
		metrics.WatchCollateral(c.Collateral, now)
	}
	if c.Vault != nil {
		metrics.WatchVault(c.Vault, now)
	}
	if d.Shared != nil {
		metrics.WatchStore(d.Lost)
	}
	return &Node{Broker: b, Data: d, URL: c.URL, server: s, listener: listener, collateral: c.Collateral}, nil
}

// renewSeal has the store's root key wrapped by the newest version of the seal's key. That it cannot be now is no failure: what there is opens the store too.
func (c *Config) renewSeal(ctx context.Context, d *data.Data) {
	renewed, err := d.Store.RenewSeal(ctx)
	switch {
	case err != nil:
		c.Logger.WarnContext(ctx, "whether the seal's key has a newer version could not be found out, or the store not be sealed with it", "cause", err)
	case renewed:
		c.Logger.InfoContext(ctx, "the store is sealed with the newest version of the seal's key; older ones are not needed any more")
	}
}

// address is the URL of the address listened on, for a broker that was given no other.
func (c *Config) address(listening net.Addr) string {
	scheme := "https"
	if c.HTTP {
		scheme = "http"
	}
	host, _, _ := net.SplitHostPort(c.Listen)
	_, port, err := net.SplitHostPort(listening.String())
	if err != nil {
		return scheme + "://" + listening.String()
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// routes returns the front ends: of the default namespace, and below tenants.Prefix of all.
func (c *Config) routes(b *broker.Broker, d *data.Data) (map[string]http.Handler, error) {
	bodies, err := intake.NewReader(0)
	if err != nil {
		return nil, err
	}
	known, err := callers.New(callers.Config{Broker: b, OIDC: c.OIDC, Certificates: c.Certificates, Now: c.Now})
	if err != nil {
		return nil, err
	}
	front := api.Config{
		Broker: b, Intake: bodies, Logger: c.Logger, Authenticate: known.Request,
		RotateData: func(ctx context.Context) error {
			if err := d.Store.Rotate(ctx); err != nil {
				return err
			}
			if _, err := d.Store.Rewrap(ctx, nil); err != nil {
				return err
			}
			c.renewSeal(ctx, d)
			return nil
		},
	}
	if d.Bolt != nil {
		front.Backup = func(ctx context.Context, w io.Writer, recipients []string) error {
			return writeBackup(ctx, d, w, recipients)
		}
	} else {
		front.NoBackup = "this broker's store is " + d.Shared.Where + ": back it up there, as by snapshots of Vault; all that is in it is sealed, so keep the seal's key apart"
	}
	guests := kbs.Config{
		Broker: b, Intake: bodies, DenyStatus: c.KBS.DenyStatus, AllowRSA15: c.KBS.AllowRSA15, AdminKeys: c.KBS.AdminKeys, Logger: c.Logger, Now: c.Now,
		Authenticate: known.Request,
	}
	if d.Shared != nil {
		if guests.Stored, err = session.NewStored(d.Store, d.Nonces, store.Key(store.SysNamespace, "session"), c.Now, nil); err != nil {
			return nil, err
		}
	}
	protocol, err := kbs.New(guests)
	if err != nil {
		return nil, err
	}
	fronts := func(namespace string) (map[string]http.Handler, error) {
		front := front
		front.Namespace = namespace
		native, err := api.New(front)
		if err != nil {
			return nil, err
		}
		routes := map[string]http.Handler{"/": native.Handler()}
		if c.KBS.Off {
			return routes, nil
		}
		guests, err := protocol.For(namespace)
		if err != nil {
			return nil, err
		}
		routes[kbs.Prefix+"/"] = guests.Handler()
		return routes, nil
	}
	routes, err := fronts(store.DefaultNamespace)
	if err != nil {
		return nil, err
	}
	all, err := tenants.New(tenants.Config{Serves: b.Serves, Front: fronts})
	if err != nil {
		return nil, err
	}
	routes[tenants.Prefix+"/"] = all
	return routes, nil
}

// writeBackup writes the sealed store, encrypted once more to age recipients.
func writeBackup(ctx context.Context, d *data.Data, w io.Writer, recipients []string) error {
	var to []age.Recipient
	for _, text := range recipients {
		r, err := age.ParseRecipients(strings.NewReader(text)) // of every kind that age has
		if err != nil {
			return &broker.Error{Code: broker.CodeInvalid, Message: fmt.Sprintf("%.80q is not an age recipient, which begins with age1", text), Err: err}
		}
		to = append(to, r...)
	}
	_, err := backup.Write(ctx, d.Bolt, w, to, backup.Config{})
	return err
}

// Addr returns the address that the node listens on.
func (n *Node) Addr() net.Addr { return n.server.Addr() }

// Run serves until ctx ends, and meanwhile has collateral fetched, ended what sources issued, and written down which reference values were matched.
func (n *Node) Run(ctx context.Context) error {
	tasks := []func(context.Context) error{n.Broker.TendLeases, n.Broker.TendReferences}
	if n.collateral != nil {
		tasks = append(tasks, n.collateral.Run)
	}
	// They go on for as long as requests are served, those in hand at the end too.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, len(tasks))
	for _, task := range tasks {
		go func() { ended <- task(background) }()
	}
	err := n.server.Run(ctx)
	stop()
	for range tasks {
		err = errors.Join(err, <-ended)
	}
	return err
}

// Close closes the listener, which Run closes too, and the data directory. Run has returned, or was never called.
func (n *Node) Close() error {
	err := n.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, n.Data.Close())
}
