package collateral

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// A bundle carries items to where there is no network: one file, signed by an operator's key.
//
//	vouchsafe collateral bundle v1
//	created 2026-11-25T09:00:00Z
//	items 2
//	manifest 301 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
//
//	— NAME SIGNATURE
//
//	SHA256 SIZE NAME         (one line for each item: the manifest, of so many bytes and with that SHA-256)
//	…
//	(the encoded items, in the order of the manifest)
//
// The first part is a signed note (C2SP signed-note, Ed25519). Everything is read in one pass and nothing is believed before it was verified: the note's
// signature, then the manifest by its digest, then each item by its own, then what the item itself must pass.

// Limits of bundles.
const (
	bundleTitle = "vouchsafe collateral bundle v1"
	// maxNoteLine bounds the lines of the signed note, in bytes.
	maxNoteLine = 512
	// MaxBundleItems bounds the items of a bundle, and so its manifest.
	MaxBundleItems = 1 << 16
	maxManifest    = MaxBundleItems * (sha256Hex + 12 + maxName)
)

// The errors of bundles.
var (
	ErrBundle    = errors.New("not a whole bundle of collateral")
	ErrSignature = errors.New("not signed by the key that was given")
)

// Export writes items to w, signed by signer and made at now.
func Export(ctx context.Context, w io.Writer, items []*Item, signer note.Signer, now time.Time) error {
	if len(items) > MaxBundleItems {
		return fmt.Errorf("collateral: %d items are too many for a bundle, which has at most %d: export some by their names", len(items), MaxBundleItems)
	}
	items = slices.Clone(items)
	slices.SortFunc(items, func(a, b *Item) int { return cmp.Compare(a.Name.text, b.Name.text) })
	// Encoded twice, once for its digest and once to be written, so that memory does not hold all of them.
	var manifest bytes.Buffer
	for _, i := range items {
		encoded, err := i.Encode()
		if err != nil {
			return err
		}
		fmt.Fprintf(&manifest, "%x %d %s\n", sha256.Sum256(encoded), len(encoded), i.Name)
	}
	sum := sha256.Sum256(manifest.Bytes())
	signed, err := note.Sign(&note.Note{Text: noteText(now, len(items), manifest.Len(), hex.EncodeToString(sum[:]))}, signer)
	if err != nil {
		return fmt.Errorf("collateral: %w", err)
	}
	for _, part := range [][]byte{signed, []byte("\n"), manifest.Bytes()} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	for _, i := range items {
		if err := ctx.Err(); err != nil {
			return err
		}
		encoded, err := i.Encode()
		if err != nil {
			return err
		}
		if _, err := w.Write(encoded); err != nil {
			return err
		}
	}
	return nil
}

// noteText is the signed text.
func noteText(created time.Time, items, size int, sum string) string {
	return fmt.Sprintf("%s\ncreated %s\nitems %d\nmanifest %d %s\n", bundleTitle, created.UTC().Format(time.RFC3339), items, size, sum)
}

// BundleHeader is what a bundle says of itself.
type BundleHeader struct {
	Created time.Time `json:"created"`
	Items   int       `json:"items"`
	Signer  string    `json:"signer"` // the name of the key
}

// ReadBundle verifies a bundle by the operator's public key and gives each item to use, in order, as soon as its own digest was verified. An error of use
// ends it. What was used before an error is genuine all the same. Errors wrap [ErrSignature], or [ErrBundle] when the bundle is cut, has more after its
// end, or is otherwise not what was signed.
func ReadBundle(r io.Reader, key note.Verifier, use func(*Item) error) (*BundleHeader, error) {
	broken := func(format string, args ...any) (*BundleHeader, error) {
		return nil, fmt.Errorf("collateral: %w: "+format, append([]any{ErrBundle}, args...)...)
	}
	in := bufio.NewReaderSize(r, 64<<10)
	h, manifestSize, manifestSum, err := readNote(in, key)
	if err != nil {
		return nil, err
	}
	manifest := make([]byte, 0, min(manifestSize, 1<<20)) // more only as it comes
	if manifest, err = readExactly(in, manifest, manifestSize); err != nil {
		return broken("its manifest: %v", err)
	}
	if sum := sha256.Sum256(manifest); hex.EncodeToString(sum[:]) != manifestSum {
		return broken("its manifest is not the one that was signed")
	}
	lines := strings.Split(strings.TrimSuffix(string(manifest), "\n"), "\n")
	if h.Items == 0 && len(manifest) == 0 {
		lines = nil
	}
	if len(lines) != h.Items {
		return broken("its manifest has %d lines for %d items", len(lines), h.Items)
	}
	for n, line := range lines {
		parts := strings.Split(line, " ")
		if len(parts) != 3 || !isHex(parts[0], sha256Hex) {
			return broken("line %d of its manifest is not SHA256 SIZE NAME", n+1)
		}
		size, err := strconv.Atoi(parts[1])
		if err != nil || size < 1 || size > MaxItem || strconv.Itoa(size) != parts[1] {
			return broken("item %d has a size of %.20q", n+1, parts[1])
		}
		encoded, err := readExactly(in, nil, size)
		if err != nil {
			return broken("it ends in item %d of %d: %v", n+1, h.Items, err)
		}
		if sum := sha256.Sum256(encoded); hex.EncodeToString(sum[:]) != parts[0] {
			return broken("item %d is not the one that was signed", n+1)
		}
		i, err := Decode(encoded)
		if err != nil {
			return broken("item %d: %v", n+1, err)
		}
		if i.Name.text != parts[2] {
			return broken("item %d is %s and the manifest says %.200q", n+1, i.Name, parts[2])
		}
		if err := use(i); err != nil {
			return nil, err
		}
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return broken("there is more after its last item")
	}
	return h, nil
}

