package vaultconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// authAnswer is what a login or a renewal gives.
type authAnswer struct {
	ClientToken   string          `json:"client_token"`
	TokenType     string          `json:"token_type"`
	Policies      []string        `json:"policies"`
	LeaseDuration int64           `json:"lease_duration"` // seconds
	Renewable     bool            `json:"renewable"`
	MFA           json.RawMessage `json:"mfa_requirement"`
}

// self is what a token sees of itself.
type self struct {
	TTL       int64    `json:"ttl"` // seconds; 0 for one that does not end
	Renewable bool     `json:"renewable"`
	Policies  []string `json:"policies"`
	Identity  []string `json:"identity_policies"`
	Type      string   `json:"type"`
	Period    int64    `json:"period"`
	MaxTTL    int64    `json:"explicit_max_ttl"`
	Uses      int64    `json:"num_uses"`
}

// login gets a token, by the method of the configuration.
func (c *Conn) login(ctx context.Context) (*token, error) {
	if c.config.Auth.Method == MethodToken {
		return c.given(ctx)
	}
	body, credential, err := c.credentials(ctx)
	if err != nil {
		return nil, err
	}
	asked := c.config.Now()
	a, err := c.internal(ctx, classLogin, Request{
		Method: http.MethodPost, Path: Mount("auth/"+c.config.Auth.Mount, "login"), Body: body,
	}, "", credential)
	switch {
	case errors.Is(err, ErrForbidden), errors.Is(err, ErrRejected), errors.Is(err, ErrNotFound), errors.Is(err, ErrNoMount):
		return nil, fmt.Errorf("%w: %w", ErrLogin, err)
	case err != nil:
		return nil, err
	case a == nil || a.Auth == nil:
		return nil, fmt.Errorf("%w: the answer to the login holds no token", ErrLogin)
	case len(a.Auth.MFA) > 0 && string(a.Auth.MFA) != "null":
		return nil, fmt.Errorf("%w: it asks for a second factor, which a broker does not have", ErrLogin)
	case checkCredential(a.Auth.ClientToken) != nil:
		return nil, fmt.Errorf("%w: the answer to the login holds no token", ErrLogin)
	}
	lease := time.Duration(a.Auth.LeaseDuration) * time.Second
	t := &token{
		value: a.Auth.ClientToken, full: lease, renewable: a.Auth.Renewable, policies: a.Auth.Policies,
		ours: a.Auth.TokenType != "batch", // which cannot be revoked
	}
	_, err = c.lookup(ctx, t.value)
	if t.looks = err == nil; errors.Is(err, ErrForbidden) {
		c.config.Logger.WarnContext(ctx, "the Vault token may not look itself up, so that one that is gone and a right that is missing cannot be told apart: "+
			"give it read on auth/token/lookup-self")
	}
	return t.leased(asked, lease, c.session.spread()), nil
}

// given takes the token that the configuration names.
func (c *Conn) given(ctx context.Context) (*token, error) {
	value := c.config.Auth.Token
	if file := c.config.Auth.TokenFile; file != "" {
		var err error
		if value, err = readCredential(file, secretFile); err != nil {
			return nil, err
		}
	}
	asked := c.config.Now()
	s, err := c.lookup(ctx, value)
	if errors.Is(err, ErrForbidden) {
		return nil, fmt.Errorf("%w: the token is not good, or may not look itself up: %w", ErrLogin, err)
	}
	if err != nil {
		return nil, err
	}
	lease := time.Duration(s.TTL) * time.Second
	t := &token{value: value, full: lease, renewable: s.Renewable, looks: true, policies: append(s.Policies, s.Identity...)}
	if before := c.session.current.Load(); before != nil && before.value == value {
		// The same token again: it has less left, and the first lease is still what a renewal is measured by.
		t.full = max(t.full, before.full)
		if t.renewable = t.renewable && before.renewable; !t.renewable && lease > 0 {
			c.config.Logger.WarnContext(ctx, "the Vault token comes to its end and cannot be renewed: it needs another", "expires", asked.Add(lease))
		}
	}
	return t.leased(asked, lease, c.session.spread()), nil
}

// credentials returns the body of a login, and what of it must not be told.
func (c *Conn) credentials(ctx context.Context) (body map[string]string, credential string, err error) {
	a := &c.config.Auth
	body = map[string]string{}
	switch a.Method {
	case MethodAppRole:
		body["role_id"] = a.RoleID
		if a.SecretIDWrapped {
			credential, err = c.unwrapped.secretID(ctx, c)
		} else {
			credential, err = readCredential(a.SecretIDFile, secretFile)
		}
		body["secret_id"] = credential
	case MethodKubernetes:
		body["role"] = a.Role
		credential, err = readCredential(a.JWTFile, podFile)
		body["jwt"] = credential
	case MethodJWT:
		body["role"] = a.Role
		credential, err = readCredential(a.JWTFile, secretFile)
		body["jwt"] = credential
	case MethodCert:
		if a.Role != "" {
			body["name"] = a.Role
		}
	}
	return body, credential, err
}

// internal makes a request of the Conn's own, past the bound on requests under way: a token must be renewed when there are most.
func (c *Conn) internal(ctx context.Context, class string, r Request, token string, credentials ...string) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	started := time.Now()
	a, err := c.exchange(ctx, r, token, credentials...)
	c.observe(class, err, time.Since(started))
	return a, err
}

// lookup asks what a token is.
func (c *Conn) lookup(ctx context.Context, value string) (*self, error) {
	r := Request{Method: http.MethodGet, Path: "auth/token/lookup-self"}
	a, err := c.internal(ctx, classCheck, r, value)
	if err != nil {
		return nil, err
	}
	s := &self{}
	if a == nil || json.Unmarshal(a.Data, s) != nil {
		return nil, &Error{Method: r.Method, Path: r.Path, Messages: []string{"the answer does not describe a token"}, Err: store.ErrUnavailable}
	}
	return s, nil
}

// gone reports whether Vault says that it does not know a token. One that may not look itself up counts as gone: a login says more.
func (c *Conn) gone(ctx context.Context, t *token) bool {
	_, err := c.lookup(ctx, t.value)
	return errors.Is(err, ErrForbidden)
}

// renew asks for another lease. Its error wraps store.ErrUnavailable where asking again may help.
func (c *Conn) renew(ctx context.Context, t *token) (*token, error) {
	asked := c.config.Now()
	r := Request{Method: http.MethodPost, Path: "auth/token/renew-self"}
	a, err := c.internal(ctx, classRenew, r, t.value)
	switch {
	case err != nil:
		return nil, err
	case a == nil || a.Auth == nil:
		return nil, &Error{Method: r.Method, Path: r.Path, Messages: []string{"the answer holds no lease"}, Err: store.ErrUnavailable}
	}
	lease := time.Duration(a.Auth.LeaseDuration) * time.Second
	next := t.leased(asked, lease, c.session.spread())
	next.renewable = a.Auth.Renewable && !t.capped(lease)
	return next, nil
}
