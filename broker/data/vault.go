package data

import (
	"context"
	"log/slog"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/vault"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// DefaultStaleness is how old what a store in Vault returns may be, where nobody says otherwise: long enough that the records which every request needs cost
// no request to Vault, short enough that nobody waits for a revocation.
const DefaultStaleness = time.Second

// InVault is a store in a KV engine of Vault.
type InVault struct {
	Conn      *vaultconn.Conn // stays the caller's, to be closed after the data
	Address   string          // of Vault, for people
	Mount     string          // of a KV engine of version 2
	Prefix    string          // default vault.DefaultPrefix
	Staleness time.Duration   // see [Shared]
	Now       func() time.Time
	Logger    *slog.Logger // told that the store is lost, and that it is back; default slog.Default
}

// Vault is a store that brokers share in a KV engine of Vault.
func Vault(v InVault) *Shared {
	if v.Prefix == "" {
		v.Prefix = vault.DefaultPrefix
	}
	return &Shared{
		Where: "in Vault, " + v.Address + " " + v.Mount + "/" + v.Prefix, Staleness: v.Staleness,
		Open: func(ctx context.Context, purpose store.Purpose, create bool) (store.Store, error) {
			return vault.Open(ctx, vault.Config{
				Conn: v.Conn, Mount: v.Mount, Prefix: v.Prefix, Purpose: purpose, Create: create, Staleness: v.Staleness, Now: v.Now, Logger: v.Logger,
			})
		},
	}
}
