package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// HeaderKey is the record that holds a store's wrapped keys. It is not visible through a sealed store.
const HeaderKey = store.SysNamespace + "/seal"

const (
	headerFormat = 1

	// maxHeader is the largest header in bytes: maxKeys entries of about 200 bytes and the largest wrapped root key, in
	// base64.
	maxHeader = 64 << 10

	// maxKeys bounds the data keys of a store. Rewrap drops old ones, so there are rarely more than two.
	maxKeys = 64

	// MaxWrapped is the largest wrapped root key in bytes; key services make some hundreds.
	MaxWrapped = 16 << 10

	maxKind, maxKeyName = 32, 256
)

// Labels that keep the uses of one key apart.
const (
	rootLabel    = "vouchsafe/seal/root/1"
	dataKeyLabel = "vouchsafe/seal/key/1"
	wrapInfo     = "vouchsafe/seal/wrap/1"
	macInfo      = "vouchsafe/seal/mac/1"
)

// header is the record sys/seal.
type header struct {
	Format int        `json:"format"`
	Store  string     `json:"store"`
	Seal   sealEntry  `json:"seal"`
	Root   []byte     `json:"root"`
	Keys   []keyEntry `json:"keys"`
	MAC    []byte     `json:"mac,omitempty"`
}

type sealEntry struct {
	Kind string `json:"kind"`
	Key  string `json:"key"`
}

type keyEntry struct {
	ID       dataKeyID `json:"id"`
	Created  time.Time `json:"created"`
	Retired  time.Time `json:"retired,omitzero"`
	Reserved uint64    `json:"reserved"`
	Wrapped  []byte    `json:"wrapped"`
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w", store.ErrCorrupt, HeaderKey, fmt.Errorf(format, args...))
}

// parseHeader decodes what encode made, and nothing else. It does not verify the MAC, which needs the root key.
func parseHeader(data []byte) (*header, error) {
	if len(data) > maxHeader {
		return nil, corrupt("%d bytes are over %d", len(data), maxHeader)
	}
	// The format decides how to read the rest, so it is read first and alone.
	var only struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &only); err != nil {
		return nil, corrupt("%w", err)
	}
	if only.Format > headerFormat {
		return nil, fmt.Errorf("%w: format %d, and this program knows formats up to %d", ErrNewerFormat, only.Format, headerFormat)
	}
	var h header
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&h); err != nil {
		return nil, corrupt("%w", err)
	}
	if err := h.check(); err != nil {
		return nil, err
	}
	// No repeated member, no other spelling, nothing after the end.
	again, err := json.Marshal(&h)
	if err != nil || !bytes.Equal(again, data) {
		return nil, corrupt("it is not in the form that this program writes")
	}
	return &h, nil
}

func (h *header) check() error {
	if h.Format != headerFormat {
		return corrupt("format is %d", h.Format)
	}
	if _, err := h.id(); err != nil {
		return err
	}
	if err := h.Seal.check(); err != nil {
		return corrupt("%w", err)
	}
	if len(h.Root) == 0 || len(h.Root) > MaxWrapped {
		return corrupt("wrapped root key has %d bytes", len(h.Root))
	}
	if len(h.Keys) == 0 || len(h.Keys) > maxKeys {
		return corrupt("it has %d data keys", len(h.Keys))
	}
	for i, k := range h.Keys {
		last := i == len(h.Keys)-1
		switch {
		case k.ID == 0 || i > 0 && k.ID <= h.Keys[i-1].ID:
			return corrupt("data key ids do not ascend at %d", k.ID)
		case k.Retired.IsZero() != last:
			return corrupt("data key %d is out of order", k.ID)
		case len(k.Wrapped) != nonceSize+KeySize+tagSize:
			return corrupt("data key %d is wrapped in %d bytes", k.ID, len(k.Wrapped))
		case k.Reserved > MaxSeals:
			return corrupt("data key %d has %d encryptions", k.ID, k.Reserved)
		}
	}
	if len(h.MAC) != sha256.Size {
		return corrupt("MAC has %d bytes", len(h.MAC))
	}
	return nil
}

