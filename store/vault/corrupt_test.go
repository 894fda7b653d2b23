package vault

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// TestForeignRecords holds what happens where somebody writes into the store by hand.
func TestForeignRecords(t *testing.T) {
	s, _, server := watched(t, Config{})
	hand := byHand(t, server, s)
	const key = "default/a"
	for name, data := range map[string]any{
		"another shape":           map[string]any{"password": "x"},
		"nothing":                 map[string]any{},
		"a value that is no text": map[string]any{"value": 1},
		"a value and more":        map[string]any{"value": "YQ==", "note": "by hand"},
		"a value in other base64": map[string]any{"value": "YQ"},
		"nested":                  map[string]any{"data": map[string]any{"value": "YQ=="}},
		"parts that cannot be":    partsRecord{ID: strings.Repeat("0a", 16), Parts: 1000, Size: 1 << 40, SHA256: strings.Repeat("0b", 32)},
		"parts that are not":      goodParts(),
		"parts with a path":       partsRecord{ID: "../../../default/b/aaaaaaaaaaaaaa", Parts: 2, Size: PartSize + 1, SHA256: strings.Repeat("0b", 32)},
	} {
		hand.write(key, data)
		if _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrCorrupt) || strings.Contains(err.Error(), "password") || strings.Contains(err.Error(), "by hand") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Where it is in the way it can be seen, replaced and deleted, at the version that it has.
	entries, err := s.List(t.Context(), "", "", 10)
	if err != nil || len(entries) != 1 || entries[0].Version == 0 {
		t.Fatalf("List: %v, %v", entries, err)
	}
	apply(t, s, store.Write{Key: key, Version: entries[0].Version, Value: []byte("again")})
	expect(t, s, key, entries[0].Version+1, "again")

	// Names that no key has are nobody's.
	for _, path := range []string{"default/=zz", "default/a.b", "default/=2e", "default/" + strings.Repeat("x", 200), "default/a=/b=/c", "top", "a/b/c/d/e/f/g/h/i/j/k/l/m/n"} {
		hand.write(path, map[string]any{"value": "YQ=="})
	}
	entries, err = s.List(t.Context(), "", "", 100)
	if err != nil || len(entries) != 1 || entries[0].Key != key {
		t.Errorf("List with names made by hand: %v, %v", entries, err)
	}
	if _, err := s.Watch(t.Context(), ""); err != nil {
		t.Errorf("Watch with names made by hand: %v", err)
	}
	s.settled = 0
	if r, err := s.Sweep(t.Context()); err != nil || r != (SweepResult{}) {
		t.Errorf("Sweep with names made by hand: %+v, %v", r, err)
	}
}

// TestDamagedParts holds that a value whose parts are not as they were written is never returned.
func TestDamagedParts(t *testing.T) {
	s, _, server := watched(t, Config{})
	hand := byHand(t, server, s)
	value, other := bytes.Repeat([]byte("v"), 2*PartSize+5), bytes.Repeat([]byte("o"), 2*PartSize+5)
	apply(t, s, store.Write{Key: "default/a", Value: value}, store.Write{Key: "default/other", Value: other})
	names := func(key string) []string {
		names, err := s.list(t.Context(), partsName+"/"+key+"/")
		if err != nil || len(names) != 3 {
			t.Fatalf("parts %v, %v", names, err)
		}
		return names
	}
	mine, theirs := names("default/a"), names("default/other")
	path := func(key, name string) string { return partsName + "/" + key + "/" + name }
	for i, name := range mine {
		at := path("default/a", name)
		good := hand.do(http.MethodGet, "data", at, nil).Data["data"]
		damaged := func(what string) {
			t.Helper()
			if _, err := s.Get(t.Context(), "default/a"); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("part %d, %s: %v", i, what, err)
			}
		}
		hand.write(at, hand.do(http.MethodGet, "data", path("default/other", theirs[i]), nil).Data["data"])
		damaged("another's")
		hand.write(at, map[string]any{"value": "YQ=="})
		damaged("short")
		hand.write(at, map[string]any{"password": "x"})
		damaged("another shape")
		hand.write(at, tombstone)
		damaged("a tombstone")
		hand.do(http.MethodDelete, "data", at, nil)
		damaged("deleted")
		hand.do(http.MethodDelete, "metadata", at, nil)
		damaged("gone")
		hand.write(at, good)
		expect(t, s, "default/a", 1, string(value))
	}
	// A damaged value can be replaced.
	hand.do(http.MethodDelete, "metadata", path("default/a", mine[0]), nil)
	apply(t, s, store.Write{Key: "default/a", Version: 1, Value: []byte("new")})
	expect(t, s, "default/a", 2, "new")
}

