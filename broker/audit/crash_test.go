package audit

import (
	"context"
	"encoding/base64"
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
)

// crashStore names the store of a child process of TestCrash.
const crashStore = "VOUCHSAFE_AUDIT_CRASH_STORE"

// TestMain makes the test binary append until it is killed, when it was started by TestCrash.
func TestMain(m *testing.M) {
	if path := os.Getenv(crashStore); path != "" {
		appendUntilKilled(path)
	}
	os.Exit(m.Run())
}

// appendUntilKilled appends from eight goroutines, and prints each receipt when it has it.
func appendUntilKilled(path string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	tb := new(testing.B) // for the fixtures, which fail only where the parent failed before
	s := openBolt(tb, path)
	l, err := Open(context.Background(), testConfig(tb, s))
	if err != nil {
		fail(err)
	}
	var mu sync.Mutex
	for caller := range 8 {
		go func() {
			for i := 0; ; i++ {
				entry := fmt.Appendf(nil, "process %d caller %d entry %d", os.Getpid(), caller, i)
				key := fmt.Sprintf("a/%d/%d/%d", os.Getpid(), caller, i)
				r, err := l.Append(context.Background(), entry, store.Write{Key: key, Value: entry})
				if err != nil {
					fail(err)
				}
				text, err := r.MarshalText()
				if err != nil {
					fail(err)
				}
				mu.Lock()
				fmt.Printf("%s %s\n", base64.StdEncoding.EncodeToString(entry), base64.StdEncoding.EncodeToString(text))
				mu.Unlock()
			}
		}()
	}
	select {}
}

// TestCrash kills a process that appends, at random moments, again and again on one store. What it acknowledged is in the log
// that is opened afterwards, and that log begins with everything that was ever shown.
func TestCrash(t *testing.T) {
	usual := 50
	if testing.Short() {
		usual = 5
	}
	rounds := crash.Rounds(t, usual)
	path := filepath.Join(t.TempDir(), "store.db")
	openBolt(t, path).Close()
	random := rand.New(rand.NewPCG(5, 6))
	total := 0
	var shown []byte
	for range rounds {
		kept := runAndKill(t, path, time.Duration(random.IntN(40))*time.Millisecond)
		total += len(kept)
		s := openBolt(t, path)
		l := mustOpen(t, testConfig(t, s))
		checkKept(t, l, kept, shown)
		checkTogether(t, l, s)
		shown = l.Checkpoint()
		l.Close()
		s.Close()
	}
	if total < rounds {
		t.Fatalf("%d entries acknowledged in %d rounds: the test does not test", total, rounds)
	}
	t.Logf("%d entries acknowledged by %d processes that were killed", total, rounds)
}

// runAndKill starts a process, kills it some time after its first receipt, and returns what it acknowledged.
func runAndKill(t *testing.T, path string, wait time.Duration) []acked {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), crashStore+"="+path)
	var kept []acked
	for _, line := range crash.Run(t, command, wait) {
		entry, receipt, _ := strings.Cut(line, " ")
		kept = append(kept, acked{decode(t, entry), parse(t, decode(t, receipt))})
	}
	return kept
}

func decode(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t *testing.T, text []byte) Receipt {
	t.Helper()
	r, err := ParseReceipt(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
