package nvidia

import (
	"container/list"
	"sync"
)

// key names a verified thing by a digest of everything that its verification depended on, the roots of the verifier apart.
type key [32]byte

// cache holds what was verified, the least recently used dropped first. What did not verify is not held, so that entries cost their
// maker something that NVIDIA signed. It is safe for concurrent use.
type cache[V any] struct {
	mu      sync.Mutex
	limit   int
	entries map[key]*list.Element
	recent  list.List // of *entry[V], most recent first
}

type entry[V any] struct {
	key   key
	value V
}

func newCache[V any](limit int) *cache[V] {
	return &cache[V]{limit: limit, entries: map[key]*list.Element{}}
}

func (c *cache[V]) get(k key) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element := c.entries[k]
	if element == nil {
		return value, false
	}
	c.recent.MoveToFront(element)
	return element.Value.(*entry[V]).value, true
}

func (c *cache[V]) put(k key, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[k] != nil {
		return // another caller verified the same meanwhile
	}
	if len(c.entries) >= c.limit {
		oldest := c.recent.Back()
		c.recent.Remove(oldest)
		delete(c.entries, oldest.Value.(*entry[V]).key)
	}
	c.entries[k] = c.recent.PushFront(&entry[V]{k, value})
}
