package bolt_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/vouchsafe/vouchsafe/store"
)

// floor is bbolt with nothing around it.
func floor(b *testing.B) *bbolt.DB {
	b.Helper()
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "floor"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType, NoStatistics: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	err = db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("records")); return err })
	if err != nil {
		b.Fatal(err)
	}
	return db
}

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

func BenchmarkGet(b *testing.B) {
	value := make([]byte, 100)
	for _, records := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) {
			s, db := create(b, filepath.Join(b.TempDir(), "store")), floor(b)
			key := func(i int) string { return fmt.Sprintf("default/secret/%06d", i*7919%records) }
			for at := 0; at < records; at += 100 {
				var writes []store.Write
				for i := range 100 {
					writes = append(writes, store.Write{Key: fmt.Sprintf("default/secret/%06d", at+i), Value: value})
				}
				err := s.Apply(b.Context(), writes...)
				err = errors.Join(err, db.Update(func(tx *bbolt.Tx) error {
					for _, w := range writes {
						if err := tx.Bucket([]byte("records")).Put([]byte(w.Key), value); err != nil {
							return err
						}
					}
					return nil
				}))
				if err != nil {
					b.Fatal(err)
				}
			}
			bare := each(b, 20_000, func(i int) error {
				return db.View(func(tx *bbolt.Tx) error {
					if tx.Bucket([]byte("records")).Get([]byte(key(i))) == nil {
						return errors.New("not there")
					}
					return nil
				})
			})
			i := 0
			for b.Loop() {
				if _, err := s.Get(b.Context(), key(i)); err != nil {
					b.Fatal(err)
				}
				i++
			}
			ratio(b, bare)
		})
	}
}

// BenchmarkApply has 1, 8 and 64 callers, each durable before it goes on. The floor is a synced bbolt transaction per
// write.
func BenchmarkApply(b *testing.B) {
	value := make([]byte, 100)
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			db := floor(b)
			bare := each(b, 100, func(i int) error {
				return db.Update(func(tx *bbolt.Tx) error {
					return tx.Bucket([]byte("records")).Put(fmt.Appendf(nil, "default/secret/%06d", i), value)
				})
			})
			s := create(b, filepath.Join(b.TempDir(), "store"))
			work := make(chan int)
			var failed atomic.Pointer[error]
			var wait sync.WaitGroup
			for range callers {
				wait.Go(func() {
					for i := range work {
						if err := s.Apply(b.Context(), store.Write{Key: fmt.Sprintf("default/secret/%09d", i), Value: value}); err != nil {
							failed.Store(&err)
						}
					}
				})
			}
			i := 0
			for b.Loop() {
				work <- i
				i++
			}
			close(work)
			wait.Wait()
			if err := failed.Load(); err != nil {
				b.Fatal(*err)
			}
			ratio(b, bare)
		})
	}
}
