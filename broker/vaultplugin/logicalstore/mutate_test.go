package logicalstore

import (
	"encoding/binary"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/store"
)

func entrySeeds() [][]byte {
	whole := append(binary.BigEndian.AppendUint64([]byte{formatWhole}, 7), "a value"...)
	parts := append(binary.BigEndian.AppendUint64([]byte{formatParts}, 1), 0, 16, 0, 0, 0, 4, 0, 0)
	return [][]byte{whole, parts}
}

// checkEntry holds that what parses has a size that a value can have, whatever it says.
func checkEntry(t testing.TB, b []byte) {
	t.Helper()
	e, err := parse("default/a", b)
	if err != nil {
		return
	}
	if e.version == 0 || len(e.inline) > store.MaxValue || e.length > store.MaxValue || e.parts() > maxParts || (e.part == 0) != (e.length == 0) {
		t.Fatalf("%x is %+v", b, e)
	}
}

func TestMutationsEntry(t *testing.T) {
	mutate.Run(t, entrySeeds(), func(t *testing.T, b []byte) { checkEntry(t, b) })
}

func FuzzEntry(f *testing.F) {
	for _, seed := range entrySeeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkEntry(t, b) })
}