// TestDeletedByHand holds that what "vault kv delete" and "vault kv destroy" leave is a deleted record, and that no sweep takes what an operator can
// still undelete.
func TestDeletedByHand(t *testing.T) {
	for name, remove := range map[string]func(hand raw){
		"delete":          func(hand raw) { hand.do(http.MethodDelete, "data", "default/a", nil) },
		"destroy":         func(hand raw) { hand.do(http.MethodPost, "destroy", "default/a", map[string]any{"versions": []int{2}}) },
		"metadata delete": func(hand raw) { hand.do(http.MethodDelete, "metadata", "default/a", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			s, _, server := watched(t, Config{})
			hand := byHand(t, server, s)
			apply(t, s, store.Write{Key: "default/a", Value: []byte("1")})
			apply(t, s, store.Write{Key: "default/a", Version: 1, Value: []byte("2")})
			remove(hand)
			if _, err := s.Get(t.Context(), "default/a"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Get: %v", err)
			}
			if entries, err := s.List(t.Context(), "", "", 10); err != nil || len(entries) != 0 {
				t.Errorf("List: %v, %v", entries, err)
			}
			before := hand.there("default/a")
			if r, err := s.Sweep(t.Context()); err != nil || r != (SweepResult{}) || hand.there("default/a") != before {
				t.Errorf("Sweep: %+v, %v", r, err)
			}
			if before {
				if err := s.Apply(t.Context(), store.Write{Key: "default/a", Value: []byte("new")}); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("a create soon after: %v", err)
				}
				s.settled = 100 * time.Millisecond
				time.Sleep(s.settled)
			}
			apply(t, s, store.Write{Key: "default/a", Value: []byte("new")})
			expect(t, s, "default/a", 1, "new")
		})
	}
}

// TestOlderVersionsAreGone holds that a value which was replaced or deleted cannot be read from Vault any more.
func TestOlderVersionsAreGone(t *testing.T) {
	s, _, server := watched(t, Config{})
	hand := byHand(t, server, s)
	apply(t, s, store.Write{Key: "default/a", Value: []byte("1")})
	apply(t, s, store.Write{Key: "default/a", Version: 1, Value: []byte("2")})
	if old := hand.do(http.MethodGet, "data", "default/a?version=1", nil); old != nil {
		t.Errorf("an older version is there: %v", old.Data["metadata"])
	}
	apply(t, s, store.Write{Key: "default/a", Version: 2})
	if hand.there("default/a") {
		t.Error("the name of a deleted record is there")
	}
}

// gut removes the content of the only secret of the store that is not its header, and leaves its metadata, as Vault does when it stops in the middle of
// deleting that.
func gut(t *testing.T, hand raw) {
	t.Helper()
	var find func(path string) []string
	find = func(path string) (found []string) {
		list, err := hand.client.Logical().ListWithContext(t.Context(), "sys/raw/"+path)
		if err != nil || list == nil {
			return nil
		}
		for _, name := range list.Data["keys"].([]any) {
			if name := path + name.(string); strings.HasSuffix(name, "/") {
				found = append(found, find(name)...)
			} else if strings.Contains(name, "/versions/") {
				found = append(found, name)
			}
		}
		return found
	}
	mount, err := hand.client.Logical().ReadWithContext(t.Context(), "sys/internal/ui/mounts/"+hand.s.config.Mount)
	if err != nil {
		t.Fatal(err)
	}
	versions := find("logical/" + mount.Data["uuid"].(string) + "/")
	if len(versions) != 2 {
		t.Fatalf("the engine has %d versions of secrets", len(versions))
	}
	for _, path := range versions {
		content, err := hand.client.Logical().ReadWithContext(t.Context(), "sys/raw/"+path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(content.Data["value"].(string), "purpose") {
			continue
		}
		if _, err := hand.client.Logical().DeleteWithContext(t.Context(), "sys/raw/"+path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGutted holds that a record which Vault had half deleted when it was killed is a deleted one, and not one that can never be used again.
func TestGutted(t *testing.T) {
	for _, by := range []string{"create", "sweep"} {
		t.Run(by, func(t *testing.T) {
			s, _, server := watched(t, Config{})
			hand := byHand(t, server, s)
			apply(t, s, store.Write{Key: "default/a", Value: []byte("1")})
			gut(t, hand)
			if _, err := s.Get(t.Context(), "default/a"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Get: %v", err)
			}
			if entries, err := s.List(t.Context(), "", "", 10); err != nil || len(entries) != 0 {
				t.Errorf("List: %v, %v", entries, err)
			}
			s.settled = 100 * time.Millisecond
			time.Sleep(s.settled)
			if by == "sweep" {
				if r, err := s.Sweep(t.Context()); err != nil || r.Tombstones != 1 || hand.there("default/a") {
					t.Errorf("Sweep: %+v, %v", r, err)
				}
			}
			apply(t, s, store.Write{Key: "default/a", Value: []byte("new")})
			expect(t, s, "default/a", 1, "new")
		})
	}
}
