package verified

import (
	"sync"
	"testing"
)

func TestCache(t *testing.T) {
	c := NewCache[int](2)
	a, b, d := KeyOf([]byte("a")), KeyOf([]byte("b")), KeyOf([]byte("d"))
	c.Put(a, 1)
	c.Put(b, 2)
	c.Put(a, 3) // the first stays
	if v, ok := c.Get(a); !ok || v != 1 {
		t.Error(v, ok)
	}
	c.Put(d, 4) // b was used least recently
	if _, ok := c.Get(b); ok {
		t.Error("b is still there")
	}
	c.Drop(a)
	c.Drop(a)
	if _, ok := c.Get(a); ok {
		t.Error("a is still there")
	}
	if v, ok := c.Get(d); !ok || v != 4 {
		t.Error(v, ok)
	}
	if c.Len() != 1 || c.recent.Len() != 1 {
		t.Errorf("%d entries and %d in order", c.Len(), c.recent.Len())
	}
}

// TestSet: what is set takes the place of what was there, and is the most recent then; what is used least is dropped first.
func TestSet(t *testing.T) {
	c := NewCacheBy[int, string](2)
	c.Set(1, "one")
	c.Set(2, "two")
	c.Set(1, "another")
	c.Set(3, "three")
	if _, ok := c.Get(2); ok || c.Len() != 2 || c.recent.Len() != 2 {
		t.Errorf("%d values, %d in order, 2 among them: %v", c.Len(), c.recent.Len(), ok)
	}
	if v, _ := c.Get(1); v != "another" {
		t.Error(v)
	}
}

func TestLimit(t *testing.T) {
	c := NewCache[int](0)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				key := KeyOf([]byte{byte(i), byte(j)})
				c.Put(key, j)
				c.Get(key)
				c.Drop(key)
				c.Put(key, j)
			}
		})
	}
	wg.Wait()
	if len(c.entries) > 1 {
		t.Errorf("%d entries", len(c.entries))
	}
}

func TestKeyOf(t *testing.T) {
	seen := map[Key]string{}
	for name, parts := range map[string][][]byte{
		"none": {}, "one empty": {nil}, "ab": {[]byte("ab")}, "a, b": {[]byte("a"), []byte("b")}, "b, a": {[]byte("b"), []byte("a")},
		"ab, nothing": {[]byte("ab"), nil}, "nothing, ab": {nil, []byte("ab")},
	} {
		key := KeyOf(parts...)
		if other, ok := seen[key]; ok {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[key] = name
	}
}
