package api

import (
	"context"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

func (a *API) routeNamespaces() {
	b := a.broker
	bind(a, wire.ListNamespaces, func(ctx context.Context, who access.Caller, in wire.Page) (wire.List[broker.Namespace], error) {
		page, more, err := b.Namespaces(ctx, who, in.After, in.Limit)
		return list(page, more, func(n broker.Namespace) string { return n.Name }), err
	})
	bind(a, wire.CreateNamespace, func(ctx context.Context, who access.Caller, in wire.NamespaceQuota) (broker.Namespace, error) {
		return b.CreateNamespace(ctx, who, in.Name, in.Quota)
	})
	bind(a, wire.SetQuota, func(ctx context.Context, who access.Caller, in wire.NamespaceQuota) (broker.Namespace, error) {
		return b.SetQuota(ctx, who, in.Name, in.Quota)
	})
	bind(a, wire.Entries, func(ctx context.Context, who access.Caller, in wire.EntriesQuery) (wire.EntriesPage, error) {
		return a.entries(ctx, who, broker.OwnLog, in)
	})
	bind(a, wire.EntriesOf, func(ctx context.Context, who access.Caller, in wire.LogEntriesQuery) (wire.EntriesPage, error) {
		return a.entries(ctx, who, in.Log, in.EntriesQuery)
	})
}

func (a *API) entries(ctx context.Context, who access.Caller, log int, in wire.EntriesQuery) (wire.EntriesPage, error) {
	page, next, more, err := a.broker.Entries(ctx, who, a.namespace, log, in.From, in.Limit)
	if page == nil {
		page = []broker.LogEntry{} // an array in JSON, not null
	}
	return wire.EntriesPage{Items: page, Next: next, More: more}, err
}
