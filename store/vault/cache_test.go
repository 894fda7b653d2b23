package vault

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func entry(key, value string) store.Record {
	return store.Record{Key: key, Version: 1, Value: []byte(value)}
}

// miss begins a read that must not be answered from the cache.
func miss(t *testing.T, c *cache, key string) reading {
	t.Helper()
	r, from, ok := c.get(key)
	if ok {
		t.Fatalf("the cache has %s: %q", key, r.Value)
	}
	return from
}

func hit(t *testing.T, c *cache, key, value string) {
	t.Helper()
	if r, _, ok := c.get(key); !ok || string(r.Value) != value {
		t.Fatalf("the cache has %s: %v, %q, want %q", key, ok, r.Value, value)
	}
}

func TestCacheAge(t *testing.T) {
	at := &clock{time.Now()}
	c := newCache(time.Second, at.now)
	from := miss(t, c, "a/a")
	at.at = at.at.Add(600 * time.Millisecond) // the read takes this long, and counts from when it began
	c.keep(entry("a/a", "v"), from)
	hit(t, c, "a/a", "v")
	at.at = at.at.Add(400 * time.Millisecond)
	hit(t, c, "a/a", "v")
	at.at = at.at.Add(time.Nanosecond)
	miss(t, c, "a/a")

	c.keep(entry("a/a", "v"), miss(t, c, "a/a"))
	at.at = at.at.Add(-time.Hour)
	miss(t, c, "a/a")
}

func TestCacheAndWrites(t *testing.T) {
	at := &clock{time.Now()}
	c := newCache(time.Minute, at.now)
	c.keep(entry("a/a", "old"), miss(t, c, "a/a"))
	end := c.begin("a/a")
	from := miss(t, c, "a/a") // a read while the write is under way may see either
	c.keep(entry("a/a", "old"), from)
	miss(t, c, "a/a")
	written := entry("a/a", "new")
	end(&written)
	hit(t, c, "a/a", "new")
	c.keep(entry("a/a", "old"), from) // and one that ends after it is not to be trusted either
	hit(t, c, "a/a", "new")

	first, second := c.begin("a/a"), c.begin("a/a")
	first(&written) // which of two comes last is not known here
	miss(t, c, "a/a")
	second(nil)
	miss(t, c, "a/a")
}

func TestCacheOwnsItsValues(t *testing.T) {
	c := newCache(time.Minute, time.Now)
	r := entry("a/a", "as read")
	c.keep(r, miss(t, c, "a/a"))
	copy(r.Value, "SCRIBBLED")
	got, _, _ := c.get("a/a")
	copy(got.Value, "SCRIBBLED")
	hit(t, c, "a/a", "as read")
	c.keep(entry("a/empty", ""), miss(t, c, "a/empty"))
	if got, _, ok := c.get("a/empty"); !ok || got.Value == nil {
		t.Fatalf("an empty value is %v, %v", got.Value, ok)
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(time.Hour, time.Now)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 20_000 {
		key := fmt.Sprintf("a/%d", i)
		c.keep(store.Record{Key: key, Version: 1, Value: make([]byte, i%maxCachedSize)}, miss(t, c, key))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 40<<20 {
		t.Errorf("the cache holds %d MiB", used>>20)
	}
	entries, size := 0, 0
	for i := range c.shards {
		s, sum := &c.shards[i], 0
		for _, e := range s.entries {
			sum += len(e.record.Value)
		}
		if sum != s.size || sum > shardBytes || len(s.entries) > shardEntries {
			t.Fatalf("a shard has %d entries of %d bytes, counted as %d", len(s.entries), sum, s.size)
		}
		entries, size = entries+len(s.entries), size+sum
	}
	if entries == 0 || size == 0 {
		t.Fatal("the cache holds nothing")
	}
	c.keep(store.Record{Key: "a/large", Version: 1, Value: make([]byte, maxCachedSize+1)}, miss(t, c, "a/large"))
	miss(t, c, "a/large")
	runtime.KeepAlive(c)
}

func TestNoCache(t *testing.T) {
	c := newCache(0, time.Now)
	c.keep(entry("a/a", "v"), miss(t, c, "a/a"))
	miss(t, c, "a/a")
	r := entry("a/a", "v")
	c.begin("a/a")(&r)
	miss(t, c, "a/a")
}
