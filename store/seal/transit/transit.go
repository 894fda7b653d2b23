package transit

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// Kind is what the header of a store calls this seal.
const Kind = "transit"

// DefaultMount is where Vault mounts a transit engine when nobody says otherwise.
const DefaultMount = "transit"

// label begins what is encrypted, so that a ciphertext of the same key made for something else is not taken for one of ours.
const label = "vouchsafe/transit/1"

// maxBind bounds what a key is bound to, in bytes: what its length is written in.
const maxBind = math.MaxUint16

// maxName bounds mount and key together, so that with the "/" they fit in the header of a store.
const maxName = 255

// The reasons for which a key of Vault cannot seal, or does not open; the latter wrap seal.ErrWrongSeal.
var (
	ErrNoKey   = fmt.Errorf("%w: Vault has no such transit key", seal.ErrWrongSeal)
	ErrVersion = fmt.Errorf("%w: Vault does not decrypt with that version of the transit key any more", seal.ErrWrongSeal)
	ErrType    = errors.New("the transit key cannot seal a store")
)

// Config says which key seals. Conn and Key are needed.
type Config struct {
	Conn  *vaultconn.Conn // stays open as long as the seal is used; closing it is the caller's
	Mount string          // of the engine, without "/" at its ends; default DefaultMount
	Key   string          // its name in the engine
}

// Seal is a seal whose key is in Vault. It keeps nothing in memory.
type Seal struct {
	conn       *vaultconn.Conn
	mount, key string
}

var (
	_ seal.Seal  = (*Seal)(nil)
	_ seal.Aging = (*Seal)(nil)
)

// named is what Vault allows in the name of a key, and segment what this package allows in that of a mount.
var (
	named   = regexp.MustCompile(`^\w(?:[\w.-]*\w)?$`)
	segment = regexp.MustCompile(`^[\w.~-]+$`)
)

// New returns a seal. It does not ask Vault anything.
func New(c Config) (*Seal, error) {
	if c.Mount == "" {
		c.Mount = DefaultMount
	}
	for part := range strings.SplitSeq(c.Mount, "/") {
		if !segment.MatchString(part) || part == "." || part == ".." {
			return nil, fmt.Errorf("transit: %.80q is not the path of a mount", c.Mount)
		}
	}
	switch {
	case c.Conn == nil:
		return nil, errors.New("transit: no connection to Vault")
	case !named.MatchString(c.Key):
		return nil, fmt.Errorf("transit: %.80q is not the name of a transit key", c.Key)
	case len(c.Mount)+len(c.Key) > maxName:
		return nil, fmt.Errorf("transit: mount and key have %d bytes, over %d", len(c.Mount)+len(c.Key), maxName)
	}
	return &Seal{conn: c.Conn, mount: c.Mount, key: c.Key}, nil
}

// Kind is "transit".
func (s *Seal) Kind() string { return Kind }

// KeyID is the mount and the name of the key, joined by "/", without a version.
func (s *Seal) KeyID() string { return s.mount + "/" + s.key }

// Wrap has Vault encrypt a key, after a look at Vault's own. Errors wrap ErrNoKey, ErrType, or store.ErrUnavailable.
func (s *Seal) Wrap(ctx context.Context, key, bind []byte) ([]byte, error) {
	if len(key) != seal.KeySize || len(bind) > maxBind {
		return nil, fmt.Errorf("transit: a key of %d bytes bound to %d", len(key), len(bind))
	}
	info, err := s.Inspect(ctx)
	if err != nil {
		return nil, err
	}
	if err := info.Check(); err != nil {
		return nil, s.failed("encrypt", err)
	}
	framed := frame(key, bind)
	defer clear(framed)
	var out struct {
		Ciphertext string `json:"ciphertext"`
	}
	if err := s.ask(ctx, "encrypt", map[string]any{"plaintext": framed, "associated_data": bind}, &out); err != nil {
		return nil, err
	}
	if _, err := version([]byte(out.Ciphertext)); err != nil {
		return nil, fmt.Errorf("%w: Vault answered with something else than a ciphertext", store.ErrUnavailable)
	}
	return []byte(out.Ciphertext), nil
}

