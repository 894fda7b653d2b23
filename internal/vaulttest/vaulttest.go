// Package vaulttest gives tests a real Vault server, a process on a port of loopback that ends with the test.
//
// The server is the program of the nested module internal/vaulttest/server: Vault 1.21.1's own core, storage, HTTP handler and engines (kv, transit, pki,
// ssh, database with PostgreSQL; auth methods token, approle, cert, jwt, kubernetes, userpass). scripts/vault.sh builds it into the user's cache
// folder; $VOUCHSAFE_TEST_VAULT names another one. Where there is none, tests that ask for a server are skipped and say so.
//
// It is initialised and unsealed through its API, with one unseal key, as an operator does it. [Start] gives a test a server of its own, with which
// it may do as it likes: [Server.Kill] it, seal it, freeze it. [Shared] is one server for all tests of a test binary, each of which takes mounts of its
// own. What Vault does slowly or breaks off in the middle is done to it by a [Proxy].
//
// A server and the plugins that it runs end with the test, and also when the test binary is killed: see package testserver.
package vaulttest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Option changes how a server of [Start] is made.
type Option func(*options)

type options struct {
	tls             bool
	storage, folder string
	node            string
	leader          *Server
	audit           bool
}

// WithTLS serves HTTPS, with a certificate of an authority of this server's own: see [Server.CAFile] and [Server.CAPool].
func WithTLS() Option { return func(o *options) { o.tls = true } }

// WithFile keeps the data in files of a folder, so that it survives [Server.Kill]; "" for a folder of the test's.
func WithFile(dir string) Option {
	return func(o *options) { o.storage, o.folder = "file", dir }
}

// WithRaft keeps the data in Vault's integrated storage, which survives [Server.Kill] and allows a [Server.Standby]; "" for a folder of the test's.
func WithRaft(dir string) Option {
	return func(o *options) { o.storage, o.folder = "raft", dir }
}

// WithAuditLog turns on an audit device of Vault's, which writes to [Server.AuditLog].
func WithAuditLog() Option { return func(o *options) { o.audit = true } }

// Start runs a server of t's own, initialised and unsealed, until t ends. It skips t where there is no program of it.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	return start(t, program(t), opts...)
}

// Run is Start for a program that is no test, which calls Close. Its error is what [Program] says where there is no program of a server.
func Run(opts ...Option) (*Server, error) {
	path, err := Program()
	if err != nil {
		return nil, err
	}
	s, err := newServer(path, optionsOf(opts))
	if err != nil {
		return nil, err
	}
	if err := s.first(); err != nil {
		err = fmt.Errorf("vaulttest: %w\n%s", err, s.output(0))
		s.stop()
		return nil, err
	}
	return s, nil
}

// Close ends a server of Run.
func (s *Server) Close() { s.stop() }

// shared is the server of this test binary.
var shared struct {
	sync.Mutex
	server *Server
}

// Shared returns a server that all tests of this test binary use, in memory and without TLS. It ends with the test binary. Its users do not
// seal, stop or freeze it, and keep to mounts, policies and roles with names of their own. It skips t where there is no program of it.
func Shared(t testing.TB) *Server {
	t.Helper()
	path := program(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		// The server outlives t. It goes when the test binary ends.
		s, err := newServer(path, optionsOf(nil))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.first(); err != nil {
			s.stop()
			t.Fatalf("vaulttest: %v\n%s", err, s.output(0))
		}
		shared.server = s
	}
	shared.server.showOnFailure(t)
	return shared.server
}

// program finds the server's program.
func program(t testing.TB) string {
	t.Helper()
	path, err := Program()
	if err != nil {
		t.Skipf("%v", err)
	}
	return path
}

var errNotBuilt = errors.New("no Vault server for tests: run scripts/vault.sh")

// Program returns the path of the server's program: what $VOUCHSAFE_TEST_VAULT says, or what scripts/vault.sh built from the files as they are.
func Program() (string, error) {
	if path := os.Getenv("VOUCHSAFE_TEST_VAULT"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("no Vault server for tests: VOUCHSAFE_TEST_VAULT: %w", err)
		}
		return path, nil
	}
	source, err := sources()
	if err != nil {
		return "", err
	}
	digest := sha256.New()
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		file, err := os.Open(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		_, err = io.Copy(digest, file)
		if err = errors.Join(err, file.Close()); err != nil {
			return "", err
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w (%w)", errNotBuilt, err)
	}
	path := filepath.Join(cache, "vouchsafe", "vault-test", hex.EncodeToString(digest.Sum(nil))[:16], "vault-test")
	if _, err := os.Stat(path); err != nil {
		return "", errNotBuilt
	}
	return path, nil
}

// sources finds the folder of the server's module: below a folder that the test, which runs in its package's folder, is in.
func sources() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		path := filepath.Join(dir, "internal", "vaulttest", "server")
		if _, err := os.Stat(filepath.Join(path, "main.go")); err == nil {
			return path, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			err = errors.New("no Vault server for tests: internal/vaulttest/server is not above this folder")
			break
		}
		dir = parent
	}
	return "", err
}
