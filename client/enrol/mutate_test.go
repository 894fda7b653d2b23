package enrol

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// answering gives one answer to everything: the status in the first byte's parity, then the body.
type answering []byte

func (a answering) RoundTrip(*http.Request) (*http.Response, error) {
	status, body := http.StatusOK, []byte(a)
	if len(a) > 0 {
		if a[0]&1 == 1 {
			status = http.StatusForbidden
		}
		body = a[1:]
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(body))}, nil
}

// TestMutationsAnswer: any answer is read, or is an error of the kinds that are promised.
func TestMutationsAnswer(t *testing.T) {
	seeds := [][]byte{
		[]byte(`0{"id":"a","challenge":{"credential_blob":"AAAA","encrypted_secret":"AAAA"}}`),
		[]byte(`0{"ak_name":"000b","ak_public":"AAAA","ek_expires":"2026-01-01T00:00:00Z","revocation_checked":true,"host":"h"}`),
		[]byte(`1{"code":"forbidden","message":"no","decision":"d"}`),
	}
	mutate.Run(t, seeds, func(t *testing.T, input []byte) {
		e := &exchange{base: "https://broker.test", token: "t", timeout: time.Minute, http: &http.Client{Transport: answering(input)}}
		for _, answer := range []any{new(challenge), new(tpm.Enrolment)} {
			var refused *client.Refused
			err := e.post(t.Context(), BeginPath, begin{}, answer)
			if err != nil && !errors.Is(err, client.ErrReply) && !errors.Is(err, client.ErrUnavailable) && !errors.As(err, &refused) {
				t.Errorf("%v: %q", err, input)
			}
			if refused != nil && refused.Code == "" {
				t.Errorf("refused without a code: %q", input)
			}
		}
	})
}
