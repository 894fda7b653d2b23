package wire

import (
	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/logs"
)

// text is the media type of checkpoints, receipts and keys.
const text = "text/plain; charset=utf-8"

var auditor = []access.Role{access.Auditor}

// The operations on the audit log. What is below /v1/audit/ is a log of c2sp.org/tlog-tiles. Entries hold the names of secrets, so only auditors
// of all namespaces may read them; checkpoints hold a hash, and anyone may keep them.
var (
	Checkpoint = Endpoint[None, []byte]{Operation{
		ID: "checkpoint", Method: "GET", Path: "/v1/audit/checkpoint", Media: text,
		Summary: "Read the latest signed checkpoint of the audit log (c2sp.org/tlog-checkpoint)",
	}}
	LogKey = Endpoint[None, []byte]{Operation{
		ID: "logKey", Method: "GET", Path: "/v1/audit/key", Media: text,
		Summary: "Read the key that checkpoints verify with (c2sp.org/signed-note)",
	}}
	Tile = Endpoint[TilePath, []byte]{Operation{
		ID: "tile", Method: "GET", Path: "/v1/audit/tile/{path...}", Media: "application/octet-stream", Roles: auditor, Everywhere: true,
		Summary: "Read a tile of hashes or a bundle of entries (c2sp.org/tlog-tiles)",
	}}
	Receipt = Endpoint[EntryIndex, []byte]{Operation{
		ID: "receipt", Method: "GET", Path: "/v1/audit/receipt/{index}", Media: text, Roles: auditor, Everywhere: true,
		Summary: "Prove that an entry is in the log (c2sp.org/tlog-proof)",
	}}
	Consistency = Endpoint[ConsistencyQuery, ConsistencyProof]{Operation{
		ID: "consistency", Method: "GET", Path: "/v1/audit/consistency", Roles: auditor, Everywhere: true,
		Summary: "Prove that the log of one size is the beginning of that of another (RFC 6962, section 2.1.2)",
	}}

	// Brokers that share a store have a log each: what is above is the one of the broker that is asked, and below /v1/audit/log/{log}/ is each of them, from
	// whichever broker.
	ListLogs = Endpoint[None, Logs]{Operation{
		ID: "listLogs", Method: "GET", Path: "/v1/audit/logs", Roles: auditor, Everywhere: true,
		Summary: "List the audit logs of the store, with their keys: one, unless brokers share it",
	}}
	CheckpointOf = Endpoint[LogNumber, []byte]{Operation{
		ID: "checkpointOf", Method: "GET", Path: "/v1/audit/log/{log}/checkpoint", Media: text,
		Summary: "Read the latest signed checkpoint of one of the audit logs",
	}}
	LogKeyOf = Endpoint[LogNumber, []byte]{Operation{
		ID: "logKeyOf", Method: "GET", Path: "/v1/audit/log/{log}/key", Media: text,
		Summary: "Read the key that checkpoints of one of the audit logs verify with",
	}}
	TileOf = Endpoint[LogTile, []byte]{Operation{
		ID: "tileOf", Method: "GET", Path: "/v1/audit/log/{log}/tile/{path...}", Media: "application/octet-stream", Roles: auditor, Everywhere: true,
		Summary: "Read a tile of hashes or a bundle of entries of one of the audit logs",
	}}
	ReceiptOf = Endpoint[LogEntry, []byte]{Operation{
		ID: "receiptOf", Method: "GET", Path: "/v1/audit/log/{log}/receipt/{index}", Media: text, Roles: auditor, Everywhere: true,
		Summary: "Prove that an entry is in one of the audit logs",
	}}
	ConsistencyOf = Endpoint[LogSizes, ConsistencyProof]{Operation{
		ID: "consistencyOf", Method: "GET", Path: "/v1/audit/log/{log}/consistency", Roles: auditor, Everywhere: true,
		Summary: "Prove that one of the audit logs of one size is the beginning of that of another",
	}}

	ListKinds = Endpoint[None, Kinds]{Operation{
		ID: "listKinds", Method: "GET", Path: "/v1/kinds",
		Summary: "List the kinds of evidence that this broker verifies",
	}}
)

// TilePath names a tile.
type TilePath struct {
	Path string `json:"-" path:"path" doc:"<L>/<N>[.p/<W>] or entries/<N>[.p/<W>]"`
}

// EntryIndex names an entry.
type EntryIndex struct {
	Index uint64 `json:"-" path:"index" doc:"index of the entry, from 0"`
}

// ConsistencyQuery names two sizes of the log.
type ConsistencyQuery struct {
	Old uint64 `json:"-" query:"old" doc:"the smaller size"`
	New uint64 `json:"-" query:"new" doc:"the larger size; the present one when absent"`
}

// LogNumber names one of the audit logs.
type LogNumber struct {
	Log int `json:"-" path:"log" doc:"number of the log: 0 for that of a store which one broker has, 1 to 64 where brokers share one"`
}

// LogTile names a tile of one of the audit logs.
type LogTile struct {
	LogNumber
	TilePath
}

// LogEntry names an entry of one of the audit logs.
type LogEntry struct {
	LogNumber
	EntryIndex
}

// LogSizes names two sizes of one of the audit logs.
type LogSizes struct {
	LogNumber
	ConsistencyQuery
}

// Logs are the audit logs of a store.
type Logs struct {
	Logs []logs.Info `json:"logs"`
}

// ConsistencyProof is a proof of consistency.
type ConsistencyProof struct {
	Old   uint64   `json:"old"`
	New   uint64   `json:"new"`
	Proof [][]byte `json:"proof" doc:"hashes of 32 bytes"`
}

// Kinds are kinds of evidence.
type Kinds struct {
	Kinds []attest.Kind `json:"kinds"`
}
