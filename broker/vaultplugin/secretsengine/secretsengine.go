// Package secretsengine is the secrets engine of the plugin: a mount of it is a broker that workloads get secrets of, with evidence in the place of a token.
//
//	vault secrets enable -path=vouchsafe vouchsafe
//	vault write vouchsafe/config issuer=https://vault.example:8200/v1/vouchsafe kinds=snp,tdx
//
// Package vaultplugin has what it shares with the auth method, and the paths of policies, records and hosts. This package adds the secrets themselves:
// they are written and never read, for a value leaves a mount only in the answer to a release, encrypted to the key that the evidence vouches for.
package secretsengine

import (
	"context"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker/vaultplugin"
)

// Factory returns what makes a mount. Version is what Vault is told runs, such as "v1.4.0".
func Factory(o vaultplugin.Options, version string) logical.Factory {
	return vaultplugin.Factory("secretsengine", func() *framework.Backend { return New(o, version) })
}

// Routes are the engine's paths that lead to the core.
func Routes() []vaultplugin.Route {
	return slices.Concat(
		vaultplugin.Challenges(), vaultplugin.Releases(), vaultplugin.Secrets(), vaultplugin.Rules(), vaultplugin.Desk(), vaultplugin.Records(), vaultplugin.Hosts(),
	)
}

// New returns the backend of a mount.
func New(o vaultplugin.Options, version string) *framework.Backend {
	m := vaultplugin.NewMount(o)
	routes := Routes()
	b := &framework.Backend{
		BackendType: logical.TypeLogical, RunningVersion: version,
		Help: "The vouchsafe secrets engine releases secrets to workloads that prove what they are.\n\n" +
			"A workload asks challenge for a nonce, has its trusted execution environment make evidence that covers the nonce and a key of its own, and presents it to release. " +
			"Release policies say which secrets it gets, encrypted to that key. Begin with config; policies, references and secrets say what is released to whom; explain says why.",
		Paths:        append([]*framework.Path{m.ConfigPath(), m.PolicyTestPath()}, m.Paths(routes)...),
		PathsSpecial: &logical.Paths{Unauthenticated: vaultplugin.Unauthenticated(routes), SealWrapStorage: vaultplugin.SealWrapped()},
		Clean:        func(context.Context) { m.Close() },
	}
	m.WarmAtStart(b)
	return b
}
