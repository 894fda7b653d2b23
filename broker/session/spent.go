package session

import (
	"context"
	"sync"
	"time"
)

// DefaultSpent is how many spent nonces a MemorySpent holds: at 5 minutes each, 3,500 attestations a second, which is more than
// the signatures of any machine allow. Full, they take 24 MB, and up to 40 where their tables have just grown: 16 bytes each.
const DefaultSpent = 1 << 20

// generation is the width of the expiries that are forgotten together. Forgetting is late by at most as much, so a narrower one would
// save memory; a wider one, tables.
const generation = 30 * time.Second

// MemorySpent remembers spent nonces in this process. Each lies in the table of its generation, by expiry, and a table whose last
// expiry has passed is dropped whole, so that forgetting costs the same however much there is to forget.
type MemorySpent struct {
	max int

	mu     sync.Mutex
	tables map[int64]map[[16]byte]struct{} // by generation; MaxLifetime/generation of them at most, and a few
	count  int
	floor  int64 // the first generation that was never dropped
}

// NewMemorySpent returns a MemorySpent that holds at most limit nonces, DefaultSpent when limit is not positive.
func NewMemorySpent(limit int) *MemorySpent {
	if limit <= 0 {
		limit = DefaultSpent
	}
	return &MemorySpent{max: limit, tables: make(map[int64]map[[16]byte]struct{})}
}

// Spend implements [Spent].
func (m *MemorySpent) Spend(_ context.Context, id [16]byte, now, until time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(generationOf(now))
	g := generationOf(until)
	if g < m.floor {
		return ErrExpired
	}
	table := m.tables[g]
	if _, spent := table[id]; spent {
		return ErrSpent
	}
	if m.count >= m.max {
		return ErrFull
	}
	if table == nil {
		table = make(map[[16]byte]struct{})
		m.tables[g] = table
	}
	table[id] = struct{}{}
	m.count++
	return nil
}

// forget drops the tables of the generations before current.
func (m *MemorySpent) forget(current int64) {
	if current <= m.floor {
		return
	}
	for g, table := range m.tables {
		if g < current {
			m.count -= len(table)
			delete(m.tables, g)
		}
	}
	m.floor = current
}

// Len returns how many nonces are remembered.
func (m *MemorySpent) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

func generationOf(t time.Time) int64 { return t.Unix() / int64(generation/time.Second) }
