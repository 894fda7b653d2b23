package vaultconn

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"
)

// Conn is a connection to Vault, safe for concurrent use.
type Conn struct {
	config    Config
	transport *transport
	client    *api.Client
	gate      *gate
	session   *session
	ready     readiness
	unwrapped unwrapped

	ctx    context.Context // ends with Close
	end    context.CancelFunc
	closed atomic.Bool

	up       atomic.Bool
	clock    clock
	observer atomic.Pointer[Observer]
}

// revokeTimeout bounds what Close waits for Vault.
const revokeTimeout = 2 * time.Second

// Open checks the configuration, logs in and keeps the token alive until Close. Its error wraps store.ErrUnavailable where Vault could not be asked
// and ErrLogin where it did not take the credentials. The context bounds Open alone.
func Open(ctx context.Context, config Config) (*Conn, error) {
	c, err := newConn(config)
	if err != nil {
		return nil, err
	}
	if err := c.session.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// newConn returns a Conn that has not logged in.
func newConn(config Config) (*Conn, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	t, err := newTransport(&config)
	if err != nil {
		return nil, err
	}
	client, err := newClient(&config, t)
	if err != nil {
		return nil, err
	}
	c := &Conn{config: config, transport: t, client: client, gate: newGate(config.MaxInFlight), ready: readiness{turn: make(chan struct{}, 1)}}
	c.ctx, c.end = context.WithCancel(context.Background())
	c.session = newSession(c)
	return c, nil
}

// Close ends the connection: requests under way are cut off, and a token that was got by logging in is revoked, with the leases of what was issued to
// it, unless Config.KeepToken. That Vault cannot be told is no error: the token ends by itself.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.end()
	if t := c.session.stop(); t != nil && t.ours && !c.config.KeepToken {
		ctx, cancel := context.WithTimeout(context.Background(), revokeTimeout)
		defer cancel()
		if _, err := c.exchange(ctx, Request{Method: http.MethodPost, Path: "auth/token/revoke-self"}, t.value); err != nil {
			c.config.Logger.Warn("the token could not be revoked; it ends by itself", "cause", err, "expires", t.expires)
		}
	}
	c.transport.close()
	return nil
}
