package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
)

// TestUsesAreWrittenSeldom: one write an hour for a value, however often it is matched; what another broker wrote later stays; nothing is said of what was denied; and a record
// stays small.
func TestUsesAreWrittenSeldom(t *testing.T) {
	var ahead atomic.Int64
	begin := time.Now().Truncate(time.Hour).Add(time.Minute)
	b := brokertest.Start(t, brokertest.Config{OwnFile: true, Now: func() time.Time { return begin.Add(time.Duration(ahead.Load())) }})
	b.PutSecret("a/b", []byte(plaintext))
	b.PutSecret("c/d", []byte(plaintext))
	b.ApplyPolicy(document("p", "a/*", `claims.measurement in reference("images")`))
	b.ApplyPolicy(document("q", "c/*", `claims.measurement in reference("denied") && claims.kind == "snp"`))
	for _, set := range []string{"images", "denied"} {
		if _, err := b.PutReferences(t.Context(), b.Admin, ns, set, []reference.Value{{Value: releasedImage}}); err != nil {
			t.Fatal(err)
		}
	}
	g := newGuest(t, b.Broker, b.Device)
	key := store.Key(ns, "reference-use", "images")
	type record struct {
		Values []broker.ReferenceUse `json:"values"`
	}
	flush := func() (record, uint64) {
		t.Helper()
		over, stop := context.WithCancel(t.Context())
		stop()
		if err := b.TendReferences(over); err != nil {
			t.Fatal(err)
		}
		stored, err := b.Data.Store.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		var r record
		if err := json.Unmarshal(stored.Value, &r); err != nil {
			t.Fatal(err)
		}
		return r, stored.Version
	}
	fetch := func() {
		t.Helper()
		if outcome, _ := g.outcome("a/b"); outcome != broker.OutcomeReleased {
			t.Fatal(outcome)
		}
	}
	fetch()
	first, version := flush()
	if len(first.Values) != 1 || !first.Values[0].Last.Equal(begin.Truncate(time.Hour)) {
		t.Fatalf("%+v", first)
	}
	for range 3 {
		fetch()
	}
	if _, again := flush(); again != version {
		t.Errorf("written in version %d and again in %d, within an hour", version, again)
	}
	ahead.Store(int64(time.Hour))
	fetch()
	if second, again := flush(); again == version || !second.Values[0].Last.Equal(begin.Truncate(time.Hour).Add(time.Hour)) {
		t.Errorf("not written after an hour: %+v", second)
	}

	// Another broker of the store knows of a later match, and of many other values.
	later := record{Values: []broker.ReferenceUse{{Value: releasedImage, Last: begin.Add(5 * time.Hour), Secret: "a/b", Decision: "other"}}}
	for i := range 3000 {
		later.Values = append(later.Values, broker.ReferenceUse{Value: fmt.Sprintf("z%04d", i), Last: begin.Add(-time.Duration(i) * time.Hour), Secret: "a/b", Decision: "other"})
	}
	text, err := json.Marshal(later)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := b.Data.Store.Get(t.Context(), key)
	if err == nil {
		err = b.Data.Store.Apply(t.Context(), store.Write{Key: key, Version: stored.Version, Value: text})
	}
	if err != nil {
		t.Fatal(err)
	}
	ahead.Store(int64(2 * time.Hour))
	fetch()
	third, _ := flush()
	if len(third.Values) != 2000 || third.Values[0].Value != releasedImage || third.Values[0].Decision != "other" || third.Values[1999].Value != "z1998" {
		t.Errorf("%d values, from %+v to %+v", len(third.Values), third.Values[0], third.Values[len(third.Values)-1])
	}

	if outcome, _ := g.outcome("c/d"); outcome != broker.OutcomeDenied {
		t.Fatal(outcome)
	}
	if uses, err := b.ReferenceUses(t.Context(), b.Admin, ns, "denied"); err != nil || len(uses.Values) != 0 || len(uses.Policies) != 1 || !strings.HasPrefix(uses.Policies[0].Secrets[0], "c/") {
		t.Errorf("a denial counts as a use: %+v, %v", uses, err)
	}
}
