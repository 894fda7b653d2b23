package collateral

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// Item is one item with what is known about it. It is not changed once it is made.
type Item struct {
	Name        Name
	Endorsement *attest.Endorsement
	Source      string    // the URL it was fetched from, or "" where nobody knows
	Issued      time.Time // when its publisher made it, as it says itself; zero where it does not
	Expires     time.Time // when it ends or its next is due, as it says itself; zero where it does not
	Kept        bool      // an operator wants it: it is never dropped to make room
}

// Sizes of items, in bytes.
const (
	// MaxData is the largest item. A revocation list of a cloud's processors and a manifest have some hundred KiB.
	MaxData = 4 << 20
	// MaxChain is the largest chain beside an item: a signer and its root have 2 KiB.
	MaxChain = 64 << 10
	// maxHeader is the largest header of an encoded item.
	maxHeader = 4 << 10
	// MaxItem is the largest encoded item.
	MaxItem = MaxData + MaxChain + maxHeader + 128
	// maxSource bounds the URL that is remembered.
	maxSource = 1024
)

// magic begins an encoded item.
const magic = "vouchsafe-collateral/v1 "

// header is the second line of an encoded item.
type header struct {
	Name      string    `json:"name"`
	Fetched   time.Time `json:"fetched,omitzero"`
	Source    string    `json:"source,omitempty"`
	Issued    time.Time `json:"issued,omitzero"`
	Expires   time.Time `json:"expires,omitzero"`
	Kept      bool      `json:"kept,omitempty"`
	Size      int       `json:"size"`
	SHA256    string    `json:"sha256"`
	ChainSize int       `json:"chain_size,omitempty"`
}

// ErrDamaged is wrapped by the error of an encoded item that is not whole.
var ErrDamaged = errors.New("damaged")

// Encode returns an item as it is kept in files and shared: a line with the SHA-256 of all that follows it, a line with a header in JSON, the
// item's data, and its chain.
func (i *Item) Encode() ([]byte, error) {
	e := i.Endorsement
	h, err := json.Marshal(header{
		Name: i.Name.text, Fetched: e.Fetched.UTC(), Source: i.Source, Issued: i.Issued.UTC(), Expires: i.Expires.UTC(), Kept: i.Kept,
		Size: len(e.Data), SHA256: hex.EncodeToString(e.Digest[:]), ChainSize: len(e.Chain),
	})
	if err != nil {
		return nil, err
	}
	if len(h) > maxHeader || len(e.Data) > MaxData || len(e.Chain) > MaxChain || i.Name.text == "" {
		return nil, fmt.Errorf("collateral: %s of %d bytes with a chain of %d is too large to be kept", i.Name, len(e.Data), len(e.Chain))
	}
	body := joined(h, []byte("\n"), e.Data, e.Chain)
	sum := sha256.Sum256(body)
	return joined([]byte(magic), hex.AppendEncode(nil, sum[:]), []byte("\n"), body), nil
}

func joined(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// Decode reads what Encode wrote. The item shares encoded's memory. Its content is not checked but for being whole: that is for a [Check]. The
// error wraps [ErrDamaged].
func Decode(encoded []byte) (*Item, error) {
	damaged := func(format string, args ...any) (*Item, error) {
		return nil, fmt.Errorf("collateral: %w: "+format, append([]any{ErrDamaged}, args...)...)
	}
	if len(encoded) > MaxItem {
		return damaged("%d bytes are more than an item has", len(encoded))
	}
	rest, ok := bytes.CutPrefix(encoded, []byte(magic))
	if !ok || len(rest) < sha256Hex+1 || rest[sha256Hex] != '\n' {
		return damaged("it does not begin as an item does")
	}
	body := rest[sha256Hex+1:]
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != string(rest[:sha256Hex]) {
		return damaged("its SHA-256 is not the one that it says")
	}
	line, data, ok := bytes.Cut(body[:min(len(body), maxHeader+1)], []byte("\n"))
	if !ok {
		return damaged("its header does not end")
	}
	data = body[len(line)+1:]
	var h header
	if err := strictjson.Unmarshal(line, &h); err != nil {
		return damaged("its header: %v", err)
	}
	name, err := ParseName(h.Name)
	if err != nil {
		return damaged("%v", err)
	}
	if h.Size < 0 || h.ChainSize < 0 || h.ChainSize > MaxChain || h.Size > MaxData || h.Size+h.ChainSize != len(data) || len(h.Source) > maxSource {
		return damaged("%s has other sizes than its header says", name)
	}
	i := newItem(name, data[:h.Size:h.Size], data[h.Size:], h.Fetched)
	if hex.EncodeToString(i.Endorsement.Digest[:]) != h.SHA256 {
		return damaged("the data of %s has not the SHA-256 that its header says", name)
	}
	i.Source, i.Issued, i.Expires, i.Kept = h.Source, h.Issued, h.Expires, h.Kept
	return i, nil
}

// newItem makes an item of which nothing more is known. An empty chain is none.
func newItem(name Name, data, chain []byte, fetched time.Time) *Item {
	if len(chain) == 0 {
		chain = nil
	}
	return &Item{Name: name, Endorsement: &attest.Endorsement{
		Name: name.text, Data: data, Chain: chain, Digest: sha256.Sum256(data), Fetched: fetched,
	}}
}

// size is what an item counts for in limits, in bytes.
func (i *Item) size() int {
	const overhead = 1024 // its structures, names and header
	return len(i.Endorsement.Data) + len(i.Endorsement.Chain) + overhead
}

// supersedes reports whether i is to take the place of held: it was made later, or the same was fetched later. What says no time of its own goes
// by when it was fetched. Thus nobody can bring back an old list, whatever way it comes.
func (i *Item) supersedes(held *Item) bool {
	if held == nil {
		return true
	}
	if c := i.Issued.Compare(held.Issued); c != 0 {
		return c > 0
	}
	if i.Endorsement.Digest != held.Endorsement.Digest && !i.Issued.IsZero() && !i.Expires.Equal(held.Expires) {
		return i.Expires.After(held.Expires)
	}
	return i.Endorsement.Fetched.After(held.Endorsement.Fetched)
}
