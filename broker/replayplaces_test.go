package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/store"
)

// TestReplaysOfTenants has replays in several namespaces at once, each of which begins while those before it have their places: it is started by what they say last.
func TestReplaysOfTenants(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{})
	source, from := pastDecisions(t, b, 1, time.Second)
	past, err := b.Data.Store.List(t.Context(), store.Key(ns, "decision", ""), "", 1)
	if err != nil || len(past) != 1 {
		t.Fatal(past, err)
	}
	record, err := b.Data.Store.Get(t.Context(), past[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	tenant := func(i int) string { return fmt.Sprintf("tenant-%d", i) }
	const most = 4
	replay := func(namespace string, meanwhile func()) error {
		var once sync.Once
		_, err := b.Replay(t.Context(), b.Admin, namespace, broker.Replay{Source: []byte(source), Since: from.Add(-time.Second)},
			func(broker.ReplayProgress) { once.Do(meanwhile) })
		return err
	}
	reached := 0
	var start func(i int)
	start = func(i int) {
		err := replay(tenant(i), func() {
			reached++
			if e := wantCode(t, replay(tenant(i), func() {}), broker.CodeOverloaded); e.RetryAfter <= 0 {
				t.Errorf("a second one in %s: %+v", tenant(i), e)
			}
			start(i + 1)
		})
		if i < most && err != nil {
			t.Errorf("in %s: %v", tenant(i), err)
		}
		if i == most {
			wantCode(t, err, broker.CodeOverloaded)
		}
	}
	for i := range most + 1 {
		err := b.Data.Store.Apply(t.Context(), store.Write{Key: strings.Replace(past[0].Key, ns, tenant(i), 1), Value: record.Value})
		if err != nil {
			t.Fatal(err)
		}
	}
	start(0)
	if reached != most {
		t.Errorf("%d replays ran at once, not %d", reached, most)
	}
	if err := replay(tenant(most), func() {}); err != nil { // the places are free again
		t.Error(err)
	}
}
