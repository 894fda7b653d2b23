package migrate

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/vouchsafe/vouchsafe/store"
)

// TestSourceWasRolledBack stops a migration, in its last stage or before, and gives the source what a backup and a use of it leave: the same keys and versions, and other
// values. The target never becomes valid with values that the source does not have.
func TestSourceWasRolledBack(t *testing.T) {
	stopped := errors.New("stopped")
	for name, c := range map[string]Config{
		"when all was compared": {Settle: func(ctx context.Context, target store.Store) error {
			return errors.Join(stopped, target.Apply(ctx, store.Write{Key: "sys/audit/settled", Value: []byte("x")}))
		}},
		"while it copied": {},
	} {
		source, to := onBolt(t).sealed(t, nil), onBolt(t)
		fill(t, source, 60)
		c.Source, c.page = source, 10
		if c.Settle == nil {
			kill(t, c, to, "after", 8)
		}
		target := to.sealed(t, nil)
		if c.Target = target; c.Settle != nil {
			if _, err := Run(t.Context(), c); !errors.Is(err, stopped) {
				t.Fatal(err)
			}
		}
		const key = "a/b/c/d/e/f/g/h/i/j/k/l"
		had, err := source.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		before := versions(t, source)
		writes := []store.Write{{Key: key, Version: had.Version}}
		for version := range had.Version {
			writes = append(writes, store.Write{Key: key, Version: version, Value: []byte("after the backup")})
		}
		for _, w := range writes {
			if err := source.Apply(t.Context(), w); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(before, versions(t, source)) {
			t.Fatal("the source has other versions")
		}
		c.Settle = nil
		report, err := Run(t.Context(), c)
		if errors.Is(err, ErrMismatch) { // and then it is run again
			report, err = Run(t.Context(), c)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		expectSame(t, report, source, target)
	}
}
