package logs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/store"
)

// headless is a store that a broker is killed over when it writes a log's head.
type headless struct {
	store.Store
	armed bool
}

func (h *headless) Apply(ctx context.Context, writes ...store.Write) error {
	if h.armed && len(writes) == 1 && strings.HasSuffix(writes[0].Key, "/head") {
		return errors.New("the broker was killed")
	}
	return h.Store.Apply(ctx, writes...)
}

// TestSettle has two logs, one of them with an entry that was written and whose broker did not live to sign it.
func TestSettle(t *testing.T) {
	steps, at := newSteps(t), newClock()
	whole := open(t, steps, at.now)
	if _, err := whole.Append(t.Context(), []byte("whole")); err != nil {
		t.Fatal(err)
	}
	dying := &headless{Store: steps.Open()}
	c := config(t, dying, at.now)
	cut, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := cut.Append(t.Context(), fmt.Appendf(nil, "entry %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	dying.armed = true
	if _, err := cut.Append(t.Context(), []byte("written and not signed")); err == nil {
		t.Fatal("the broker was not killed")
	}
	s := steps.Open()
	if err := Idle(t.Context(), s, at.now()); !errors.Is(err, ErrInUse) {
		t.Errorf("two brokers, and it is said: %v", err)
	}
	if err := whole.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Idle(t.Context(), s, at.now().Add(Lapse)); !errors.Is(err, ErrInUse) {
		t.Errorf("a broker that was just killed: %v", err)
	}
	if err := Idle(t.Context(), s, at.now().Add(Lapse+store.MaxSkew+1)); err != nil {
		t.Error(err)
	}
	for range 2 { // again is no harm
		found, err := Settle(t.Context(), s, c.Keys)
		if err != nil {
			t.Fatal(err)
		}
		want := []Settled{{1, "test/log/1", 1}, {2, "test/log/2", 4}}
		if len(found) != 2 || found[0] != want[0] || found[1] != want[1] {
			t.Errorf("%+v", found)
		}
	}
}
