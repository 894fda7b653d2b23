package dcap

import (
	"container/list"
	"sync"
)

// cache holds what was verified, the least recently used dropped first. What did not verify is not held, so an entry costs its maker something
// that Intel signed. It is safe for concurrent use.
type cache[K comparable, V any] struct {
	mu      sync.Mutex
	limit   int
	entries map[K]*list.Element
	recent  list.List // of *entry[K, V], most recent first
}

type entry[K comparable, V any] struct {
	key   K
	value *V
}

func newCache[K comparable, V any](limit int) *cache[K, V] {
	return &cache[K, V]{limit: limit, entries: map[K]*list.Element{}}
}

// get returns what is held under k, nil when nothing is.
func (c *cache[K, V]) get(k K) *V {
	c.mu.Lock()
	defer c.mu.Unlock()
	element := c.entries[k]
	if element == nil {
		return nil
	}
	c.recent.MoveToFront(element)
	return element.Value.(*entry[K, V]).value
}

// put holds value under k, in the place of what was held under it.
func (c *cache[K, V]) put(k K, value *V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element := c.entries[k]; element != nil {
		element.Value.(*entry[K, V]).value = value
		c.recent.MoveToFront(element)
		return
	}
	if len(c.entries) >= c.limit {
		oldest := c.recent.Back()
		c.recent.Remove(oldest)
		delete(c.entries, oldest.Value.(*entry[K, V]).key)
	}
	c.entries[k] = c.recent.PushFront(&entry[K, V]{k, value})
}
