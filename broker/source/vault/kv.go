package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"syscall"

	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// KindKV is the kind of secrets in a KV engine.
const KindKV = "vault-kv"

// latest is the version of a document that names none.
const latest = "latest"

// KV is the source of kind vault-kv.
type KV struct {
	conn  *vaultconn.Conn
	paths *Paths
}

// NewKV returns a source over a connection, which stays the caller's, for secrets that name no other paths than these.
func NewKV(conn *vaultconn.Conn, paths *Paths) *KV { return &KV{conn, paths} }

// Kind implements source.Source.
func (*KV) Kind() string { return KindKV }

// kvParameters are the parameters of a document of kind vault-kv.
type kvParameters struct {
	Mount   string  `json:"mount"`
	Path    string  `json:"path"`
	Version version `json:"version,omitempty"` // latest when absent
	KV      int     `json:"kv,omitempty"`      // 1 or 2, which is the default
	part

	mount, path []string
}

// version is a number, or latest. YAML and people write it with quotes and without.
type version string

// UnmarshalJSON implements json.Unmarshaler.
func (v *version) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] != '"' {
		*v = version(text)
		return nil
	}
	s, err := strictjson.String(text)
	*v = version(s)
	return err
}

func parseKV(parameters json.RawMessage) (p kvParameters, err error) {
	if err := strictjson.Unmarshal(parameters, &p); err != nil {
		return p, fmt.Errorf("%s: %w", KindKV, err)
	}
	if p.mount, err = fixedPath("mount", p.Mount); err != nil {
		return p, err
	}
	if err := checkMount(p.mount); err != nil {
		return p, err
	}
	if p.path, err = fixedPath("path", p.Path); err != nil {
		return p, err
	}
	if p.Version == latest {
		p.Version = ""
	}
	if n, err := strconv.ParseUint(string(p.Version), 10, 31); p.Version != "" && (err != nil || n == 0 || strconv.FormatUint(n, 10) != string(p.Version)) {
		return p, fmt.Errorf("version %.32q is neither %s nor a number from 1 up", string(p.Version), latest)
	}
	switch {
	case p.KV != 0 && p.KV != 1 && p.KV != 2:
		return p, fmt.Errorf("kv is %d: 1 or 2 is the version of the engine", p.KV)
	case p.KV == 1 && p.Version != "":
		return p, errors.New("version: KV v1 has no versions")
	}
	return p, p.part.check()
}

// Check implements source.Source.
func (k *KV) Check(parameters json.RawMessage, r source.Request) (json.RawMessage, error) {
	p, err := parseKV(parameters)
	if err == nil {
		err = k.paths.check(r.Namespace, p.segments("data"))
	}
	if err != nil {
		return nil, err
	}
	if p.KV == 2 {
		p.KV = 0
	}
	return encode(p)
}

// below returns the path of an operation of KV v2, or of the secret itself in KV v1.
func (p kvParameters) below(operation string) string {
	return vaultconn.Path(p.segments(operation)...)
}

// segments is that path in parts, which are not escaped.
func (p kvParameters) segments(operation string) []string {
	segments := slices.Clone(p.mount)
	if p.KV != 1 {
		segments = append(segments, operation)
	}
	return append(segments, p.path...)
}

func (p kvParameters) query() url.Values {
	if p.Version == "" {
		return nil
	}
	return url.Values{"version": {string(p.Version)}}
}

// Fetch implements source.Source.
func (k *KV) Fetch(ctx context.Context, parameters json.RawMessage, r source.Request) (source.Value, error) {
	p, err := parseKV(parameters)
	if err != nil {
		return source.Value{}, &source.Failure{Err: source.ErrRejected, Detail: "the document is no longer understood", Cause: err}
	}
	// The settings may have changed since the document was put, and who writes to the store may have put it there.
	if err := k.paths.check(r.Namespace, p.segments("data")); err != nil {
		return source.Value{}, &source.Failure{Err: source.ErrForbidden, Detail: err.Error()}
	}
	request := vaultconn.Request{Method: http.MethodGet, Path: p.below("data"), Query: p.query()}
	answer, err := k.conn.Do(ctx, request)
	if err != nil {
		return source.Value{}, failure(err, request)
	}
	if answer == nil {
		return source.Value{}, unreadable(request)
	}
	defer clear(answer.Data)
	if answer.LeaseID != "" {
		return source.Value{}, k.issued(ctx, request, answer.LeaseID)
	}
	object, version := answer.Data, ""
	if p.KV != 1 {
		var data struct {
			Data     json.RawMessage `json:"data"`
			Metadata struct {
				Version uint64 `json:"version"`
			} `json:"metadata"`
		}
		err := json.Unmarshal(answer.Data, &data)
		defer clear(data.Data)
		switch {
		case err != nil || data.Metadata.Version == 0:
			return source.Value{}, unreadable(request)
		case p.Version != "" && string(p.Version) != strconv.FormatUint(data.Metadata.Version, 10):
			return source.Value{}, unreadable(request)
		case len(data.Data) == 0 || string(data.Data) == "null": // deleted
			return source.Value{}, &source.Failure{Err: source.ErrNotFound, Detail: what(request) + ": the version was deleted"}
		}
		object, version = data.Data, strconv.FormatUint(data.Metadata.Version, 10)
	}
	value, err := p.part.of(object, what(request))
	return source.Value{Bytes: value, Version: version}, err
}

// issued ends what an engine issued where a KV secret was asked for, and says that there is none: nothing would end it later.
func (k *KV) issued(ctx context.Context, r vaultconn.Request, lease string) error {
	f := &source.Failure{Err: source.ErrRejected, Detail: what(r) + ": an engine that issues answered, and no KV: the kind of such a secret is " + KindDynamic}
	if err := revoke(ctx, k.conn, lease); err != nil {
		f.Detail, f.Cause = f.Detail+"; what it issued could not be ended, and ends by itself", err
	}
	return f
}

