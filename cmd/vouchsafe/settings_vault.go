package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/vouchsafe/vouchsafe/broker"
	sources "github.com/vouchsafe/vouchsafe/broker/source/vault"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
	"github.com/vouchsafe/vouchsafe/store/vaultconn/rights"
)

// vaultSettings say where Vault is and how to log in. The store, sources and a seal of Vault's all use this one connection.
type vaultSettings struct {
	Address     string            `yaml:"address"`
	Namespace   string            `yaml:"namespace"`
	CACert      string            `yaml:"ca_cert"`
	ServerName  string            `yaml:"server_name"`
	Auth        vaultAuthSettings `yaml:"auth"`
	KeepToken   bool              `yaml:"keep_token"`
	Timeout     time.Duration     `yaml:"timeout"`
	MaxInFlight int               `yaml:"max_in_flight"`

	// Sources are by namespace the paths that its secrets may name; nil: all that the token may.
	Sources map[string][]string `yaml:"sources"`
}

type vaultAuthSettings struct {
	Method          vaultMethod `yaml:"method"`
	Mount           string      `yaml:"mount"`
	Role            string      `yaml:"role"`
	RoleID          string      `yaml:"role_id"`
	SecretIDFile    string      `yaml:"secret_id_file"`
	SecretIDWrapped bool        `yaml:"secret_id_wrapped"`
	TokenFile       string      `yaml:"token_file"`
	JWTFile         string      `yaml:"jwt_file"`
	Cert            string      `yaml:"cert"`
	Key             string      `yaml:"key"`
}

// vaultMethod is a method of logging in to Vault.
type vaultMethod string

// UnmarshalYAML reads the name of a method. One that is not known is an error with its line.
func (m *vaultMethod) UnmarshalYAML(node *yaml.Node) error {
	known := vaultconn.Methods()
	if node.Kind != yaml.ScalarNode || !slices.Contains(known, node.Value) {
		return &lineError{node.Line, fmt.Sprintf("vault.auth.method is one of %s, not %.40q", strings.Join(known, ", "), node.Value)}
	}
	*m = vaultMethod(node.Value)
	return nil
}

// files are the settings that name a file.
func (s *vaultSettings) files() []*string {
	return []*string{&s.CACert, &s.Auth.SecretIDFile, &s.Auth.TokenFile, &s.Auth.JWTFile, &s.Auth.Cert, &s.Auth.Key}
}

// used reports whether the settings say anything of Vault.
func (s *vaultSettings) used() bool { return !reflect.ValueOf(*s).IsZero() }

// config makes the configuration of the connection. Nothing in the settings leads to plain HTTP, or to a certificate that is not verified.
func (s *vaultSettings) config(logger *slog.Logger) (vaultconn.Config, error) {
	if s.Address == "" {
		return vaultconn.Config{}, errors.New("no Vault: vault.address is missing in the configuration")
	}
	c := s.unchecked(logger)
	if err := c.Check(); err != nil {
		return vaultconn.Config{}, fmt.Errorf("vault in the configuration: %w", err)
	}
	return c, nil
}

// unchecked is what the settings say.
func (s *vaultSettings) unchecked(logger *slog.Logger) vaultconn.Config {
	return vaultconn.Config{
		Address: s.Address, Namespace: s.Namespace, CACert: s.CACert, ServerName: s.ServerName, KeepToken: s.KeepToken,
		Timeout: s.Timeout, MaxInFlight: s.MaxInFlight, Logger: logger,
		Auth: vaultconn.Auth{
			Method: string(s.Auth.Method), Mount: s.Auth.Mount, Role: s.Auth.Role, RoleID: s.Auth.RoleID, SecretIDFile: s.Auth.SecretIDFile,
			SecretIDWrapped: s.Auth.SecretIDWrapped, TokenFile: s.Auth.TokenFile, JWTFile: s.Auth.JWTFile, Cert: s.Auth.Cert, Key: s.Auth.Key,
		},
	}
}

// connect logs in.
func (s *vaultSettings) connect(ctx context.Context, logger *slog.Logger) (*vaultconn.Conn, error) {
	c, err := s.config(logger)
	if err != nil {
		return nil, err
	}
	return vaultconn.Open(ctx, c)
}

// connectDev logs in for a development broker, which may do so over plain HTTP to a loopback address.
func (s *vaultSettings) connectDev(ctx context.Context, logger *slog.Logger) (*vaultconn.Conn, error) {
	c := s.unchecked(logger)
	c.Development = true
	return vaultconn.Open(ctx, c)
}

// sourcePaths are the paths of Vault that secrets may name: those of the settings, and never the broker's own.
func (s *settings) sourcePaths() (*sources.Paths, error) {
	for _, namespace := range slices.Sorted(maps.Keys(s.Vault.Sources)) {
		if err := broker.CheckNamespace(namespace); err != nil {
			return nil, fmt.Errorf("vault.sources in the configuration: %w", err)
		}
	}
	var own []string
	if r := s.storeRights(); r != nil {
		own = append(own, r.Mount+"/config", r.Mount+"/*/"+r.Prefix, r.Mount+"/*/"+r.Prefix+"/**")
	}
	if r := s.Seal.Transit.rights(); r != nil {
		own = append(own, r.Mount+"/**")
	}
	paths, err := sources.NewPaths(s.Vault.Sources, own)
	if err != nil {
		return nil, fmt.Errorf("vault.sources in the configuration: %w", err)
	}
	return paths, nil
}

// vaultNeeds is what these settings use Vault for.
func (s *settings) vaultNeeds() rights.Needs {
	return rights.Needs{Store: s.storeRights(), Seal: s.Seal.Transit.rights()}
}
