package admin

import (
	"context"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/source"
)

// Secrets returns a page of secrets.
func (c *Client) Secrets(ctx context.Context, in wire.SecretsQuery) (wire.List[broker.SecretInfo], error) {
	return call(ctx, c, wire.ListSecrets, in)
}

// Secret describes a secret.
func (c *Client) Secret(ctx context.Context, name string) (broker.SecretInfo, error) {
	return call(ctx, c, wire.GetSecret, wire.SecretName{Name: name})
}

// PutSecret adds a version.
func (c *Client) PutSecret(ctx context.Context, in wire.SecretPut) (broker.SecretInfo, error) {
	return call(ctx, c, wire.PutSecret, in)
}

// GenerateSecret adds a version with a random value.
func (c *Client) GenerateSecret(ctx context.Context, in wire.SecretGenerate) (broker.SecretInfo, error) {
	return call(ctx, c, wire.GenerateSecret, in)
}

// ActivateSecret makes a version the one that is released.
func (c *Client) ActivateSecret(ctx context.Context, in wire.SecretActivate) (broker.SecretInfo, error) {
	return call(ctx, c, wire.ActivateSecret, in)
}

// DestroySecret removes values for good.
func (c *Client) DestroySecret(ctx context.Context, in wire.SecretDestroy) (broker.SecretInfo, error) {
	return call(ctx, c, wire.DestroySecret, in)
}

// CheckSecret asks where a version lies whether it would answer.
func (c *Client) CheckSecret(ctx context.Context, in wire.SecretCheck) (source.Probe, error) {
	return call(ctx, c, wire.CheckSecret, in)
}

// RevokeLease ends a lease.
func (c *Client) RevokeLease(ctx context.Context, id string) (broker.LeaseRevoked, error) {
	return call(ctx, c, wire.RevokeLease, wire.LeaseID{ID: id})
}

// Leases returns a page of leases.
func (c *Client) Leases(ctx context.Context, in wire.LeasesQuery) (wire.List[broker.Lease], error) {
	return call(ctx, c, wire.ListLeases, in)
}
