package vault

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
)

// TestRequests holds how many requests each call makes: what is on the path of a release makes one.
func TestRequests(t *testing.T) {
	s, o, _ := watched(t, Config{})
	const key = "default/a/record"

	if _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	o.want(t, "a read of nothing", map[string]int{"GET data": 1})
	apply(t, s, store.Write{Key: key, Value: []byte("1")})
	o.want(t, "a create", map[string]int{"POST data": 1})
	apply(t, s, store.Write{Key: key, Version: 1, Value: bytes.Repeat([]byte("2"), PartSize)})
	o.want(t, "an update", map[string]int{"POST data": 1})
	get(t, s, key)
	o.want(t, "a read", map[string]int{"GET data": 1})
	if err := s.Apply(t.Context(), store.Write{Key: key, Version: 1, Value: []byte("x")}); !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	o.want(t, "a conflict", map[string]int{"POST data": 1, "GET subkeys": 1})
	apply(t, s, store.Write{Key: key, Version: 2})
	o.want(t, "a deletion", map[string]int{"POST data": 1, "DELETE metadata": 1})

	var writes []store.Write
	for i := range 10 {
		writes = append(writes, store.Write{Key: fmt.Sprintf("default/b/%d", i), Value: []byte("x")})
	}
	apply(t, s, writes...)
	o.want(t, "ten creates", map[string]int{"POST data": 10, "GET subkeys": 9})
	if err := s.Apply(t.Context(), writes...); !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	if kinds, _ := o.counted(); kinds["POST data"] != 0 || kinds["GET subkeys"] > 9 {
		t.Errorf("ten conflicts: requests %v", kinds)
	}

	large := bytes.Repeat([]byte("large"), store.MaxValue/5)
	apply(t, s, store.Write{Key: key, Value: large})
	o.want(t, "a large create", map[string]int{"POST data": 1, "POST data part": maxParts})
	get(t, s, key)
	o.want(t, "a large read", map[string]int{"GET data": 1, "GET data part": maxParts})
	apply(t, s, store.Write{Key: key, Version: 1, Value: []byte("small")})
	o.want(t, "a small update of a large value", map[string]int{"POST data": 1, "DELETE metadata part": maxParts})
}

// TestCachedRequests holds what a bound on staleness saves.
func TestCachedRequests(t *testing.T) {
	s, o, _ := watched(t, Config{Staleness: time.Minute})
	const key = "default/a"
	apply(t, s, store.Write{Key: key, Value: []byte("1")})
	o.want(t, "a create", map[string]int{"POST data": 1})
	for range 10 {
		expect(t, s, key, 1, "1")
	}
	o.want(t, "reads of what was written", map[string]int{})
	for range 3 {
		if _, err := s.Get(t.Context(), "default/none"); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
	}
	o.want(t, "reads of nothing", map[string]int{"GET data": 3})
}

// recordsVariable says how many records TestListAtScale makes, 200 or more: for a release ten thousand, which take a minute to make.
const recordsVariable = "VOUCHSAFE_RECORDS"

