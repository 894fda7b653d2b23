package server

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// connections is a listener that has so many connections open at most. When there is no place left, whichever has waited longest for its next
// request is closed for a new one: a stranger who opens as many as there may be and keeps them waiting shuts nobody out.
type connections struct {
	net.Listener
	most int

	mu     sync.Mutex
	change *sync.Cond // a place was given back, or the listener closed
	open   int
	wanted bool // Accept waits for a place
	closed bool
	idle   list.List // of *connection, the one that has waited longest first
}

// connection is one of them.
type connection struct {
	net.Conn
	owner *connections
	once  sync.Once
	place *list.Element // among the idle, nil when it is not; guarded by owner.mu
}

func limitConnections(l net.Listener, most int) *connections {
	c := &connections{Listener: l, most: most}
	c.change = sync.NewCond(&c.mu)
	return c
}

// Accept implements net.Listener.
func (c *connections) Accept() (net.Conn, error) {
	if !c.take() {
		return nil, net.ErrClosed
	}
	conn, err := c.Listener.Accept()
	if err != nil {
		c.giveBack(nil)
		return nil, err
	}
	return &connection{Conn: conn, owner: c}, nil
}

// take waits for a place, making one when it can. It returns false when the listener was closed.
func (c *connections) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.open >= c.most && !c.closed {
		c.wanted = true
		if longest := c.idle.Front(); longest != nil {
			c.drop(longest.Value.(*connection))
		}
		c.change.Wait()
	}
	c.wanted = false
	c.open++
	return !c.closed
}

// drop closes an idle connection. Its place is given back by Close, which takes the lock that the caller holds.
func (c *connections) drop(conn *connection) {
	c.idle.Remove(conn.place)
	conn.place = nil
	go conn.Close()
}

func (c *connections) giveBack(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn != nil && conn.place != nil {
		c.idle.Remove(conn.place)
		conn.place = nil
	}
	c.open--
	c.change.Signal()
}

// Close implements net.Listener.
func (c *connections) Close() error {
	c.mu.Lock()
	c.closed = true
	c.change.Broadcast()
	c.mu.Unlock()
	return c.Listener.Close()
}

// state is for http.Server.ConnState, which says when a connection waits for a request.
func (c *connections) state(of net.Conn, state http.ConnState) {
	if secure, ok := of.(*tls.Conn); ok {
		of = secure.NetConn()
	}
	conn, ok := of.(*connection)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn.place != nil {
		c.idle.Remove(conn.place)
		conn.place = nil
	}
	if state != http.StateIdle {
		return
	}
	conn.place = c.idle.PushBack(conn)
	if c.wanted {
		c.drop(c.idle.Front().Value.(*connection))
	}
}

// Close implements net.Conn.
func (c *connection) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		err = c.Conn.Close()
		c.owner.giveBack(c)
	})
	return err
}
