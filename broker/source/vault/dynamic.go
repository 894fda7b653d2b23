package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// KindDynamic is the kind of what an engine issues.
const KindDynamic = "vault-dynamic"

// The methods of a document of kind vault-dynamic.
const (
	methodRead  = "read"
	methodWrite = "write"
)

// MaxWrap is how long a wrapping token may live: it is there to be used at once.
const MaxWrap = 24 * time.Hour

// Dynamic is the source of kind vault-dynamic.
type Dynamic struct {
	conn  *vaultconn.Conn
	paths *Paths
}

var _ source.Issuer = (*Dynamic)(nil)

// NewDynamic returns a source over a connection, which stays the caller's, for secrets that name no other paths than these.
func NewDynamic(conn *vaultconn.Conn, paths *Paths) *Dynamic { return &Dynamic{conn, paths} }

// Sources returns all sources of this package.
func Sources(conn *vaultconn.Conn, paths *Paths) []source.Source {
	return []source.Source{NewKV(conn, paths), NewDynamic(conn, paths)}
}

// Kind implements source.Source.
func (*Dynamic) Kind() string { return KindDynamic }

// dynamicParameters are the parameters of a document of kind vault-dynamic.
type dynamicParameters struct {
	Path      string          `json:"path"`
	Method    string          `json:"method,omitempty"` // read, the default, or write
	Body      json.RawMessage `json:"body,omitempty"`   // an object, of a write
	Wrap      string          `json:"wrap,omitempty"`   // such as 5m: the workload gets a wrapping token that lives so long
	Exclusive bool            `json:"exclusive,omitempty"`
	part

	path *pathTemplate
	body *node
	wrap time.Duration
}

func parseDynamic(parameters json.RawMessage, secret string) (p dynamicParameters, err error) {
	if err := strictjson.Unmarshal(parameters, &p); err != nil {
		return p, fmt.Errorf("%s: %w", KindDynamic, err)
	}
	if p.path, err = parsePath(p.Path, secret); err != nil {
		return p, err
	}
	switch p.Method {
	case "", methodRead:
		if len(p.Body) > 0 {
			return p, errors.New("body: what is read has none; say method write")
		}
	case methodWrite:
		if p.body, err = parseBody(p.Body, secret); err != nil {
			return p, err
		}
	default:
		return p, fmt.Errorf("method %.32q is neither %s nor %s", p.Method, methodRead, methodWrite)
	}
	if p.Wrap != "" {
		if p.wrap, err = time.ParseDuration(p.Wrap); err != nil || p.wrap < time.Second || p.wrap > MaxWrap || p.wrap%time.Second != 0 {
			return p, fmt.Errorf("wrap %.32q is not a duration of whole seconds, from 1s to %s", p.Wrap, MaxWrap)
		}
		if p.part.Encoding != "" { // what is wrapped is JSON, whose texts cannot have every byte
			return p, errors.New("wrap and encoding exclude each other: what is unwrapped is as Vault issued it, to be decoded by the workload")
		}
	}
	return p, p.part.check()
}

// Check implements source.Source.
func (d *Dynamic) Check(parameters json.RawMessage, r source.Request) (json.RawMessage, error) {
	p, err := parseDynamic(parameters, r.Secret)
	if err == nil {
		err = d.paths.check(r.Namespace, p.path.known())
	}
	if err != nil {
		return nil, err
	}
	if p.Method == "" {
		p.Method = methodRead
	}
	return encode(p)
}

// filled is a document with its templates filled in.
type filled struct {
	dynamicParameters
	request vaultconn.Request
}

func (d *Dynamic) fill(parameters json.RawMessage, r source.Request) (f filled, err error) {
	if f.dynamicParameters, err = parseDynamic(parameters, r.Secret); err != nil {
		return f, &source.Failure{Err: source.ErrRejected, Detail: "the document is no longer understood", Cause: err}
	}
	f.request.Method, f.request.Once = http.MethodGet, true // what is asked for twice is issued twice, and one of the two nobody would know of
	segments, err := f.path.render(r)
	if err == nil {
		err = d.allowed(f.path, r.Namespace, segments)
	}
	if err != nil {
		return f, err
	}
	f.request.Path = vaultconn.Path(segments...)
	if f.Method == methodWrite {
		f.request.Method = http.MethodPut
		if f.request.Body, err = f.body.render(r); err != nil {
			return f, err
		}
	}
	return f, nil
}

