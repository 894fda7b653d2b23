package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
	"github.com/vouchsafe/vouchsafe/store"
)

// Lifetimes of tokens.
const (
	// DefaultLifetime is a quarter: long enough to rotate by calendar, short enough that a forgotten token ends.
	DefaultLifetime = 92 * 24 * time.Hour
	// MaxLifetime is what an unattended installation may ask for.
	MaxLifetime = 10 * 366 * 24 * time.Hour
)

// Limits of records.
const (
	// MaxName is the longest name of a token, in bytes: it is printed in tables and log lines.
	MaxName = 128
	// MaxMakers is how long the chain of tokens that made tokens may get. Its first is the token of init, which makes those of operators.
	MaxMakers = 8
	// MaxSubject is the longest subject in bytes: that of a JWT names who issued it, too.
	MaxSubject = 256
	// maxRecord bounds a record before it is parsed, in bytes: ours have under 1000, with every character of a full record escaped 21,000.
	maxRecord = 32 << 10
)

const tokenRecords = store.SysNamespace + "/token/"

// ErrUnauthenticated is all that a caller whose token is not good learns.
var ErrUnauthenticated = errors.New("no valid token")

// Record is what the store holds of a token, but for the hash of its secret.
type Record struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Subject   string    `json:"subject,omitempty"` // who holds it; absent where that is its name
	Makers    []string  `json:"makers,omitempty"`  // subjects of its creator and of theirs, the nearest first
	Roles     Set       `json:"roles"`
	Namespace string    `json:"namespace"`
	Scope     Scope     `json:"scope,omitempty"` // where in the namespace; everywhere when absent
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"` // id of the creator's token, or who else it was
	Expires   time.Time `json:"expires"`
}

// stored is the record's JSON, strictly: what is not in it is refused.
type stored struct {
	Schema int `json:"schema"` // 1
	Record
	Hash string `json:"sha256"` // hex, of the 32 secret bytes
}

// Request describes a token to make.
type Request struct {
	Name      string // for people, 1 to MaxName bytes of printable text
	Subject   string // who will hold it, at most MaxSubject bytes; default Name
	Roles     Set
	Namespace string        // or AllNamespaces; needed
	Scope     Scope         // as ParseScope returns it
	Lifetime  time.Duration // default DefaultLifetime, at most MaxLifetime
	CreatedBy string
	Makers    []string // subjects of the creator and of the creator's, at most MaxMakers
}

// Config is what Tokens are made of.
type Config struct {
	Store store.Store      // needed
	Rand  io.Reader        // default crypto/rand
	Now   func() time.Time // default time.Now
}

// Tokens are the tokens in a store. They are safe for concurrent use.
type Tokens struct {
	store store.Store
	rand  io.Reader
	now   func() time.Time
}

// NewTokens returns Tokens over c.
func NewTokens(c Config) (*Tokens, error) {
	if c.Store == nil {
		return nil, errors.New("access: tokens need a store")
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Tokens{store: c.Store, rand: c.Rand, now: c.Now}, nil
}

// Prepare makes a token and the write that records it. The token is good once the write was applied; its text exists nowhere else.
func (t *Tokens) Prepare(r Request) (Token, Record, store.Write, error) {
	fail := func(err error) (Token, Record, store.Write, error) {
		return Token{}, Record{}, store.Write{}, fmt.Errorf("access: new token: %w", err)
	}
	if r.Lifetime == 0 {
		r.Lifetime = DefaultLifetime
	}
	if r.Lifetime < time.Second || r.Lifetime > MaxLifetime {
		return fail(fmt.Errorf("a lifetime of %v is not from 1s to %v", r.Lifetime, MaxLifetime))
	}
	if r.Subject == r.Name {
		r.Subject = ""
	}
	if err := errors.Join(checkName(r.Name), Check(r.Roles, r.Namespace, r.Scope), checkName(r.CreatedBy), checkSubjects(r.Subject, r.Makers)); err != nil {
		return fail(err)
	}
	var (
		id     [idSize / 2]byte
		secret [secretBytes]byte
	)
	for _, part := range [][]byte{id[:], secret[:]} {
		if _, err := io.ReadFull(t.rand, part); err != nil {
			return fail(fmt.Errorf("no randomness: %w", err))
		}
	}
	token := newToken(id, secret)
	now := t.now().UTC().Truncate(time.Second)
	record := Record{
		ID: token.id, Name: r.Name, Subject: r.Subject, Makers: r.Makers, Roles: r.Roles, Namespace: r.Namespace, Scope: r.Scope,
		Created: now, CreatedBy: r.CreatedBy, Expires: now.Add(r.Lifetime),
	}
	hash := sha256.Sum256(secret[:])
	value, err := json.Marshal(stored{Schema: 1, Record: record, Hash: hex.EncodeToString(hash[:])})
	if err != nil {
		return fail(err)
	}
	return token, record, store.Write{Key: tokenRecords + token.id, Value: value}, nil
}

// Authenticate returns the caller whose token text is. The error is ErrUnauthenticated when it is nobody's, whatever the reason,
// and wraps the store's error when that could not be found out.
func (t *Tokens) Authenticate(ctx context.Context, text string) (Caller, error) {
	id, hash, ok := parseToken(text)
	if !ok {
		return Caller{}, ErrUnauthenticated
	}
	s, _, err := t.get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return Caller{}, ErrUnauthenticated // so fast that it shows the id is unknown, but ids are no secret
	}
	if err != nil {
		return Caller{}, err
	}
	want, err := hex.DecodeString(s.Hash)
	if err != nil || subtle.ConstantTimeCompare(hash[:], want) != 1 || !t.now().Before(s.Expires) {
		return Caller{}, ErrUnauthenticated
	}
	return s.caller(), nil
}

