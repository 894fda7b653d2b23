package intake

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

func TestRead(t *testing.T) {
	for _, test := range []struct {
		name  string
		body  string
		limit int64
		known bool // whether the length is announced
		want  error
	}{
		{"empty", "", 10, true, nil},
		{"small", "hello", 10, true, nil},
		{"exactly the limit", strings.Repeat("x", 10), 10, true, nil},
		{"one more, announced", strings.Repeat("x", 11), 10, true, ErrTooLarge},
		{"one more, not announced", strings.Repeat("x", 11), 10, false, ErrTooLarge},
		{"a chunk", strings.Repeat("x", chunk), MaxBody, false, nil},
		{"a chunk and one", strings.Repeat("x", chunk+1), MaxBody, false, nil},
		{"the most", strings.Repeat("x", MaxBody), 0, true, nil},
		{"over the most", strings.Repeat("x", MaxBody+1), 0, false, ErrTooLarge},
		{"a limit over the most", strings.Repeat("x", MaxBody+1), MaxBody * 2, false, ErrTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := NewReader(0)
			if err != nil {
				t.Fatal(err)
			}
			var source io.Reader = strings.NewReader(test.body)
			if !test.known {
				source = io.MultiReader(source)
			}
			body, release, err := r.Read(httptest.NewRequest(http.MethodPost, "/", source), test.limit)
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if err == nil && !bytes.Equal(body, []byte(test.body)) {
				t.Errorf("read %d bytes, not the %d sent", len(body), len(test.body))
			}
			release()
			release()
			if held := r.Held(); held != 0 {
				t.Errorf("%d bytes are still held", held)
			}
		})
	}
}

func TestReadRefusesBodyThatEndsEarly(t *testing.T) {
	r, _ := NewReader(0)
	req := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader("abc")))
	req.ContentLength = 10
	if _, release, err := r.Read(req, 100); !errors.Is(err, ErrBroken) {
		t.Errorf("error %v, want ErrBroken", err)
	} else {
		release()
	}
}

// broken is a body whose connection breaks after some bytes.
type broken struct{ sent bool }

func (b *broken) Read(p []byte) (int, error) {
	if b.sent {
		return 0, io.ErrUnexpectedEOF
	}
	b.sent = true
	return copy(p, "half"), nil
}

func TestReadRefusesChunkedBodyThatBreaks(t *testing.T) {
	r, _ := NewReader(0)
	_, release, err := r.Read(httptest.NewRequest(http.MethodPost, "/", &broken{}), 100)
	if !errors.Is(err, ErrBroken) {
		t.Errorf("error %v, want ErrBroken", err)
	}
	release()
}

// TestBudget holds many bodies at once: what is over the budget is refused, and the budget comes back.
func TestBudget(t *testing.T) {
	r, err := NewReader(2 * MaxBody)
	if err != nil {
		t.Fatal(err)
	}
	var (
		wait     sync.WaitGroup
		mu       sync.Mutex
		releases []func()
		busy     int
	)
	most := 2 * MaxBody / chunk
	for range most + 100 {
		wait.Go(func() {
			_, release, err := r.Read(httptest.NewRequest(http.MethodPost, "/", strings.NewReader("body")), 0)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				releases = append(releases, release)
				return
			}
			release()
			if !errors.Is(err, ErrBusy) {
				t.Errorf("error %v, want ErrBusy", err)
			}
			busy++
		})
	}
	wait.Wait()
	if len(releases) != most || busy != 100 {
		t.Errorf("%d bodies held and %d refused, want %d and 100", len(releases), busy, most)
	}
	for _, release := range releases {
		release()
	}
	if held := r.Held(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

func TestBudgetSmallerThanOneBody(t *testing.T) {
	if _, err := NewReader(MaxBody); err == nil {
		t.Error("a budget that no large body fits in was accepted")
	}
}
