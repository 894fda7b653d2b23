package collateral_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/vendortest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// dated is a publisher whose items say when they were made: "made at 2026-11-20T00:00:00Z".
func dated(v collateral.Vendor) collateral.Publisher {
	return collateral.Publisher{Vendor: v, Check: func(_ collateral.Name, e *attest.Endorsement, _ time.Time) (collateral.Validity, error) {
		at, err := time.Parse("made at "+time.RFC3339, string(e.Data))
		return collateral.Validity{Issued: at, Expires: at.AddDate(0, 1, 0)}, err
	}}
}

// texts answers with the text that it has for a name.
type texts map[string]string

// Fetch implements collateral.Source.
func (s texts) Fetch(_ context.Context, name collateral.Name) (*collateral.Fetched, error) {
	text, ok := s[name.String()]
	if !ok {
		return nil, collateral.Unsupported("there is no %s", name)
	}
	return &collateral.Fetched{Data: []byte(text), URL: "https://vendor.test"}, nil
}

// ahead is how far the clocks of managers that filled makes are ahead. Tests that use it do not run in parallel.
var ahead time.Duration

// filled returns a manager that has items which are made at times, in memory.
func filled(t testing.TB, items map[string]string) *collateral.Manager {
	t.Helper()
	c := collateral.Config{Logger: quiet, Now: func() time.Time { return time.Now().Add(ahead) }, Publishers: []collateral.Publisher{dated(collateral.AMD), dated(collateral.Intel), dated(collateral.JWKS)}}
	var names []string
	for name := range items {
		names = append(names, name)
	}
	for i := range c.Publishers {
		c.Publishers[i].Source, c.Publishers[i].Interval = texts(items), time.Microsecond
	}
	m, err := collateral.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	defer func() { cancel(); <-done }()
	if err := m.Fetch(ctx, names, func(o collateral.Outcome) {
		if o.Err != nil {
			t.Error(o.Err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return m
}

// bundleOf makes a bundle of items that are made at times.
func bundleOf(t testing.TB, signer note.Signer, items map[string]string) []byte {
	t.Helper()
	m := filled(t, items)
	var out bytes.Buffer
	if err := collateral.Export(t.Context(), &out, m.Items(), signer, time.Now()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestBundle(t *testing.T) {
	signer, verifier := key(t)
	now := time.Now().UTC()
	day := func(n int) string { return "made at " + now.AddDate(0, 0, n).Format(time.RFC3339) }
	bundle := bundleOf(t, signer, map[string]string{"amd/crl/Genoa": day(-3), "amd/crl/Milan": day(-29), "intel/crl/root": day(-1)})

	m := filled(t, map[string]string{"intel/crl/root": day(0)})
	ahead = 72 * time.Hour // the bundle was some days under way
	defer func() { ahead = 0 }()
	got, err := m.Import(t.Context(), bytes.NewReader(bundle), verifier, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Added != 2 || len(got.Older) != 1 || got.Older[0] != "intel/crl/root" || len(got.Expired) != 1 || got.Items != 3 || len(got.Refused) != 0 {
		t.Errorf("%+v", got)
	}
	if string(m.Item("intel/crl/root").Endorsement.Data) != day(0) {
		t.Error("an older item took the place of a newer one")
	}
	if !m.Item("amd/crl/Genoa").Kept {
		t.Error("what was imported may be dropped")
	}
	if got, err = m.Import(t.Context(), bytes.NewReader(bundle), verifier, nil); err != nil || got.Unchanged != 2 || got.Added != 0 {
		t.Errorf("imported again: %+v %v", got, err)
	}
	// A vendor's check holds for what an operator signs too, and a manager of other vendors takes nothing.
	other, err := collateral.Open(collateral.Config{Publishers: []collateral.Publisher{vendortest.StartKDS(t, vendor(), now).Publisher(t, nil, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err = other.Import(t.Context(), bytes.NewReader(bundle), verifier, nil); err != nil || len(got.Refused) != 3 || len(other.Items()) != 0 {
		t.Errorf("%+v %v", got, err)
	}
}

// TestBundleDamaged: no byte of a bundle is without a check, and what was not signed by the operator's key is not looked at.
func TestBundleDamaged(t *testing.T) {
	signer, verifier := key(t)
	day := "made at " + time.Now().UTC().AddDate(0, 0, -1).Format(time.RFC3339)
	bundle := bundleOf(t, signer, map[string]string{"amd/crl/Genoa": day, "amd/crl/Milan": day})
	read := func(b []byte, v note.Verifier) (n int, err error) {
		_, err = collateral.ReadBundle(bytes.NewReader(b), v, func(*collateral.Item) error { n++; return nil })
		return n, err
	}
	if n, err := read(bundle, verifier); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	genuine := func(err error) bool {
		return errors.Is(err, collateral.ErrBundle) || errors.Is(err, collateral.ErrSignature)
	}
	for i := 0; i < len(bundle); i += mutate.Stride(1) {
		for _, flip := range []byte{1, 2, 0x20, 0x80} {
			bundle[i] ^= flip
			if _, err := read(bundle, verifier); !genuine(err) {
				t.Fatalf("byte %d changed by %#x: %v", i, flip, err)
			}
			bundle[i] ^= flip
		}
		if _, err := read(bundle[:i], verifier); !genuine(err) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if _, err := read(append(bytes.Clone(bundle), '\n'), verifier); !errors.Is(err, collateral.ErrBundle) {
		t.Errorf("with more at its end: %v", err)
	}
	// The last character of the signature's base64 has bits that say nothing: none but one spelling is read.
	at := bytes.Index(bundle, []byte("=\n")) - 1
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	last, spellings := bundle[at], 0
	for _, c := range []byte(alphabet) {
		bundle[at] = c
		if _, err := read(bundle, verifier); err == nil {
			spellings++
		}
	}
	if bundle[at] = last; spellings != 1 {
		t.Errorf("%d spellings of one signature are read", spellings)
	}
	_, stranger := key(t)
	if n, err := read(bundle, stranger); n != 0 || !errors.Is(err, collateral.ErrSignature) {
		t.Errorf("by another's key: %d %v", n, err)
	}
	head, rest, _ := bytes.Cut(bundle, []byte("— "))
	for what, forged := range map[string]string{
		"no signature":   string(head) + "\n" + string(rest),
		"not a bundle":   "hello\n",
		"nothing":        "",
		"a line of 1 MB": strings.Repeat("x", 1<<20),
		"many items":     strings.Replace(string(bundle), "items 2", "items 99999999999", 1),
	} {
		if n, err := read([]byte(forged), verifier); n != 0 || !genuine(err) {
			t.Errorf("%s: %d %v", what, n, err)
		}
	}
	stop := errors.New("enough")
	if _, err := collateral.ReadBundle(bytes.NewReader(bundle), verifier, func(*collateral.Item) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of use: %v", err)
	}
}

// signedLies are bundles that the operator's key signed and that are wrong all the same, as a bug or a stolen key would make them.
func signedLies(t testing.TB, signer note.Signer) [][]byte {
	t.Helper()
	var out [][]byte
	for _, text := range []string{
		"items 1\nmanifest 10 " + strings.Repeat("0", 64), "items 65537\nmanifest 0 " + strings.Repeat("0", 64),
		"items -1\nmanifest 0 " + strings.Repeat("0", 64), "items 1\nmanifest 99999999999 " + strings.Repeat("0", 64),
		"items 1\nmanifest 0 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	} {
		signed, err := note.Sign(&note.Note{Text: "vouchsafe collateral bundle v1\ncreated 2026-11-20T00:00:00Z\n" + text + "\n"}, signer)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, append(signed, '\n'))
	}
	return out
}

func TestBundleSignedLies(t *testing.T) {
	signer, verifier := key(t)
	for i, b := range signedLies(t, signer) {
		if _, err := collateral.ReadBundle(bytes.NewReader(b), verifier, func(*collateral.Item) error { return nil }); !errors.Is(err, collateral.ErrBundle) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// FuzzBundle reads bundles with a key that signs the inputs' first part anew where it can be, so that what comes after the signature is reached.
func FuzzBundle(f *testing.F) {
	signer, verifier := key(f)
	day := "made at " + time.Now().UTC().AddDate(0, 0, -1).Format(time.RFC3339)
	f.Add(bundleOf(f, signer, map[string]string{"amd/crl/Genoa": day}))
	for _, b := range signedLies(f, signer) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, input []byte) { readAnything(t, signer, verifier, input) })
}

func TestMutateBundle(t *testing.T) {
	signer, verifier := key(t)
	day := "made at " + time.Now().UTC().AddDate(0, 0, -1).Format(time.RFC3339)
	seeds := append(signedLies(t, signer), bundleOf(t, signer, map[string]string{"amd/crl/Genoa": day, "jwks/x": day}))
	mutate.Run(t, seeds, func(t *testing.T, input []byte) { readAnything(t, signer, verifier, input) })
}

func readAnything(t *testing.T, signer note.Signer, verifier note.Verifier, input []byte) {
	text, rest, ok := bytes.Cut(input, []byte("\n\n"))
	if _, after, more := bytes.Cut(rest, []byte("\n\n")); ok && more {
		if signed, err := note.Sign(&note.Note{Text: string(text) + "\n"}, signer); err == nil {
			input = append(append(signed, '\n'), after...)
		}
	}
	_, err := collateral.ReadBundle(bytes.NewReader(input), verifier, func(i *collateral.Item) error {
		_, err := collateral.ParseName(i.Name.String())
		return err
	})
	if err != nil && !errors.Is(err, collateral.ErrBundle) && !errors.Is(err, collateral.ErrSignature) {
		t.Fatal(err)
	}
}

func TestExportErrors(t *testing.T) {
	signer, _ := key(t)
	m := filled(t, map[string]string{"amd/crl/Genoa": "made at 2026-11-20T00:00:00Z"})
	if err := collateral.Export(t.Context(), failing{}, m.Items(), signer, time.Now()); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a writer that fails: %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
