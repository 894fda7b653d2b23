package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/store"
)

// Config is what the front end is made of. Broker and Intake are needed.
type Config struct {
	Broker    *broker.Broker
	Intake    *intake.Reader
	Namespace string       // whose secrets are served; default store.DefaultNamespace
	Logger    *slog.Logger // default slog.Default

	// Authenticate says who a request of an operation that needs a role is from; default: whose bearer token it has. Where this front end is inside
	// something that authenticates, that knows.
	Authenticate func(*http.Request) (access.Caller, error)

	// Backup writes a backup of the store, encrypted to age recipients. Without it there are none to be had over the network.
	Backup func(ctx context.Context, w io.Writer, recipients []string) error
	// NoBackup says to who asks for a backup why there is none, and what to do instead; default: that none is configured.
	NoBackup string
	// RotateData puts a new data key in use. Without it the key cannot be rotated over the network.
	RotateData func(ctx context.Context) error
}

// API serves the native protocol and administration.
type API struct {
	broker     *broker.Broker
	intake     *intake.Reader
	namespace  string
	logger     *slog.Logger
	noBackup   string
	backup     func(context.Context, io.Writer, []string) error
	rotateData func(context.Context) error
	mux        *http.ServeMux
	operations []Operation

	authenticate func(*http.Request) (access.Caller, error)
}

// Operation is an operation that is served, with the types that it reads and answers, for documentation.
type Operation struct {
	wire.Operation
	In, Out reflect.Type
}

// New returns an API, or what is wrong with its configuration.
func New(c Config) (*API, error) {
	if c.Broker == nil || c.Intake == nil {
		return nil, errors.New("api: broker and intake are needed")
	}
	a := &API{
		broker: c.Broker, intake: c.Intake, namespace: c.Namespace, logger: c.Logger,
		backup: c.Backup, noBackup: c.NoBackup, rotateData: c.RotateData, mux: http.NewServeMux(),
	}
	if a.namespace == "" {
		a.namespace = store.DefaultNamespace
	}
	if err := broker.CheckNamespace(a.namespace); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	if a.logger == nil {
		a.logger = slog.Default()
	}
	if a.authenticate = c.Authenticate; a.authenticate == nil {
		a.authenticate = a.bearer
	}
	a.routeNative()
	a.routeSecrets()
	a.routeRules()
	a.routeDesk()
	a.routeRego()
	a.routeOperator()
	a.routeAudit()
	a.routeNamespaces()
	a.mux.HandleFunc("/", a.nothing)
	// The mux redirects from a folder without its slash to what takes the rest of a path, unless the folder is there itself.
	for _, folder := range slices.Compact(slices.Sorted(a.folders())) {
		a.mux.HandleFunc(folder, a.nothing)
	}
	return a, nil
}

// folders yields the paths below which an operation takes the rest.
func (a *API) folders() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, op := range a.operations {
			if i := strings.LastIndex(op.Path, "/{"); i > 0 && strings.HasSuffix(op.Path, "...}") && !yield(op.Path[:i]) {
				return
			}
		}
	}
}

func (a *API) nothing(w http.ResponseWriter, r *http.Request) {
	a.refuse(w, r, &failure{http.StatusNotFound, wire.Error{
		Code: broker.CodeNotFound, Message: fmt.Sprintf("there is no %.16s %.100s here", r.Method, r.URL.Path),
	}, nil})
}

// Operations returns what is served, in the order of registration.
func (a *API) Operations() []Operation { return a.operations }

// Handler returns the handler of everything that the package comment names.
func (a *API) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		// The mux would redirect to the clean path. A client that does not mean what it says is better told so.
		if clean := path.Clean(r.URL.Path); clean != r.URL.Path {
			a.refuse(w, r, &failure{http.StatusNotFound, wire.Error{
				Code: broker.CodeNotFound, Message: "the path has an empty or relative part, or ends with a slash",
			}, nil})
			return
		}
		a.mux.ServeHTTP(w, r)
	})
}

// call is one request on its way.
type call struct {
	w    http.ResponseWriter
	r    *http.Request
	who  access.Caller // of operations that need a role
	body []byte
}

// route binds an operation to a function that writes its answer, or returns an error having written nothing.
func route[In, Out any](a *API, e wire.Endpoint[In, Out], serve func(*call) error) {
	op := Operation{e.Operation, reflect.TypeFor[In](), reflect.TypeFor[Out]()}
	a.operations = append(a.operations, op)
	hasBody := wire.HasBody(op.In)
	a.mux.HandleFunc(op.Method+" "+op.Path, func(w http.ResponseWriter, r *http.Request) {
		if err := a.answer(op, hasBody, w, r, serve); err != nil {
			a.refuse(w, r, err)
		}
	})
}

// bind binds an endpoint to a method of the core.
func bind[In, Out any](a *API, e wire.Endpoint[In, Out], serve func(ctx context.Context, who access.Caller, in In) (Out, error)) {
	route(a, e, func(c *call) error {
		var in In
		if err := wire.Decode(c.r, c.body, &in); err != nil {
			return invalid(err)
		}
		out, err := serve(c.r.Context(), c.who, in)
		if err != nil {
			return err
		}
		if raw, ok := any(out).([]byte); ok {
			write(c.w, http.StatusOK, e.Media, raw)
			return nil
		}
		return writeJSON(c.w, http.StatusOK, out)
	})
}

// answer does what every operation has in common.
func (a *API) answer(op Operation, hasBody bool, w http.ResponseWriter, r *http.Request, serve func(*call) error) error {
	c := &call{w: w, r: r}
	if len(op.Roles) > 0 {
		// Before the body: strangers do not get to spend the budget that bodies share.
		var err error
		if c.who, err = a.authenticate(r); err != nil {
			return err
		}
	}
	if r.Method == http.MethodPost {
		if err := checkContentType(r, hasBody); err != nil {
			return err
		}
		limit := op.Limit
		if limit == 0 {
			limit = wire.DefaultLimit
		}
		body, release, err := a.intake.Read(r, limit)
		defer release()
		if err != nil {
			return err
		}
		c.body = body
	}
	return serve(c)
}

// bearer returns whose token a request has.
func (a *API) bearer(r *http.Request) (access.Caller, error) {
	var token string
	if values := r.Header.Values("Authorization"); len(values) == 1 {
		if scheme, text, ok := strings.Cut(values[0], " "); ok && strings.EqualFold(scheme, "Bearer") {
			token = text
		}
	}
	return a.broker.Authenticate(r.Context(), token, intake.Remote(r))
}
