package broker

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/store"
)

// Limits of secrets.
const (
	// MaxSecret is the largest value of a secret in bytes: key material and configuration fit many times over, and one release of the
	// most secrets allowed stays within a server's memory.
	MaxSecret = 1 << 20
	// MaxSecretName is the longest name of a secret in bytes. The key of a lease, which is the longest that a name becomes a part of, then
	// fits a store, and 64 names fit an entry of the audit log.
	MaxSecretName = 800
	// MaxVersions is how many versions of a secret are listed, tombstones included; it keeps the metadata that every release reads small.
	MaxVersions = 100
	// MaxLabels and MaxLabel bound a secret's labels: their number, and each name's and value's length in bytes.
	MaxLabels = 32
	MaxLabel  = 128
	// MaxPage is the most entries a listing returns at once.
	MaxPage = 1000
)

// SecretInfo is a secret's metadata. Its values are not in it and cannot be had by any administrative call.
type SecretInfo struct {
	Name     string            `json:"name"`
	Current  uint64            `json:"current"` // the version that a release without one gets; 0 for none
	Labels   map[string]string `json:"labels,omitempty"`
	Created  time.Time         `json:"created"`
	Versions []SecretVersion   `json:"versions"`
}

// SecretVersion is one version of a secret.
type SecretVersion struct {
	Version     uint64     `json:"version"`
	ContentType string     `json:"content_type,omitempty"`
	Size        int        `json:"size"` // bytes; 0 where the value lies elsewhere
	Created     time.Time  `json:"created"`
	CreatedBy   string     `json:"created_by"`
	Activated   *time.Time `json:"activated,omitempty"` // when it last became current
	Destroyed   *time.Time `json:"destroyed,omitempty"` // its value is gone; this is the tombstone

	Source *source.Document `json:"source,omitempty"` // where the value lies; absent of a stored one
}

// secretRecord is SecretInfo as it is stored. Last is the highest version number ever given, which is not reused.
type secretRecord struct {
	SecretInfo
	Last uint64 `json:"last"`
}

// find returns a version, or with 0 the current one; nil when there is none.
func (s *secretRecord) find(version uint64) *SecretVersion {
	if version == 0 {
		version = s.Current
	}
	for i := range s.Versions {
		if version != 0 && s.Versions[i].Version == version {
			return &s.Versions[i]
		}
	}
	return nil
}

func secretKey(namespace, name string) string { return store.Key(namespace, "secret", name) }

func valueKey(namespace, name string, version uint64) string {
	return store.Key(namespace, "secret-value", name, strconv.FormatUint(version, 10))
}

// PutSecret is a new version of a secret.
type PutSecret struct {
	Name        string
	Value       []byte           // at most MaxSecret bytes; may be empty
	Source      *source.Document // where the value lies, instead of a value
	ContentType string
	Labels      map[string]string // replaces the labels when not nil
	Activate    bool              // makes it current at once; the first version of a secret always is
}

