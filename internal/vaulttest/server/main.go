// Command vault-test is a Vault server for tests: Vault's own core and HTTP handler with the few engines that the tests use, so that it is
// built in minutes and is a third of the size of Vault's own program.
//
// Everything that decides anything is Vault's: barrier, seal, storage, request handling, policies, leases, audit, plugins. It starts sealed and
// not initialised, as Vault does, and is initialised and unsealed through its API. It listens on loopback only and reports to nobody.
//
// Vault is licensed under the BUSL-1.1. This program is run by tests as a process of its own. It is not distributed, and nothing that is
// distributed imports it.
//
// With -plugin it is an external plugin instead, the kv engine, which tests of plugins register.
package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	authjwt "github.com/hashicorp/vault-plugin-auth-jwt"
	authkubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	enginekv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	authapprole "github.com/hashicorp/vault/builtin/credential/approle"
	authcert "github.com/hashicorp/vault/builtin/credential/cert"
	authuserpass "github.com/hashicorp/vault/builtin/credential/userpass"
	enginedatabase "github.com/hashicorp/vault/builtin/logical/database"
	enginepki "github.com/hashicorp/vault/builtin/logical/pki"
	enginessh "github.com/hashicorp/vault/builtin/logical/ssh"
	enginetransit "github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/builtin/plugin"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/physical/raft"
	"github.com/hashicorp/vault/plugins/database/postgresql"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	sdkplugin "github.com/hashicorp/vault/sdk/plugin"
	"github.com/hashicorp/vault/vault"
)

// maxRecord is what one record of storage may have, in bytes: what raft allows unless told otherwise. In memory it holds too, so that what
// passes a test there does not fail in production.
const maxRecord = 1 << 20

func main() {
	var s settings
	flag.StringVar(&s.listen, "listen", "127.0.0.1:0", "loopback `address` of the API")
	flag.StringVar(&s.cluster, "cluster", "", "loopback `address` for other nodes; needed for raft")
	flag.StringVar(&s.storage, "storage", "inmem", "inmem, file or raft")
	flag.StringVar(&s.data, "data", "", "`folder` of file and raft")
	flag.StringVar(&s.node, "node", "node", "name of this node of a raft cluster")
	flag.StringVar(&s.plugins, "plugins", "", "`folder` of external plugins")
	flag.StringVar(&s.cert, "tls-cert", "", "PEM `file` of the API's certificate; plain HTTP without")
	flag.StringVar(&s.key, "tls-key", "", "PEM `file` of its key")
	flag.StringVar(&s.level, "log-level", "info", "trace, debug, info, warn or error")
	asPlugin := flag.Bool("plugin", false, "serve the kv engine as a plugin of Vault's")
	flag.Parse()
	serve := func() error { return run(s) }
	if *asPlugin {
		serve = func() error {
			return sdkplugin.ServeMultiplex(&sdkplugin.ServeOpts{BackendFactoryFunc: enginekv.Factory})
		}
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "vault-test:", err)
		os.Exit(1)
	}
}

type settings struct {
	listen, cluster, storage, data, node, plugins, cert, key, level string
}

// run serves until it is told to end by SIGTERM or SIGINT. Its first line on standard output is the URL of its API.
func run(s settings) error {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.LevelFromString(s.level), Output: os.Stderr, TimeFormat: "15:04:05.000"})
	listener, url, err := listen(s)
	if err != nil {
		return err
	}
	backend, err := open(s, logger)
	if err != nil {
		return err
	}
	config := &vault.CoreConfig{
		Physical:      backend,
		StorageType:   s.storage,
		RedirectAddr:  url,
		Logger:        logger,
		DisableMlock:  true,
		EnableRaw:     true, // sys/raw shows tests what is stored
		ClusterName:   "vault-test",
		LogLevel:      s.level,
		AuditBackends: map[string]audit.Factory{"file": audit.NewFileBackend, "socket": audit.NewSocketBackend},
		LogicalBackends: map[string]logical.Factory{
			"plugin": plugin.Factory, "database": enginedatabase.Factory, "kv": enginekv.Factory,
		},
		CredentialBackends: map[string]logical.Factory{"plugin": plugin.Factory},
		BuiltinRegistry:    builtin(),
		PluginDirectory:    s.plugins,
	}
	if s.cluster != "" {
		ha, ok := backend.(physical.HABackend)
		if !ok {
			return fmt.Errorf("storage %s is for one node", s.storage)
		}
		config.HAPhysical = ha
		config.ClusterAddr = "https://" + s.cluster
	}
	core, err := vault.NewCore(config)
	if err != nil {
		return err
	}
	properties := &vault.HandlerProperties{Core: core, ListenerConfig: &configutil.Listener{
		Type: "tcp", Address: s.listen,
		MaxRequestSize: vaulthttp.DefaultMaxRequestSize, MaxRequestDuration: vault.DefaultMaxRequestDuration,
	}}
	if s.cluster != "" {
		address, err := net.ResolveTCPAddr("tcp", s.cluster)
		if err != nil {
			return err
		}
		core.SetClusterListenerAddrs([]*net.TCPAddr{address})
		core.SetClusterHandler(vaulthttp.Handler.Handler(properties))
	}
	server := &http.Server{
		Handler:           vaulthttp.Handler.Handler(properties),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		ErrorLog:          logger.StandardLogger(nil),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	fmt.Println(url)

	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	select {
	case err = <-failed:
	case <-told:
	case <-core.ShutdownDone():
		err = errors.New("the core ended")
	}
	_ = server.Close()
	return errors.Join(err, core.Shutdown())
}

