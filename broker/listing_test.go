package broker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/store"
)

// counted is a store that counts what is read of it.
type counted struct {
	store.Store
	calls, entries atomic.Int64 // of Get and List, and what List returned
}

func (c *counted) Get(ctx context.Context, key string) (store.Record, error) {
	c.calls.Add(1)
	return c.Store.Get(ctx, key)
}

func (c *counted) List(ctx context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	entries, err := c.Store.List(ctx, prefix, after, limit)
	c.calls.Add(1)
	c.entries.Add(int64(len(entries)))
	return entries, err
}

// countingReads starts a second broker over the data of b whose reads are counted.
func countingReads(t *testing.T, b *brokertest.Broker) (*broker.Broker, *counted) {
	t.Helper()
	c := configOf(t, b)
	s := &counted{Store: c.Store}
	c.Store = s
	second, err := broker.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return second, s
}

// fill writes a secret's and a lease's record for each name.
func fill(t *testing.T, b *brokertest.Broker, names ...string) {
	t.Helper()
	for chunk := range slices.Chunk(names, 100) {
		var writes []store.Write
		for _, name := range chunk {
			writes = append(writes,
				store.Write{Key: store.Key(ns, "secret", name), Value: []byte(fmt.Sprintf(`{"name":%q}`, name))},
				store.Write{Key: store.Key(ns, "lease", name, "1"), Value: []byte(fmt.Sprintf(`{"id":"1","secret":%q}`, name))})
		}
		if err := b.Data.Store.Apply(t.Context(), writes...); err != nil {
			t.Fatal(err)
		}
	}
}

// TestScopedListings holds what a scope is shown, in pages of every size and from every place, to what there is and lies in it.
func TestScopedListings(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{OwnFile: true})
	names := []string{
		"pay", "payments", "payments-old", "payments-old/x", "payments.x", "payments/a", "payments/a/b", "payments/a-b", "payments/b", "payments0", "payments2/a",
		"a", "a/b", "a/b/c", "a-b", "a-b/c", "z/z", "hr/x/y", "hr/xx", "hr",
	}
	fill(t, b, names...)
	slices.Sort(names)
	for _, scope := range []access.Scope{
		nil, {"payments/"}, {"payments/a/"}, {"payments-old/", "payments/"}, {"a-b/", "a/", "hr/x/", "z/z/"}, {"a/", "pay/", "zz/"}, {"none/"},
	} {
		who := b.Admin
		who.Roles, who.Scope = access.SetOf(access.Auditor), scope
		for _, prefix := range []string{"", "pay", "payments", "payments/", "payments/a", "payments/a/", "a", "a/", "hr/x", "hr/x/", "hr/x/y", "zzz"} {
			var want, leases []string
			for _, name := range names {
				if scope.Covers(name) && strings.HasPrefix(name, prefix) {
					want = append(want, name)
				}
				if scope.Covers(name) && (prefix == "" || strings.HasPrefix(name+"/", strings.TrimSuffix(prefix, "/")+"/")) {
					leases = append(leases, name+"/1")
				}
			}
			slices.Sort(leases)
			for _, limit := range []int{1, 2, 3, 0} {
				secrets := func(after string) ([]string, bool) {
					page, more, err := b.Secrets(t.Context(), who, ns, prefix, after, limit)
					if err != nil {
						t.Fatal(err)
					}
					var got []string
					for _, s := range page {
						got = append(got, s.Name)
					}
					return got, more
				}
				held := func(after string) ([]string, bool) {
					page, more, err := b.Leases(t.Context(), who, ns, strings.TrimSuffix(prefix, "/"), after, limit)
					if err != nil {
						t.Fatal(err)
					}
					var got []string
					for _, l := range page {
						got = append(got, l.Secret+"/"+l.ID)
					}
					return got, more
				}
				for what, list := range map[string]struct {
					page func(after string) ([]string, bool)
					want []string
				}{"secrets": {secrets, want}, "leases": {held, leases}} {
					var got []string
					for after, more := "", true; more; {
						var page []string
						if page, more = list.page(after); limit > 0 && (len(page) > limit || more && len(page) < limit) {
							t.Fatalf("%s in %q at %q: a page of %d, more %v", what, scope, prefix, len(page), more)
						}
						if got = append(got, page...); len(page) > 0 {
							after = page[len(page)-1]
						} else if more {
							t.Fatalf("%s in %q at %q: more after nothing", what, scope, prefix)
						}
					}
					if !slices.Equal(got, list.want) {
						t.Errorf("%s in %q at %q by %d: %q, want %q", what, scope, prefix, limit, got, list.want)
					}
				}
			}
			for _, after := range append(names, "payments/", "zzzz", "0") { // places of nothing in the scope, too
				var rest []string
				for _, name := range want {
					if name > after {
						rest = append(rest, name)
					}
				}
				page, more, err := b.Secrets(t.Context(), who, ns, prefix, after, 0)
				var got []string
				for _, s := range page {
					got = append(got, s.Name)
				}
				if err != nil || more || !slices.Equal(got, rest) {
					t.Errorf("in %q at %q after %q: %q, want %q (%v)", scope, prefix, after, got, rest, err)
				}
			}
		}
	}
}

// TestScopedListingsReadTheirOwn counts what a page costs in reads of the store, with a great deal of others' before, between and behind.
func TestScopedListingsReadTheirOwn(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{OwnFile: true})
	names := []string{"payments/a", "payments/b", "payments/c", "hr/a"}
	for i := range 1500 {
		names = append(names, fmt.Sprintf("a/%d", i), fmt.Sprintf("other/%d", i), fmt.Sprintf("z/%d", i))
	}
	fill(t, b, names...)
	second, reads := countingReads(t, b)
	who := b.Admin
	who.Roles, who.Scope = access.SetOf(access.Auditor), access.Scope{"hr/", "payments/"}
	for _, limit := range []int{1, 2, 0} {
		for name, list := range map[string]func() (int, bool, error){
			"secrets": func() (int, bool, error) {
				page, more, err := second.Secrets(t.Context(), who, ns, "", "", limit)
				return len(page), more, err
			},
			"leases": func() (int, bool, error) {
				page, more, err := second.Leases(t.Context(), who, ns, "", "", limit)
				return len(page), more, err
			},
		} {
			reads.calls.Store(0)
			reads.entries.Store(0)
			n, more, err := list()
			if err != nil || more != (limit > 0) || limit > 0 && n != limit || limit == 0 && n != 4 {
				t.Errorf("%s by %d: %d %v %v", name, limit, n, more, err)
			}
			// A record for each that is answered, two paths themselves, and a page for each path.
			if calls, entries := reads.calls.Load(), reads.entries.Load(); calls > int64(n)+4 || entries > int64(n)+2 {
				t.Errorf("%s by %d: %d calls, %d entries for %d", name, limit, calls, entries, n)
			}
		}
	}
}