// PutSecret adds a version. Custodians may.
func (b *Broker) PutSecret(ctx context.Context, who access.Caller, namespace string, put PutSecret) (SecretInfo, error) {
	if err := authorizeOn(who, namespace, access.Paths(put.Name), access.Custodian); err != nil {
		return SecretInfo{}, err
	}
	if err := put.check(); err != nil {
		return SecretInfo{}, err
	}
	if put.Source != nil {
		if namespace != store.DefaultNamespace || !who.Scope.All() {
			return SecretInfo{}, &Error{Code: CodeForbidden, Message: "where a secret lies is said only by custodians of the whole namespace " + store.DefaultNamespace +
				": a source reads whatever the broker may, and so what is another team's"}
		}
		var err error
		if put.Source, err = b.checkSource(*put.Source, namespace, put.Name); err != nil {
			return SecretInfo{}, asError(err)
		}
	}
	record, at, err := loadOrZero[secretRecord](ctx, b.store, secretKey(namespace, put.Name))
	if err != nil {
		return SecretInfo{}, asError(err)
	}
	if err := b.room(ctx, namespace, at == 0, len(put.Value)); err != nil {
		return SecretInfo{}, err
	}
	now := b.now()
	if at == 0 {
		record.Name, record.Created = put.Name, now
	}
	dropped, err := record.makeRoom()
	if err != nil {
		return SecretInfo{}, err
	}
	garbage, err := b.nextVersion(ctx, namespace, &record, dropped)
	if err != nil {
		return SecretInfo{}, err
	}
	v := SecretVersion{Version: record.Last, ContentType: put.ContentType, Size: len(put.Value), Created: now, CreatedBy: who.Name, Source: put.Source}
	if put.Activate || record.Current == 0 && record.Last == 1 {
		v.Activated, record.Current = &now, v.Version
	}
	record.Versions = append(record.Versions, v)
	if put.Labels != nil {
		record.Labels = maps.Clone(put.Labels)
	}
	event := Event{Type: EventSecretPut, Object: record.Name, Version: v.Version, Activated: v.Activated != nil}
	var writes []store.Write
	if put.Source != nil {
		event.Source, event.Digest = put.Source.Kind, digest(put.Source.Parameters)
	} else {
		// The value goes first: metadata never points to a value that is not there, even on a store that is not atomic.
		writes = append(writes, store.Write{Key: valueKey(namespace, put.Name, v.Version), Value: notNil(put.Value)})
	}
	metadata, err := write(secretKey(namespace, record.Name), at, record)
	if err != nil {
		return SecretInfo{}, asError(err)
	}
	if err := b.commitAndTidy(ctx, who, namespace, event, append(writes, metadata), garbage); err != nil {
		return SecretInfo{}, err
	}
	return record.SecretInfo, nil
}

// nextVersion counts a secret's versions on. On a store that is not atomic it passes over numbers whose values are there already: another broker may be
// about to add them, or was stopped. It returns the writes that remove those, once the metadata was written that does not lead to them: then nobody's
// will any more, since whoever is about to goes by the metadata of before. A tombstone that was dropped may have left its value too.
func (b *Broker) nextVersion(ctx context.Context, namespace string, record *secretRecord, dropped uint64) (garbage []store.Write, err error) {
	record.Last++
	if b.store.Atomic() {
		return nil, nil
	}
	if dropped != 0 {
		if gone, there, err := b.findValue(ctx, namespace, record.Name, dropped); err != nil {
			return nil, err
		} else if there {
			garbage = append(garbage, gone)
		}
	}
	for range MaxVersions {
		gone, there, err := b.findValue(ctx, namespace, record.Name, record.Last)
		if err != nil || !there {
			return garbage, err
		}
		garbage = append(garbage, gone)
		record.Last++
	}
	return nil, asError(damaged("secret %q has %d values that nothing leads to", record.Name, MaxVersions))
}

