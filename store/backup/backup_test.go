package backup

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// source returns a sealed store with n records, and what it is sealed with.
func source(tb testing.TB, n int) (*seal.Store, *bolt.Store, seal.Seal) {
	tb.Helper()
	dir := tb.TempDir()
	inner, err := bolt.Open(bolt.Config{Path: filepath.Join(dir, "store"), Create: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = inner.Close() })
	key, err := seal.CreateKeyFile(filepath.Join(dir, "key"), nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := seal.Init(tb.Context(), inner, key, seal.Config{}); err != nil {
		tb.Fatal(err)
	}
	s, err := seal.Open(tb.Context(), inner, key, seal.Config{Exclusive: true})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range n {
		if err := s.Apply(tb.Context(), store.Write{Key: record(i), Value: value(i)}); err != nil {
			tb.Fatal(err)
		}
	}
	return s, inner, key
}

func record(i int) string { return fmt.Sprintf("default/secret/%04d", i) }
func value(i int) []byte  { return bytes.Repeat([]byte{byte(i), 'v'}, i%300) }

func identity(tb testing.TB) *age.HybridIdentity {
	tb.Helper()
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// write makes a backup of a store with n records.
func write(tb testing.TB, n int, id *age.HybridIdentity) ([]byte, Manifest, seal.Seal) {
	tb.Helper()
	_, inner, key := source(tb, n)
	var out bytes.Buffer
	m, err := Write(tb.Context(), inner, &out, []age.Recipient{id.Recipient()}, Config{})
	if err != nil {
		tb.Fatal(err)
	}
	return out.Bytes(), m, key
}

// encrypt encrypts content as a backup is.
func encrypt(tb testing.TB, id *age.HybridIdentity, content []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w, err := age.Encrypt(&out, id.Recipient())
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func plain(tb testing.TB, id *age.HybridIdentity, backup []byte) []byte {
	tb.Helper()
	r, err := age.Decrypt(bytes.NewReader(backup), id)
	if err != nil {
		tb.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

// TestRoundTrip takes a backup while writers go on, and opens what it restores with the same seal.
func TestRoundTrip(t *testing.T) {
	const records = 300
	s, inner, key := source(t, records)
	id, now := identity(t), time.Date(2026, 3, 4, 5, 6, 7, 8, time.FixedZone("", 3600))
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan int)
	go func() {
		n := 0
		for ctx.Err() == nil {
			if err := s.Apply(t.Context(), store.Write{Key: fmt.Sprintf("later/%06d", n), Value: value(n)}); err != nil {
				t.Error(err)
				break
			}
			n++
		}
		written <- n
	}()
	var out bytes.Buffer
	var done, total int64
	progress := func(d, t int64) { done, total = d, t }
	made, err := Write(t.Context(), inner, &out, []age.Recipient{identity(t).Recipient(), id.Recipient()},
		Config{Now: func() time.Time { return now }, Progress: progress})
	stop()
	if n := <-written; n == 0 {
		t.Error("nothing was written meanwhile")
	}
	if err != nil {
		t.Fatal(err)
	}
	if done != made.Size || total != made.Size || !made.Time.Equal(now.Truncate(time.Second)) || made.Store != inner.Header().Store {
		t.Fatalf("%+v, progress %d of %d", made, done, total)
	}

	path := filepath.Join(t.TempDir(), "restored")
	done = 0
	got, err := Restore(t.Context(), &out, path, []age.Identity{identity(t), id}, Config{Progress: progress})
	if err != nil {
		t.Fatal(err)
	}
	if got != made || done != made.Size {
		t.Fatalf("restored %+v, made %+v, progress %d", got, made, done)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Size() != made.Size {
		t.Fatalf("%v, %v", info, err)
	}
	only(t, path)
	copied, err := bolt.Open(bolt.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	again, err := seal.Open(t.Context(), copied, key, seal.Config{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if result, err := again.Check(t.Context(), seal.CheckConfig{}); err != nil || result.Damaged != 0 || result.Records < records {
		t.Fatalf("%+v, %v", result, err)
	}
	for i := range records {
		if r, err := again.Get(t.Context(), record(i)); err != nil || !bytes.Equal(r.Value, value(i)) {
			t.Fatalf("%s: %v", record(i), err)
		}
	}
}

// only holds that there is nothing beside the file at path, which may be absent.
func only(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(path) {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

func TestRestoreRefuses(t *testing.T) {
	id := identity(t)
	good, m, _ := write(t, 50, id)
	content := plain(t, id, good)
	start := len(magic) + 8
	db, manifest := content[start:start+int(m.Size)], content[start+int(m.Size):]
	edited := func(change func(c []byte) []byte) []byte { return encrypt(t, id, change(bytes.Clone(content))) }
	for name, test := range map[string]struct {
		input []byte
		want  error
	}{
		"nothing":             {nil, ErrDamaged},
		"text":                {[]byte("not a backup"), ErrDamaged},
		"another's":           {func() []byte { b, _, _ := write(t, 1, identity(t)); return b }(), ErrWrongIdentity},
		"last byte missing":   {good[:len(good)-1], ErrDamaged},
		"half":                {good[:len(good)/2], ErrDamaged},
		"last chunk missing":  {good[:len(good)-len(good)%(64<<10+16)], ErrDamaged},
		"something after":     {append(bytes.Clone(good), 0), ErrDamaged},
		"empty content":       {encrypt(t, id, nil), ErrDamaged},
		"other content":       {encrypt(t, id, bytes.Repeat([]byte("x"), 1000)), ErrDamaged},
		"no manifest":         {encrypt(t, id, content[:start+int(m.Size)]), ErrDamaged},
		"store changed":       {edited(func(c []byte) []byte { c[start+len(db)/2] ^= 1; return c }), ErrDamaged},
		"size too small":      {edited(func(c []byte) []byte { binary.BigEndian.PutUint64(c[len(magic):], uint64(m.Size-1)); return c }), ErrDamaged},
		"size huge":           {edited(func(c []byte) []byte { binary.BigEndian.PutUint64(c[len(magic):], 1<<61); return c }), ErrDamaged},
		"size negative":       {edited(func(c []byte) []byte { binary.BigEndian.PutUint64(c[len(magic):], 1<<63); return c }), ErrDamaged},
		"newer format":        {edited(func(c []byte) []byte { return bytes.Replace(c, []byte(`{"format":1`), []byte(`{"format":2`), 1) }), ErrDamaged},
		"another store's":     {repack(t, id, db, bytes.Replace(manifest, []byte(m.Store), []byte(strings.Repeat("0", 32)), 1)), ErrDamaged},
		"another purpose":     {repack(t, id, db, bytes.Replace(manifest, []byte("production"), []byte("development"), 1)), ErrDamaged},
		"unknown member":      {repack(t, id, db, bytes.Replace(manifest, []byte("{"), []byte(`{"novelty":1,`), 1)), ErrDamaged},
		"two manifests":       {repack(t, id, db, append(bytes.Clone(manifest), manifest...)), ErrDamaged},
		"manifest over limit": {repack(t, id, db, append(bytes.Clone(manifest), make([]byte, maxManifest)...)), ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "restored")
			if _, err := Restore(t.Context(), bytes.NewReader(test.input), path, []age.Identity{id}, Config{}); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Error("a file was made")
			}
			only(t, path)
		})
	}
	t.Run("bit flips", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "restored")
		for at := 0; at < len(good); at += 1 + len(good)/300 {
			bad := bytes.Clone(good)
			bad[at] ^= 1 << (at % 8)
			if _, err := Restore(t.Context(), bytes.NewReader(bad), path, []age.Identity{id}, Config{}); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrWrongIdentity) {
				t.Fatalf("bit %d of byte %d: %v", at%8, at, err)
			}
		}
		only(t, path)
	})
	t.Run("a file is there", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "restored")
		if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(t.Context(), bytes.NewReader(good), path, []age.Identity{id}, Config{}); !errors.Is(err, ErrExists) {
			t.Error(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "mine" {
			t.Errorf("%q, %v", got, err)
		}
		only(t, path)
	})
	t.Run("a file appears meanwhile", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "restored")
		appear := func(done, total int64) {
			if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
				t.Error(err)
			}
		}
		if _, err := Restore(t.Context(), bytes.NewReader(good), path, []age.Identity{id}, Config{Progress: appear}); !errors.Is(err, ErrExists) {
			t.Error(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "mine" {
			t.Errorf("%q, %v", got, err)
		}
		only(t, path)
	})
	t.Run("cancelled", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "restored")
		ctx, cancel := context.WithCancel(t.Context())
		stop := func(done, total int64) { cancel() }
		if _, err := Restore(ctx, bytes.NewReader(good), path, []age.Identity{id}, Config{Progress: stop}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		only(t, path)
		_, inner, _ := source(t, 1)
		if _, err := Write(ctx, inner, io.Discard, []age.Recipient{id.Recipient()}, Config{}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("nobody", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "restored")
		if _, err := Restore(t.Context(), bytes.NewReader(good), path, nil, Config{}); err == nil {
			t.Error("restored without an identity")
		}
		_, inner, _ := source(t, 1)
		if _, err := Write(t.Context(), inner, io.Discard, nil, Config{}); err == nil {
			t.Error("wrote without a recipient")
		}
	})
}

// repack makes a backup whose digest is right of a store and a manifest.
func repack(tb testing.TB, id *age.HybridIdentity, db, manifest []byte) []byte {
	tb.Helper()
	content := binary.BigEndian.AppendUint64([]byte(magic), uint64(len(db)))
	return encrypt(tb, id, append(append(content, db...), manifest...))
}

// checkUnpack holds that what is accepted is whole: the store's bytes are those that the manifest has the digest of.
func checkUnpack(tb testing.TB, input []byte) {
	tb.Helper()
	var out bytes.Buffer
	m, err := unpack(context.Background(), bytes.NewReader(input), &out, nil)
	if err != nil {
		if !errors.Is(err, ErrDamaged) {
			tb.Fatalf("error of another kind: %v", err)
		}
		return
	}
	meter := newMeter(context.Background(), io.Discard, 0, nil)
	if _, err := meter.Write(out.Bytes()); err != nil || m.SHA256 != meter.digest() || m.Size != int64(out.Len()) {
		tb.Fatalf("accepted %+v with %d bytes", m, out.Len())
	}
}

func seeds(tb testing.TB) [][]byte {
	id := identity(tb)
	one, _, _ := write(tb, 1, id)
	few, _, _ := write(tb, 10, id)
	return [][]byte{plain(tb, id, one), plain(tb, id, few)}
}

func TestMutations(t *testing.T) {
	mutate.Run(t, seeds(t), func(t *testing.T, input []byte) { checkUnpack(t, input) })
}

func TestManifestMutations(t *testing.T) {
	seed := []byte(`{"format":1,"store":"000102030405060708090a0b0c0d0e0f","purpose":"production","time":"2026-03-04T04:06:07Z",` +
		`"size":32768,"sha256":"` + strings.Repeat("0a", 32) + `"}`)
	if _, err := parseManifest(seed); err != nil {
		t.Fatal(err)
	}
	mutate.Run(t, [][]byte{seed}, func(t *testing.T, input []byte) {
		if _, err := parseManifest(input); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("error of another kind: %v", err)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) { checkUnpack(t, input) })
}
