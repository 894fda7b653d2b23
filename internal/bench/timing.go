package main

import (
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// least is the shortest time that is measured at once: far more than reading the clock takes.
const least = 20 * time.Microsecond

// byTurns runs the functions by turns for a while, and returns the median time of each.
func byTurns(total time.Duration, fs ...func()) []time.Duration {
	times := make([][]time.Duration, len(fs))
	batch := make([]int, len(fs))
	for i, f := range fs {
		f() // what is made once is made now
		for batch[i] = 1; ; batch[i] *= 2 {
			if took := run(f, batch[i]); took >= least || batch[i] >= 1<<16 {
				break
			}
		}
	}
	for end := time.Now().Add(total); time.Now().Before(end) || len(times[0]) < 5; {
		for i, f := range fs {
			times[i] = append(times[i], run(f, batch[i])/time.Duration(batch[i]))
		}
	}
	medians := make([]time.Duration, len(fs))
	for i := range fs {
		medians[i] = quantile(times[i], .5)
	}
	return medians
}

func run(f func(), count int) time.Duration {
	start := time.Now()
	for range count {
		f()
	}
	return time.Since(start)
}

// processorTime returns how much processor time the functions take, run by turns for a while on so many threads at once: the median of
// each. Unlike byTurns it can be compared with what the system charges another process, also where others keep the machine busy. Threads
// matter because two of them may share a core, and then both are slower.
func processorTime(total time.Duration, threads int, fs ...func()) []time.Duration {
	end := time.Now().Add(total)
	var mu sync.Mutex
	times := make([][]time.Duration, len(fs))
	together(threads, threads, func(int) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		used := func() time.Duration {
			var t unix.Timespec
			check(unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t))
			return time.Duration(t.Nano())
		}
		for n := 0; n < 5 || time.Now().Before(end); n++ {
			for i, f := range fs {
				before := used()
				f()
				took := used() - before
				mu.Lock()
				times[i] = append(times[i], took)
				mu.Unlock()
			}
		}
	})
	medians := make([]time.Duration, len(fs))
	for i := range fs {
		medians[i] = quantile(times[i], .5)
	}
	return medians
}

// ownProcessor returns how much processor time this process has taken.
func ownProcessor() time.Duration {
	var t unix.Timespec
	check(unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t))
	return time.Duration(t.Nano())
}

// quantile returns the time below which a part of the times are. It sorts them.
func quantile(times []time.Duration, part float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[min(len(times)-1, int(part*float64(len(times))))]
}

// must ends a measurement that cannot go on: see caught.
func must[T any](value T, err error) T {
	check(err)
	return value
}

// failed is an error on its way to caught.
type failed struct{ err error }

func check(err error) {
	if err != nil {
		panic(failed{err})
	}
}

// caught runs a measurement and returns why it could not go on.
func caught(f func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			f, ok := p.(failed)
			if !ok {
				panic(p)
			}
			err = f.err
		}
	}()
	f()
	return nil
}
