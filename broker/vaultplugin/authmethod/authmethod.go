package authmethod

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker/vaultplugin"
)

// Factory returns what makes a mount. Version is what Vault is told runs, such as "v1.4.0".
func Factory(o vaultplugin.Options, version string) logical.Factory {
	return vaultplugin.Factory("authmethod", func() *framework.Backend { return New(o, version) })
}

// backend is a mount of the auth method.
type backend struct {
	*framework.Backend
	mount *vaultplugin.Mount
	now   func() time.Time

	roles sync.Mutex // held to change a role

	pruning sync.Mutex
	pruned  time.Time
}

// Routes are the method's paths that lead to the core.
func Routes() []vaultplugin.Route {
	return slices.Concat(vaultplugin.Challenges(), vaultplugin.Rules(), vaultplugin.Desk(), vaultplugin.Records(), vaultplugin.Hosts())
}

// New returns the backend of a mount.
func New(o vaultplugin.Options, version string) *framework.Backend {
	b := &backend{mount: vaultplugin.NewMount(o), now: o.Now}
	if b.now == nil {
		b.now = time.Now
	}
	routes := Routes()
	paths := append([]*framework.Path{b.mount.ConfigPath(), b.mount.PolicyTestPath()}, b.mount.Paths(routes)...)
	paths = append(append(paths, b.rolePaths()...), b.loginPaths()...)
	b.Backend = &framework.Backend{
		BackendType: logical.TypeCredential, RunningVersion: version,
		Help: "The vouchsafe auth method gives Vault tokens to workloads that prove what they are.\n\n" +
			"A workload asks challenge for a nonce, has its trusted execution environment make evidence that covers the nonce and a key of its own, and presents it to login, with a signature by that key. " +
			"Release policies that guard auth/ROLE say who gets a role. Begin with config and role; explain says why a login was refused.",
		Paths:        paths,
		PathsSpecial: &logical.Paths{Unauthenticated: append(vaultplugin.Unauthenticated(routes), "login", "reattest"), SealWrapStorage: vaultplugin.SealWrapped()},
		AuthRenew:    b.renew,
		PeriodicFunc: b.prune,
		Clean:        func(context.Context) { b.mount.Close() },
	}
	b.mount.WarmAtStart(b.Backend)
	return b.Backend
}
