// Package ratio measures, for benchmarks, how many times its floor an operation costs: the work that it cannot do without. Absolute times say
// more of the machine and of what else it does than of the code; a ratio of two medians taken by turns in one run says what can be improved.
//
// A benchmark reports it as x-floor, and its budget, where it has one, as x-budget. scripts/bench.sh prints these of every kind of evidence.
package ratio

import (
	"slices"
	"testing"
	"time"
)

// Work is what is measured.
type Work struct {
	Prepare func() // before each run, not measured; may be nil
	Run     func()
	Floor   func()
	Budget  float64 // the most that x-floor should be; 0 for no budget
}

// Measure runs the operation, and after each run its floor outside the time of the benchmark, so that both see the same noise of the machine, and
// reports the ratio of their medians.
func Measure(b *testing.B, w Work) {
	b.Helper()
	var ours, floor []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		if w.Prepare != nil {
			b.StopTimer()
			w.Prepare()
			b.StartTimer()
		}
		start := time.Now()
		w.Run()
		ours = append(ours, time.Since(start))
		b.StopTimer()
		start = time.Now()
		w.Floor()
		floor = append(floor, time.Since(start))
		b.StartTimer()
	}
	b.ReportMetric(float64(median(ours))/float64(median(floor)), "x-floor")
	if w.Budget > 0 {
		b.ReportMetric(w.Budget, "x-budget")
	}
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
