package vaultconn

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// Health is what Vault tells everybody of itself.
type Health struct {
	Initialized bool      `json:"initialized"`
	Sealed      bool      `json:"sealed"`
	Standby     bool      `json:"standby"`
	Version     string    `json:"version"`
	ClusterName string    `json:"cluster_name"`
	Enterprise  bool      `json:"enterprise"`
	Date        time.Time `json:"-"` // by Vault's clock, to a second; zero where it does not say
}

// Health asks how Vault is. Its error wraps store.ErrUnavailable where Vault does not serve, and then there may be a Health too.
func (c *Conn) Health(ctx context.Context) (*Health, error) {
	const all = "200"
	r := Request{Method: http.MethodGet, Path: "sys/health", Query: url.Values{
		// Otherwise the status tells, and answers that are not 200 look like failures.
		"standbyok": {"true"}, "perfstandbyok": {"true"}, "sealedcode": {all}, "uninitcode": {all}, "drsecondarycode": {all},
	}}
	a, err := c.internal(ctx, classCheck, r, "")
	if err != nil {
		return nil, err
	}
	h := &Health{}
	if a == nil || json.Unmarshal(a.Body, h) != nil || h.Version == "" {
		return nil, &Error{Method: r.Method, Path: r.Path, Messages: []string{"the answer does not describe a Vault"}, Err: store.ErrUnavailable}
	}
	h.Date = a.date
	switch {
	case !h.Initialized:
		return h, fmt.Errorf("%w: Vault is not initialised", store.ErrUnavailable)
	case h.Sealed:
		return h, fmt.Errorf("%w: Vault is sealed", store.ErrUnavailable)
	}
	return h, nil
}

// Probe asks how Vault is without logging in. The configuration is checked as Open does, and TLS is verified.
func Probe(ctx context.Context, config Config) (*Health, error) {
	c, err := newConn(config)
	if err != nil {
		return nil, err
	}
	defer c.Close() //nolint:errcheck // nothing was begun
	return c.Health(ctx)
}

// Token is what the token of a Conn sees of itself.
type Token struct {
	TTL       time.Duration // 0 for one that does not end
	Renewable bool
	Period    time.Duration // of a periodic token, which can be renewed for ever; else 0
	MaxTTL    time.Duration // after which no renewal helps; 0 where the token has none of its own
	Uses      int64         // left; 0 for any number
	Policies  []string
	Type      string // "service" or "batch"
}

// Token asks what the token is.
func (c *Conn) Token(ctx context.Context) (*Token, error) {
	t, err := c.session.get(ctx)
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	s, err := c.lookup(ctx, t.value)
	if err != nil {
		return nil, err
	}
	return &Token{
		TTL: time.Duration(s.TTL) * time.Second, Renewable: s.Renewable, Period: time.Duration(s.Period) * time.Second,
		MaxTTL: time.Duration(s.MaxTTL) * time.Second, Uses: s.Uses, Policies: append(s.Policies, s.Identity...), Type: s.Type,
	}, nil
}
