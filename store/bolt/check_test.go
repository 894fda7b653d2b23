package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/header"
)

// storeFile returns a store file with n records of a few sizes, without the empty space at its end.
func storeFile(tb testing.TB, n int) []byte {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "seed")
	s, err := Open(Config{Path: path, Create: true})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range n {
		key := fmt.Sprintf("default/secret/%03d", i)
		value := bytes.Repeat([]byte{byte(i)}, i%7*40)
		if i%50 == 49 {
			value = bytes.Repeat(value, 60) // with overflow pages
		}
		if err := s.Apply(tb.Context(), store.Write{Key: key, Value: value}); err != nil {
			tb.Fatal(err)
		}
		if i%5 == 4 { // so that there are free pages
			if err := s.Apply(tb.Context(), store.Write{Key: key, Version: 1}); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	p, err := openPages(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		tb.Fatal(err)
	}
	return content[:p.meta.pages*uint64(p.meta.pageSize)]
}

// checkBytes checks a file in memory.
func checkBytes(content []byte) (Report, error) {
	var report Report
	p, err := openPages(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return report, err
	}
	w := walk{ctx: context.Background(), pages: p, report: &report, seen: make([]byte, p.meta.pages)}
	if err := w.run(); err != nil {
		return report, err
	}
	if len(report.Problems) > 0 {
		return report, report.Problems[0]
	}
	return report, nil
}

func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	content := storeFile(t, 400)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	var last, of uint64
	report, err := Check(t.Context(), CheckConfig{Path: path, Progress: func(page, pages uint64) { last, of = page, pages }})
	if err != nil {
		t.Fatal(err)
	}
	if report.Records != 320 || report.Header.Purpose != store.Production || report.Free == 0 || report.Bytes == 0 ||
		report.Pages != uint64(len(content)/os.Getpagesize()) || last+2 != of {
		t.Fatalf("%+v, progress %d of %d", report, last, of)
	}
	s, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var locked *LockedError
	if _, err := Check(t.Context(), CheckConfig{Path: path, Timeout: 1}); !errors.As(err, &locked) {
		t.Errorf("check of a store in use: %v", err)
	}
}

// TestCheckLargest has the largest leaves that bbolt makes: it does not split one of 4 elements.
func TestCheckLargest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := Open(Config{Path: path, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	segment := strings.Repeat("s", store.MaxSegment)
	for i := range 5 {
		key := store.Key(segment, segment, segment, segment[:store.MaxSegment-1]+fmt.Sprint(i))
		if err := s.Apply(t.Context(), store.Write{Key: key, Value: make([]byte, store.MaxValue)}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if report, err := Check(t.Context(), CheckConfig{Path: path}); err != nil || report.Records != i+1 {
			t.Fatalf("with %d records: %+v, %v", i+1, report, err)
		}
		if s, err = Open(Config{Path: path}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCheckFindsDamage damages each thing that the check looks at, and requires that opening does not crash on any of it.
func TestCheckFindsDamage(t *testing.T) {
	good := storeFile(t, 400)
	size := os.Getpagesize()
	p, err := openPages(bytes.NewReader(good), int64(len(good)))
	if err != nil {
		t.Fatal(err)
	}
	newest := int(p.meta.transaction%2) * size
	var leaf, branch int
	for at := 2 * size; at < len(good); at += size {
		switch page := parsePage(good[at:], 1); {
		case page.flags == leafFlag && page.id == uint64(at/size) && page.count > 2 && reachable(p, page.id):
			leaf = at
		case page.flags == branchFlag && page.id == uint64(at/size) && reachable(p, page.id):
			branch = at
		}
	}
	if leaf == 0 || branch == 0 {
		t.Fatal("the seed has no leaf or branch to damage")
	}
	free := int(p.meta.free) * size
	for name, damage := range map[string]func(b []byte) []byte{
		"empty":                  func([]byte) []byte { return nil },
		"cut off":                func(b []byte) []byte { return b[:len(b)-1] },
		"cut off in the middle":  func(b []byte) []byte { return b[:len(b)/2/size*size] },
		"both metas":             func(b []byte) []byte { b[size+40] ^= 1; b[40] ^= 1; return b },
		"leaf's page number":     func(b []byte) []byte { b[leaf] ^= 1; return b },
		"leaf's kind":            func(b []byte) []byte { b[leaf+8] = 4; return b },
		"leaf's count":           func(b []byte) []byte { b[leaf+10], b[leaf+11] = 0xff, 0xff; return b },
		"leaf's overflow":        func(b []byte) []byte { b[leaf+15] = 0x7f; return b },
		"element's flags":        func(b []byte) []byte { b[leaf+16] = 1; return b },
		"element's position":     func(b []byte) []byte { b[leaf+16+7] = 0x7f; return b },
		"element's key size":     func(b []byte) []byte { b[leaf+16+11] = 0x7f; return b },
		"element's value size":   func(b []byte) []byte { b[leaf+16+15] = 0x7f; return b },
		"branch to itself":       func(b []byte) []byte { native.PutUint64(b[branch+16+8:], uint64(branch/size)); return b },
		"branch out of the file": func(b []byte) []byte { native.PutUint64(b[branch+16+8:], 1<<40); return b },
		"branch to a meta page":  func(b []byte) []byte { native.PutUint64(b[branch+16+8:], 1); return b },
		"branch without children": func(b []byte) []byte {
			b[branch+10], b[branch+11] = 0, 0
			return b
		},
		"freelist's kind":     func(b []byte) []byte { b[free+8] = leafFlag; return b },
		"freelist's count":    func(b []byte) []byte { b[free+10], b[free+11] = 0xfe, 0xff; return b },
		"freelist's page":     func(b []byte) []byte { native.PutUint64(b[free+16:], 1<<40); return b },
		"freelist frees leaf": func(b []byte) []byte { native.PutUint64(b[free+16:], uint64(leaf/size)); return b },
		"freelist frees meta": func(b []byte) []byte { native.PutUint64(b[free+16:], 1); return b },
		"version 0":           func(b []byte) []byte { return zeroVersion(b, leaf) },
		"key out of order":    func(b []byte) []byte { return bytes.Replace(b, []byte("secret/001"), []byte("secret/999"), -1) },
		"key not valid":       func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("secret/001"), []byte("secret//01")) },
	} {
		t.Run(name, func(t *testing.T) {
			bad := damage(bytes.Clone(good))
			if _, err := checkBytes(bad); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("in memory: %v", err)
			}
			path := filepath.Join(t.TempDir(), "store")
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Check(t.Context(), CheckConfig{Path: path})
			if !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, ErrNotStore) || !strings.Contains(err.Error(), path) {
				t.Errorf("file: %v", err)
			}
		})
	}
	// A crash in the middle of a commit leaves one meta page damaged, and the one before it counts.
	one := bytes.Clone(good)
	one[newest+pageHeaderSize+50] ^= 1
	if older, err := openPages(bytes.NewReader(one), int64(len(one))); err != nil || older.meta.transaction != p.meta.transaction-1 {
		t.Errorf("one damaged meta page: %v", err)
	}
}

// TestOpenDamaged opens what bbolt would crash on.
func TestOpenDamaged(t *testing.T) {
	good := storeFile(t, 100)
	size := os.Getpagesize()
	p, err := openPages(bytes.NewReader(good), int64(len(good)))
	if err != nil {
		t.Fatal(err)
	}
	free := int(p.meta.free) * size
	for name, damage := range map[string]func(b []byte) []byte{
		"cut off":          func(b []byte) []byte { return b[:3*size] },
		"freelist's kind":  func(b []byte) []byte { b[free+8] = leafFlag; return b },
		"freelist's count": func(b []byte) []byte { b[free+10], b[free+11] = 0xfe, 0xff; return b },
		"root's kind":      func(b []byte) []byte { b[int(p.meta.root)*size+8] = 0x40; return b },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store")
			if err := os.WriteFile(path, damage(bytes.Clone(good)), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(Config{Path: path})
			if err == nil {
				_ = s.Close()
			}
			if !errors.Is(err, store.ErrCorrupt) {
				t.Fatalf("Open: %v", err)
			}
		})
	}
}