// Unwrap has Vault decrypt what Wrap returned. Errors wrap seal.ErrWrongSeal, of which ErrNoKey and ErrVersion are two, or store.ErrUnavailable.
func (s *Seal) Unwrap(ctx context.Context, wrapped, bind []byte) ([]byte, error) {
	made, err := version(wrapped)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", seal.ErrWrongSeal, err)
	}
	var out struct {
		Plaintext []byte `json:"plaintext"`
	}
	err = s.ask(ctx, "decrypt", map[string]any{"ciphertext": string(wrapped), "associated_data": bind}, &out)
	defer clear(out.Plaintext)
	if errors.Is(err, vaultconn.ErrRejected) || errors.Is(err, vaultconn.ErrNotFound) {
		return nil, s.why(ctx, made, err)
	}
	if err != nil {
		return nil, err
	}
	key := unframe(out.Plaintext, bind)
	if key == nil {
		return nil, s.failed("decrypt", fmt.Errorf("%w: what was encrypted is not for this store", seal.ErrWrongSeal))
	}
	return key, nil
}

// why says why Vault refused to decrypt, which it itself tells only in words.
func (s *Seal) why(ctx context.Context, made int, refused error) error {
	info, err := s.Inspect(ctx)
	switch {
	case errors.Is(err, ErrNoKey):
		return err
	case err == nil && made < info.MinDecryptionVersion:
		return s.failed("decrypt", fmt.Errorf("%w: it is version %d, and min_decryption_version is %d", ErrVersion, made, info.MinDecryptionVersion))
	}
	return s.failed("decrypt", fmt.Errorf("%w: %w", seal.ErrWrongSeal, refused))
}

// Outdated reports whether Vault would encrypt with a newer version of the key than wrapped was. It implements seal.Aging.
func (s *Seal) Outdated(ctx context.Context, wrapped []byte) (bool, error) {
	made, err := version(wrapped)
	if err != nil {
		return false, fmt.Errorf("%w: %w", seal.ErrWrongSeal, err)
	}
	info, err := s.Inspect(ctx)
	if err != nil {
		return false, err
	}
	return made < info.LatestVersion, nil
}

func (s *Seal) failed(what string, err error) error {
	return fmt.Errorf("transit: %s with %s: %w", what, s.KeyID(), err)
}

// ask makes a request of the engine. Values of type []byte are sent in base64.
func (s *Seal) ask(ctx context.Context, what string, body map[string]any, out any) error {
	method := http.MethodPost
	if body == nil {
		method = http.MethodGet
	}
	request := vaultconn.Request{Method: method, Path: vaultconn.Mount(s.mount, what, s.key)}
	if body != nil {
		request.Body = body
	}
	answer, err := s.conn.Do(ctx, request)
	if errors.Is(err, vaultconn.ErrForbidden) {
		// A right can be given while the broker waits, as a Vault can be unsealed.
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if err != nil {
		return s.failed(what, err)
	}
	if answer == nil || json.Unmarshal(answer.Data, out) != nil {
		// What came may be a key: it is not shown.
		return s.failed(what, fmt.Errorf("%w: the answer is not one of a transit engine", store.ErrUnavailable))
	}
	return nil
}

// frame puts what is bound before a key.
func frame(key, bind []byte) []byte {
	framed := make([]byte, 0, len(label)+2+len(bind)+len(key))
	framed = append(framed, label...)
	framed = binary.BigEndian.AppendUint16(framed, uint16(len(bind)))
	framed = append(framed, bind...)
	return append(framed, key...)
}

// unframe reverses frame. It returns nil for what is not a key bound to bind.
func unframe(framed, bind []byte) []byte {
	want := frame(nil, bind)
	if len(framed) != len(want)+seal.KeySize || subtle.ConstantTimeCompare(framed[:len(want)], want) != 1 {
		return nil
	}
	return bytes.Clone(framed[len(want):])
}

const ciphertextPrefix = "vault:v"

// version returns the version of the key that made a ciphertext of Vault's. Only what Vault writes is one.
func version(ciphertext []byte) (int, error) {
	bad := errors.New("the wrapped key is not a ciphertext of Vault")
	rest, ok := bytes.CutPrefix(ciphertext, []byte(ciphertextPrefix))
	digits, sealed, found := bytes.Cut(rest, []byte(":"))
	if !ok || !found || len(ciphertext) > seal.MaxWrapped {
		return 0, bad
	}
	n, err := strconv.Atoi(string(digits))
	if err != nil || n < 1 || strconv.Itoa(n) != string(digits) {
		return 0, bad
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(string(sealed))
	if err != nil || len(raw) == 0 || bytes.ContainsAny(sealed, "\r\n") {
		return 0, bad
	}
	return n, nil
}
