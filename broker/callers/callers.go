// Package callers says who a request of an administrator is from: whose token it has, or which issuer's JWT, or whose certificate its connection has. Both front
// ends ask here, so that a way of authenticating that one of them knows is known to the other.
//
// A request has one credential. One with a bearer token over a connection with a client certificate has two, which may be of two people: it is refused, rather than
// that one of them is chosen.
//
// A browser shows a certificate of its user's to every site's requests. What a page of another site has it send, which could change something here, is refused by
// what browsers say of a request's origin. Bearer tokens are sent by nobody unasked.
package callers

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/access/certificate"
	"github.com/vouchsafe/vouchsafe/broker/access/oidc"
	"github.com/vouchsafe/vouchsafe/broker/intake"
)

// Config says how callers are known. Broker is needed: its tokens always count.
type Config struct {
	Broker       *broker.Broker
	OIDC         *oidc.Verifier        // nil: no JWT counts
	Certificates *certificate.Verifier // nil: no certificate does
	Now          func() time.Time      // default time.Now
}

// Callers authenticates requests. It is safe for concurrent use.
type Callers struct {
	Config
	origins *http.CrossOriginProtection
}

// New returns Callers.
func New(c Config) (*Callers, error) {
	if c.Broker == nil {
		return nil, errors.New("callers: a broker is needed")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Callers{c, http.NewCrossOriginProtection()}, nil
}

// errTwo is what a request with two credentials is refused for.
var errTwo = errors.New("the request has a bearer token and its connection a client certificate: send one of them")

// Request returns who a request is from. The error is one of package access, or says why that cannot be found out.
func (c *Callers) Request(r *http.Request) (access.Caller, error) {
	values := r.Header.Values("Authorization")
	certified := c.Certificates != nil && r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	switch {
	case len(values) > 0 && certified:
		return access.Caller{}, &broker.Error{Code: broker.CodeUnauthenticated, Message: errTwo.Error(), Err: errTwo}
	case certified:
		if err := c.origins.Check(r); err != nil {
			return access.Caller{}, &broker.Error{Code: broker.CodeUnauthenticated, Message: "a page of another site made this request", Err: err}
		}
		who, err := c.Certificates.Authenticate(r.TLS.PeerCertificates, c.Now())
		return c.from(r, who, err)
	}
	var token string
	if len(values) == 1 {
		if scheme, text, ok := strings.Cut(values[0], " "); ok && strings.EqualFold(scheme, "Bearer") {
			token = text
		}
	}
	return c.Bearer(r.Context(), token, intake.Remote(r))
}

// Bearer returns whose bearer token it is, which came from remote.
func (c *Callers) Bearer(ctx context.Context, token, remote string) (access.Caller, error) {
	if c.OIDC != nil && strings.Count(token, ".") == 2 { // no token of a broker has a dot
		who, err := c.OIDC.Authenticate(ctx, token, c.Now())
		who.Remote = remote
		return who, c.told(err)
	}
	return c.Broker.Authenticate(ctx, token, remote)
}

func (c *Callers) from(r *http.Request, who access.Caller, err error) (access.Caller, error) {
	who.Remote = intake.Remote(r)
	return who, c.told(err)
}

// told gives an error the form of the core's: who is refused learns no more than that.
func (c *Callers) told(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, access.ErrUnauthenticated):
		return &broker.Error{Code: broker.CodeUnauthenticated, Message: "a valid token or certificate is needed", Err: err}
	}
	return &broker.Error{Code: broker.CodeUnavailable, Message: "who this is cannot be found out now", RetryAfter: retry, Err: err}
}

// retry is when keys that were not at hand may be.
const retry = 5 * time.Second
