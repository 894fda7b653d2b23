package storetest_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/storetest"
)

func newSteps(t *testing.T) *storetest.Steps {
	t.Helper()
	file, err := bolt.Open(bolt.Config{Path: filepath.Join(t.TempDir(), "store"), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	return storetest.NewSteps(file)
}

// TestSteps holds the store that is not atomic against the contract: tests that use it must not prove things about something else.
func TestSteps(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return newSteps(t).Open() })
}

func TestStepsStop(t *testing.T) {
	s := newSteps(t)
	one, two := s.Open(), s.Open()
	one.CrashAfter(2)
	writes := []store.Write{{Key: "a/1", Value: []byte("x")}, {Key: "a/2", Value: []byte("x")}, {Key: "a/3", Value: []byte("x")}}
	if err := one.Apply(t.Context(), writes...); !errors.Is(err, storetest.ErrCrashed) || !one.Crashed() || one.Writes() != 2 {
		t.Fatalf("%v after %d writes", err, one.Writes())
	}
	if _, err := one.Get(t.Context(), "a/1"); !errors.Is(err, storetest.ErrCrashed) {
		t.Errorf("a stopped process reads: %v", err)
	}
	for key, there := range map[string]bool{"a/1": true, "a/2": true, "a/3": false} {
		if _, err := two.Get(t.Context(), key); (err == nil) != there {
			t.Errorf("%s: %v", key, err)
		}
	}
}
