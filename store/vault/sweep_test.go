package vault

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// sweepAll sweeps as in an hour's time: parts are old from the beginning on. Vault tells the time in whole seconds.
const sweepAll = -time.Second

// TestSweepLeavesWhatCanBeUndeleted holds that a large value which was deleted by hand is whole when it is undeleted, and that its parts go when it
// was destroyed.
func TestSweepLeavesWhatCanBeUndeleted(t *testing.T) {
	s, _, server := watched(t, Config{})
	hand, large := byHand(t, server, s), bytes.Repeat([]byte("l"), 2*PartSize)
	apply(t, s, store.Write{Key: "default/a", Value: large})
	s.orphaned = sweepAll
	hand.do(http.MethodDelete, "data", "default/a", nil)
	if r, err := s.Sweep(t.Context()); err != nil || r != (SweepResult{}) {
		t.Errorf("a sweep of what can be undeleted: %+v, %v", r, err)
	}
	hand.do(http.MethodPost, "undelete", "default/a", map[string]any{"versions": []int{1}})
	expect(t, s, "default/a", 1, string(large))
	hand.do(http.MethodPost, "destroy", "default/a", map[string]any{"versions": []int{1}})
	if r, err := s.Sweep(t.Context()); err != nil || r != (SweepResult{Parts: 2}) {
		t.Errorf("a sweep of what was destroyed: %+v, %v", r, err)
	}
}

// TestSweepPassesOverDamage holds that the parts of a record which somebody damaged stay, and that those of others are swept all the same.
func TestSweepPassesOverDamage(t *testing.T) {
	s, _, server := watched(t, Config{})
	hand, large := byHand(t, server, s), bytes.Repeat([]byte("l"), 2*PartSize)
	apply(t, s, store.Write{Key: "default/a", Value: large}, store.Write{Key: "default/b", Value: large})
	good := hand.do(http.MethodGet, "data", "default/a", nil).Data["data"]
	hand.write("default/a", map[string]any{"password": "x"})
	hand.do(http.MethodDelete, "metadata", "default/b", nil)
	s.orphaned = sweepAll
	if r, err := s.Sweep(t.Context()); err != nil || r != (SweepResult{Parts: 2}) {
		t.Errorf("%+v, %v", r, err)
	}
	hand.write("default/a", good)
	expect(t, s, "default/a", 3, string(large))
}

// TestSweepBesideAWriter sweeps when a writer has written the parts and not yet the record that names them: by a clock that is ahead of Vault's, to
// which they are old, and by Vault's, of a writer who was held up for so long that they are. What was written can be read either way.
func TestSweepBesideAWriter(t *testing.T) {
	large := bytes.Repeat([]byte("l"), 2*PartSize)
	for name, test := range map[string]struct {
		orphaned time.Duration // as writer and sweeper have it
		ahead    time.Duration // of the sweeper's clock
		swept    int
	}{
		"a clock ahead":       {orphaned: sweepParts, ahead: 24 * time.Hour},
		"a writer was frozen": {orphaned: sweepAll, swept: 2},
	} {
		t.Run(name, func(t *testing.T) {
			s, o, server := watched(t, Config{})
			other := again(t, s, server, Config{Now: func() time.Time { return time.Now().Add(test.ahead) }})
			s.orphaned, other.orphaned = test.orphaned, test.orphaned
			var swept SweepResult
			var err error
			done := false
			o.on(func(r *http.Request) fault {
				if kind(r) == "POST data" && !strings.Contains(r.URL.Path, partsName) && !done {
					done = true
					swept, err = other.Sweep(t.Context())
				}
				return none
			})
			apply(t, s, store.Write{Key: "default/a", Value: large})
			o.on(nil)
			if !done || err != nil || swept.Parts != test.swept {
				t.Errorf("a sweep before the record: %t, %+v, %v", done, swept, err)
			}
			expect(t, again(t, s, server, Config{}), "default/a", 1, string(large))
			if r, err := other.Sweep(t.Context()); err != nil || r.Parts != 0 {
				t.Errorf("a sweep after it: %+v, %v", r, err)
			}
			expect(t, again(t, s, server, Config{}), "default/a", 1, string(large))
		})
	}
}
