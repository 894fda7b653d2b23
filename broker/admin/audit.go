package admin

import (
	"context"

	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
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
