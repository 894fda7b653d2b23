package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/store"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// seeds are made by a real log.
type seeds struct {
	entry                                 []byte
	receipts, checkpoints, bundles, paths [][]byte
}

func makeSeeds(tb testing.TB) seeds {
	tb.Helper()
	l := mustOpen(tb, testConfig(tb, newBolt(tb)))
	s := seeds{entry: []byte("the entry"), checkpoints: [][]byte{l.Checkpoint()}}
	receipt := func(r Receipt) {
		text, err := r.MarshalText()
		if err != nil {
			tb.Fatal(err)
		}
		s.receipts = append(s.receipts, text)
	}
	receipt(mustAppend(tb, l, s.entry))
	grow(tb, l, 299)
	r := mustAppend(tb, l, s.entry)
	receipt(r)
	r.Extra = []byte("something else")
	receipt(r)
	s.checkpoints = append(s.checkpoints, l.Checkpoint())
	witnessed, err := note.Sign(&note.Note{Text: l.Head().body()},
		testSigner(tb, "witness.test", "witness"), testSigner(tb, testOrigin, "log"))
	if err != nil {
		tb.Fatal(err)
	}
	s.checkpoints = append(s.checkpoints, witnessed)
	for _, path := range []string{"tile/0/000", "tile/0/001.p/45", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/45"} {
		content, err := l.ReadPath(tb.Context(), path)
		if err != nil {
			tb.Fatal(err)
		}
		if strings.Contains(path, "entries") {
			s.bundles = append(s.bundles, content)
		}
		s.paths = append(s.paths, []byte(path))
	}
	s.paths = append(s.paths, []byte("tile/3/x001/x234/067.p/12"), []byte("tile/entries/x009/x223/x372/x036/x854/x775/807"))
	return s
}

// checkReceipt holds that what parses encodes to the same bytes, and that what verifies is one of the receipts that were issued,
// apart from the extra data, which nothing protects.
func checkReceipt(t *testing.T, known note.Verifiers, s seeds, input []byte) {
	r, err := ParseReceipt(input)
	if err != nil {
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("error of another kind: %v", err)
		}
		return
	}
	if again, err := r.MarshalText(); err != nil || !bytes.Equal(again, input) {
		t.Errorf("encodes to %q, %v", again, err)
	}
	if _, _, err := VerifyReceipt(known, testOrigin, s.entry, input); err != nil {
		return
	}
	r.Extra = nil
	bare, err := r.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for _, issued := range s.receipts {
		if bytes.Equal(bare, issued) {
			return
		}
	}
	// Another signature block under the same body is the one thing left: foreign signatures may stand beside the log's.
	body, _, _ := bytes.Cut(r.Checkpoint, []byte("\n\n"))
	for _, issued := range s.receipts {
		if bytes.HasPrefix(issued, []byte(receiptHeader)) && bytes.Contains(issued, body) {
			return
		}
	}
	t.Errorf("a receipt that was not issued verifies: %q", input)
}

// checkCheckpoint holds that a checkpoint which verifies says what one that was signed says.
func checkCheckpoint(t *testing.T, known note.Verifiers, s seeds, input []byte) {
	got, err := VerifyCheckpoint(known, testOrigin, input)
	if err != nil {
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnverified) {
			t.Errorf("error of another kind: %v", err)
		}
		return
	}
	for _, signed := range s.checkpoints {
		if bytes.HasPrefix(signed, []byte(got.body()+"\n")) {
			return
		}
	}
	t.Errorf("a checkpoint that was not signed verifies: %q", input)
}

func checkBundle(t *testing.T, input []byte) {
	entries, err := parseBundle(input, tileWidth)
	if err != nil {
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("error of another kind: %v", err)
		}
		return
	}
	var again []byte
	for _, entry := range entries {
		again = appendEntry(again, entry)
	}
	if len(entries) > tileWidth || !bytes.Equal(again, input) {
		t.Errorf("%d entries encode to something else", len(entries))
	}
}

