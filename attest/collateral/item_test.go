package collateral

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// made is when test items were fetched.
var made = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func testItem(tb testing.TB, name, data string) *Item {
	tb.Helper()
	n, err := ParseName(name)
	if err != nil {
		tb.Fatal(err)
	}
	i := newItem(n, []byte(data), []byte("chain"), made)
	i.Source, i.Issued, i.Expires = "https://vendor.test/x?y=1", made.Add(-time.Hour), made.Add(24*time.Hour)
	return i
}

func encode(tb testing.TB, i *Item) []byte {
	tb.Helper()
	encoded, err := i.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	return encoded
}

func TestItemEncoding(t *testing.T) {
	i := testItem(t, "amd/crl/Genoa", "a list\nof two lines")
	i.Kept = true
	encoded := encode(t, i)
	back, err := Decode(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if again := encode(t, back); !bytes.Equal(again, encoded) || back.Endorsement.Digest != i.Endorsement.Digest || !back.Kept {
		t.Errorf("%+v", back)
	}
	// No byte is without a check, and nothing shorter or longer is an item.
	for n := range encoded {
		for _, flip := range []byte{1, 0x20, 0x80} {
			encoded[n] ^= flip
			if _, err := Decode(encoded); !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d changed: %v", n, err)
			}
			encoded[n] ^= flip
		}
		if _, err := Decode(encoded[:n]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	if _, err := Decode(append(encoded, 0)); !errors.Is(err, ErrDamaged) {
		t.Errorf("one byte more: %v", err)
	}
	if _, err := Decode(make([]byte, MaxItem+1)); !errors.Is(err, ErrDamaged) {
		t.Error("an item over the limit")
	}
	big := testItem(t, "amd/crl/Genoa", strings.Repeat("x", MaxData+1))
	if _, err := big.Encode(); err == nil {
		t.Error("an item over the limit was encoded")
	}
}

// reencode asserts that what Decode reads is what Encode writes, but for the order and spelling of the header.
func reencode(t *testing.T, input []byte) {
	i, err := Decode(input)
	if err != nil {
		if !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		return
	}
	again, err := i.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := Decode(again); err != nil || back.Name.text != i.Name.text || back.Endorsement.Digest != i.Endorsement.Digest {
		t.Fatalf("decoded, encoded and decoded: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(f, testItem(f, "amd/crl/Genoa", "a list")))
	f.Add(encode(f, testItem(f, "jwks/x", "")))
	f.Fuzz(reencode)
}

func TestMutateItem(t *testing.T) {
	mutate.Run(t, [][]byte{encode(t, testItem(t, "amd/crl/Genoa", "a list"))}, reencode)
}

func FuzzParseName(f *testing.F) {
	for _, name := range []string{"amd/crl/Genoa", "jwks/x", "nvidia/rim/NV_GPU_1", "intel/tcb/tdx/50806f000000"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseName(text)
		if err != nil {
			return
		}
		if n.String() != text || len(text) > maxName || strings.ContainsAny(text, "\x00\n\\ %?#&") || strings.Contains(text, "..") && n.Type() != TypeRIM ||
			!filepath.IsLocal(filepath.FromSlash(text)) {
			t.Fatalf("%q is a name", text)
		}
	})
}

func TestSupersedes(t *testing.T) {
	at := func(issued, fetched time.Duration, data string) *Item {
		i := testItem(t, "amd/crl/Genoa", data)
		i.Issued, i.Endorsement.Fetched = made.Add(issued), made.Add(fetched)
		return i
	}
	for what, tt := range map[string]struct {
		i, held *Item
		want    bool
	}{
		"nothing held":        {at(0, 0, "a"), nil, true},
		"made later":          {at(1, 0, "b"), at(0, 5, "a"), true},
		"made earlier":        {at(0, 5, "a"), at(1, 0, "b"), false},
		"the same, fetched":   {at(0, 5, "a"), at(0, 0, "a"), true},
		"the same, once more": {at(0, 0, "a"), at(0, 0, "a"), false},
		"fetched before":      {at(0, 0, "a"), at(0, 5, "a"), false},
	} {
		if got := tt.i.supersedes(tt.held); got != tt.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

// anything is a publisher whose check accepts everything but the data "bad", and takes the time from the first line.
func anything(v Vendor) Publisher {
	return Publisher{Vendor: v, Check: func(_ Name, e *attest.Endorsement, _ time.Time) (Validity, error) {
		if string(e.Data) == "bad" {
			return Validity{}, errors.New("it is bad")
		}
		return Validity{Issued: made.Add(-time.Hour), Expires: made.Add(24 * time.Hour)}, nil
	}}
}

func testConfig(dir string) Config {
	return Config{
		Dir: dir, Publishers: []Publisher{anything(AMD), anything(Intel)}, Now: func() time.Time { return made },
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func openTest(t *testing.T, c Config) *Manager {
	t.Helper()
	m, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestDamagedFiles: what is not whole, not what its name says, not a file or does not pass the check is set aside, and the rest serves.
func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) {
		path := filepath.Join(dir, filepath.FromSlash(name)+suffix)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := encode(t, testItem(t, "amd/crl/Genoa", "list"))
	write("amd/crl/Genoa", good)
	write("amd/crl/Milan", good)                                                   // another's content
	write("amd/crl/Turin", good[:len(good)-1])                                     // cut
	write("intel/crl/root", nil)                                                   // empty
	write("amd/crl/Rome", good)                                                    // no name
	write("intel/identity/qe", encode(t, testItem(t, "intel/identity/qe", "bad"))) // does not pass the check
	write("nvidia/rim/x", encode(t, testItem(t, "nvidia/rim/x", "y")))             // of a vendor that is not configured
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "intel/crl/platform"+suffix)); err != nil {
		t.Fatal(err)
	}
	m := openTest(t, testConfig(dir))
	if _, err := m.Recheck(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if e, err := m.Endorsement(t.Context(), "amd/crl/Genoa"); err != nil || string(e.Data) != "list" || string(e.Chain) != "chain" {
		t.Errorf("the good one: %v", err)
	}
	if n := len(m.Items()); n != 1 {
		t.Errorf("%d items are used", n)
	}
	if damage := m.Damage(); len(damage) != 6 {
		t.Errorf("damage %+v", damage)
	}
	aside, err := os.ReadDir(filepath.Join(dir, damagedFolder))
	if err != nil || len(aside) != 6 {
		t.Errorf("%v %v", aside, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "nvidia/rim/x"+suffix)); err != nil {
		t.Error("a file of a vendor that is not configured was touched")
	}
	if again := openTest(t, testConfig(dir)); len(again.Damage()) != 0 || len(again.Items()) != 1 {
		t.Errorf("opened again: %+v", again.Damage())
	}
}

// TestReadOnly: who only looks changes nothing, not even what is damaged, and makes no folder.
func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(dir)
	if _, err := openTest(t, c).put(testItem(t, "amd/crl/Genoa", "bad"), false); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "amd", "crl", "Milan"+suffix)
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.ReadOnly = true
	m := openTest(t, c)
	if bad, err := m.Recheck(t.Context(), nil); bad != 1 || err != nil || len(m.Damage()) != 2 {
		t.Errorf("%d %v %+v", bad, err, m.Damage())
	}
	for _, name := range []string{"Genoa", "Milan"} {
		if _, err := os.Stat(filepath.Join(dir, "amd", "crl", name+suffix)); err != nil {
			t.Error(err)
		}
	}
	c.Dir = filepath.Join(dir, "nothing")
	if _, err := Open(c); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// TestOtherProcesses: a running manager takes in what a command puts into the folder, and lets go of what is removed.
func TestOtherProcesses(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(dir)
	c.Rescan = 5 * time.Millisecond
	m := openTest(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	defer func() { cancel(); <-done }()

	command := openTest(t, testConfig(dir))
	if _, err := command.put(testItem(t, "amd/crl/Genoa", "list"), false); err != nil {
		t.Fatal(err)
	}
	until := func(what string, condition func() bool) {
		for end := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	until("what a command put there is not seen", func() bool { return m.Item("amd/crl/Genoa") != nil })
	if err := os.WriteFile(filepath.Join(dir, "amd", "crl", "Milan"+suffix), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	until("a damaged file is not seen", func() bool { return len(m.Damage()) == 1 })
	if err := os.Remove(filepath.Join(dir, "amd", "crl", "Genoa"+suffix)); err != nil {
		t.Fatal(err)
	}
	until("what was removed is still there", func() bool { return m.Item("amd/crl/Genoa") == nil })
	_, _ = m.Endorsement(t.Context(), "intel/crl/root")
	until("what is wanted is not written down", func() bool {
		wanted, err := ReadWanted(WantedPath(dir))
		return err == nil && len(wanted) == 1 && wanted[0].Name == "intel/crl/root" && strings.Contains(wanted[0].Problem, "nothing is fetched")
	})
	if err := m.Run(ctx); err == nil {
		t.Error("it runs twice")
	}
}

// TestWarnings: what is about to expire is warned of in time, once in half a day, with the reason.
func TestWarnings(t *testing.T) {
	var out bytes.Buffer
	now := made
	c := testConfig("")
	c.Now = func() time.Time { return now }
	c.Logger = slog.New(slog.NewTextHandler(&out, nil))
	m := openTest(t, c)
	if _, err := m.put(testItem(t, "amd/crl/Genoa", "list"), false); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		after time.Duration
		want  string
	}{
		{0, ""}, {17 * time.Hour, ""}, {18 * time.Hour, "about to expire"}, {19 * time.Hour, ""}, {31 * time.Hour, "has expired"}, {32 * time.Hour, ""},
	} {
		now = made.Add(tt.after)
		out.Reset()
		m.refresh()
		if got := out.String(); (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) || got != "" && !strings.Contains(got, "import a newer one") {
			t.Errorf("after %v: %q", tt.after, got)
		}
	}
}

// TestLookupIsLockFree: a lookup of what is at hand goes on while the manager is busy with its disk.
func TestLookupIsLockFree(t *testing.T) {
	m := openTest(t, testConfig(""))
	if _, err := m.put(testItem(t, "amd/crl/Genoa", "list"), false); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.lanes {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	if _, err := m.Endorsement(t.Context(), "amd/crl/Genoa"); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkLookup looks up what is at hand, alone and by all processors at once, among thousands; and what is missing.
func BenchmarkLookup(b *testing.B) {
	m, err := Open(testConfig(""))
	if err != nil {
		b.Fatal(err)
	}
	all := map[string]*held{}
	for i := range 10_000 {
		name := "amd/vcek/Turin/" + strings.Repeat("0", 8) + hex8(i+1) + "-0301001600000008"
		all[name] = &held{Item: testItem(b, name, "certificate")}
	}
	m.current.Store(&all)
	name := "amd/vcek/Turin/" + strings.Repeat("0", 8) + hex8(77) + "-0301001600000008"
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.Endorsement(b.Context(), name); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := m.Endorsement(context.Background(), name); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("missing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = m.Endorsement(b.Context(), "amd/crl/Genoa")
		}
	})
}

func hex8(n int) string {
	const digits = "0123456789abcdef"
	out := []byte("00000000")
	for i := 7; n > 0; i-- {
		out[i] = digits[n&15]
		n >>= 4
	}
	return string(out)
}

// TestAllocation: whatever a header or a manifest says, memory grows only with what is there.
func TestAllocation(t *testing.T) {
	lies := encode(t, testItem(t, "amd/crl/Genoa", "list"))
	lies = bytes.Replace(lies, []byte(`"size":4`), []byte(`"size":4000000`), 1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, err := Decode(lies); err == nil {
			t.Fatal("it was read")
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("%d bytes were allocated", grown)
	}
}