// readExactly appends size bytes to dst, growing it only as they come.
func readExactly(in io.Reader, dst []byte, size int) ([]byte, error) {
	buffer := bytes.NewBuffer(dst)
	n, err := io.Copy(buffer, io.LimitReader(in, int64(size)))
	if err == nil && n != int64(size) {
		err = io.ErrUnexpectedEOF
	}
	return buffer.Bytes(), err
}

// readNote reads and verifies the signed part.
func readNote(in *bufio.Reader, key note.Verifier) (h *BundleHeader, size int, sum string, err error) {
	broken := func(format string, args ...any) (*BundleHeader, int, string, error) {
		return nil, 0, "", fmt.Errorf("collateral: %w: "+format, append([]any{ErrBundle}, args...)...)
	}
	var text strings.Builder
	var lines []string
	for range 7 { // four of text, an empty one, one signature, an empty one
		line, err := in.ReadSlice('\n')
		if err != nil || len(line) > maxNoteLine {
			return broken("it does not begin as one does")
		}
		lines = append(lines, strings.TrimSuffix(string(line), "\n"))
		if len(lines) < 7 {
			text.Write(line)
		}
	}
	if lines[0] != bundleTitle || lines[4] != "" || lines[6] != "" {
		return broken("it does not begin as one does")
	}
	opened, err := note.Open([]byte(text.String()), note.VerifierList(key))
	if err != nil {
		return nil, 0, "", fmt.Errorf("collateral: %w (%s): %v", ErrSignature, key.Name(), err)
	}
	if len(opened.Sigs) != 1 {
		return broken("it has %d signatures", len(opened.Sigs))
	}
	// Base64 has unused bits at its end, which what opened it does not look at.
	if _, err := base64.StdEncoding.Strict().DecodeString(opened.Sigs[0].Base64); err != nil {
		return broken("its signature is not spelled as one is")
	}
	var created string
	h = &BundleHeader{Signer: key.Name()}
	if n, err := fmt.Sscanf(strings.Join(lines[1:4], "\n"), "created %s\nitems %d\nmanifest %d %s", &created, &h.Items, &size, &sum); n != 4 || err != nil {
		return broken("its head cannot be read")
	}
	if h.Created, err = time.Parse(time.RFC3339, created); err != nil {
		return broken("its head cannot be read")
	}
	if noteText(h.Created, h.Items, size, sum) != opened.Text { // there is one spelling of each head
		return broken("its head cannot be read")
	}
	if h.Items < 0 || h.Items > MaxBundleItems || size < 0 || size > maxManifest || !isHex(sum, sha256Hex) {
		return broken("it has %d items with a manifest of %d bytes", h.Items, size)
	}
	return h, size, sum, nil
}

// Imported is what became of the items of a bundle.
type Imported struct {
	BundleHeader
	Added     int       `json:"added"`
	Unchanged int       `json:"unchanged"`
	Older     []string  `json:"older"`   // names of which a newer item was at hand, which stayed
	Expired   []string  `json:"expired"` // names whose item is past its end; they were added or not like others
	Refused   []Refused `json:"refused"` // that did not pass their vendor's check
}

// Refused is an item that was not taken.
type Refused struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Import takes in a bundle that key signed. The signature says that an operator wants the items; each must pass its vendor's check besides, and none takes the
// place of a newer one. What was taken before an error stays. done is told how far it is, if it is not nil.
func (m *Manager) Import(ctx context.Context, r io.Reader, key note.Verifier, done func(items int)) (*Imported, error) {
	result := &Imported{Older: []string{}, Expired: []string{}, Refused: []Refused{}}
	n, now := 0, m.config.Now()
	h, err := ReadBundle(r, key, func(i *Item) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		n++
		if done != nil {
			done(n)
		}
		if i.Endorsement.Fetched.After(now.Add(future)) {
			result.Refused = append(result.Refused, Refused{i.Name.text, "it was fetched at a time that is still to come: check the clocks"})
			return nil
		}
		if err := m.verify(i); err != nil {
			result.Refused = append(result.Refused, Refused{i.Name.text, err.Error()})
			return nil
		}
		i.Kept = true
		if !i.Expires.IsZero() && !now.Before(i.Expires) {
			result.Expired = append(result.Expired, i.Name.text)
		}
		what, err := m.put(i, false)
		switch {
		case err != nil:
			return err
		case what == older:
			result.Older = append(result.Older, i.Name.text)
		case what == unchanged:
			result.Unchanged++
		default:
			result.Added++
		}
		return nil
	})
	if err != nil {
		return result, err
	}
	result.BundleHeader = *h
	return result, nil
}
