package main

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vouchsafe/vouchsafe/broker"
)

// TestLatest holds what is listed against the whole list, for brokers that are busy, idle, or have clocks of their own.
func TestLatest(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	rng := rand.New(rand.NewPCG(1, 2))
	for name, spread := range map[string]time.Duration{"busy": 3 * time.Second, "a day": 24 * time.Hour, "idle": 3 * 365 * 24 * time.Hour, "ahead": -time.Hour} {
		var all []broker.DecisionSummary
		for range 500 {
			at := now.Add(-time.Duration(rng.Float64() * float64(spread)))
			id := uuid.MustParse(broker.FirstDecision(at))
			for i := 7; i < 16; i++ { // the rest of the id is random, but for the variant
				if i != 8 {
					id[i] = byte(rng.Uint32())
				}
			}
			all = append(all, broker.DecisionSummary{ID: id.String(), Time: at})
		}
		slices.SortFunc(all, func(a, b broker.DecisionSummary) int { return strings.Compare(a.ID, b.ID) })
		read := 0
		after := func(id string) ([]broker.DecisionSummary, error) {
			i, found := slices.BinarySearchFunc(all, id, func(d broker.DecisionSummary, id string) int { return strings.Compare(d.ID, id) })
			if found {
				i++
			}
			read += len(all) - i
			return slices.Clone(all[i:]), nil
		}
		for _, most := range []int{1, 10, 499, 500, 501, 10_000} {
			for _, oldest := range []time.Time{{}, now.Add(-spread / 2)} {
				var want []broker.DecisionSummary
				for _, d := range slices.Backward(all) {
					if len(want) < most && d.Time.UnixMilli() >= oldest.UnixMilli() {
						want = append(want, d)
					}
				}
				got, err := latest(now, oldest, most, after)
				if err != nil || !slices.EqualFunc(got, want, func(a, b broker.DecisionSummary) bool { return a.ID == b.ID }) {
					t.Errorf("%s, %d since %v: %d instead of %d, %v", name, most, oldest, len(got), len(want), err)
				}
			}
		}
		if read > 100*len(all) {
			t.Errorf("%s: %d decisions were read", name, read)
		}
	}
	broken := errors.New("broken")
	if _, err := latest(now, time.Time{}, 1, func(string) ([]broker.DecisionSummary, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
}
