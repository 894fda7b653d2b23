package dcap

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

// key names what was verified by the digest of what it was verified from, and by how that was read.
type key struct {
	as     string
	digest [sha256.Size]byte
}

// cache holds what was verified, the least recently used dropped first. What did not verify is not held, so an entry costs its maker something
// that Intel signed. It is safe for concurrent use.
type cache[T any] struct {
	mu      sync.Mutex
	limit   int
	entries map[key]*list.Element
	recent  list.List // of *entry[T], most recent first
}

type entry[T any] struct {
	key   key
	value *T
}

func newCache[T any](limit int) *cache[T] {
	return &cache[T]{limit: limit, entries: map[key]*list.Element{}}
}

// get returns what is held under k, nil when nothing is.
func (c *cache[T]) get(k key) *T {
	c.mu.Lock()
	defer c.mu.Unlock()
	element := c.entries[k]
	if element == nil {
		return nil
	}
	c.recent.MoveToFront(element)
	return element.Value.(*entry[T]).value
}

func (c *cache[T]) put(k key, value *T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[k] != nil {
		return // another caller verified the same meanwhile
	}
	if len(c.entries) >= c.limit {
		oldest := c.recent.Back()
		c.recent.Remove(oldest)
		delete(c.entries, oldest.Value.(*entry[T]).key)
	}
	c.entries[k] = c.recent.PushFront(&entry[T]{k, value})
}
