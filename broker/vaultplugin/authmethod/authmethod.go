package authmethod

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker/vaultplugin"
	"github.com/vouchsafe/vouchsafe/broker/vaultplugin/logicalstore"
)

// Factory returns what makes a mount. Version is what Vault is told runs, such as "v1.4.0".
func Factory(o vaultplugin.Options, version string) logical.Factory {
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		b := New(o, version)
		if err := b.Setup(ctx, conf); err != nil {
			return nil, fmt.Errorf("authmethod: %w", err)
		}
		return b, nil
	}
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
	var all []vaultplugin.Route
	for _, some := range [][]vaultplugin.Route{vaultplugin.Challenges(), vaultplugin.Rules(), vaultplugin.Records(), vaultplugin.Hosts()} {
		all = append(all, some...)
	}
	return all
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
		PathsSpecial: &logical.Paths{Unauthenticated: append(vaultplugin.Unauthenticated(routes), "login", "reattest"), SealWrapStorage: logicalstore.SealWrapped()},
		AuthRenew:    b.renew,
		PeriodicFunc: b.prune,
		Clean:        func(context.Context) { b.mount.Close() },
		InitializeFunc: func(ctx context.Context, req *logical.InitializationRequest) error {
			if b.WriteSafeReplicationState() {
				b.mount.Warm(ctx, req.Storage)
			}
			return nil
		},
	}
	return b.Backend
}
