package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/feed"
)

// idle is how many connections stay open for the requests to come: more than tests make at once.
const idle = 256

// Client is one user's view of a store that [Handler] serves. It is not atomic.
type Client struct {
	name string
	http *http.Client

	life   sync.RWMutex // read by every call under way
	closed bool
	done   context.Context // ends with Close
	end    context.CancelFunc
}

var _ store.Store = (*Client)(nil)

// Dial returns the store of a name that is served on a Unix socket.
func Dial(socket, name string) *Client {
	c := &Client{name: name, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: idle, DisableCompression: true,
	}}}
	c.done, c.end = context.WithCancel(context.Background())
	return c
}

// enter begins a call, which leave ends.
func (c *Client) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.life.RLock()
	if c.closed {
		c.life.RUnlock()
		return store.ErrClosed
	}
	return nil
}

func (c *Client) leave() { c.life.RUnlock() }

// ask begins a request, and returns its answers.
func (c *Client) ask(ctx context.Context, operation string, q request) (io.ReadCloser, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://store/"+url.PathEscape(c.name)+"/"+operation, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(r)
	switch {
	case err != nil:
		return nil, lost(ctx, err)
	case response.StatusCode != http.StatusOK:
		_ = response.Body.Close()
		return nil, fmt.Errorf("%w: the process that has it says %s", store.ErrUnavailable, response.Status)
	}
	return response.Body, nil
}

// lost is the error of a request without an answer.
func lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// call makes a request that has one answer.
func (c *Client) call(ctx context.Context, operation string, q request) (answer, error) {
	if err := c.enter(ctx); err != nil {
		return answer{}, err
	}
	defer c.leave()
	body, err := c.ask(ctx, operation, q)
	if err != nil {
		return answer{}, err
	}
	defer body.Close()
	var a answer
	if err := json.NewDecoder(body).Decode(&a); err != nil {
		return answer{}, lost(ctx, err)
	}
	return a, a.Failure.err()
}

// Get implements store.Store.
func (c *Client) Get(ctx context.Context, key string) (store.Record, error) {
	a, err := c.call(ctx, get, request{Key: key})
	if err != nil {
		return store.Record{}, err
	}
	return *a.Record, nil
}

// List implements store.Store.
func (c *Client) List(ctx context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	a, err := c.call(ctx, list, request{Prefix: prefix, After: after, Limit: limit})
	return a.Entries, err
}

// Apply implements store.Store.
func (c *Client) Apply(ctx context.Context, writes ...store.Write) error {
	_, err := c.call(ctx, apply, request{Writes: writes})
	return err
}

// Atomic implements store.Store.
func (c *Client) Atomic() bool { return false }

// Watch implements store.Store.
func (c *Client) Watch(ctx context.Context, prefix string) (<-chan store.Event, error) {
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	defer c.leave()
	ctx, cancel := context.WithCancel(ctx)
	forget := context.AfterFunc(c.done, cancel)
	body, err := c.ask(ctx, watch, request{Prefix: prefix})
	if err != nil {
		cancel()
		return nil, err
	}
	answers := json.NewDecoder(body)
	var first answer
	if err := answers.Decode(&first); err != nil {
		err = lost(ctx, err)
		cancel()
		_ = body.Close()
		return nil, err
	}
	if first.Failure != nil {
		cancel()
		_ = body.Close()
		return nil, first.Failure.err()
	}
	receiver := feed.NewReceiver()
	go func() {
		defer forget()
		defer cancel()
		defer body.Close()
		defer receiver.Close()
		for {
			var a answer
			if err := answers.Decode(&a); err != nil || a.Event == nil {
				return
			}
			receiver.Send(*a.Event)
		}
	}()
	return receiver.Events(), nil
}

// Close implements store.Store. It waits for the calls under way.
func (c *Client) Close() error {
	c.life.Lock()
	defer c.life.Unlock()
	if !c.closed {
		c.closed = true
		c.end()
		c.http.CloseIdleConnections()
	}
	return nil
}
