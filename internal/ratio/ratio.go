// Package ratio measures, for benchmarks, how many times its floor an operation costs: the work that it cannot do without. Absolute times say
// more of the machine and of what else it does than of the code; a ratio of two times taken by turns in one run says what can be improved.
//
// A benchmark reports it as x-floor, and its budget, where it has one, as x-budget. scripts/bench.sh prints these of every kind of evidence.
package ratio

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Work is what is measured.
type Work struct {
	Prepare func() // before each run, not measured; may be nil
	Run     func()
	Floor   func()
	Budget  float64 // the most that x-floor should be; 0 for no budget
}

// Measure runs the operation, and after each run its floor, so that both see the same noise of the machine, and reports the ratio of their lower quartiles:
// what one in four runs of each stayed below. Times are of the processor in this thread, so that what other programs take of a busy machine
// counts for neither; but they take of its caches too, which only ever adds, and adds more to what touches more memory: the quartile is nearer than the
// median to what each costs by itself. As ns/op it reports that of the operation. The benchmark's own clock is not stopped in between, since that empties the allocator's caches, and what runs next
// pays for it. Work in other goroutines, the garbage collector's but for what it has allocators do, does not count.
func Measure(b *testing.B, w Work) {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var ours, floor []time.Duration
	for b.Loop() {
		if w.Prepare != nil {
			w.Prepare()
		}
		start := now(b)
		w.Run()
		between := now(b)
		w.Floor()
		ours, floor = append(ours, between-start), append(floor, now(b)-between)
	}
	b.ReportMetric(float64(quartile(ours)), "ns/op")
	b.ReportMetric(float64(quartile(ours))/float64(quartile(floor)), "x-floor")
	if w.Budget > 0 {
		b.ReportMetric(w.Budget, "x-budget")
	}
	if w.Prepare == nil {
		b.ReportMetric(testing.AllocsPerRun(10, w.Run), "allocations")
	}
}

// now returns how long this thread has run.
func now(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

func quartile(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/4]
}
