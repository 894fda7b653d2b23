package seal_test

import (
	"context"
	"errors"
	"testing"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// confused is a store that answers a question for one record with another, of that one's name.
type confused struct {
	store.Store
	asked, told string
}

func (c *confused) Get(ctx context.Context, key string) (store.Record, error) {
	if key == c.asked {
		key = c.told
	}
	return c.Store.Get(ctx, key)
}

// TestOnlyTheRecordAsked: what is decrypted is the record that was asked for, whatever the store inside says that it returns.
func TestOnlyTheRecordAsked(t *testing.T) {
	key := keyFile(t)
	s, inner := sealed(t, key, seal.Config{})
	put(t, s, "default/a", 0, "a")
	put(t, s, "default/b", 0, "b")
	s = open(t, &confused{inner, "default/a", "default/b"}, key, seal.Config{})
	if r, err := s.Get(t.Context(), "default/a"); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Get: %+v, %v", r, err)
	}
	var told []string
	err := store.GetEach(t.Context(), s, []string{"default/a", "default/b"}, func(r store.Record, err error) error {
		told = append(told, r.Key)
		if corrupt := r.Key == "default/a"; errors.Is(err, store.ErrCorrupt) != corrupt || corrupt == (err == nil) {
			t.Errorf("GetEach: %+v, %v", r, err)
		}
		return nil
	})
	if err != nil || len(told) != 2 || told[0] != "default/a" {
		t.Errorf("GetEach: %q, %v", told, err)
	}
}