// TestListAtScale pages through many records in one folder. Every page costs one listing and a lookup for each of its entries, and nothing for the others.
func TestListAtScale(t *testing.T) {
	t.Parallel()
	records, page := 1000, 100
	if text := os.Getenv(recordsVariable); text != "" {
		var err error
		if records, err = strconv.Atoi(text); err != nil || records < 200 {
			t.Fatalf("%s is %q, not 200 or more", recordsVariable, text)
		}
	}
	s, o, server := watched(t, Config{})
	maker := again(t, s, server, Config{}) // whose requests nobody counts
	var want []string
	for i := range records {
		want = append(want, fmt.Sprintf("default/scale/%05d", i))
	}
	order := rand.New(rand.NewPCG(1, 2)).Perm(records)
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			for i := worker; i < records; i += 8 {
				if err := maker.Apply(t.Context(), store.Write{Key: want[order[i]], Value: []byte("x")}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	apply(t, s, store.Write{Key: "default/other/1", Value: []byte("x")})
	wait.Wait()
	if t.Failed() {
		return
	}
	o.reset()
	began := time.Now()
	var got []string
	pages := 0
	for after := ""; ; pages++ {
		entries, err := s.List(t.Context(), "default/scale/", after, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			got = append(got, e.Key)
		}
		if len(entries) < page {
			break
		}
		after = entries[len(entries)-1].Key
	}
	kinds, all := o.counted()
	if !slices.Equal(got, want) {
		t.Fatalf("%d keys of %d, or in another order", len(got), len(want))
	}
	// That the store is where it was is looked at once a second, if something is not there.
	looks := kinds["GET data"]
	if kinds["LIST metadata"] != pages+1 || kinds["GET subkeys"] != records || all != pages+1+records+looks || looks > 1+int(time.Since(began).Seconds()) {
		t.Errorf("%d pages cost %v", pages, kinds)
	}
	t.Logf("%d records in pages of %d: %d requests, %.3f for a record; of a folder of all of them each page costs one listing", records, page, all, float64(all)/float64(records))

	if entries, err := s.List(t.Context(), "", want[records-10], 5); err != nil || len(entries) != 5 || entries[0].Key != want[records-9] {
		t.Fatalf("%v, %v", entries, err)
	}
	o.want(t, "a page in the middle", map[string]int{"LIST metadata": 3, "GET subkeys": 5})
}

// TestSizes writes values around where they are split, and the largest, on raft, whose entries are bounded.
func TestSizes(t *testing.T) {
	t.Parallel()
	server := vaulttest.Start(t, vaulttest.WithRaft(quick(t)))
	s := open(t, Config{Conn: server.Conn(t), Mount: mount(t, server)})
	random := rand.NewChaCha8([32]byte{})
	version := uint64(0)
	for _, size := range []int{0, 1, PartSize - 1, PartSize, PartSize + 1, 2 * PartSize, 2*PartSize + 1, store.MaxValue - 1, store.MaxValue, 0, store.MaxValue, 1} {
		value := make([]byte, size)
		_, _ = random.Read(value)
		apply(t, s, store.Write{Key: "default/a", Version: version, Value: value})
		version++
		if r := get(t, s, "default/a"); r.Version != version || !bytes.Equal(r.Value, value) {
			t.Fatalf("%d bytes: %d came back at version %d", size, len(r.Value), r.Version)
		}
		names, err := s.list(t.Context(), partsName+"/"+escapeKey("default/a")+"/")
		if want := partsOf(size); err != nil || size > PartSize && len(names) != want || size <= PartSize && len(names) != 0 {
			t.Errorf("%d bytes are in parts %v, %v", size, names, err)
		}
	}
	if entries, err := s.List(t.Context(), "", "", 10); err != nil || len(entries) != 1 {
		t.Fatalf("the parts are listed: %v, %v", entries, err)
	}
	apply(t, s, store.Write{Key: "default/a", Version: version})
}

// TestHostileKeys puts every strange segment through Vault and its storages and back, and lists them in order.
func TestHostileKeys(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) *vaulttest.Server{
		"memory": func(t *testing.T) *vaulttest.Server { return vaulttest.Shared(t) },
		"files":  func(t *testing.T) *vaulttest.Server { return vaulttest.Start(t, vaulttest.WithFile(quick(t))) },
		"raft":   func(t *testing.T) *vaulttest.Server { return vaulttest.Start(t, vaulttest.WithRaft(quick(t))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			s := open(t, Config{Conn: server.Conn(t), Mount: mount(t, server)})
			var keys []string
			for _, segment := range hostile {
				for _, key := range []string{segment + "/x", "ns/" + segment, "ns/" + segment + "/below/" + segment} {
					if store.CheckKey(key) != nil {
						t.Fatalf("%q is no key", key)
					}
					keys = append(keys, key)
					apply(t, s, store.Write{Key: key, Value: []byte(key)})
				}
			}
			slices.Sort(keys)
			for _, key := range keys {
				expect(t, s, key, 1, key)
			}
			for _, limit := range []int{7, 1000} {
				var got []string
				for after := ""; ; {
					entries, err := s.List(t.Context(), "", after, limit)
					if err != nil {
						t.Fatal(err)
					}
					for _, e := range entries {
						got = append(got, e.Key)
						after = e.Key
					}
					if len(entries) < limit {
						break
					}
				}
				if !slices.Equal(got, keys) {
					t.Fatalf("pages of %d have %d keys of %d, or in another order:\n%q\n%q", limit, len(got), len(keys), got, keys)
				}
			}
			for _, segment := range hostile {
				entries, err := s.List(t.Context(), "ns/"+segment+"/", "", 10)
				if err != nil || len(entries) != 1 || entries[0].Key != "ns/"+segment+"/below/"+segment {
					t.Errorf("below %q: %v, %v", segment, entries, err)
				}
			}
			for _, key := range keys {
				apply(t, s, store.Write{Key: key, Version: 1})
			}
			if names, err := s.list(t.Context(), ""); err != nil || len(names) != 1 {
				t.Errorf("deleted records leave %q, %v", names, err)
			}
		})
	}
}
