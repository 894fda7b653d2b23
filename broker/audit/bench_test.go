package audit

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
	"golang.org/x/mod/sumdb/tlog"
)

// benchEntry is about as long as a broker's decision.
var benchEntry = bytes.Repeat([]byte("0123456789abcdef"), 64)

// benchRound is how many calls are made of one kind before as many of the other, so that both meet the same load of the machine.
const benchRound = 512

// runCallers has n callers make count calls together, and returns how long they took.
func runCallers(b *testing.B, callers, count int, call func() error) time.Duration {
	b.Helper()
	var wg sync.WaitGroup
	start := time.Now()
	for caller := range callers {
		wg.Go(func() {
			for i := caller; i < count; i += callers {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// BenchmarkAppend measures appends against bare Applys of the same bytes in the same kind of store, by turns: "x-floor" is the ratio of
// their times. It does not use b.Loop, since callers share the count.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			ctx := context.Background()
			bare, l := newBolt(b), mustOpen(b, testConfig(b, newBolt(b)))
			var floor, took time.Duration
			var key atomic.Int64
			b.ResetTimer()
			for left := b.N; left > 0; left -= benchRound {
				count := min(left, benchRound)
				b.StopTimer()
				floor += runCallers(b, callers, count, func() error {
					return bare.Apply(ctx, store.Write{Key: fmt.Sprintf("bench/%012x", key.Add(1)), Value: benchEntry})
				})
				b.StartTimer()
				took += runCallers(b, callers, count, func() error {
					_, err := l.Append(ctx, benchEntry)
					return err
				})
			}
			b.ReportMetric(float64(took)/float64(floor), "x-floor")
			b.ReportMetric(float64(b.N)/float64(l.current.Load().version-1), "entries/commit")
		})
	}
}

func BenchmarkSignCheckpoint(b *testing.B) {
	signer := testSigner(b, testOrigin, "log")
	for b.Loop() {
		if _, err := signCheckpoint(Checkpoint{Origin: testOrigin, Size: 1 << 20}, signer); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMillion measures reading a log of 2^20 entries: proofs whose tiles are in memory, proofs whose tile must be read, and
// opening.
func BenchmarkMillion(b *testing.B) {
	const size = 1<<20 + 1000
	config := testConfig(b, newBolt(b))
	writeLog(b, config, size)
	ctx := context.Background()
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			if _, err := Open(ctx, config); err != nil {
				b.Fatal(err)
			}
		}
	})
	l := mustOpen(b, config)
	b.Run("prove-recent", func(b *testing.B) {
		for b.Loop() {
			if _, err := l.Prove(ctx, size-10, size); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("prove-any", func(b *testing.B) {
		index := uint64(0)
		for b.Loop() {
			if _, err := l.Prove(ctx, index%size, size); err != nil {
				b.Fatal(err)
			}
			index += 7919 * 256
		}
	})
	b.Run("audit", func(b *testing.B) {
		for b.Loop() {
			if _, err := auditLog(b, l, nil); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/size, "ns/entry")
	})
}

// writeLog makes a log of short entries by building its records in large commits.
func writeLog(b *testing.B, config Config, size int) {
	b.Helper()
	l := mustOpen(b, config)
	const each = 16 << 10
	for l.tip.tree.size < int64(size) {
		waiting := make([]*request, min(each, size-int(l.tip.tree.size)))
		for i := range waiting {
			entry := testEntry(int(l.tip.tree.size) + i)
			waiting[i] = &request{entry: entry, leaf: tlog.RecordHash(entry), done: make(chan outcome, 1)}
		}
		l.commit(waiting)
		if o := <-waiting[0].done; o.err != nil {
			b.Fatal(o.err)
		}
	}
	l.Close()
}