func (s sealEntry) check() error {
	if s.Kind == "" || len(s.Kind) > maxKind || len(s.Key) > maxKeyName {
		return errors.New("seal's kind or key id is empty or too long")
	}
	for _, c := range []byte(s.Kind + s.Key) {
		if c <= ' ' || c > '~' {
			return errors.New("seal's kind or key id has a byte that is not printable ASCII")
		}
	}
	return nil
}

func (s sealEntry) String() string {
	if s.Key == "" {
		return s.Kind
	}
	return s.Kind + " " + s.Key
}

func (h *header) id() (id storeID, err error) {
	raw, err := hex.DecodeString(h.Store)
	if err != nil || len(raw) != len(id) {
		return id, corrupt("store id %q is not %d bytes in hexadecimal", h.Store, len(id))
	}
	return storeID(raw), nil
}

// current is the entry of the data key in use.
func (h *header) current() *keyEntry { return &h.Keys[len(h.Keys)-1] }

// precedes reports whether h is what the header was before it became last: whoever can write the inner store could have a data key used again that was
// replaced because it is known to them. Ids of keys and counts of encryptions only grow, and a key that was dropped does not return.
func (h *header) precedes(last *header) bool {
	now, before := h.current(), last.current()
	if now.ID < before.ID {
		return true
	}
	for _, k := range h.Keys {
		i := slices.IndexFunc(last.Keys, func(l keyEntry) bool { return l.ID == k.ID })
		if i < 0 && k.ID < before.ID || i >= 0 && k.Reserved < last.Keys[i].Reserved {
			return true
		}
	}
	return false
}

// clone copies what changes: the list of keys.
func (h *header) clone() *header {
	c := *h
	c.Keys = append([]keyEntry(nil), h.Keys...)
	return &c
}

// encode sets the MAC and returns the record's value.
func (h *header) encode(root *rootKey) ([]byte, error) {
	mac, err := h.mac(root)
	if err != nil {
		return nil, err
	}
	h.MAC = mac
	if err := h.check(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(h)
	if err == nil && len(data) > maxHeader {
		err = corrupt("it would have %d bytes, over %d", len(data), maxHeader)
	}
	return data, err
}

func (h *header) mac(root *rootKey) ([]byte, error) {
	unsigned := *h
	unsigned.MAC = nil
	data, err := json.Marshal(&unsigned)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, root.mac)
	mac.Write(data)
	return mac.Sum(nil), nil
}

// verify checks the MAC.
func (h *header) verify(root *rootKey) error {
	mac, err := h.mac(root)
	if err != nil {
		return err
	}
	if !hmac.Equal(mac, h.MAC) {
		return corrupt("its MAC is wrong")
	}
	return nil
}

// rootKey is the unwrapped root key's two derived keys; the root key itself is not kept.
type rootKey struct {
	wrapped []byte // as in the header it came from
	wrap    []byte
	mac     []byte
}

func newRootKey(raw []byte, id storeID) (*rootKey, error) {
	if len(raw) != KeySize {
		return nil, corrupt("root key has %d bytes", len(raw))
	}
	wrapKey, err := hkdf.Key(sha256.New, raw, id[:], wrapInfo, KeySize)
	if err != nil {
		return nil, err
	}
	macKey, err := hkdf.Key(sha256.New, raw, id[:], macInfo, sha256.Size)
	if err != nil {
		return nil, err
	}
	return &rootKey{wrap: wrapKey, mac: macKey}, nil
}

func (r *rootKey) clear() {
	clear(r.wrap)
	clear(r.mac)
}

func (r *rootKey) wrapKey(random io.Reader, id storeID, key dataKeyID, raw []byte) ([]byte, error) {
	aead, err := newAEAD(r.wrap)
	if err != nil {
		return nil, err
	}
	return wrap(aead, random, nil, raw, dataKeyBind(id, key))
}

func (r *rootKey) unwrapKey(id storeID, entry keyEntry) ([]byte, error) {
	aead, err := newAEAD(r.wrap)
	if err != nil {
		return nil, err
	}
	raw, err := unwrap(aead, entry.Wrapped, dataKeyBind(id, entry.ID))
	if err != nil {
		return nil, corrupt("data key %d does not decrypt", entry.ID)
	}
	return raw, nil
}

func rootBind(id storeID) []byte { return append([]byte(rootLabel), id[:]...) }

func dataKeyBind(id storeID, key dataKeyID) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(dataKeyLabel), id[:]...), uint32(key))
}
