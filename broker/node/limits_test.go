//go:build linux

package node_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/broker/kbs/kbstest"
	"github.com/vouchsafe/vouchsafe/broker/server"
	"github.com/vouchsafe/vouchsafe/client/release"
)

// TestOpenChallenges asks for 10,000 challenges by each protocol and answers none: they cost no memory, and the first is good still.
func TestOpenChallenges(t *testing.T) {
	const open = 10_000
	p := start(t, t.TempDir())
	defer p.kill()
	first := newAttacker(t, p, nil, 1)
	oldest, err := first.freshAttestation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(count int) {
		var workers sync.WaitGroup
		var asked atomic.Int64
		for worker := range 4 {
			workers.Go(func() {
				a := newAttacker(t, p, nil, uint64(worker))
				guest := &kbstest.Client{URL: p.URL, HTTP: a.plain, Attester: kbstest.Attester{TEE: "virtual"}}
				for asked.Add(1) <= int64(count) && !t.Failed() {
					if body, err := a.post(t.Context(), release.ChallengePath, release.ChallengeRequest{Kind: attest.Virtual}); err != nil {
						t.Error(err)
					} else if _, err := release.DecodeChallenge(body); err != nil {
						t.Errorf("%v: %s", err, body)
					}
					guest.ForgetSession()
					if _, err := guest.Auth(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		workers.Wait()
	}
	ask(open / 10)
	before := p.anonymous()
	ask(open)
	after := p.anonymous()
	t.Logf("memory %d MiB with %d open challenges, %d MiB with %d", before>>20, open/5, after>>20, open/5+2*open)
	if after > before+8<<20 {
		t.Errorf("memory grew from %d MiB to %d MiB", before>>20, after>>20)
	}
	line := &connection{p: p}
	defer line.close()
	if status, err := line.send(oldest.encode(), harmless); err != nil || status != http.StatusOK {
		t.Errorf("the answer to the first challenge got %d, %v", status, err)
	}
}

// TestSlowClients opens connections that send next to nothing in the handshake, in the header and in the body. Others are served meanwhile,
// and each is cut off when its phase has lasted as long as it may.
func TestSlowClients(t *testing.T) {
	const each = 50
	p := start(t, t.TempDir())
	defer p.kill()
	dialling := make(chan struct{}, 8) // so that handshakes do not take longer than they may, for want of a processor
	host := strings.TrimPrefix(p.URL, "https://")
	kinds := []struct {
		name  string
		limit time.Duration
		dial  func() (net.Conn, error)
		head  string
		drip  string
	}{
		{"handshake", server.HeaderTimeout, func() (net.Conn, error) { return net.Dial("tcp", host) }, "\x16", "\x03"},
		{"header", server.HeaderTimeout, func() (net.Conn, error) { return p.dial() }, "GET /v1/kinds HTTP/1.1\r\nHost: x\r\nX-Slow: ", "a"},
		{"body", server.ReadTimeout, func() (net.Conn, error) { return p.dial() },
			"POST /v1/releases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{", " "},
		{"guest's body", server.ReadTimeout, func() (net.Conn, error) { return p.dial() },
			"POST /kbs/v0/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", "1\r\n \r\n"},
	}
	var slow sync.WaitGroup
	var opened, cut atomic.Int64
	for _, kind := range kinds {
		for range each {
			slow.Go(func() {
				dialling <- struct{}{}
				conn, err := kind.dial()
				<-dialling
				opened.Add(1)
				if err != nil {
					t.Errorf("%s: %v", kind.name, err)
					return
				}
				defer conn.Close()
				began := time.Now()
				closed := make(chan struct{})
				go func() {
					defer close(closed)
					_, _ = io.Copy(io.Discard, conn) // until the server closes, with or without an answer
				}()
				_, err = io.WriteString(conn, kind.head)
				for err == nil {
					select {
					case <-closed:
						err = net.ErrClosed
					case <-time.After(200 * time.Millisecond):
						if time.Since(began) > kind.limit+30*time.Second {
							t.Errorf("%s: not cut off after %v", kind.name, time.Since(began).Round(time.Second))
							return
						}
						_, err = io.WriteString(conn, kind.drip)
					}
				}
				cut.Add(1)
			})
		}
	}
	eventually(t, time.Minute, "all were opened", func() bool { return opened.Load() == int64(each*len(kinds)) })
	served := 0
	for cut.Load() < int64(each*len(kinds)) && !t.Failed() {
		if _, err := p.workload(nil).Fetch(t.Context(), p.Secret); err != nil {
			t.Fatalf("meanwhile: %v", err)
		}
		served++
		time.Sleep(100 * time.Millisecond)
	}
	slow.Wait()
	if served == 0 {
		t.Error("nobody was served meanwhile: the test proves nothing")
	}
	t.Logf("%d slow clients were cut off, and %d secrets released meanwhile", cut.Load(), served)
	servesStill(t, p)
}

// TestHugeRequests sends more than is read: 413 for bodies, 431 for headers, whether their length was announced or not.
func TestHugeRequests(t *testing.T) {
	p := start(t, t.TempDir())
	defer p.kill()
	const json = "Content-Type: application/json\r\n"
	admin := json + "Authorization: Bearer " + p.token + "\r\n"
	announced := func(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }
	const endless = "Transfer-Encoding: chunked\r\n"
	tests := []struct {
		name, line, header string
		status             int
	}{
		{"release, announced", "POST /v1/releases", json + announced(release.MaxRequest+1), 413},
		{"release, not announced", "POST /v1/releases", json + endless, 413},
		{"challenge, announced", "POST /v1/challenges", json + announced(release.MaxChallengeRequest+1), 413},
		{"challenge, not announced", "POST /v1/challenges", json + endless, 413},
		{"secret, announced", "POST /v1/admin/secrets/a/b/c", admin + announced(100<<20), 413},
		{"secret, not announced", "POST /v1/admin/secrets/a/b/c", admin + endless, 413},
		{"policy, a terabyte", "POST /v1/admin/policies", admin + announced(1<<40), 413},
		{"strangers' secret", "POST /v1/admin/secrets/a/b/c", json + announced(100<<20), 401},
		{"guest's request, announced", "POST /kbs/v0/auth", json + announced(1<<20), 413},
		{"guest's request, not announced", "POST /kbs/v0/auth", json + endless, 413},
		{"guest's attestation, announced", "POST /kbs/v0/attest", json + "Cookie: kbs-session-id=" + strings.Repeat("00", 16) + "\r\n" + announced(intake.MaxBody+1), 413},
		{"header", "GET /v1/kinds", "X-Large: " + strings.Repeat("a", server.MaxHeader+8<<10) + "\r\n", 431},
		{"headers", "GET /v1/kinds", strings.Repeat("X-Many: a\r\n", server.MaxHeader/10), 431},
		{"target", "GET /v1/" + strings.Repeat("a", server.MaxHeader+8<<10), "", 431},
	}
	for _, test := range tests {
		conn, err := p.dial()
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		go func() {
			_, err := io.WriteString(conn, test.line+" HTTP/1.1\r\nHost: x\r\n"+test.header+"\r\n")
			chunk := "8000\r\n" + strings.Repeat(" ", 0x8000) + "\r\n"
			for strings.Contains(test.header, endless) && err == nil {
				_, err = io.WriteString(conn, chunk)
			}
		}()
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if response.StatusCode != test.status {
			t.Errorf("%s: %d, not %d", test.name, response.StatusCode, test.status)
		}
		conn.Close()
	}
	servesStill(t, p)
}

// TestManyBodies announces more bytes of bodies at once than all bodies together may hold, and sends all but the last of each. Each is
// answered in the end, with 400 or 503, and the broker never holds much more than the budget.
func TestManyBodies(t *testing.T) {
	const clients = 80
	p := start(t, t.TempDir())
	defer p.kill()
	body := bytes.Repeat([]byte(" "), release.MaxRequest-1)
	var sent, done sync.WaitGroup
	var peak atomic.Int64
	statuses := &tally{counts: map[string]int{}}
	finish := make(chan struct{})
	sent.Add(clients)
	for range clients {
		done.Go(func() {
			conn, err := p.dial()
			if err != nil {
				t.Error(err)
				sent.Done()
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			_, err = fmt.Fprintf(conn, "POST /v1/releases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
				len(body)+1, body)
			sent.Done()
			<-finish
			if err == nil {
				_, err = io.WriteString(conn, " ")
			}
			response, readErr := http.ReadResponse(bufio.NewReader(conn), nil)
			if readErr != nil {
				// Whoever is refused while it sends may find the connection closed before it reads why.
				statuses.add(0)
				return
			}
			statuses.add(response.StatusCode)
			if err := allowed(response); err != nil {
				t.Error(err)
			}
		})
	}
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				peak.Store(max(peak.Load(), p.anonymous()))
			}
		}
	})
	sent.Wait()
	close(finish)
	done.Wait()
	close(stop)
	watch.Wait()
	t.Logf("%d bodies of %d MiB together: %v; at most %d MiB held", clients, clients*len(body)>>20, statuses.counts, peak.Load()>>20)
	for status := range statuses.counts {
		if status != "400" && status != "503" && status != "closed without an answer" {
			t.Errorf("an answer was %s", status)
		}
	}
	if peak.Load() > 3*intake.DefaultBudget {
		t.Errorf("%d MiB were held, with a budget of %d", peak.Load()>>20, intake.DefaultBudget>>20)
	}
	servesStill(t, p)
}

// TestRapidReset asks over HTTP/2 and takes each question back at once, which must neither stop the broker nor fill it.
func TestRapidReset(t *testing.T) {
	p := start(t, t.TempDir())
	defer p.kill()
	before := p.anonymous()
	sent := 0
	for range 5 {
		sent += rapidReset(t, p, 20_000)
	}
	after := p.anonymous()
	t.Logf("%d requests were taken back; memory %d MiB before and %d MiB after", sent, before>>20, after>>20)
	if after > before+32<<20 {
		t.Errorf("memory grew from %d MiB to %d MiB", before>>20, after>>20)
	}
	servesStill(t, p)
}

// rapidReset opens a connection and returns how many requests it could send and take back until the server closed it.
func rapidReset(t *testing.T, p *process, count int) int {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.ca)
	conn, err := tls.Dial("tcp", strings.TrimPrefix(p.URL, "https://"), &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	buffered := bufio.NewWriter(conn)
	framer := http2.NewFramer(buffered, nil)
	err = framer.WriteSettings()
	for n := range count {
		var head bytes.Buffer
		encoder := hpack.NewEncoder(&head)
		for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", "/metrics"}} {
			if err := encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
				t.Fatal(err)
			}
		}
		id := uint32(2*n + 1)
		err = errors.Join(err,
			framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndStream: true, EndHeaders: true}),
			framer.WriteRSTStream(id, http2.ErrCodeCancel))
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the server neither read nor closed")
			}
			return n
		}
	}
	return count
}