// allowed refuses a path that secrets of a namespace may not name: that the workload's claims led to, which is the workload's to answer for, or that
// is written out in a document, which is older than the settings or was not put by this broker.
func (d *Dynamic) allowed(t *pathTemplate, namespace string, segments []string) error {
	err := d.paths.check(namespace, segments)
	switch {
	case err == nil:
		return nil
	case d.paths.check(namespace, t.known()) == nil:
		return &source.Refusal{Code: source.RefusedOutside, Placeholder: t.text, Detail: "with it, " + err.Error()}
	}
	return &source.Failure{Err: source.ErrForbidden, Detail: err.Error()}
}

// Place implements source.Issuer.
func (d *Dynamic) Place(parameters json.RawMessage, r source.Request) (source.Place, error) {
	f, err := d.fill(parameters, r)
	return source.Place{Name: f.request.Path, Exclusive: f.Exclusive}, err
}

// Fetch implements source.Source.
func (d *Dynamic) Fetch(ctx context.Context, parameters json.RawMessage, r source.Request) (source.Value, error) {
	f, err := d.fill(parameters, r)
	if err != nil {
		return source.Value{}, err
	}
	answer, err := d.conn.Do(ctx, f.request)
	if err != nil {
		return source.Value{}, failure(err, f.request)
	}
	nothing := &source.Failure{Err: source.ErrValue, Detail: what(f.request) + ": Vault's answer says nothing of what was issued", Unknown: true}
	if answer == nil {
		return source.Value{}, nothing
	}
	defer clear(answer.Data)
	var issued source.Value
	if answer.LeaseID != "" {
		issued.Lease = &source.Lease{Handle: answer.LeaseID, Duration: time.Duration(answer.LeaseDuration) * time.Second}
	}
	if len(answer.Data) == 0 || string(answer.Data) == "null" {
		return issued, nothing
	}
	value, err := f.part.of(answer.Data, what(f.request))
	if err == nil && f.wrap > 0 {
		value, err = d.wrap(ctx, f, value, answer.Data)
	}
	issued.Bytes = value
	return issued, err
}

// wrap puts what was issued into Vault's cubbyhole and returns the token that unwraps it.
func (d *Dynamic) wrap(ctx context.Context, f filled, value []byte, object json.RawMessage) ([]byte, error) {
	defer clear(value)
	body := object
	if f.Field != "" {
		text, err := json.Marshal(map[string]string{f.Field: string(value)})
		if err != nil {
			return nil, unreadable(f.request)
		}
		body = text
		defer clear(text)
	}
	request := vaultconn.Request{Method: http.MethodPut, Path: "sys/wrapping/wrap", Body: body, Wrap: f.wrap}
	answer, err := d.conn.Do(ctx, request)
	if err != nil {
		return nil, failure(err, request)
	}
	if answer == nil || answer.WrapInfo == nil || answer.WrapInfo.Token == "" {
		return nil, unreadable(request)
	}
	return []byte(answer.WrapInfo.Token), nil
}

// Probe implements source.Source. It asks for rights only: a value would be a new credential.
func (d *Dynamic) Probe(ctx context.Context, parameters json.RawMessage, r source.Request) (source.Probe, error) {
	p, err := parseDynamic(parameters, r.Secret)
	if err != nil {
		return source.Probe{}, err
	}
	if err := d.paths.check(r.Namespace, p.path.known()); err != nil {
		return source.Probe{Detail: err.Error()}, nil
	}
	path, exact := p.path.sample()
	paths := []string{vaultconn.Path(strings.Split(path, "/")...), "sys/leases/revoke", "sys/wrapping/wrap"}
	may, err := capabilities(ctx, d.conn, paths...)
	if err != nil {
		return source.Probe{}, err
	}
	at := path
	if !exact {
		at += " (the templates filled in with a sample)"
	}
	var lacks []string
	switch {
	case p.Method != methodWrite && !may[0].has("read"):
		lacks = append(lacks, "read on "+at)
	case p.Method == methodWrite && !may[0].has("update"):
		lacks = append(lacks, "update on "+at)
	}
	if !may[1].has("update") {
		lacks = append(lacks, "update on sys/leases/revoke, without which nothing that was issued is ended early")
	}
	if p.wrap > 0 && !may[2].has("update") {
		lacks = append(lacks, "update on sys/wrapping/wrap")
	}
	if len(lacks) > 0 {
		return source.Probe{Detail: "the broker lacks the right " + strings.Join(lacks, "; and ")}, nil
	}
	return source.Probe{Answers: true, Detail: "the broker may ask at " + at + "; what would be issued is not known before it is"}, nil
}
