package wire

import (
	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/access"
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
