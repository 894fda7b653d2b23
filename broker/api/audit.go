package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/store"
)

func (a *API) routeAudit() {
	b := a.broker
	bind(a, wire.Checkpoint, func(context.Context, access.Caller, wire.None) ([]byte, error) { return b.Log().Checkpoint(), nil })
	bind(a, wire.LogKey, func(context.Context, access.Caller, wire.None) ([]byte, error) {
		return []byte(b.Keys().LogVerifierText() + "\n"), nil
	})
	bind(a, wire.Tile, func(ctx context.Context, who access.Caller, in wire.TilePath) ([]byte, error) {
		log, err := b.Audit(who)
		if err != nil {
			return nil, err
		}
		tile, err := log.ReadPath(ctx, "tile/"+in.Path)
		return tile, logError(err)
	})
	bind(a, wire.Receipt, func(ctx context.Context, who access.Caller, in wire.EntryIndex) ([]byte, error) {
		log, err := b.Audit(who)
		if err != nil {
			return nil, err
		}
		receipt, err := log.Receipt(ctx, in.Index)
		if err != nil {
			return nil, logError(err)
		}
		return receipt.MarshalText()
	})
	bind(a, wire.Consistency, func(ctx context.Context, who access.Caller, in wire.ConsistencyQuery) (out wire.ConsistencyProof, err error) {
		log, err := b.Audit(who)
		if err != nil {
			return out, err
		}
		if in.New == 0 {
			in.New = log.Size()
		}
		proof, err := log.Consistency(ctx, in.Old, in.New)
		if err != nil {
			return out, logError(err)
		}
		out = wire.ConsistencyProof{Old: in.Old, New: in.New, Proof: make([][]byte, len(proof))}
		for i := range proof {
			out.Proof[i] = proof[i][:]
		}
		return out, nil
	})
}

// logError gives the errors of reading the log, which the core does not pass on itself, their statuses.
func logError(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return &failure{http.StatusNotFound, wire.Error{Code: broker.CodeNotFound, Message: "the log has no such part, or not yet"}, err}
	case errors.Is(err, store.ErrInvalid):
		return &failure{http.StatusBadRequest, wire.Error{Code: broker.CodeInvalid, Message: "this does not name a part of the log"}, err}
	}
	return err
}
