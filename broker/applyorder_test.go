package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/store/storetest"
)

// requires is a policy whose only rule is an expression.
func requires(name, secrets, that string) string {
	return strings.Replace(asks(name, secrets, "x"), `claims.kind == "virtual"`, that, 1)
}

// TestApplyReleasesNothingBetween stops a broker after every write of what it applies, on a store that makes one write after the other, and has a workload ask for secrets that
// neither the old state releases nor the new one.
func TestApplyReleasesNothingBetween(t *testing.T) {
	brokertest.OwnStore(t)
	old := []string{
		// The set that is asked has no match; the one that will be asked has one still.
		requires("first", "a/*", `claims.kind in reference("first-old")`), referenceDocument("first-old", "none"), referenceDocument("first-new", "virtual", "none"),
		// The set that is asked will have a match, when it is asked no more.
		requires("last", "c/*", `claims.kind in reference("last-old")`), referenceDocument("last-old", "none"),
	}
	next := []string{
		requires("first", "a/*", `claims.kind in reference("first-new")`), referenceDocument("first-new", "none"),
		requires("last", "c/*", `claims.kind == "snp"`), referenceDocument("last-old", "virtual"),
	}
	for after, stopped := 0, true; stopped; after++ {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			var (
				clock later
				view  *storetest.View
			)
			steps := brokertest.Steps(t, t.TempDir())
			steps.Opened = func(v *storetest.View) { view = v }
			first := brokertest.Start(t, brokertest.Config{Shared: steps.Shared(), Now: clock.now})
			for _, name := range []string{"a/b", "c/d"} {
				first.PutSecret(name, []byte(plaintext))
			}
			mustDo(t, second(first.Apply(t.Context(), first.Admin, ns, apply(broker.Apply{}, old...))))
			mustDo(t, first.Data.Close())
			t.Run("stopped", func(t *testing.T) {
				b := brokertest.Start(t, brokertest.Config{Beside: first, Now: clock.now})
				view.CrashAfter(after)
				err := second(b.Apply(t.Context(), b.Admin, ns, apply(broker.Apply{}, next...)))
				if stopped = view.Crashed(); !stopped && err != nil {
					t.Fatal(err)
				}
			})
			clock.skip()
			b := brokertest.Start(t, brokertest.Config{Beside: first, Now: clock.now})
			for _, name := range []string{"a/b", "c/d"} {
				if outcome, why := newGuest(t, b.Broker, b.Device).outcome(name); outcome != broker.OutcomeDenied {
					t.Errorf("stopped after %d writes, %s is %s %s", after, name, outcome, why)
				}
			}
			mustDo(t, second(b.Apply(t.Context(), b.Admin, ns, apply(broker.Apply{}, next...))))
		})
		if t.Failed() {
			return
		}
		if after > 100 {
			t.Fatal("it does not end")
		}
	}
}
