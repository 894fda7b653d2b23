package admin

import (
	"context"

	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/logs"
)

// Checkpoint returns the latest signed checkpoint of the audit log.
func (c *Client) Checkpoint(ctx context.Context) ([]byte, error) {
	return call(ctx, c, wire.Checkpoint, wire.None{})
}

// LogKey returns the text of the key that checkpoints verify with, and a line break. Where it matters, compare it with one that came another way.
func (c *Client) LogKey(ctx context.Context) ([]byte, error) {
	return call(ctx, c, wire.LogKey, wire.None{})
}

// Tile returns a tile or entry bundle by its c2sp.org/tlog-tiles path without "tile/".
func (c *Client) Tile(ctx context.Context, path string) ([]byte, error) {
	return call(ctx, c, wire.Tile, wire.TilePath{Path: path})
}

// Receipt returns the c2sp.org/tlog-proof of an entry.
func (c *Client) Receipt(ctx context.Context, index uint64) ([]byte, error) {
	return call(ctx, c, wire.Receipt, wire.EntryIndex{Index: index})
}

// Consistency proves that the log of one size is the beginning of that of another.
func (c *Client) Consistency(ctx context.Context, in wire.ConsistencyQuery) (wire.ConsistencyProof, error) {
	return call(ctx, c, wire.Consistency, in)
}

// Kinds returns the kinds of evidence that the broker verifies.
func (c *Client) Kinds(ctx context.Context) (wire.Kinds, error) {
	return call(ctx, c, wire.ListKinds, wire.None{})
}

// Logs describes the audit logs of the store: one, unless brokers share it.
func (c *Client) Logs(ctx context.Context) ([]logs.Info, error) {
	list, err := call(ctx, c, wire.ListLogs, wire.None{})
	return list.Logs, err
}

// CheckpointOf is Checkpoint of the log of a number.
func (c *Client) CheckpointOf(ctx context.Context, log int) ([]byte, error) {
	return call(ctx, c, wire.CheckpointOf, wire.LogNumber{Log: log})
}

// LogKeyOf is LogKey of the log of a number.
func (c *Client) LogKeyOf(ctx context.Context, log int) ([]byte, error) {
	return call(ctx, c, wire.LogKeyOf, wire.LogNumber{Log: log})
}

// TileOf is Tile of the log of a number.
func (c *Client) TileOf(ctx context.Context, log int, path string) ([]byte, error) {
	return call(ctx, c, wire.TileOf, wire.LogTile{LogNumber: wire.LogNumber{Log: log}, TilePath: wire.TilePath{Path: path}})
}

// ReceiptOf is Receipt of the log of a number.
func (c *Client) ReceiptOf(ctx context.Context, log int, index uint64) ([]byte, error) {
	return call(ctx, c, wire.ReceiptOf, wire.LogEntry{LogNumber: wire.LogNumber{Log: log}, EntryIndex: wire.EntryIndex{Index: index}})
}

// ConsistencyOf is Consistency of the log of a number.
func (c *Client) ConsistencyOf(ctx context.Context, log int, in wire.ConsistencyQuery) (wire.ConsistencyProof, error) {
	return call(ctx, c, wire.ConsistencyOf, wire.LogSizes{LogNumber: wire.LogNumber{Log: log}, ConsistencyQuery: in})
}
