package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/header"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// What the engine says of one secret, for this package alone.
var (
	errAbsent  = errors.New("there is nothing")
	errCAS     = errors.New("another version is there")
	errGutted  = errors.New("its content is gone and its name is not")
	errMissing = errors.New("Vault has no engine at the mount")
)

// guttedMessage is what the engine answers, with status 500, for a secret whose metadata says that there is a version which is not there. That is how Vault
// leaves one when it stops while it deletes metadata, and only then: versions go first. The engine has no code for it.
const guttedMessage = "could not find version data"

// tombstone is what a deleted record holds until its name is gone too.
var tombstone = tombstoneRecord{Deleted: true}

// versionMetadata is what the engine says of one version of a secret.
type versionMetadata struct {
	Version   uint64 `json:"version"`
	Created   string `json:"created_time"` // RFC 3339, by the clock of the node of Vault that was active
	Deletion  string `json:"deletion_time"`
	Destroyed bool   `json:"destroyed"`
}

// status is a version of a secret, without its content.
type status struct {
	version uint64    // 0: there is nothing, not even a tombstone
	created time.Time // by Vault's clock; when it was deleted, if it is
	deleted bool      // what is there is a tombstone, or was deleted by hand
	kept    bool      // deleted by hand, so that it can be undeleted; only of statHistory
}

// live returns the record's version, 0 if there is none.
func (s status) live() uint64 {
	if s.deleted {
		return 0
	}
	return s.version
}

// do makes a request and says in this package's terms how it failed: errAbsent, errCAS, errGutted, or an error wrapping store.ErrUnavailable and what
// the connection said.
func (s *Store) do(ctx context.Context, method, path string, query url.Values, body any) (*vaultconn.Response, error) {
	answer, err := s.conn.Do(ctx, vaultconn.Request{Method: method, Path: path, Query: query, Body: body})
	if err == nil {
		return answer, nil
	}
	var refused *vaultconn.Error
	if errors.As(err, &refused) {
		switch {
		case errors.Is(err, vaultconn.ErrCAS):
			return nil, errCAS
		case errors.Is(err, vaultconn.ErrNotFound) && len(refused.Messages) == 0:
			return nil, errAbsent
		case errors.Is(err, vaultconn.ErrNotFound):
			// The engine has nothing to say about a secret that is not there. The router has, where there is no engine.
			return nil, fmt.Errorf("%w: %w: %w", store.ErrUnavailable, errMissing, err)
		case refused.Status == http.StatusInternalServerError && strings.Contains(strings.Join(refused.Messages, " "), guttedMessage):
			return nil, errGutted
		}
	}
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = fmt.Errorf("%w: %w", ended, err)
	}
	if !errors.Is(err, store.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return nil, err
}

// decode reads the part of an answer that this package asked for.
func decode(answer *vaultconn.Response, what string, into any) error {
	if answer == nil {
		return fmt.Errorf("%w: Vault's answer to the read of %s is empty", store.ErrUnavailable, what)
	}
	if err := json.Unmarshal(answer.Data, into); err != nil {
		return fmt.Errorf("%w: Vault's answer to the read of %s is not as the KV engine's is", store.ErrUnavailable, what)
	}
	return nil
}

// parseTime reads a time of the engine's; one that is not there is zero.
func parseTime(text string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return at
}

// read returns what a secret holds, and its version.
func (s *Store) read(ctx context.Context, path string) (contents, error) {
	answer, err := s.do(ctx, http.MethodGet, s.data+path, nil, nil)
	if err != nil {
		return contents{}, err
	}
	var c contents
	if err := decode(answer, "a record", &c); err != nil {
		return contents{}, err
	}
	if c.Metadata.Version == 0 {
		return contents{}, fmt.Errorf("%w: Vault's answer to the read of a record has no version", store.ErrUnavailable)
	}
	return c, nil
}

// stat returns the version of a secret without its content, in one request. A secret whose current version was deleted by hand is nothing here:
// see statHistory.
func (s *Store) stat(ctx context.Context, path string) (status, error) {
	o, err := s.outline(ctx, path, url.Values{"depth": {"1"}})
	switch {
	case errors.Is(err, errAbsent):
		return status{}, nil
	case errors.Is(err, errGutted):
		return s.statGutted(ctx, path)
	case err != nil:
		return status{}, err
	}
	_, deleted := o.Subkeys["deleted"]
	return status{version: o.Metadata.Version, created: parseTime(o.Metadata.Created), deleted: deleted}, nil
}

