package kbs

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/broker/session"
	"github.com/vouchsafe/vouchsafe/store"
)

// Prefix is the path that everything here is below.
const Prefix = "/kbs/v0"

// cookieName is what clients send their session id by.
const cookieName = "kbs-session-id"

// DefaultSessions is how many attested sessions are held at once. Each has its claims, 2 to 10 KiB, and an init-data document of up to
// smallInitData bytes. Over the limit the answer is 503, never another session's end.
const DefaultSessions = 20_000

// DefaultLargeSessions is how many may besides have a larger init-data document, up to initdata.MaxDocument: together 256 MiB. Hardware that
// carries a document's digest can be rented, and must not fill the broker's memory by attesting.
const DefaultLargeSessions = 1000

// smallInitData is the size in bytes up to which an init-data document does not make a session a large one: Kata agents' usual policies.
const smallInitData = 16 << 10

// maxAuth and maxAuthorization bound what is read of an auth request and of an Authorization header, in bytes.
const (
	maxAuth          = 16 << 10
	maxAuthorization = 96 << 10
)

// Config is what the front end is made of. Broker and Intake are needed.
type Config struct {
	Broker     *broker.Broker
	Intake     *intake.Reader
	Namespace  string          // whose secrets are served; default store.DefaultNamespace
	DenyStatus int             // the status of a resource that is denied or missing: 403 (and then 404 for missing), the default, or 401 for both
	AllowRSA15 bool            // accept recipient keys that ask for the deprecated RSA1_5
	Sessions   int             // attested sessions held at once; default DefaultSessions
	Large      int             // and besides, those with a large init-data document; default DefaultLargeSessions
	Stored     *session.Stored // where attested sessions are kept as well, for the other brokers that share the store; nil where there are none
	AdminKeys  []AdminKey      // whose holders administer with JWTs of their own, besides the broker's tokens
	Logger     *slog.Logger
	Now        func() time.Time

	// Authenticate says who a request of an administrator is from; default: whose bearer token it has.
	Authenticate func(*http.Request) (access.Caller, error)
}

// KBS serves the protocol.
type KBS struct {
	broker     *broker.Broker
	intake     *intake.Reader
	namespace  string
	denyStatus int
	recipients envelope.Options
	sessions   *session.Sessions[*broker.Attested]
	large      *session.Sessions[*broker.Attested]
	stored     *session.Stored
	adminKeys  []AdminKey
	logger     *slog.Logger
	now        func() time.Time

	authenticate func(*http.Request) (access.Caller, error)
}

// New returns a KBS, or what is wrong with its configuration.
func New(c Config) (*KBS, error) {
	switch {
	case c.Broker == nil || c.Intake == nil:
		return nil, errors.New("kbs: broker and intake are needed")
	case c.DenyStatus != 0 && c.DenyStatus != http.StatusUnauthorized && c.DenyStatus != http.StatusForbidden:
		return nil, fmt.Errorf("kbs: deny_status is %d, not 401 or 403: clients know no other", c.DenyStatus)
	case c.Sessions < 0 || c.Large < 0:
		return nil, errors.New("kbs: the number of sessions is negative")
	}
	if err := checkAdminKeys(c.AdminKeys); err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Namespace == "" {
		c.Namespace = store.DefaultNamespace
	}
	if err := broker.CheckNamespace(c.Namespace); err != nil {
		return nil, fmt.Errorf("kbs: %w", err)
	}
	k := &KBS{
		broker: c.Broker, intake: c.Intake, namespace: c.Namespace, denyStatus: c.DenyStatus, stored: c.Stored,
		recipients: envelope.Options{AllowRSA15: c.AllowRSA15}, adminKeys: c.AdminKeys, logger: c.Logger, now: c.Now,
	}
	if k.authenticate = c.Authenticate; k.authenticate == nil {
		k.authenticate = k.administrator
	}
	if k.denyStatus == 0 {
		k.denyStatus = http.StatusForbidden
	}
	if k.logger == nil {
		k.logger = slog.Default()
	}
	if c.Sessions == 0 {
		c.Sessions = DefaultSessions
	}
	if c.Large == 0 {
		c.Large = DefaultLargeSessions
	}
	var err error
	if k.sessions, err = session.NewSessions[*broker.Attested](c.Sessions, c.Now, nil); err != nil {
		return nil, fmt.Errorf("kbs: %w", err)
	}
	if k.large, err = session.NewSessions[*broker.Attested](c.Large, c.Now, nil); err != nil {
		return nil, fmt.Errorf("kbs: %w", err)
	}
	return k, nil
}

