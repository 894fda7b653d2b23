package api

import (
	"context"
	"errors"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

func (a *API) routeRego() {
	b := a.broker
	bind(a, wire.ListRego, func(ctx context.Context, who access.Caller, _ wire.None) (wire.List[broker.RegoInfo], error) {
		all, err := b.RegoPolicies(ctx, who, a.namespace)
		return wire.List[broker.RegoInfo]{Items: all}, err
	})
	bind(a, wire.GetRego, func(ctx context.Context, who access.Caller, in wire.RegoQuery) (wire.RegoSource, error) {
		info, source, err := b.Rego(ctx, who, a.namespace, in.Kind, in.ID, in.Version)
		return wire.RegoSource{Policy: info, Source: string(source)}, err
	})
	bind(a, wire.PutRego, func(ctx context.Context, who access.Caller, in wire.RegoPut) (broker.RegoInfo, error) {
		return b.PutRego(ctx, who, a.namespace, in.Kind, in.ID, []byte(in.Source), in.Draft)
	})
	bind(a, wire.ActivateRego, func(ctx context.Context, who access.Caller, in wire.RegoActivate) (broker.RegoInfo, error) {
		if in.Version == 0 { // which means to retire it, to the core
			return broker.RegoInfo{}, invalid(errors.New("the version to activate is missing"))
		}
		return b.ActivateRego(ctx, who, a.namespace, in.Kind, in.ID, in.Version)
	})
	bind(a, wire.RetireRego, func(ctx context.Context, who access.Caller, in wire.RegoName) (broker.RegoInfo, error) {
		return b.ActivateRego(ctx, who, a.namespace, in.Kind, in.ID, 0)
	})
	bind(a, wire.GetRegoReferences, func(ctx context.Context, who access.Caller, _ wire.None) (wire.RegoReferences, error) {
		values, err := b.RegoReferences(ctx, who, a.namespace)
		return wire.RegoReferences{Values: values}, err
	})
	bind(a, wire.PutRegoReferences, func(ctx context.Context, who access.Caller, in wire.RegoReferencesPut) (wire.None, error) {
		values := make(map[string]broker.RegoReference, len(in.Values))
		for id, v := range in.Values {
			values[id] = broker.RegoReference{Value: v.Value, Expires: v.Expires}
		}
		return wire.None{}, b.PutRegoReferences(ctx, who, a.namespace, values)
	})
}
