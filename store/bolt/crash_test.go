//go:build unix

package bolt_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/crash"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
)

// childEnv names what a copy of the test binary does instead of testing, and to which file.
const childEnv, childPath = "VOUCHSAFE_BOLT_CHILD", "VOUCHSAFE_BOLT_PATH"

// defaultCrashes keeps the ordinary test run quick.
const defaultCrashes = 50

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "write":
		fmt.Println(writeForever(os.Getenv(childPath)))
		os.Exit(1)
	case "limit":
		if err := writeUnderLimit(os.Getenv(childPath)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(ctx context.Context, t *testing.T, what, path string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), childEnv+"="+what, childPath+"="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

const crashWorkers = 6

// batchKeys are the records of one batch.
func batchKeys(worker, n int) []string {
	return []string{fmt.Sprintf("w/%d/%06d/a", worker, n), fmt.Sprintf("w/%d/%06d/b", worker, n), fmt.Sprintf("z/%d/%06d", worker, n)}
}

func batchValue(worker, n int) string {
	return strings.Repeat(fmt.Sprintf("%d-%d;", worker, n), 1+n%200)
}

// counterKey is a record that each batch updates, so that its version counts them.
func counterKey(worker int) string { return fmt.Sprintf("counter/%d", worker) }

// writeForever applies batches and prints the number of each once it is durable.
func writeForever(path string) error {
	s, err := bolt.Open(bolt.Config{Path: path})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	var out sync.Mutex
	failed := make(chan error)
	for worker := range crashWorkers {
		go func() {
			version := uint64(0)
			if r, err := s.Get(context.Background(), counterKey(worker)); err == nil {
				version = r.Version
			}
			for ; ; version++ {
				n := int(version)
				writes := []store.Write{{Key: counterKey(worker), Version: version, Value: []byte{}}}
				for _, key := range batchKeys(worker, n) {
					writes = append(writes, store.Write{Key: key, Value: []byte(batchValue(worker, n))})
				}
				// Delete as well, so that pages become free and are used again.
				if n%4 == 3 {
					for _, key := range batchKeys(worker, n-2) {
						writes = append(writes, store.Write{Key: key, Version: 1})
					}
				}
				if err := s.Apply(context.Background(), writes...); err != nil {
					failed <- err
					return
				}
				out.Lock()
				fmt.Printf("%d %d\n", worker, n)
				out.Unlock()
			}
		}()
	}
	return <-failed
}

// TestCrash kills a process that writes, over and over, and holds that what it acknowledged is there, and of what it did
// not acknowledge, each batch whole or not at all.
func TestCrash(t *testing.T) {
	rounds := crash.Rounds(t, defaultCrashes)
	path := filepath.Join(t.TempDir(), "store")
	if err := create(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	acknowledged, total := [crashWorkers]int{}, 0 // per worker, the number of batches
	for round := range rounds {
		before := total
		total += writeAndKill(t, path, time.Duration(random.IntN(40_000))*time.Microsecond, &acknowledged)
		verify(t, path, &acknowledged)
		if t.Failed() {
			t.Fatalf("in round %d, after %d batches in it", round, total-before)
		}
	}
	if total == 0 {
		t.Fatal("no batch was acknowledged: the test proves nothing")
	}
	t.Logf("%d crashes, %d acknowledged batches", rounds, total)
}

// writeAndKill runs a writer for a while after it is ready, kills it, and notes what it acknowledged.
func writeAndKill(t *testing.T, path string, after time.Duration, acknowledged *[crashWorkers]int) (count int) {
	t.Helper()
	lines := crash.Run(t, child(t.Context(), t, "write", path), after)
	if lines[0] != "ready" {
		t.Fatalf("writer says %q", lines[0])
	}
	for _, line := range lines[1:] {
		var worker, n int
		if _, err := fmt.Sscanf(line, "%d %d", &worker, &n); err != nil {
			t.Fatalf("writer says %q: %v", line, err)
		}
		if n < acknowledged[worker] {
			t.Fatalf("worker %d wrote batch %d again", worker, n)
		}
		acknowledged[worker] = n + 1
		count++
	}
	return count
}

// verify looks at what is there, and raises what was acknowledged to it for the next round.
func verify(t *testing.T, path string, acknowledged *[crashWorkers]int) {
	t.Helper()
	if _, err := bolt.Check(t.Context(), bolt.CheckConfig{Path: path}); err != nil {
		t.Error(err)
	}
	s, err := bolt.Open(bolt.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for worker, atLeast := range acknowledged {
		made := 0
		if r, err := s.Get(t.Context(), counterKey(worker)); err == nil {
			made = int(r.Version)
		} else if !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
		if made < atLeast || made > atLeast+1 { // one more may have been written and not acknowledged
			t.Errorf("worker %d: %d batches are there, %d were acknowledged", worker, made, atLeast)
		}
		acknowledged[worker] = made
		// The last batches record by record; what came before was looked at in earlier rounds and is counted below.
		for n := max(0, made-8); n <= made; n++ {
			deleted := n%4 == 1 && n+2 < made
			for _, key := range batchKeys(worker, n) {
				r, err := s.Get(t.Context(), key)
				switch {
				case n == made || deleted:
					if !errors.Is(err, store.ErrNotFound) {
						t.Errorf("%s of a batch that was not made or was deleted: %v", key, err)
					}
				case err != nil || string(r.Value) != batchValue(worker, n):
					t.Errorf("%s: %d bytes, %v", key, len(r.Value), err)
				}
			}
		}
		entries, err := s.List(t.Context(), fmt.Sprintf("z/%d/", worker), "", made+2)
		if want := made - made/4; err != nil || len(entries) != want {
			t.Errorf("worker %d: %d batches are listed, want %d: %v", worker, len(entries), want, err)
		}
	}
}
