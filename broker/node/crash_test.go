//go:build unix

package node_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// defaultCrashes keeps the ordinary test run quick; releases set VOUCHSAFE_CRASHES to 300 or more.
const defaultCrashes = 12

// rotateEvery is in how many rounds keys are rotated once: old reply keys are published for a day, and clients read 64 keys.
const rotateEvery = 8

// TestCrash kills a whole broker, over and over, while clients put, activate and destroy secrets, change policies, rotate keys and have
// secrets released by both protocols. After each time it holds that
//
//   - what was acknowledged is there, and what was not is there whole or not at all;
//   - the store and the log verify, and the log contains every checkpoint that anybody was given;
//   - every answer with a secret in it, even one that broke off, has its entry in the log, and every receipt proves it;
//   - a broker starts on it again and judges by the policy that was made active.
func TestCrash(t *testing.T) {
	rounds := number(t, "VOUCHSAFE_CRASHES", defaultCrashes)
	dir := t.TempDir()
	l := newLoad(5)
	p := start(t, dir)
	if err := l.prepare(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	p.stop()
	look := newInspector(t, dir)
	random := rand.New(rand.NewPCG(7, 8))
	var starting time.Duration
	for round := range rounds {
		if round%5 == 4 {
			killWhileStarting(t, dir, time.Duration(random.IntN(60))*time.Millisecond)
		}
		begin := time.Now()
		p := start(t, dir)
		starting += time.Since(begin)
		judgesBy(t, p, l.rules.known)
		l.run(p, time.Duration(random.IntN(250))*slower*time.Millisecond, round%rotateEvery == 0)
		look.inspect(l)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	for _, what := range []string{"secret changes", "policy changes", "native releases", "KBS releases"} {
		if l.counts[what] == 0 {
			t.Errorf("no %s were acknowledged: the test proves nothing about them", what)
		}
	}
	if look.proved == 0 {
		t.Error("no receipt was proved")
	}
	info, err := os.Stat(filepath.Join(dir, "data", "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d crashes, acknowledged before them: %v; %d releases received, each in the log of %d entries; %d receipts proved; "+
		"store of %d MiB; started in %v on average", rounds, l.counts, len(l.releases), len(look.entries), look.proved,
		info.Size()>>20, (starting / time.Duration(rounds)).Round(time.Millisecond))
}

// killWhileStarting kills a broker that may not have come to serve yet.
func killWhileStarting(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	p := spawn(t, dir)
	time.Sleep(after)
	p.kill()
}

// judgesBy has the guarded secret released, and holds the decision's policy against the one that must be active.
func judgesBy(t *testing.T, p *process, rules policyState) {
	t.Helper()
	if rules.active == 0 {
		return
	}
	got, err := p.workload(nil).Fetch(t.Context(), guardedSecret)
	if err != nil {
		t.Fatal(err)
	}
	why, err := p.admin().Explain(t.Context(), got[0].Decision)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(rules.sources[rules.active]))
	policies := why.Decision.Secrets[0].Policies
	if len(policies) != 1 || policies[0].Version != rules.active || policies[0].Digest != "sha256:"+hex.EncodeToString(sum[:]) {
		t.Fatalf("version %d is active, and the decision was by %+v", rules.active, policies)
	}
}

// TestCrashWhileMade kills the first start of a broker on a new folder at every stage: the next one must complete the folder, or say
// what to do.
func TestCrashWhileMade(t *testing.T) {
	rounds := number(t, "VOUCHSAFE_CRASHES", defaultCrashes)
	random := rand.New(rand.NewPCG(9, 10))
	stages := map[string]int{}
	for range rounds {
		dir := filepath.Join(t.TempDir(), "new")
		killWhileStarting(t, dir, time.Duration(random.IntN(120))*time.Millisecond)
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		stages[fmt.Sprint(len(files), " files")]++
		p := start(t, dir)
		if got, err := p.workload(nil).Fetch(t.Context(), p.Secret); err != nil || len(got[0].Value) == 0 {
			t.Fatalf("with %d files after the kill: %v", len(files), err)
		}
		if _, err := p.admin().Secret(t.Context(), p.Secret); err != nil {
			t.Fatalf("with %d files after the kill: %v", len(files), err)
		}
		p.kill()
	}
	t.Logf("killed with %v", slices.Sorted(maps.Keys(stages)))
}
