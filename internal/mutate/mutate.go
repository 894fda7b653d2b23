// Package mutate makes damaged inputs from good ones, for tests that a parser of outside bytes neither panics nor accepts what it
// must not. The sequence depends on a fixed seed only, so that a failure repeats.
package mutate

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Defaults keep ordinary test runs quick; releases set VOUCHSAFE_MUTATIONS to 200000 or more, and leave nothing out. Under the race detector an input
// costs ten times as much, and one goroutine that parses has the same accesses to memory each time.
const (
	defaultRuns = 5_000
	raceRuns    = 1_000
	raceStride  = 17 // a prime, so that it falls into step with no structure's size
)

// runsVariable is the environment variable that says how many inputs a parser is given.
const runsVariable = "VOUCHSAFE_MUTATIONS"

// maxGrowth bounds how much longer than its seed an input gets, in bytes.
const maxGrowth = 256

// Runs returns how many inputs a parser is given: VOUCHSAFE_MUTATIONS, or a number that suits every commit.
func Runs(tb testing.TB) int {
	tb.Helper()
	text := os.Getenv(runsVariable)
	switch {
	case text == "" && raceDetector:
		return raceRuns
	case text == "":
		return defaultRuns
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		tb.Fatalf("%s is %q, not a positive number", runsVariable, text)
	}
	return n
}

// Stride returns how far a test that changes or cuts an input at every byte goes on each time: by 1 where VOUCHSAFE_MUTATIONS is set, and otherwise
// as far as suits every commit, which is further under the race detector.
func Stride(ordinary int) int {
	switch {
	case os.Getenv(runsVariable) != "":
		return 1
	case raceDetector:
		return max(ordinary, raceStride)
	}
	return ordinary
}

// Run gives check each seed and then Runs(t) inputs made from the seeds. check owns its input. A panic in it fails the
// test with the input that caused it.
func Run(t *testing.T, seeds [][]byte, check func(t *testing.T, input []byte)) {
	t.Helper()
	if len(seeds) == 0 {
		t.Fatal("no seeds")
	}
	random := rand.New(rand.NewPCG(1, 2))
	one := func(input []byte) {
		defer func() {
			if p := recover(); p != nil {
				t.Fatalf("panic: %v\ninput (%d bytes): %s", p, len(input), preview(input))
			}
		}()
		check(t, input)
	}
	for _, seed := range seeds {
		one(append([]byte(nil), seed...))
	}
	for range Runs(t) {
		one(Input(random, seeds))
		if t.Failed() {
			return
		}
	}
}

// Input returns a damaged copy of one of the seeds.
func Input(random *rand.Rand, seeds [][]byte) []byte {
	input := append([]byte(nil), seeds[random.IntN(len(seeds))]...)
	for range 1 + random.IntN(4) {
		input = step(random, input, seeds)
	}
	return input
}

// interesting are the values that length and count fields break on.
var interesting = []byte{0, 1, 0x7f, 0x80, 0xff, '"', '{', '[', '0', '-'}

func step(random *rand.Rand, b []byte, seeds [][]byte) []byte {
	if len(b) == 0 {
		return append(b, byte(random.Uint32()))
	}
	at := random.IntN(len(b))
	switch random.IntN(8) {
	case 0: // flip a bit
		b[at] ^= 1 << random.IntN(8)
	case 1: // another byte
		b[at] = byte(random.Uint32())
	case 2: // an extreme value in 1, 2, 4 or 8 bytes, as a length field would be
		value := interesting[random.IntN(len(interesting))]
		for i := at; i < len(b) && i < at+1<<random.IntN(4); i++ {
			b[i] = value
		}
	case 3: // truncate
		b = b[:at]
	case 4: // remove a run
		end := min(len(b), at+1+random.IntN(16))
		b = append(b[:at], b[end:]...)
	case 5: // repeat a run
		end := min(len(b), at+1+random.IntN(maxGrowth))
		b = append(b[:end:end], append(append([]byte(nil), b[at:end]...), b[end:]...)...)
	case 6: // splice in a run of another seed
		other := seeds[random.IntN(len(seeds))]
		if len(other) > 0 {
			from := random.IntN(len(other))
			end := min(len(other), from+1+random.IntN(64))
			b = append(b[:at:at], append(append([]byte(nil), other[from:end]...), b[at:]...)...)
		}
	default: // swap two bytes
		with := random.IntN(len(b))
		b[at], b[with] = b[with], b[at]
	}
	return b
}

func preview(b []byte) string {
	const most = 512
	if len(b) > most {
		return fmt.Sprintf("%q…", b[:most])
	}
	return fmt.Sprintf("%q", b)
}
