// Package verified remembers what verifiers have verified, so that they do it once: chains of certificates, by a digest
// of all that the verdict depends on. Only what cannot change may be remembered; dates and revocation are judged at
// every use.
package verified

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// Key names what was verified.
type Key [sha256.Size]byte

// KeyOf returns the key of parts, in their order. No two lists of parts run into each other: each is hashed with its
// length before it.
func KeyOf(parts ...[]byte) Key {
	h := sha256.New()
	var length [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write(part)
	}
	var key Key
	h.Sum(key[:0])
	return key
}

// Cache holds the most recently used values, up to a limit. Failures are not for it: whoever fills it then pays with
// what a root signed. It is safe for concurrent use; the values must be too, since all callers get the same.
type Cache[T any] = CacheBy[Key, T]

// CacheBy is a Cache by keys that need no digest, since all that the verdict depends on is in them and is small.
type CacheBy[K comparable, T any] struct {
	mu      sync.Mutex
	limit   int
	entries map[K]*list.Element
	recent  list.List // of *entry[K, T], most recent first
}

type entry[K comparable, T any] struct {
	key   K
	value T
}

// NewCache returns a Cache of at most limit values, at least one.
func NewCache[T any](limit int) *Cache[T] { return NewCacheBy[Key, T](limit) }

// NewCacheBy returns a CacheBy of at most limit values, at least one.
func NewCacheBy[K comparable, T any](limit int) *CacheBy[K, T] {
	return &CacheBy[K, T]{limit: max(1, limit), entries: map[K]*list.Element{}}
}

// Get returns the value of key, and whether there is one.
func (c *CacheBy[K, T]) Get(key K) (value T, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element := c.entries[key]
	if element == nil {
		return value, false
	}
	c.recent.MoveToFront(element)
	return element.Value.(*entry[K, T]).value, true
}

// Put remembers a value, in the place of the one used least recently where there is no room. The first value of a key stays.
func (c *CacheBy[K, T]) Put(key K, value T) { c.put(key, value, false) }

// Set is Put, but that the value takes the place of the one that key has: of a chain that has expired, when there is another.
func (c *CacheBy[K, T]) Set(key K, value T) { c.put(key, value, true) }

func (c *CacheBy[K, T]) put(key K, value T, replace bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element := c.entries[key]; element != nil { // with Put, another caller verified the same meanwhile
		if replace {
			element.Value.(*entry[K, T]).value = value
			c.recent.MoveToFront(element)
		}
		return
	}
	if len(c.entries) >= c.limit {
		oldest := c.recent.Back()
		c.recent.Remove(oldest)
		delete(c.entries, oldest.Value.(*entry[K, T]).key)
	}
	c.entries[key] = c.recent.PushFront(&entry[K, T]{key, value})
}

// Drop forgets the value of key, such as a chain that has expired.
func (c *CacheBy[K, T]) Drop(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element := c.entries[key]; element != nil {
		c.recent.Remove(element)
		delete(c.entries, key)
	}
}

// Len returns how many values there are.
func (c *CacheBy[K, T]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}
