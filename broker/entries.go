package broker

import (
	"context"
	"encoding/json"

	"github.com/vouchsafe/vouchsafe/broker/access"
)

// scanEntries is how much of the log one page of a namespace's entries looks through: sixteen bundles. A namespace with few entries among many others' is read in
// short pages rather than in a long request.
const scanEntries = 16 * 256

// LogEntry is an entry of a namespace, with the proof that it is in the log.
type LogEntry struct {
	Index uint64          `json:"index"`
	Event json.RawMessage `json:"event"`   // exactly as the log has it
	Proof string          `json:"receipt"` // a C2SP tlog-proof
}

// Entries returns the entries of one namespace in a log, OwnLog for the one that this broker appends to, from an index on, and where to go on; more is false at the end of
// the log. What a proof holds of others' entries are hashes. Auditors of the namespace may.
func (b *Broker) Entries(ctx context.Context, who access.Caller, namespace string, number int, from uint64, limit int) (page []LogEntry, next uint64, more bool, err error) {
	if err := authorizeIn(who, namespace, access.Auditor); err != nil {
		return nil, 0, false, err
	}
	log, err := b.LogOf(ctx, number)
	if err != nil {
		return nil, 0, false, err
	}
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	size := log.Size()
	to := min(size, from+scanEntries)
	if from >= size || to < from {
		return nil, size, false, nil
	}
	next = to
	for entry, err := range log.Entries(ctx, from, to) {
		if err != nil {
			return nil, 0, false, asError(err)
		}
		var event struct {
			Namespace string `json:"namespace"`
		}
		if err := json.Unmarshal(entry.Data, &event); err != nil {
			return nil, 0, false, asError(damaged("entry %d of the audit log is none of this program's", entry.Index))
		}
		if event.Namespace != namespace {
			continue
		}
		if len(page) == limit {
			next = uint64(entry.Index)
			break
		}
		receipt, err := log.Receipt(ctx, uint64(entry.Index))
		if err != nil {
			return nil, 0, false, asError(err)
		}
		proof, err := receipt.MarshalText()
		if err != nil {
			return nil, 0, false, asError(err)
		}
		page = append(page, LogEntry{Index: uint64(entry.Index), Event: entry.Data, Proof: string(proof)})
	}
	return page, next, next < size, nil
}
