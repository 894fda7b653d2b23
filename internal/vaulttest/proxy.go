package vaulttest

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Proxy stands between clients and a server, and does to their connections what a network does.
type Proxy struct {
	Address string // URL of the proxy, with the scheme of the server's

	target   string
	listener *net.TCPListener

	mutex       sync.Mutex
	latency     time.Duration
	cut         bool
	connections map[*net.TCPConn]struct{}
	running     sync.WaitGroup
}

// chunk is the most that is passed on at once, in bytes, and queue how many of these a connection keeps while they are late.
const (
	chunk = 32 << 10
	queue = 256
)

// NewProxy returns a proxy in front of the server at a URL, until t ends. What is passed through is not changed, so that TLS works as without it.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		Address: target.Scheme + "://" + listener.Addr().String(), target: target.Host, listener: listener,
		connections: map[*net.TCPConn]struct{}{},
	}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.Cut()
		p.running.Wait()
	})
	return p
}

// SetLatency has each byte of an answer arrive so much later than it would; requests are not delayed, so that the server has often done what it was
// asked for before its client knows. It holds for what comes after the call.
func (p *Proxy) SetLatency(d time.Duration) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.latency = d
}

// Cut resets all connections, in the middle of what they carry, and each new one until Restore.
func (p *Proxy) Cut() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.cut = true
	for connection := range p.connections {
		reset(connection)
	}
}

// Restore lets new connections through again.
func (p *Proxy) Restore() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.cut = false
}

// Connections returns how many connections of clients are open.
func (p *Proxy) Connections() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return len(p.connections) / 2 // each has one to the server
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.AcceptTCP()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

// serve passes on what one connection carries.
func (p *Proxy) serve(client *net.TCPConn) {
	connection, err := net.Dial("tcp", p.target)
	if err != nil {
		reset(client)
		return
	}
	server := connection.(*net.TCPConn)
	if !p.enter(client, server) {
		reset(client)
		reset(server)
		return
	}
	defer p.leave(client, server)
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.CloseWrite()
	})
	both.Go(func() {
		p.late(client, server)
		_ = client.CloseWrite()
	})
	both.Wait()
}

// late copies answers to the client, each when it is due.
func (p *Proxy) late(client, server *net.TCPConn) {
	type piece struct {
		bytes []byte
		due   time.Time
	}
	pieces := make(chan piece, queue)
	var writer sync.WaitGroup
	writer.Go(func() {
		for piece := range pieces {
			time.Sleep(time.Until(piece.due))
			if _, err := client.Write(piece.bytes); err != nil {
				reset(server) // ends the reading
			}
		}
	})
	for {
		buffer := make([]byte, chunk)
		n, err := server.Read(buffer)
		if n > 0 {
			p.mutex.Lock()
			latency := p.latency
			p.mutex.Unlock()
			pieces <- piece{buffer[:n], time.Now().Add(latency)}
		}
		if err != nil {
			break
		}
	}
	close(pieces)
	writer.Wait()
}

func (p *Proxy) enter(connections ...*net.TCPConn) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.cut {
		return false
	}
	for _, c := range connections {
		p.connections[c] = struct{}{}
	}
	return true
}

func (p *Proxy) leave(connections ...*net.TCPConn) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, c := range connections {
		delete(p.connections, c)
		_ = c.Close()
	}
}

// reset closes a connection so that the other side sees an error and no orderly end.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