// checkPath holds parsePath against package tlog, whose paths name the height as well.
func checkPath(t *testing.T, input string) {
	r, err := parsePath(input)
	if err != nil {
		if !errors.Is(err, ErrMalformed) || !errors.Is(err, store.ErrInvalid) {
			t.Errorf("error of another kind: %v", err)
		}
		return
	}
	if r.path() != input || r.width < 1 || r.width > tileWidth || r.tile.n < 0 {
		t.Errorf("%q is %+v", input, r)
	}
	theirs := strings.Replace(input, "tile/", "tile/8/", 1)
	theirs = strings.Replace(theirs, "/entries/", "/data/", 1)
	want, err := tlog.ParseTilePath(theirs)
	if err != nil || want.N != r.tile.n || want.W != r.width || (want.L == -1) != r.entries || !r.entries && want.L != r.tile.level {
		t.Errorf("%q is %+v here and %+v, %v in package tlog", input, r, want, err)
	}
}

func FuzzReceipt(f *testing.F) {
	s, known := makeSeeds(f), testVerifiers(f, testOrigin, "log")
	for _, seed := range s.receipts {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) { checkReceipt(t, known, s, input) })
}

func FuzzCheckpoint(f *testing.F) {
	s, known := makeSeeds(f), testVerifiers(f, testOrigin, "log")
	for _, seed := range s.checkpoints {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) { checkCheckpoint(t, known, s, input) })
}

func FuzzBundle(f *testing.F) {
	for _, seed := range makeSeeds(f).bundles {
		f.Add(seed)
	}
	f.Fuzz(checkBundle)
}

func FuzzPath(f *testing.F) {
	for _, seed := range makeSeeds(f).paths {
		f.Add(string(seed))
	}
	f.Fuzz(checkPath)
}

func TestMutations(t *testing.T) {
	s, known := makeSeeds(t), testVerifiers(t, testOrigin, "log")
	for name, target := range map[string]struct {
		seeds [][]byte
		check func(t *testing.T, input []byte)
	}{
		"receipt":    {s.receipts, func(t *testing.T, input []byte) { checkReceipt(t, known, s, input) }},
		"checkpoint": {s.checkpoints, func(t *testing.T, input []byte) { checkCheckpoint(t, known, s, input) }},
		"bundle":     {s.bundles, checkBundle},
		"path":       {s.paths, func(t *testing.T, input []byte) { checkPath(t, string(input)) }},
	} {
		t.Run(name, func(t *testing.T) { mutate.Run(t, target.seeds, target.check) })
	}
}

func TestPaths(t *testing.T) {
	for path, want := range map[string]resource{
		"tile/0/000":                 {tile: tileID{0, 0}, width: 256},
		"tile/7/999.p/255":           {tile: tileID{7, 999}, width: 255},
		"tile/1/x001/x234/067":       {tile: tileID{1, 1234067}, width: 256},
		"tile/entries/x001/000.p/1":  {entries: true, tile: tileID{0, 1000}, width: 1},
		"tile/entries/x001/x000/000": {entries: true, tile: tileID{0, 1000000}, width: 256},
	} {
		if got, err := parsePath(path); err != nil || got != want {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
	}
	for _, path := range []string{
		"", "/", "tile", "tile/", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/001/000", "tile/0/x000/001",
		"tile/0/x001/x000", "tile/00/000", "tile/-1/000", "tile/8/000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/",
		"tile/0/000.p/1/", "tile/0/000/", "/tile/0/000", "tile/data/000", "tile/0/../0/000", "tile/0/ 00", "tile/0/+00", "tile/0/000.p/1.p/1",
		"tile/entries/x009/x223/x372/x036/x854/x775/808", "tile/0/" + strings.Repeat("x000/", 1000) + "000", "entries/000", "Tile/0/000",
	} {
		if got, err := parsePath(path); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%q: %+v, %v", path, got, err)
		}
	}
	l := mustOpen(t, testConfig(t, newBolt(t)))
	grow(t, l, 300)
	for _, path := range []string{"tile/0/001", "tile/0/001.p/45", "tile/0/002.p/1", "tile/1/000.p/2", "tile/1/001.p/1", "tile/2/000.p/1",
		"tile/7/000.p/1", "tile/entries/001", "tile/entries/001.p/45", "tile/0/x009/x223/x372/x036/x854/x775/807"} {
		if _, err := l.ReadPath(t.Context(), path); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s of a log of 300: %v", path, err)
		}
	}
}