func (s *Store) outline(ctx context.Context, path string, query url.Values) (outline, error) {
	answer, err := s.do(ctx, http.MethodGet, s.subkeys+path, query, nil)
	if err != nil {
		return outline{}, err
	}
	var o outline
	if err := decode(answer, "a record's outline", &o); err != nil {
		return outline{}, err
	}
	if o.Metadata.Version == 0 {
		return outline{}, fmt.Errorf("%w: Vault's answer to the read of a record's outline has no version", store.ErrUnavailable)
	}
	return o, nil
}

// statHistory is stat by the engine's metadata, which does not know of tombstones but of what was deleted by hand.
func (s *Store) statHistory(ctx context.Context, path string) (status, error) {
	answer, err := s.do(ctx, http.MethodGet, s.metadata+path, nil, nil)
	if errors.Is(err, errAbsent) {
		return status{}, nil
	}
	if err != nil {
		return status{}, err
	}
	var h history
	if err := decode(answer, "a record's versions", &h); err != nil {
		return status{}, err
	}
	current := h.Versions[strconv.FormatUint(h.Current, 10)]
	at := status{version: h.Current, created: parseTime(current.Created), deleted: current.Destroyed || current.Deletion != ""}
	at.kept = at.deleted && !current.Destroyed
	if deleted := parseTime(current.Deletion); deleted.After(at.created) {
		at.created = deleted
	}
	return at, nil
}

// statGutted is stat for a secret that has lost its content. That it is the version which the metadata names is asked for again, since what is there
// may have become another between two requests.
func (s *Store) statGutted(ctx context.Context, path string) (status, error) {
	at, err := s.statHistory(ctx, path)
	if err != nil || at.version == 0 {
		return status{}, err
	}
	_, err = s.outline(ctx, path, url.Values{"depth": {"1"}, "version": {strconv.FormatUint(at.version, 10)}})
	switch {
	case errors.Is(err, errGutted):
		at.deleted = true
		return at, nil
	case err == nil, errors.Is(err, errAbsent):
		err = fmt.Errorf("%w: the record changed while it was looked at", store.ErrUnavailable)
	}
	return status{}, err
}

// put writes a secret if its version is cas; 0 if there is none.
func (s *Store) put(ctx context.Context, path string, cas uint64, content any) (status, error) {
	answer, err := s.do(ctx, http.MethodPost, s.data+path, nil, map[string]any{"options": map[string]uint64{"cas": cas}, "data": content})
	if err != nil {
		return status{}, err
	}
	var written versionMetadata
	if err := decode(answer, "what was written", &written); err != nil {
		return status{}, err
	}
	if written.Version != cas+1 {
		return status{}, fmt.Errorf("%w: Vault wrote version %d in place of %d", store.ErrUnavailable, written.Version, cas)
	}
	return status{version: written.Version, created: parseTime(written.Created)}, nil
}

// drop removes a secret and its name, whatever its version is.
func (s *Store) drop(ctx context.Context, path string) error {
	_, err := s.do(ctx, http.MethodDelete, s.metadata+path, nil, nil)
	if errors.Is(err, errAbsent) {
		return nil
	}
	return err
}

// list returns the names in a folder, those of folders with a "/" at the end. The path is "" or ends with "/".
func (s *Store) list(ctx context.Context, path string) ([]string, error) {
	return s.listAt(ctx, s.metadata+path)
}

func (s *Store) listAt(ctx context.Context, path string) ([]string, error) {
	answer, err := s.do(ctx, "LIST", path, nil, nil)
	if errors.Is(err, errAbsent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names struct {
		Keys []string `json:"keys"`
	}
	if err := decode(answer, "a folder", &names); err != nil {
		return nil, err
	}
	return names.Keys, nil
}

// readHeader returns the store's header, or an error wrapping errAbsent.
func (s *Store) readHeader(ctx context.Context) (header.Header, error) {
	c, err := s.read(ctx, headerName)
	if err != nil {
		return header.Header{}, err
	}
	return header.Parse(c.Data, Format)
}
