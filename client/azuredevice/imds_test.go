package azuredevice

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// answering is a metadata service that gives one answer to everything.
type answering []byte

func (a answering) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(a))}, nil
}

// TestMutationsIMDS: the host's metadata service says what it likes; what is taken from it is one certificate's bytes or a quote's, within bounds.
func TestMutationsIMDS(t *testing.T) {
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: bytes.Repeat([]byte{0x30, 7}, 60)}))
	var seeds [][]byte
	for _, answer := range []map[string]string{
		{"vcekCert": certificate, "tcbm": "DB18000000000004", "certificateChain": certificate},
		{"quote": base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{4, 0xfb}, 100))},
		{"quote": "AAAA==", "vcekCert": certificate + certificate},
	} {
		text, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, text)
	}
	certificates, quotes := 0, 0
	mutate.Run(t, seeds, func(t *testing.T, input []byte) {
		imds, err := NewIMDS(IMDSConfig{HTTP: &http.Client{Transport: answering(input)}})
		if err != nil {
			t.Fatal(err)
		}
		if der, err := imds.VCEK(t.Context()); err == nil {
			if certificates++; len(der) > maxVCEK || len(der) > len(input) {
				t.Errorf("a certificate of %d bytes from %q", len(der), input)
			}
		}
		if quote, err := imds.TDQuote(t.Context(), nil); err == nil {
			if quotes++; len(quote) == 0 || len(quote) > maxTDQuote || len(quote) > len(input) {
				t.Errorf("a quote of %d bytes from %q", len(quote), input)
			}
		}
	})
	if certificates == 0 || quotes == 0 {
		t.Errorf("%d certificates and %d quotes were taken", certificates, quotes)
	}
}
