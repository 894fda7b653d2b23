package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/store"
)

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	made, err := CreateKeyFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if _, err := CreateKeyFile(path, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second key over the first: %v", err)
	}
	read, err := NewKeyFile(path)
	if err != nil || read.KeyID() != made.KeyID() || read.Kind() != "keyfile" || len(read.KeyID()) != 16 {
		t.Fatalf("%v, %v", read, err)
	}
	key, bind := bytes.Repeat([]byte{7}, KeySize), []byte("bound")
	wrapped, err := made.Wrap(t.Context(), key, bind)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read.Unwrap(t.Context(), wrapped, bind); err != nil || !bytes.Equal(got, key) {
		t.Fatalf("%x, %v", got, err)
	}
	if _, err := read.Unwrap(t.Context(), wrapped, []byte("other")); !errors.Is(err, ErrWrongSeal) {
		t.Errorf("bound to something else: %v", err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666, 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := NewKeyFile(path); !errors.Is(err, ErrKeyFile) {
			t.Errorf("mode %#o: %v", mode, err)
		}
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := NewKeyFile(path); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
	for name, path := range map[string]string{"a folder": t.TempDir(), "nothing": path + "x", "a device": "/dev/zero"} {
		if _, err := NewKeyFile(path); !errors.Is(err, ErrKeyFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	short := filepath.Join(t.TempDir(), "short")
	if _, err := CreateKeyFile(short, io.LimitReader(rand.Reader, KeySize-1)); err == nil {
		t.Error("a key of too little randomness")
	}
	if _, err := os.Stat(short); !errors.Is(err, os.ErrNotExist) {
		t.Error("a file was left")
	}
}

func keyFileSeeds() [][]byte {
	digits := strings.Repeat("0123456789abcdef", 4)
	return [][]byte{[]byte(keyFilePrefix + digits + "\n"), []byte(keyFilePrefix + digits)}
}

func TestParseKeyFile(t *testing.T) {
	good := string(keyFileSeeds()[0])
	for name, content := range map[string]string{
		"empty": "", "no key": keyFilePrefix, "cut off": good[:len(good)-2], "longer": good[:len(good)-1] + "00\n",
		"two line ends": good + "\n", "carriage return": strings.TrimSuffix(good, "\n") + "\r\n", "two keys": good + good, "space before": " " + good,
		"upper case": strings.Replace(good, "abcdef", "ABCDEF", 1), "not hexadecimal": strings.Replace(good, "abcdef", "abcdeg", 1),
		"another version": strings.Replace(good, "key-1", "key-2", 1), "zero": keyFilePrefix + strings.Repeat("0", 64),
		"raw bytes": strings.Repeat("\xa5", 32), "huge": good + strings.Repeat(" ", 1<<20),
	} {
		if _, err := ParseKeyFile([]byte(content)); !errors.Is(err, ErrKeyFile) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "01234567") {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
	mutate.Run(t, keyFileSeeds(), func(t *testing.T, input []byte) { checkKeyFile(t, input) })
}

func checkKeyFile(tb testing.TB, input []byte) {
	tb.Helper()
	k, err := ParseKeyFile(input)
	if err != nil {
		if !errors.Is(err, ErrKeyFile) {
			tb.Fatalf("error of another kind: %v", err)
		}
		return
	}
	if len(k.KeyID()) != 16 || len(bytes.TrimSuffix(input, []byte("\n"))) != len(keyFilePrefix)+2*KeySize {
		tb.Fatalf("accepted %q", input)
	}
}

func FuzzKeyFile(f *testing.F) {
	for _, seed := range keyFileSeeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) { checkKeyFile(t, input) })
}

func TestPassphrase(t *testing.T) {
	cheap := PassphraseConfig{Time: MinTime, MemoryKiB: MinMemoryKiB, Threads: 1}
	if _, err := NewPassphrase([]byte("too short"), cheap); err == nil {
		t.Error("a short passphrase")
	}
	for _, c := range []PassphraseConfig{
		{Time: MinTime - 1}, {Time: MaxTime + 1}, {MemoryKiB: MinMemoryKiB - 1}, {MemoryKiB: MaxMemoryKiB + 1}, {Threads: MaxThreads + 1},
	} {
		if _, err := NewPassphrase([]byte("long enough a phrase"), c); err == nil {
			t.Errorf("cost %+v", c)
		}
	}
	p, err := NewPassphrase([]byte("long enough a phrase"), cheap)
	if err != nil {
		t.Fatal(err)
	}
	key, bind := bytes.Repeat([]byte{7}, KeySize), []byte("bound")
	wrapped, err := p.Wrap(t.Context(), key, bind)
	if err != nil {
		t.Fatal(err)
	}
	// Unwrapping goes by the costs that were used, not by those configured.
	reader, err := NewPassphrase([]byte("long enough a phrase"), PassphraseConfig{Time: 5, Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := reader.Unwrap(t.Context(), wrapped, bind); err != nil || !bytes.Equal(got, key) {
		t.Fatalf("%x, %v", got, err)
	}
	for name, bad := range map[string][]byte{
		"cut off":     wrapped[:len(wrapped)-1],
		"longer":      append(bytes.Clone(wrapped), 0),
		"format":      edited(wrapped, 0, 2),
		"time":        edited(wrapped, 4, MinTime+1),
		"time huge":   edited(wrapped, 1, 0xff),
		"memory huge": edited(wrapped, 5, 0xff),
		"no memory":   edited(wrapped, 7, 0),
		"threads":     edited(wrapped, 9, 2),
		"no threads":  edited(wrapped, 9, 0),
		"salt":        edited(wrapped, 12, wrapped[12]^1),
		"tag":         edited(wrapped, len(wrapped)-1, wrapped[len(wrapped)-1]^1),
	} {
		if _, err := p.Unwrap(t.Context(), bad, bind); !errors.Is(err, ErrWrongSeal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	mutate.Run(t, [][]byte{wrapped}, func(t *testing.T, input []byte) { checkPassphrase(t, input) })
}

func edited(b []byte, at int, value byte) []byte {
	b = bytes.Clone(b)
	b[at] = value
	return b
}

// checkPassphrase holds that no input asks for more work than the bounds.
func checkPassphrase(tb testing.TB, input []byte) {
	tb.Helper()
	c, salt, _, err := parsePassphrase(input)
	if err == nil && (c.time > MaxTime || c.memoryKiB > MaxMemoryKiB || c.threads == 0 || c.threads > MaxThreads || len(salt) != saltSize) {
		tb.Fatalf("accepted cost %+v", c)
	}
}

func FuzzPassphrase(f *testing.F) {
	seed := make([]byte, costSize+saltSize+nonceSize+KeySize+tagSize)
	seed[0], seed[9] = passphraseFormat, DefaultThreads
	binary.BigEndian.PutUint32(seed[1:], DefaultTime)
	binary.BigEndian.PutUint32(seed[5:], DefaultMemoryKiB)
	f.Add(seed)
	f.Fuzz(func(t *testing.T, input []byte) { checkPassphrase(t, input) })
}

// sealedValues is a data key with values sealed by it.
type sealedValues struct {
	key    *dataKey
	id     storeID
	values [][]byte
}

func newSealedValues(tb testing.TB) sealedValues {
	tb.Helper()
	aead, err := newAEAD(bytes.Repeat([]byte{9}, KeySize))
	if err != nil {
		tb.Fatal(err)
	}
	v := sealedValues{key: &dataKey{id: 1, aead: aead}, id: storeID{1, 2, 3}}
	nonces := bytes.NewReader(bytes.Repeat([]byte("0123456789"), 100))
	for _, value := range []string{"", "a secret", strings.Repeat("long ", 100)} {
		sealed, err := sealValue(nonces, aead, v.id, 1, "default/a", 7, []byte(value))
		if err != nil {
			tb.Fatal(err)
		}
		v.values = append(v.values, sealed)
	}
	return v
}

// check holds that nothing opens but what was sealed.
func (v sealedValues) check(tb testing.TB, input []byte) {
	tb.Helper()
	ours := false
	for _, sealed := range v.values {
		ours = ours || bytes.Equal(sealed, input)
	}
	id, err := valueKey("default/a", input)
	if err == nil && id == v.key.id {
		_, err = openValue(v.key.aead, v.id, id, "default/a", 7, bytes.Clone(input))
	} else if err == nil {
		err = store.ErrCorrupt // no such key
	}
	if ours != (err == nil) || err != nil && !errors.Is(err, store.ErrCorrupt) {
		tb.Fatalf("sealed by us: %v, opened: %v", ours, err)
	}
}

func TestValueMutations(t *testing.T) {
	v := newSealedValues(t)
	mutate.Run(t, v.values, func(t *testing.T, input []byte) { v.check(t, input) })
}

func FuzzValue(f *testing.F) {
	v := newSealedValues(f)
	for _, seed := range v.values {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) { v.check(t, input) })
}

// headers returns headers with 1, 2 and the most data keys, and the root key of all.
func headers(tb testing.TB) ([][]byte, *rootKey) {
	tb.Helper()
	id, now := storeID{1, 2, 3}, time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	root, err := newRootKey(bytes.Repeat([]byte{5}, KeySize), id)
	if err != nil {
		tb.Fatal(err)
	}
	h := &header{Format: headerFormat, Store: "01020300000000000000000000000000", Seal: sealEntry{"keyfile", "0123456789abcdef"}, Root: make([]byte, 60)}
	same := mathrand.NewChaCha8([32]byte{1}) // each process of a fuzz run must make the same
	var all [][]byte
	for n := range maxKeys {
		if err := addKey(h, root, id, same, now.Add(time.Duration(n)*time.Hour)); err != nil {
			tb.Fatal(err)
		}
		data, err := h.encode(root)
		if err != nil {
			tb.Fatal(err)
		}
		if n < 2 || n == maxKeys-1 {
			all = append(all, data)
		}
	}
	if err := addKey(h, root, id, rand.Reader, now); !errors.Is(err, ErrTooManyKeys) {
		tb.Fatalf("one more key: %v", err)
	}
	return all, root
}

// checkHeader holds that what is accepted, with its MAC, is what was made.
func checkHeader(tb testing.TB, seeds [][]byte, root *rootKey, input []byte) {
	tb.Helper()
	h, err := parseHeader(input)
	if err != nil {
		if !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, ErrNewerFormat) {
			tb.Fatalf("error of another kind: %v", err)
		}
		return
	}
	if again, err := json.Marshal(h); err != nil || !bytes.Equal(again, input) {
		tb.Fatalf("accepted another spelling: %v", err)
	}
	ours := false
	for _, seed := range seeds {
		ours = ours || bytes.Equal(seed, input)
	}
	if verified := h.verify(root) == nil; verified != ours {
		tb.Fatalf("made by us: %v, verified: %v", ours, verified)
	}
}

func TestHeaderMutations(t *testing.T) {
	seeds, root := headers(t)
	mutate.Run(t, seeds[:2], func(t *testing.T, input []byte) { checkHeader(t, seeds, root, input) })
	checkHeader(t, seeds, root, seeds[2])
}

func FuzzHeader(f *testing.F) {
	seeds, root := headers(f)
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) { checkHeader(t, seeds, root, input) })
}

// TestDataKeyIsReplaced has a data key of which all encryptions but a few are set aside.
func TestDataKeyIsReplaced(t *testing.T) {
	_, root := headers(t)
	id := storeID{1, 2, 3}
	h := &header{Format: headerFormat, Store: "01020300000000000000000000000000", Seal: sealEntry{"keyfile", ""}, Root: make([]byte, 60)}
	if err := addKey(h, root, id, rand.Reader, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	h.current().Reserved = MaxSeals - reserveSeals
	inner := &oneRecord{}
	s := &Store{inner: inner, random: rand.Reader, now: time.Now, exclusive: true}
	ring, err := newKeyring(0, h, id, root, nil)
	if err != nil {
		t.Fatal(err)
	}
	if inner.value, err = h.encode(root); err != nil {
		t.Fatal(err)
	}
	s.ring.Store(ring)
	for _, want := range []struct {
		key      dataKeyID
		reserved uint64
	}{{1, MaxSeals}, {2, reserveSeals}, {2, 2 * reserveSeals}} {
		ring := s.ring.Load()
		ring.current.left.Store(0)
		if err := s.ready(context.Background(), ring, 1); err != nil {
			t.Fatal(err)
		}
		if now := s.ring.Load(); now.current.id != want.key || now.header.current().Reserved != want.reserved || now.current.left.Load() != reserveSeals {
			t.Errorf("key %d with %d, want %+v", now.current.id, now.header.current().Reserved, want)
		}
	}
}

// oneRecord is a store of the header alone.
type oneRecord struct {
	store.Store
	version uint64
	value   []byte
}

func (o *oneRecord) Get(context.Context, string) (store.Record, error) {
	return store.Record{Version: o.version, Value: o.value}, nil
}

func (o *oneRecord) Apply(_ context.Context, writes ...store.Write) error {
	o.version, o.value = o.version+1, writes[0].Value
	return nil
}