// For returns the front end of another namespace. Both hold their attested sessions in one table, whose limit is that of the process; a session is good for its own
// namespace only.
func (k *KBS) For(namespace string) (*KBS, error) {
	if err := broker.CheckNamespace(namespace); err != nil {
		return nil, fmt.Errorf("kbs: %w", err)
	}
	other := *k
	other.namespace = namespace
	if namespace != k.namespace {
		other.adminKeys = nil // whoever holds one administers the first namespace
	}
	return &other, nil
}

// Handler returns the handler of everything below Prefix.
func (k *KBS) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+Prefix+"/auth", k.handle(k.auth))
	mux.HandleFunc("POST "+Prefix+"/attest", k.handle(k.attest))
	mux.HandleFunc("GET "+Prefix+"/resource/{path...}", k.handle(k.getResource))
	mux.HandleFunc("HEAD "+Prefix+"/resource/{path...}", k.handle(unknown)) // or GET would release a secret to nobody
	mux.HandleFunc("POST "+Prefix+"/resource/{path...}", k.handle(k.setResource))
	mux.HandleFunc("DELETE "+Prefix+"/resource/{path...}", k.handle(k.deleteResource))
	mux.HandleFunc("POST "+Prefix+"/resource-policy", k.handle(k.setResourcePolicy))
	mux.HandleFunc("GET "+Prefix+"/resource-policy", k.handle(k.listResourcePolicies))
	mux.HandleFunc("POST "+Prefix+"/attestation-policy", k.handle(k.setAttestationPolicy))
	mux.HandleFunc("POST "+Prefix+"/reference-value", k.handle(k.setReferences))
	mux.HandleFunc("GET "+Prefix+"/reference-value/{id...}", k.handle(k.getReference))
	mux.HandleFunc(Prefix+"/reference-value", k.handle(unknown))
	mux.HandleFunc(Prefix+"/resource", k.handle(unknown)) // or the mux would send clients on to the path with a slash
	mux.HandleFunc("/", k.handle(unknown))
	refuse := k.handle(func(http.ResponseWriter, *http.Request) error {
		return fail(http.StatusBadRequest, "InvalidRequestPath", "the path has an empty or relative part or an escaped character")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would send a client on to the clean path, in HTML. No path here needs an escape, and one that has it could be a/b/c to
		// this server and something else to whoever filters what reaches it.
		if r.URL.RawPath != "" || path.Clean(r.URL.Path) != r.URL.Path {
			refuse(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func unknown(_ http.ResponseWriter, r *http.Request) error {
	return fail(http.StatusNotFound, "PluginNotFound", "there is no %s %s here", clip(r.Method), clip(r.URL.Path))
}

// handle writes the error of a handler, which has written nothing when it returns one.
func (k *KBS) handle(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if err := h(w, r); err != nil {
			k.writeError(w, r, err)
		}
	}
}

// resource returns the secret that a path names: exactly three parts of the protocol's form.
func resource(r *http.Request) (string, error) {
	name := r.PathValue("path")
	parts := strings.Split(name, "/")
	if len(parts) != 3 {
		return "", fail(http.StatusBadRequest, "InvalidRequestPath", "a resource has three parts, repository/type/tag, not %d", len(parts))
	}
	for _, part := range parts {
		if !validPart(part) {
			return "", fail(http.StatusBadRequest, "InvalidRequestPath",
				"a part of the path is not letters, digits, '_', '-' and '.', or begins with '.': %q", clip(part))
		}
	}
	return name, nil
}

// validPart reports whether a part of a path is [A-Za-z0-9_-][A-Za-z0-9_.-]*, of at most 255 bytes.
func validPart(part string) bool {
	if part == "" || part[0] == '.' || len(part) > store.MaxSegment {
		return false
	}
	return !strings.ContainsFunc(part, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.')
	})
}

func clip(text string) string {
	const most = 100
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
