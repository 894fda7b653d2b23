package admin

import (
	"context"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

// Namespaces lists the namespaces that were declared.
func (c *Client) Namespaces(ctx context.Context, in wire.Page) (wire.List[broker.Namespace], error) {
	return call(ctx, c, wire.ListNamespaces, in)
}

// CreateNamespace declares a namespace.
func (c *Client) CreateNamespace(ctx context.Context, in wire.NamespaceQuota) (broker.Namespace, error) {
	return call(ctx, c, wire.CreateNamespace, in)
}

// SetQuota replaces the quota of a namespace.
func (c *Client) SetQuota(ctx context.Context, in wire.NamespaceQuota) (broker.Namespace, error) {
	return call(ctx, c, wire.SetQuota, in)
}

// Entries reads the entries of the client's namespace in the log of the broker asked.
func (c *Client) Entries(ctx context.Context, in wire.EntriesQuery) (wire.EntriesPage, error) {
	return call(ctx, c, wire.Entries, in)
}

// EntriesOf reads them in one of the logs.
func (c *Client) EntriesOf(ctx context.Context, in wire.LogEntriesQuery) (wire.EntriesPage, error) {
	return call(ctx, c, wire.EntriesOf, in)
}