// TestReceiptRefusals gives receipts for something else than what they prove.
func TestReceiptRefusals(t *testing.T) {
	s := makeSeeds(t)
	good := string(s.receipts[1])
	verify := func(receipt string, entry []byte, origin string, keys ...string) error {
		_, _, err := VerifyReceipt(testVerifiers(t, testOrigin, keys...), origin, entry, []byte(receipt))
		return err
	}
	if err := verify(good, s.entry, testOrigin, "log"); err != nil {
		t.Fatal(err)
	}
	if err := verify(good, s.entry, testOrigin, "older", "log"); err != nil {
		t.Errorf("beside another key: %v", err)
	}
	first, _, _ := strings.Cut(good, "\n\n")
	lines := strings.Split(first, "\n")
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"another entry":    {verify(good, []byte("another"), testOrigin, "log"), ErrProof},
		"another origin":   {verify(good, s.entry, "another", "log"), ErrUnverified},
		"another key":      {verify(good, s.entry, testOrigin, "another"), ErrUnverified},
		"no key":           {verify(good, s.entry, testOrigin), ErrUnverified},
		"another index":    {verify(strings.Replace(good, "index 300", "index 299", 1), s.entry, testOrigin, "log"), ErrProof},
		"index at the end": {verify(strings.Replace(good, "index 300", "index 301", 1), s.entry, testOrigin, "log"), ErrProof},
		"index with zero":  {verify(strings.Replace(good, "index 300", "index 0300", 1), s.entry, testOrigin, "log"), ErrMalformed},
		"another size":     {verify(strings.Replace(good, "\n301\n", "\n302\n", 1), s.entry, testOrigin, "log"), ErrUnverified},
		"a hash less":      {verify(strings.Replace(good, lines[3]+"\n", "", 1), s.entry, testOrigin, "log"), ErrProof},
		"a hash more":      {verify(strings.Replace(good, lines[3]+"\n", lines[3]+"\n"+lines[3]+"\n", 1), s.entry, testOrigin, "log"), ErrProof},
		"no checkpoint":    {verify(first+"\n\n", s.entry, testOrigin, "log"), ErrMalformed},
		"line ends":        {verify(strings.ReplaceAll(good, "\n", "\r\n"), s.entry, testOrigin, "log"), ErrMalformed},
		"too long":         {verify(good+strings.Repeat("\n", MaxReceipt), s.entry, testOrigin, "log"), ErrMalformed},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
}

// TestCheckpointOnlyByItsLog has a witness's signature, whose key is known, stand alone: it does not speak for the log.
func TestCheckpointOnlyByItsLog(t *testing.T) {
	body := Checkpoint{Origin: testOrigin, Root: tlog.Hash{1}}.body()
	witness, log := testSigner(t, "witness.test", "witness"), testSigner(t, testOrigin, "log")
	known := note.VerifierList(verifierOf(t, "witness.test", "witness"), verifierOf(t, testOrigin, "log"))
	sign := func(text string, signers ...note.Signer) []byte {
		signed, err := note.Sign(&note.Note{Text: text}, signers...)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	if _, err := VerifyCheckpoint(known, testOrigin, sign(body, log, witness)); err != nil {
		t.Errorf("both: %v", err)
	}
	if _, err := VerifyCheckpoint(known, testOrigin, sign(body, witness)); !errors.Is(err, ErrUnverified) {
		t.Errorf("the witness alone: %v", err)
	}
	for name, text := range map[string]string{
		"extension line": body + "more\n",
		"no root":        testOrigin + "\n0\n",
		"size":           testOrigin + "\n-1\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n",
		"huge size":      testOrigin + "\n9223372036854775808\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n",
		"short root":     testOrigin + "\n0\n" + base64.StdEncoding.EncodeToString(make([]byte, 31)) + "\n",
	} {
		if _, err := VerifyCheckpoint(known, testOrigin, sign(text, log)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func verifierOf(t *testing.T, origin, key string) note.Verifier {
	t.Helper()
	text, err := VerifierKey(origin, testKey(key).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
