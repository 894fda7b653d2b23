package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/store/vault"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
	"github.com/vouchsafe/vouchsafe/store/vaultconn/rights"
)

// storeSettings say where the broker's records are.
type storeSettings struct {
	Kind      storeKind      `yaml:"kind"`
	Mount     string         `yaml:"mount"`
	Prefix    string         `yaml:"prefix"`
	Staleness *time.Duration `yaml:"staleness"`
	Name      string         `yaml:"name"`
}

// storeKind is a kind of store.
type storeKind string

// The kinds: a file in the data directory, which is the default, or a KV engine of Vault.
const (
	inFile  storeKind = "bolt"
	inVault storeKind = "vault"
)

// UnmarshalYAML reads the name of a kind. One that is not known is an error with its line.
func (k *storeKind) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.ScalarNode || node.Value != string(inFile) && node.Value != string(inVault) {
		return &lineError{node.Line, fmt.Sprintf("store.kind is bolt or vault, not %.40q", node.Value)}
	}
	*k = storeKind(node.Value)
	return nil
}

func (s *storeSettings) check() error {
	if s.Kind != inVault {
		if s.Mount != "" || s.Prefix != "" || s.Staleness != nil || s.Name != "" {
			return errors.New("store.mount, prefix, staleness and name are of a store in Vault: say kind: vault")
		}
		return nil
	}
	if s.Mount == "" {
		return errors.New("store.mount is missing: the KV engine, version 2, that holds the store")
	}
	if s.Staleness != nil && (*s.Staleness < 0 || *s.Staleness > vault.MaxStaleness) {
		return fmt.Errorf("store.staleness is %v: 0s to %v are possible", *s.Staleness, vault.MaxStaleness)
	}
	return nil
}

// usesVault reports whether the store or its seal is in Vault.
func (s *settings) usesVault() bool { return s.Store.Kind == inVault || s.Seal.Transit.used() }

// connect connects to Vault, nil where nothing is there. The connection is the caller's to close.
func (s *settings) connect(ctx context.Context, logger *slog.Logger) (*vaultconn.Conn, error) {
	if err := errors.Join(s.Store.check(), s.Seal.check()); err != nil {
		return nil, err
	}
	if !s.usesVault() {
		return nil, nil
	}
	c, err := s.Vault.config(logger)
	if err != nil {
		return nil, err
	}
	return vaultconn.Open(ctx, c)
}

// shared returns the store in Vault, nil where the store is a file. A nil logger is slog's default.
func (s *settings) shared(conn *vaultconn.Conn, logger *slog.Logger) *data.Shared {
	if s.Store.Kind != inVault {
		return nil
	}
	staleness := data.DefaultStaleness
	if s.Store.Staleness != nil {
		staleness = *s.Store.Staleness
	}
	shared := data.Vault(data.InVault{
		Conn: conn, Address: s.Vault.Address, Mount: s.Store.Mount, Prefix: s.Store.Prefix, Staleness: staleness, Logger: logger,
	})
	shared.Name = s.Store.Name
	return shared
}

// storeRights is what the store needs of Vault, nil where it is not there.
func (s *settings) storeRights() *rights.Store {
	if s.Store.Kind != inVault {
		return nil
	}
	prefix := s.Store.Prefix
	if prefix == "" {
		prefix = vault.DefaultPrefix
	}
	return &rights.Store{Mount: s.Store.Mount, Prefix: prefix}
}
