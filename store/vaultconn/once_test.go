package vaultconn_test

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// TestOnce: a request that makes something is sent once, however the connection ends under it, and what became of it is not known. Reads of other kinds are made again, which shows
// that the connection would have had it so.
func TestOnce(t *testing.T) {
	p := newPeer(t)
	c := p.open(t)
	var asked atomic.Int64
	var headers atomic.Pointer[http.Request]
	p.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/database/creds/app" {
			_, _ = w.Write([]byte(`{"data":{}}`))
			return
		}
		asked.Add(1)
		headers.Store(r)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_ = conn.Close()
	})
	for _, kept := range []bool{true, false} {
		for _, once := range []bool{true, false} {
			if kept { // so that the request goes over a connection that was used before
				if _, err := c.Do(t.Context(), get); err != nil {
					t.Fatal(err)
				}
			}
			asked.Store(0)
			_, err := c.Do(t.Context(), vaultconn.Request{Method: http.MethodGet, Path: "database/creds/app", Once: once})
			var failed *vaultconn.Error
			if !errors.As(err, &failed) || failed.Unknown != once {
				t.Errorf("once %t: %#v", once, err)
			}
			if n := asked.Load(); once && n != 1 || !once && n < 2 {
				t.Errorf("once %t, over a connection that was used %t: asked for %d times", once, kept, n)
			}
			if r := headers.Load(); r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
				t.Errorf("once %t: it has a body of %d bytes, %v", once, r.ContentLength, r.TransferEncoding)
			}
		}
	}
}
