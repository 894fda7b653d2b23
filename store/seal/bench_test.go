package seal_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// each returns the mean time of n runs.
func each(b *testing.B, n int, run func(i int) error) time.Duration {
	b.Helper()
	start := time.Now()
	for i := range n {
		if err := run(i); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start) / time.Duration(n)
}

func ratio(b *testing.B, floor time.Duration) {
	b.Helper()
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(floor), "x-floor")
}

// BenchmarkGet reads sealed records; the floor is the bolt store inside.
func BenchmarkGet(b *testing.B) {
	for _, size := range []int{100, 4 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			s, inner := sealed(b, keyFile(b), seal.Config{Exclusive: true})
			put(b, s, "default/payments/password", 0, string(make([]byte, size)))
			get := func(from store.Store) func(int) error {
				return func(int) error {
					_, err := from.Get(b.Context(), "default/payments/password")
					return err
				}
			}
			bare := each(b, max(100, 20_000*100/size), get(inner))
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := get(s)(0); err != nil {
					b.Fatal(err)
				}
			}
			ratio(b, bare)
		})
	}
}

// BenchmarkApply creates records of 100 bytes; the floor is the bolt store inside, with as many callers.
func BenchmarkApply(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s, inner := sealed(b, keyFile(b), seal.Config{Exclusive: true})
			const warm = 2000
			start := time.Now()
			b.StopTimer()
			at := 0
			if err := together(callers, func() bool { at++; return at <= warm }, func(i int64) error {
				return inner.Apply(b.Context(), store.Write{Key: fmt.Sprintf("bare/secret/%09d", i), Value: make([]byte, 100)})
			}); err != nil {
				b.Fatal(err)
			}
			bare := time.Since(start) / warm
			b.StartTimer()
			if err := together(callers, b.Loop, func(i int64) error {
				return s.Apply(b.Context(), store.Write{Key: fmt.Sprintf("default/secret/%09d", i), Value: make([]byte, 100)})
			}); err != nil {
				b.Fatal(err)
			}
			ratio(b, bare)
		})
	}
}

// together has callers do the work as long as more says so.
func together(callers int, more func() bool, do func(i int64) error) error {
	work := make(chan int64)
	var failed atomic.Pointer[error]
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for i := range work {
				if err := do(i); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	for i := int64(0); more(); i++ {
		work <- i
	}
	close(work)
	wait.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// BenchmarkOpen is what the seal adds to the start of a broker.
func BenchmarkOpen(b *testing.B) {
	key := keyFile(b)
	phrase, err := seal.NewPassphrase([]byte("correct horse battery staple"), seal.PassphraseConfig{})
	if err != nil {
		b.Fatal(err)
	}
	for _, k := range []seal.Seal{key, phrase} {
		b.Run(k.Kind(), func(b *testing.B) {
			_, inner := sealed(b, k, seal.Config{})
			for b.Loop() {
				open(b, inner, k, seal.Config{})
			}
		})
	}
}
