package api

import (
	"context"
	"errors"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/source"
)

func (a *API) routeSecrets() {
	b := a.broker
	bind(a, wire.ListSecrets, func(ctx context.Context, who access.Caller, in wire.SecretsQuery) (wire.List[broker.SecretInfo], error) {
		page, more, err := b.Secrets(ctx, who, a.namespace, in.Prefix, in.After, in.Limit)
		return list(page, more, func(s broker.SecretInfo) string { return s.Name }), err
	})
	bind(a, wire.GetSecret, func(ctx context.Context, who access.Caller, in wire.SecretName) (broker.SecretInfo, error) {
		return b.Secret(ctx, who, a.namespace, in.Name)
	})
	bind(a, wire.PutSecret, func(ctx context.Context, who access.Caller, in wire.SecretPut) (broker.SecretInfo, error) {
		defer clear(in.Value)
		return b.PutSecret(ctx, who, a.namespace, broker.PutSecret{
			Name: in.Name, Value: in.Value, Source: in.Source, ContentType: in.ContentType, Labels: in.Labels, Activate: in.Activate,
		})
	})
	bind(a, wire.GenerateSecret, func(ctx context.Context, who access.Caller, in wire.SecretGenerate) (broker.SecretInfo, error) {
		return b.GenerateSecret(ctx, who, a.namespace, broker.GenerateSecret{
			Name: in.Name, Length: in.Length, Encoding: in.Encoding, Labels: in.Labels, Activate: in.Activate,
		})
	})
	bind(a, wire.ActivateSecret, func(ctx context.Context, who access.Caller, in wire.SecretActivate) (broker.SecretInfo, error) {
		return b.ActivateSecret(ctx, who, a.namespace, in.Name, in.Version)
	})
	bind(a, wire.DestroySecret, func(ctx context.Context, who access.Caller, in wire.SecretDestroy) (broker.SecretInfo, error) {
		switch {
		case in.All == (in.Version != 0):
			return broker.SecretInfo{}, invalid(errors.New("give either the version to destroy or all"))
		case in.All:
			return b.DestroyAll(ctx, who, a.namespace, in.Name)
		default:
			return b.DestroySecret(ctx, who, a.namespace, in.Name, in.Version)
		}
	})
	bind(a, wire.CheckSecret, func(ctx context.Context, who access.Caller, in wire.SecretCheck) (source.Probe, error) {
		return b.CheckSecret(ctx, who, a.namespace, in.Name, in.Version)
	})
	bind(a, wire.RevokeLease, func(ctx context.Context, who access.Caller, in wire.LeaseID) (broker.LeaseRevoked, error) {
		return b.RevokeLease(ctx, who, a.namespace, in.ID)
	})
	bind(a, wire.ListLeases, func(ctx context.Context, who access.Caller, in wire.LeasesQuery) (wire.List[broker.Lease], error) {
		page, more, err := b.Leases(ctx, who, a.namespace, in.Secret, in.After, in.Limit)
		return list(page, more, func(l broker.Lease) string { return l.Secret + "/" + l.ID }), err
	})
}

// list makes a page of what the core returned. name is what the core calls an item in "after".
func list[T any](page []T, more bool, name func(T) string) wire.List[T] {
	l := wire.List[T]{Items: page}
	if l.Items == nil {
		l.Items = []T{} // an array in JSON, not null
	}
	if more && len(page) > 0 {
		l.Next = name(page[len(page)-1])
	}
	return l
}
