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
	bind(a, wire.Checkpoint, func(ctx context.Context, _ access.Caller, _ wire.None) ([]byte, error) {
		return a.checkpoint(ctx, broker.OwnLog)
	})
	bind(a, wire.CheckpointOf, func(ctx context.Context, _ access.Caller, in wire.LogNumber) ([]byte, error) {
		return a.checkpoint(ctx, in.Log)
	})
	bind(a, wire.LogKey, func(context.Context, access.Caller, wire.None) ([]byte, error) { return a.logKey(broker.OwnLog) })
	bind(a, wire.LogKeyOf, func(_ context.Context, _ access.Caller, in wire.LogNumber) ([]byte, error) { return a.logKey(in.Log) })
	bind(a, wire.Tile, func(ctx context.Context, who access.Caller, in wire.TilePath) ([]byte, error) {
		return a.tile(ctx, who, broker.OwnLog, in.Path)
	})
	bind(a, wire.TileOf, func(ctx context.Context, who access.Caller, in wire.LogTile) ([]byte, error) {
		return a.tile(ctx, who, in.Log, in.Path)
	})
	bind(a, wire.Receipt, func(ctx context.Context, who access.Caller, in wire.EntryIndex) ([]byte, error) {
		return a.receipt(ctx, who, broker.OwnLog, in.Index)
	})
	bind(a, wire.ReceiptOf, func(ctx context.Context, who access.Caller, in wire.LogEntry) ([]byte, error) {
		return a.receipt(ctx, who, in.Log, in.Index)
	})
	bind(a, wire.Consistency, func(ctx context.Context, who access.Caller, in wire.ConsistencyQuery) (wire.ConsistencyProof, error) {
		return a.consistency(ctx, who, broker.OwnLog, in)
	})
	bind(a, wire.ConsistencyOf, func(ctx context.Context, who access.Caller, in wire.LogSizes) (wire.ConsistencyProof, error) {
		return a.consistency(ctx, who, in.Log, in.ConsistencyQuery)
	})
	bind(a, wire.ListLogs, func(ctx context.Context, who access.Caller, _ wire.None) (wire.Logs, error) {
		list, err := b.AuditLogs(ctx, who)
		return wire.Logs{Logs: list}, err
	})
}

func (a *API) checkpoint(ctx context.Context, number int) ([]byte, error) {
	log, err := a.broker.LogOf(ctx, number)
	if err != nil {
		return nil, err
	}
	return log.Checkpoint(), nil
}

func (a *API) logKey(number int) ([]byte, error) {
	key, err := a.broker.LogKey(number)
	return []byte(key + "\n"), err
}

func (a *API) tile(ctx context.Context, who access.Caller, number int, path string) ([]byte, error) {
	log, err := a.broker.Audit(ctx, who, number)
	if err != nil {
		return nil, err
	}
	tile, err := log.ReadPath(ctx, "tile/"+path)
	return tile, logError(err)
}

func (a *API) receipt(ctx context.Context, who access.Caller, number int, index uint64) ([]byte, error) {
	log, err := a.broker.Audit(ctx, who, number)
	if err != nil {
		return nil, err
	}
	receipt, err := log.Receipt(ctx, index)
	if err != nil {
		return nil, logError(err)
	}
	return receipt.MarshalText()
}

func (a *API) consistency(ctx context.Context, who access.Caller, number int, in wire.ConsistencyQuery) (out wire.ConsistencyProof, err error) {
	log, err := a.broker.Audit(ctx, who, number)
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