// listen opens the API's port.
func listen(s settings) (net.Listener, string, error) {
	address, err := net.ResolveTCPAddr("tcp", s.listen)
	if err != nil {
		return nil, "", err
	}
	if !address.IP.IsLoopback() {
		return nil, "", fmt.Errorf("%s is not loopback", s.listen)
	}
	listener, err := net.ListenTCP("tcp", address)
	if err != nil {
		return nil, "", err
	}
	if s.cert == "" {
		return listener, "http://" + listener.Addr().String(), nil
	}
	pair, err := tls.LoadX509KeyPair(s.cert, s.key)
	if err != nil {
		return nil, "", err
	}
	// Vault asks each client for a certificate and refuses none: the auth method cert judges it.
	return tls.NewListener(listener, &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2", "http/1.1"},
	}), "https://" + listener.Addr().String(), nil
}

// open opens the storage.
func open(s settings, logger hclog.Logger) (physical.Backend, error) {
	logger = logger.Named("storage")
	limit := strconv.Itoa(maxRecord)
	switch s.storage {
	case "inmem":
		return inmem.NewInmem(map[string]string{"max_value_size": limit}, logger)
	case "file":
		return file.NewFileBackend(map[string]string{"path": s.data}, logger)
	case "raft":
		if s.cluster == "" {
			return nil, errors.New("raft needs -cluster")
		}
		return raft.NewRaftBackend(map[string]string{
			"path": s.data, "node_id": s.node, "max_entry_size": limit,
			// A test does not wait as long as an operator may.
			"performance_multiplier": "1", "autopilot_reconcile_interval": "500ms", "autopilot_update_interval": "500ms",
		}, logger)
	}
	return nil, fmt.Errorf("unknown storage %q", s.storage)
}

// registry is the part of Vault's catalogue of builtin plugins that is built in here.
type registry map[consts.PluginType]map[string]func() (any, error)

func builtin() registry {
	backend := func(f logical.Factory) func() (any, error) { return func() (any, error) { return f, nil } }
	return registry{
		consts.PluginTypeCredential: {
			"approle":    backend(authapprole.Factory),
			"cert":       backend(authcert.Factory),
			"jwt":        backend(authjwt.Factory),
			"oidc":       backend(authjwt.Factory),
			"kubernetes": backend(authkubernetes.Factory),
			"userpass":   backend(authuserpass.Factory),
		},
		consts.PluginTypeSecrets: {
			"kv":      backend(enginekv.Factory),
			"pki":     backend(enginepki.Factory),
			"ssh":     backend(enginessh.Factory),
			"transit": backend(enginetransit.Factory),
		},
		consts.PluginTypeDatabase: {"postgresql-database-plugin": postgresql.New},
	}
}

func (r registry) Contains(name string, t consts.PluginType) bool {
	_, ok := r[t][name]
	return ok
}

func (r registry) Get(name string, t consts.PluginType) (func() (any, error), bool) {
	f, ok := r[t][name]
	return f, ok
}

func (r registry) Keys(t consts.PluginType) []string {
	var keys []string
	for name := range r[t] {
		keys = append(keys, name)
	}
	return keys
}

func (r registry) DeprecationStatus(name string, t consts.PluginType) (consts.DeprecationStatus, bool) {
	if !r.Contains(name, t) {
		return consts.Unknown, false
	}
	return consts.Supported, true
}

func (registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