// PrepareRevoke returns the write that ends the token with that id, whose text is not good for any request after it was applied. The
// error wraps store.ErrNotFound when there is none. The audit log keeps what the record said.
func (t *Tokens) PrepareRevoke(ctx context.Context, id string) (Record, store.Write, error) {
	if !validID(id) {
		return Record{}, store.Write{}, fmt.Errorf("access: a token's id is %d lower-case hex digits: %w", idSize, store.ErrNotFound)
	}
	s, version, err := t.get(ctx, id)
	if errors.Is(err, store.ErrCorrupt) && version != 0 {
		// A record nobody can use is no reason to keep it.
		return Record{ID: id}, store.Write{Key: tokenRecords + id, Version: version}, nil
	}
	if err != nil {
		return Record{}, store.Write{}, err
	}
	return s.Record, store.Write{Key: tokenRecords + id, Version: version}, nil
}

// List returns up to limit tokens, those that expired included, whose ids sort after the id "after", which may be empty. Fewer than
// limit mean that there are no more. Of a token whose record is damaged only the id is there, so that it can be revoked.
func (t *Tokens) List(ctx context.Context, after string, limit int) ([]Record, error) {
	var records []Record
	if after != "" {
		after = tokenRecords + after
	}
	for len(records) < limit {
		want := limit - len(records)
		entries, err := t.store.List(ctx, tokenRecords, after, want)
		if err != nil {
			return nil, fmt.Errorf("access: listing tokens: %w", err)
		}
		for _, e := range entries {
			after = e.Key
			id := strings.TrimPrefix(e.Key, tokenRecords)
			s, _, err := t.get(ctx, id)
			switch {
			case errors.Is(err, store.ErrNotFound): // revoked since
			case errors.Is(err, store.ErrCorrupt):
				records = append(records, Record{ID: id})
			case err != nil:
				return nil, err
			default:
				records = append(records, s.Record)
			}
		}
		if len(entries) < want {
			break
		}
	}
	return records, nil
}

// get reads a record. Its version is there too when it is damaged.
func (t *Tokens) get(ctx context.Context, id string) (s stored, version uint64, err error) {
	r, err := t.store.Get(ctx, tokenRecords+id)
	if err != nil {
		return stored{}, 0, fmt.Errorf("access: token %s: %w", id, err)
	}
	damaged := func(what string) (stored, uint64, error) {
		return stored{}, r.Version, fmt.Errorf("access: token %s: %w: %s", id, store.ErrCorrupt, what)
	}
	if len(r.Value) > maxRecord {
		return damaged("too long")
	}
	if err := strictjson.Unmarshal(r.Value, &s); err != nil {
		return damaged(err.Error())
	}
	if s.Schema != 1 {
		return damaged("schema is not 1: it was written by a later version")
	}
	if s.ID != id || len(s.Hash) != 2*sha256.Size || s.Expires.IsZero() || Check(s.Roles, s.Namespace, s.Scope) != nil ||
		checkSubjects(s.Subject, s.Makers) != nil {
		return damaged("it is not this token's, or a member is missing or wrong")
	}
	return s, r.Version, nil
}

func checkSubjects(subject string, makers []string) error {
	if len(makers) > MaxMakers {
		return fmt.Errorf("a token made by a token made by a token, and so on more than %d times", MaxMakers)
	}
	if subject != "" {
		makers = append([]string{subject}, makers...)
	}
	for _, name := range makers {
		if err := CheckSubject(name); err != nil {
			return err
		}
	}
	return nil
}

// CheckSubject refuses what cannot be the subject of a caller: it is 1 to MaxSubject bytes of printable text.
func CheckSubject(subject string) error {
	if subject == "" || len(subject) > MaxSubject || !printable(subject) {
		return fmt.Errorf("a subject is 1 to %d bytes of printable text, which %.300q is not", MaxSubject, subject)
	}
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("the name of a token and of its creator has 1 to %d bytes, not %d", MaxName, len(name))
	}
	if !printable(name) {
		return fmt.Errorf("the name of a token and of its creator is printable text, which %q is not", name)
	}
	return nil
}

func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}