func reachable(p *pages, id uint64) bool {
	ids, _, _ := p.freelist()
	for _, free := range ids {
		if free == id {
			return false
		}
	}
	return true
}

func zeroVersion(b []byte, leaf int) []byte {
	e := b[leaf+pageHeaderSize:]
	at := leaf + pageHeaderSize + int(native.Uint32(e[4:])+native.Uint32(e[8:]))
	clear(b[at : at+versionSize])
	return b
}

// checkDamaged holds what every input must do: be refused with a named error, or be one that bbolt itself reads without
// a panic.
func checkDamaged(tb testing.TB, input []byte) (Report, bool) {
	tb.Helper()
	report, err := checkBytes(input)
	if err != nil && !errors.Is(err, store.ErrCorrupt) {
		tb.Fatalf("error of another kind: %v", err)
	}
	return report, err == nil
}

func TestMutations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	accepted := 0
	mutate.Run(t, [][]byte{storeFile(t, 12), storeFile(t, 60)}, func(t *testing.T, input []byte) {
		report, ok := checkDamaged(t, input)
		if !ok {
			return
		}
		if accepted++; accepted%64 != 0 {
			return
		}
		// What the check finds good can be read by bbolt as well, and has as many records.
		if err := os.WriteFile(path, input, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(Config{Path: path, Purpose: report.Header.Purpose})
		if err != nil {
			t.Fatalf("checked, but does not open: %v", err)
		}
		defer s.Close()
		if entries, err := s.List(t.Context(), "", "", 1000); err != nil || len(entries) != report.Records {
			t.Fatalf("%d records, %v; the check found %d", len(entries), err, report.Records)
		}
	})
}

func FuzzCheck(f *testing.F) {
	f.Add(storeFile(f, 0))
	f.Add(storeFile(f, 12))
	f.Fuzz(func(t *testing.T, input []byte) { checkDamaged(t, input) })
}

func headerSeeds() [][]byte {
	return [][]byte{
		[]byte(`{"format":1,"store":"000102030405060708090a0b0c0d0e0f","purpose":"production","created":"2026-01-02T03:04:05Z"}`),
		[]byte(`{"format":1,"store":"ffffffffffffffffffffffffffffffff","purpose":"development","created":"2026-12-31T23:59:59Z"}`),
	}
}

// checkHeader holds that what is accepted is one of ours.
func checkHeader(tb testing.TB, input []byte) {
	h, err := ParseHeader(input)
	var newer *header.FormatError
	if err != nil {
		if !errors.Is(err, store.ErrCorrupt) && !errors.As(err, &newer) {
			tb.Fatalf("error of another kind: %v", err)
		}
		return
	}
	if h.Format != Format || len(h.Store) != 2*header.IDSize || h.Purpose != store.Production && h.Purpose != store.Development {
		tb.Fatalf("accepted %+v", h)
	}
}

func TestHeaderMutations(t *testing.T) {
	for _, seed := range headerSeeds() {
		if _, err := ParseHeader(seed); err != nil {
			t.Fatal(err)
		}
	}
	mutate.Run(t, headerSeeds(), func(t *testing.T, input []byte) { checkHeader(t, input) })
}

func FuzzHeader(f *testing.F) {
	for _, seed := range headerSeeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) { checkHeader(t, input) })
}