// notNil keeps an empty value from being taken for a deletion.
func notNil(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

func (p *PutSecret) check() error {
	if err := checkSecretName(p.Name); err != nil {
		return err
	}
	if p.Source != nil && len(p.Value) > 0 {
		return invalid("a version has either a value or a source")
	}
	if len(p.Value) > MaxSecret {
		return invalid("the value has %d bytes; at most %d are kept", len(p.Value), MaxSecret)
	}
	if len(p.ContentType) > MaxLabel || strings.ContainsFunc(p.ContentType, isControl) {
		return invalid("the content type is over %d bytes or has control characters", MaxLabel)
	}
	if len(p.Labels) > MaxLabels {
		return invalid("%d labels; at most %d are kept", len(p.Labels), MaxLabels)
	}
	for name, value := range p.Labels {
		if name == "" || len(name) > MaxLabel || len(value) > MaxLabel || strings.ContainsFunc(name+value, isControl) {
			return invalid("label %q is empty, over %d bytes or has control characters", clip(name), MaxLabel)
		}
	}
	return nil
}

func checkSecretName(name string) error {
	if len(name) > MaxSecretName {
		return invalid("secret %q: its name has %d bytes, and at most %d are possible", clip(name), len(name), MaxSecretName)
	}
	if err := policy.CheckPath(name); err != nil {
		return invalid("%w", err) // which names it
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// makeRoom drops the oldest tombstone when there are MaxVersions already, and returns its version.
func (s *secretRecord) makeRoom() (dropped uint64, err error) {
	if len(s.Versions) < MaxVersions {
		return 0, nil
	}
	i := slices.IndexFunc(s.Versions, func(v SecretVersion) bool { return v.Destroyed != nil })
	if i < 0 {
		return 0, invalid("secret %q has %d versions, the most that are kept: destroy one that nothing uses", s.Name, MaxVersions)
	}
	dropped = s.Versions[i].Version
	s.Versions = slices.Delete(s.Versions, i, i+1)
	return dropped, nil
}

// GenerateSecret is a new version whose value nobody has seen.
type GenerateSecret struct {
	Name     string
	Length   int    // bytes of randomness for raw, hex and base64; characters for alphanumeric
	Encoding string // "raw", "hex", "base64" (standard, padded) or "alphanumeric"
	Labels   map[string]string
	Activate bool
}

// Bounds of what is generated: under 16 bytes can be guessed, and over 4096 nobody needs.
const (
	MinGenerated = 16
	MaxGenerated = 4096
)

// GenerateSecret adds a version with a random value. Custodians may.
func (b *Broker) GenerateSecret(ctx context.Context, who access.Caller, namespace string, g GenerateSecret) (SecretInfo, error) {
	if err := authorizeOn(who, namespace, access.Paths(g.Name), access.Custodian); err != nil {
		return SecretInfo{}, err
	}
	if g.Length < MinGenerated || g.Length > MaxGenerated {
		return SecretInfo{}, invalid("a length of %d; it must be %d to %d", g.Length, MinGenerated, MaxGenerated)
	}
	value, contentType, err := b.generate(g.Encoding, g.Length)
	if err != nil {
		return SecretInfo{}, err
	}
	defer clear(value)
	return b.PutSecret(ctx, who, namespace, PutSecret{
		Name: g.Name, Value: value, ContentType: contentType, Labels: g.Labels, Activate: g.Activate,
	})
}

func (b *Broker) generate(encoding string, length int) (value []byte, contentType string, err error) {
	random := make([]byte, length)
	if _, err := io.ReadFull(b.rand, random); err != nil {
		return nil, "", asError(fmt.Errorf("no randomness: %w", err))
	}
	switch encoding {
	case "raw":
		return random, "application/octet-stream", nil
	case "hex":
		defer clear(random)
		return hex.AppendEncode(nil, random), "text/plain", nil
	case "base64":
		defer clear(random)
		return base64.StdEncoding.AppendEncode(nil, random), "text/plain", nil
	case "alphanumeric":
		if err := b.alphanumeric(random); err != nil {
			return nil, "", asError(fmt.Errorf("no randomness: %w", err))
		}
		return random, "text/plain", nil
	default:
		return nil, "", invalid("encoding %q is not raw, hex, base64 or alphanumeric", clip(encoding))
	}
}

// alphanumeric replaces random bytes by letters and digits, each as likely as the others: bytes from the largest multiple of their number on are
// drawn again.
func (b *Broker) alphanumeric(random []byte) error {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	const fair = 256 / len(alphabet) * len(alphabet)
	for i := range random {
		for int(random[i]) >= fair {
			if _, err := io.ReadFull(b.rand, random[i:i+1]); err != nil {
				return err
			}
		}
		random[i] = alphabet[int(random[i])%len(alphabet)]
	}
	return nil
}

// Secret returns a secret's metadata. Custodians, authors and auditors may.
func (b *Broker) Secret(ctx context.Context, who access.Caller, namespace, name string) (SecretInfo, error) {
	if err := authorizeOn(who, namespace, access.Paths(name), access.Custodian, access.Author, access.Auditor); err != nil {
		return SecretInfo{}, err
	}
	record, _, err := b.secretRecord(ctx, namespace, name)
	return record.SecretInfo, err
}

func (b *Broker) secretRecord(ctx context.Context, namespace, name string) (secretRecord, uint64, error) {
	if err := checkSecretName(name); err != nil {
		return secretRecord{}, 0, err
	}
	record, at, err := load[secretRecord](ctx, b.store, secretKey(namespace, name))
	if errors.Is(err, store.ErrNotFound) {
		return record, 0, notFound("there is no secret %q", name)
	}
	if err != nil {
		return record, 0, asError(err)
	}
	return record, at, nil
}

// Secrets returns a page of the secrets whose names begin with prefix and sort after the name "after", and whether there are more.
// Custodians, authors and auditors may.
func (b *Broker) Secrets(ctx context.Context, who access.Caller, namespace, prefix, after string, limit int) (page []SecretInfo, more bool, err error) {
	if err := authorizeOn(who, namespace, access.Some(), access.Custodian, access.Author, access.Auditor); err != nil {
		return nil, false, err
	}
	root := secretKey(namespace, "")
	names, more, err := b.pageWithin(ctx, who.Scope, true, prefix, root, after, limit)
	if err != nil {
		return nil, false, err
	}
	for _, name := range names {
		record, _, err := load[secretRecord](ctx, b.store, root+name)
		if errors.Is(err, store.ErrNotFound) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, false, asError(err)
		}
		page = append(page, record.SecretInfo)
	}
	return page, more, nil
}

// ActivateSecret makes a version current. Custodians may.
func (b *Broker) ActivateSecret(ctx context.Context, who access.Caller, namespace, name string, version uint64) (SecretInfo, error) {
	if err := authorizeOn(who, namespace, access.Paths(name), access.Custodian); err != nil {
		return SecretInfo{}, err
	}
	record, at, err := b.secretRecord(ctx, namespace, name)
	if err != nil {
		return SecretInfo{}, err
	}
	v := record.find(version)
	if version == 0 || v == nil || v.Destroyed != nil {
		return SecretInfo{}, notFound("secret %q has no version %d that could be current", name, version)
	}
	now := b.now()
	v.Activated, record.Current = &now, version
	return b.commitSecret(ctx, who, namespace, Event{Type: EventSecretActivate, Version: version, Activated: true}, record, at)
}

// DestroySecret removes a version's value for good and leaves a tombstone. The current version is refused: activate another
// first, or remove the whole secret. Custodians may.
func (b *Broker) DestroySecret(ctx context.Context, who access.Caller, namespace, name string, version uint64) (SecretInfo, error) {
	if err := authorizeOn(who, namespace, access.Paths(name), access.Custodian); err != nil {
		return SecretInfo{}, err
	}
	record, at, err := b.secretRecord(ctx, namespace, name)
	if err != nil {
		return SecretInfo{}, err
	}
	v := record.find(version)
	switch {
	case version == 0 || v == nil:
		return SecretInfo{}, notFound("secret %q has no version %d", name, version)
	case record.Current == version:
		return SecretInfo{}, &Error{Code: CodeConflict, Message: fmt.Sprintf(
			"version %d of secret %q is current: activate another first, or destroy all versions", version, name)}
	}
	gone, destroyed, err := b.destroy(ctx, namespace, name, v, b.now())
	if err != nil {
		return SecretInfo{}, err
	}
	if !destroyed {
		return SecretInfo{}, notFound("version %d of secret %q was destroyed already", version, name)
	}
	return b.commitSecret(ctx, who, namespace, Event{Type: EventSecretDestroy, Version: version}, record, at, gone...)
}

// destroy makes a version a tombstone, and the writes that go with it. It returns false where there is nothing left to destroy. Of a source, the
// tombstone tells the kind.
func (b *Broker) destroy(ctx context.Context, namespace, name string, v *SecretVersion, now time.Time) (writes []store.Write, destroyed bool, err error) {
	if v.Source != nil {
		if v.Destroyed != nil {
			return nil, false, nil
		}
		v.Destroyed, v.Source = &now, &source.Document{Kind: v.Source.Kind}
		return nil, true, nil
	}
	gone, err := b.removeValue(ctx, namespace, name, v)
	if err != nil || gone == nil {
		return nil, false, err
	}
	if v.Destroyed == nil {
		v.Destroyed = &now
	}
	return []store.Write{*gone}, true, nil
}

// removeValue makes the write that deletes a version's value, nil when it was destroyed. On a store that is not atomic a value may outlast its
// tombstone, when whoever destroyed it was stopped in between.
func (b *Broker) removeValue(ctx context.Context, namespace, name string, v *SecretVersion) (*store.Write, error) {
	if v.Destroyed != nil && b.store.Atomic() {
		return nil, nil
	}
	w, there, err := b.findValue(ctx, namespace, name, v.Version)
	switch {
	case err != nil:
		return nil, err
	case there:
		return &w, nil
	case v.Destroyed != nil:
		return nil, nil
	}
	return nil, asError(damaged("the value of version %d of secret %q is missing", v.Version, name))
}

// findValue returns the write that deletes a version's value, and whether there is one. It learns the record's version from a listing: only
// reveal reads a value.
func (b *Broker) findValue(ctx context.Context, namespace, name string, version uint64) (w store.Write, there bool, err error) {
	key := valueKey(namespace, name, version)
	entries, err := b.store.List(ctx, key[:strings.LastIndexByte(key, '/')+1], before(key), 1)
	if err != nil {
		return w, false, asError(err)
	}
	if len(entries) == 0 || entries[0].Key != key {
		return w, false, nil
	}
	return store.Write{Key: key, Version: entries[0].Version}, true, nil
}

// DestroyAll removes the value of every version and leaves tombstones; nothing is current then. Custodians may.
func (b *Broker) DestroyAll(ctx context.Context, who access.Caller, namespace, name string) (SecretInfo, error) {
	if err := authorizeOn(who, namespace, access.Paths(name), access.Custodian); err != nil {
		return SecretInfo{}, err
	}
	record, at, err := b.secretRecord(ctx, namespace, name)
	if err != nil {
		return SecretInfo{}, err
	}
	now := b.now()
	var writes []store.Write
	destroyed := false
	for i := range record.Versions {
		gone, here, err := b.destroy(ctx, namespace, name, &record.Versions[i], now)
		if err != nil {
			return SecretInfo{}, err
		}
		writes, destroyed = append(writes, gone...), destroyed || here
	}
	if !destroyed {
		return SecretInfo{}, notFound("every version of secret %q was destroyed already", name)
	}
	record.Current = 0
	return b.commitSecret(ctx, who, namespace, Event{Type: EventSecretDestroy}, record, at, writes...)
}

// commitSecret writes a secret's metadata, with the entry that says who did what, and then deletes values, which the metadata does not lead to any
// more: on a store that is not atomic a value must not be deleted that another change, which came first, made current.
func (b *Broker) commitSecret(ctx context.Context, who access.Caller, namespace string, event Event, record secretRecord, at uint64, gone ...store.Write) (SecretInfo, error) {
	metadata, err := write(secretKey(namespace, record.Name), at, record)
	if err != nil {
		return SecretInfo{}, asError(err)
	}
	event.Object = record.Name
	if err := b.commit(ctx, who, namespace, event, append([]store.Write{metadata}, gone...)...); err != nil {
		return SecretInfo{}, err
	}
	if event.Type == EventSecretDestroy {
		b.issues.lookAt(underSecret(namespace, record.Name))
	}
	return record.SecretInfo, nil
}
