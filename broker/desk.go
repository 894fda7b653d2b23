package broker

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/approval"
	"github.com/vouchsafe/vouchsafe/store"
)

// Limits of a namespace's desk.
const (
	// MaxOpenProposals is how many proposals may be open at once, and MaxOpenByOne how many of one person: more would not be read.
	MaxOpenProposals = 64
	MaxOpenByOne     = 16
	// MaxClosedProposals is how many that are not open any more are kept; the audit log tells of all.
	MaxClosedProposals = 200
	// MaxUnacknowledged is how often glass may be broken before an auditor has acknowledged it.
	MaxUnacknowledged = 16
	// MaxRulesVersions is how many versions of the approval rules are kept.
	MaxRulesVersions = 50
)

// deskRecord is what the gate goes by. See gate.go.
type deskRecord struct {
	Rules  policyRecord `json:"rules"` // the versions of the approval rules, and which is in force
	Open   []deskEntry  `json:"open,omitempty"`
	Closed []deskEntry  `json:"closed,omitempty"` // the oldest first
	Broken []deskEntry  `json:"broken,omitempty"` // by break-glass, and no auditor has acknowledged it
}

// deskEntry leads to a proposal.
type deskEntry struct {
	ID      string     `json:"id"`
	Type    ChangeType `json:"type"`
	Name    string     `json:"name,omitempty"`
	Version uint64     `json:"version,omitempty"`
	By      string     `json:"by"` // the proposer's subject
	Created time.Time  `json:"created"`
}

// desk is a namespace's desk as it was read.
type desk struct {
	deskRecord
	key   string
	at    uint64 // version of the record; 0 where there is none yet
	rules *approval.Rules

	judging *policy.Set // the active policies, once they were asked for; see Broker.judging
}

// judging returns the active policies as the store has them, read after the desk was and once for each desk: a change of them writes the desk, too, so what
// is decided by both is not done when they have changed since.
func (b *Broker) judging(ctx context.Context, namespace string, d *desk) (*policy.Set, error) {
	if d.judging == nil {
		set, err := b.rules.active(ctx, namespace)
		if err != nil {
			return nil, err
		}
		d.judging = set
	}
	return d.judging, nil
}

func deskKey(namespace string) string { return store.Key(namespace, "desk") }

func rulesVersionKey(namespace string, version uint64) string {
	return store.Key(namespace, "approval-rules", strconv.FormatUint(version, 10))
}

// openDesk reads the desk and the rules in force. Rules that cannot be read are an error: they must not count as none.
func (b *Broker) openDesk(ctx context.Context, namespace string) (*desk, error) {
	d := &desk{key: deskKey(namespace)}
	var err error
	if d.deskRecord, d.at, err = loadOrZero[deskRecord](ctx, b.store, d.key); err != nil {
		return nil, err
	}
	d.Rules.Name = rulesName
	if d.Rules.Active == 0 {
		return d, nil
	}
	d.rules, err = b.rulesVersion(ctx, namespace, &d.Rules, d.Rules.Active)
	return d, err
}

// rulesVersion reads and parses a version of the approval rules.
func (b *Broker) rulesVersion(ctx context.Context, namespace string, record *policyRecord, version uint64) (*approval.Rules, error) {
	v := record.find(version)
	if v == nil {
		return nil, notFound("there is no version %d of the approval rules", version)
	}
	source, err := b.store.Get(ctx, rulesVersionKey(namespace, version))
	if errors.Is(err, store.ErrNotFound) {
		err = damaged("version %d of the approval rules is missing", version)
	}
	if err != nil {
		return nil, err
	}
	r, err := approval.Parse(rulesName, source.Value)
	if err != nil {
		return nil, damaged("version %d of the approval rules: %v", version, err)
	}
	if r.Digest() != v.Digest {
		return nil, damaged("version %d of the approval rules is not what was recorded", version)
	}
	return r, nil
}

// demand is what the rules in force ask of a change.
func (d *desk) demand(a *alteration) approval.Demand {
	if a.inForce != nil {
		return d.rules.OfChange()
	}
	return d.rules.Covering(a.touched)
}

// write makes the write that replaces the desk's record, whether or not anything in it changed.
func (d *desk) write() (store.Write, error) { return write(d.key, d.at, d.deskRecord) }

// close takes a proposal from those that are open to those that were, and returns those that are kept no longer.
func (d *desk) close(id string) (gone []deskEntry) {
	for i, e := range d.Open {
		if e.ID == id {
			d.Open = append(d.Open[:i:i], d.Open[i+1:]...)
			d.Closed = append(d.Closed, e)
			break
		}
	}
	for len(d.Closed) > MaxClosedProposals {
		at := slices.IndexFunc(d.Closed, func(e deskEntry) bool { // what waits for an auditor stays: at most MaxUnacknowledged
			return !slices.ContainsFunc(d.Broken, func(b deskEntry) bool { return b.ID == e.ID })
		})
		if at < 0 {
			break
		}
		gone = append(gone, d.Closed[at])
		d.Closed = slices.Delete(d.Closed, at, at+1)
	}
	return gone
}