// Probe implements source.Source. It asks for rights and metadata, and not for the value: for subkeys, which Vault answers with null in the place of every
// value, where the broker may.
func (k *KV) Probe(ctx context.Context, parameters json.RawMessage, r source.Request) (source.Probe, error) {
	p, err := parseKV(parameters)
	if err != nil {
		return source.Probe{}, err
	}
	if err := k.paths.check(r.Namespace, p.segments("data")); err != nil {
		return source.Probe{Detail: err.Error()}, nil
	}
	may, err := capabilities(ctx, k.conn, p.below("data"), p.below("subkeys"))
	if err != nil {
		return source.Probe{}, err
	}
	switch {
	case !may[0].has("read"):
		return source.Probe{Detail: "the broker lacks the right read on " + p.below("data")}, nil
	case p.KV == 1:
		return source.Probe{Answers: true, Detail: "the broker may read it; whether it is there, KV v1 says with its value only"}, nil
	case !may[1].has("read"):
		return source.Probe{Answers: true, Detail: "the broker may read it; whether it is there, it could say with the right read on " + p.below("subkeys")}, nil
	}
	request := vaultconn.Request{Method: http.MethodGet, Path: p.below("subkeys"), Query: url.Values{"depth": {"1"}}}
	if p.Version != "" {
		request.Query.Set("version", string(p.Version))
	}
	answer, err := k.conn.Do(ctx, request)
	if errors.Is(err, vaultconn.ErrNotFound) {
		return source.Probe{Detail: "there is nothing at " + p.below("data") + " in this version"}, nil
	}
	if err != nil {
		return source.Probe{}, failure(err, request)
	}
	if answer == nil {
		return source.Probe{}, unreadable(request)
	}
	var data struct {
		Subkeys  map[string]json.RawMessage `json:"subkeys"`
		Metadata struct {
			Version uint64 `json:"version"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(answer.Data, &data); err != nil {
		return source.Probe{}, unreadable(request)
	}
	probe := source.Probe{Version: strconv.FormatUint(data.Metadata.Version, 10)}
	if _, there := data.Subkeys[p.Field]; p.Field != "" && !there {
		probe.Detail = fmt.Sprintf("version %s has no field %q", probe.Version, p.Field)
		return probe, nil
	}
	probe.Answers, probe.Detail = true, "the broker may read it, and it is there"
	return probe, nil
}

// encode is json.Marshal without the escapes that exist for HTML.
func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// what says what was asked, for records.
func what(r vaultconn.Request) string {
	path := r.Path
	if len(r.Query) > 0 {
		path += "?" + r.Query.Encode()
	}
	return r.Method + " " + path
}

func unreadable(r vaultconn.Request) error {
	return &source.Failure{Err: source.ErrValue, Detail: what(r) + ": Vault's answer is not understood"}
}

// failure tells what an error of Vault means for a source.
func failure(err error, r vaultconn.Request) error {
	f := &source.Failure{Err: source.ErrUnavailable, Detail: what(r) + ": Vault does not answer", Cause: err, Unknown: unknown(err)}
	var answered *vaultconn.Error
	if errors.As(err, &answered) && answered.Status != 0 {
		f.Detail = fmt.Sprintf("%s: status %d", what(r), answered.Status)
	}
	switch {
	case errors.Is(err, vaultconn.ErrNoMount):
		f.Err, f.Detail = source.ErrRejected, f.Detail+", there is no engine at this path"
	case errors.Is(err, vaultconn.ErrNotFound):
		f.Err = source.ErrNotFound
	case errors.Is(err, vaultconn.ErrForbidden):
		f.Err, f.Detail = source.ErrForbidden, f.Detail+", the broker lacks a right on this path"
	case errors.Is(err, vaultconn.ErrRejected), errors.Is(err, vaultconn.ErrCAS):
		f.Err = source.ErrRejected
	}
	return f
}

// unknown reports whether a request may have been acted upon though it failed.
func unknown(err error) bool {
	var answered *vaultconn.Error
	if !errors.As(err, &answered) {
		return true
	}
	if answered.Unknown {
		return true
	}
	sent := !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, vaultconn.ErrOverload) && !errors.Is(err, vaultconn.ErrLogin) && !errors.Is(err, store.ErrClosed)
	return answered.Status == 0 && sent
}

// rights are what a token may do at a path.
type rights []string

func (r rights) has(right string) bool {
	return slices.Contains(r, right) || slices.Contains(r, "root")
}

// capabilities asks what the broker may do at each of several paths, which are not escaped.
func capabilities(ctx context.Context, conn *vaultconn.Conn, paths ...string) ([]rights, error) {
	plain := make([]string, len(paths))
	for i, p := range paths {
		unescaped, err := url.PathUnescape(p)
		if err != nil {
			return nil, err
		}
		plain[i] = unescaped
	}
	request := vaultconn.Request{Method: http.MethodPost, Path: "sys/capabilities-self", Body: map[string]any{"paths": plain}}
	answer, err := conn.Do(ctx, request)
	if err != nil {
		return nil, failure(err, request)
	}
	if answer == nil {
		return nil, unreadable(request)
	}
	var data map[string]json.RawMessage
	if err := json.Unmarshal(answer.Data, &data); err != nil {
		return nil, unreadable(request)
	}
	all := make([]rights, len(paths))
	for i, p := range plain {
		if err := json.Unmarshal(data[p], &all[i]); err != nil {
			return nil, unreadable(request)
		}
	}
	return all, nil
}
