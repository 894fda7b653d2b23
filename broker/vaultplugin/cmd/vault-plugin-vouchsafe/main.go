// Command vault-plugin-vouchsafe is the broker inside Vault: a secrets engine and an auth method in one program, which Vault runs and talks to. Which
// of the two it is, is its one argument, given when it is registered: deploy/vault/README.md.
//
//	vault plugin register -sha256=… -command=vault-plugin-vouchsafe -args=secret -version=v… secret vouchsafe
//	vault plugin register -sha256=… -command=vault-plugin-vouchsafe -args=auth   -version=v… auth   vouchsafe
//
// A mount may keep collateral in a folder of Vault's machine (its setting collateral_dir) only where the registration says which, and only in or below that:
// -env=VOUCHSAFE_COLLATERAL_DIR=/var/lib/vouchsafe-collateral.
//
// With the argument version it prints its version, which is also what Vault is told that runs.
package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"

	"github.com/vouchsafe/vouchsafe/broker/vaultplugin"
	"github.com/vouchsafe/vouchsafe/broker/vaultplugin/authmethod"
	"github.com/vouchsafe/vouchsafe/broker/vaultplugin/development"
	"github.com/vouchsafe/vouchsafe/broker/vaultplugin/secretsengine"
)

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version = "v0.0.0-dev"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "vault-plugin-vouchsafe:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 1 && args[0] == "version" {
		fmt.Println(version)
		return nil
	}
	dir := os.Getenv(vaultplugin.CollateralVariable)
	if dir != "" && (!filepath.IsAbs(dir) || filepath.Clean(dir) == string(filepath.Separator)) {
		return fmt.Errorf("%s is %q: register the plugin with the absolute path of a folder that has collateral and nothing else", vaultplugin.CollateralVariable, dir)
	}
	factory, err := choose(args, vaultplugin.Options{
		Build: "vault-plugin-vouchsafe " + version, Collateral: dir, Development: development.Verifiers, Logger: newLogger(os.Stderr),
	})
	if err != nil {
		return err
	}
	return plugin.ServeMultiplex(&plugin.ServeOpts{BackendFactoryFunc: factory})
}

// newLogger writes lines that Vault puts in its own log at their levels: JSON with the names of members that its plugins' logs have.
func newLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) > 0 {
			return a
		}
		switch a.Key {
		case slog.MessageKey:
			a.Key = "@message"
		case slog.LevelKey:
			return slog.String("@level", strings.ToLower(a.Value.String()))
		case slog.TimeKey:
			return slog.String("@timestamp", a.Value.Time().Format("2006-01-02T15:04:05.000000Z07:00"))
		}
		return a
	}}))
}

// choose returns what the arguments say to be.
func choose(args []string, o vaultplugin.Options) (logical.Factory, error) {
	switch {
	case len(args) == 1 && args[0] == "secret":
		return secretsengine.Factory(o, version), nil
	case len(args) == 1 && args[0] == "auth":
		return authmethod.Factory(o, version), nil
	}
	return nil, errors.New("register it with one argument: -args=secret for the secrets engine, -args=auth for the auth method")
}
