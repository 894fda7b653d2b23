package intel

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"testing"

	tdxtesting "github.com/google/go-tdx-guest/testing"
	tdxdata "github.com/google/go-tdx-guest/testing/testdata"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// TestMutationsChain: what is taken from a header as an issuer's chain is one to four blocks of certificates, and nothing besides.
func TestMutationsChain(t *testing.T) {
	seeds := [][]byte{[]byte("-----BEGIN%20CERTIFICATE-----%0AAAAA%0A-----END%20CERTIFICATE-----%0A")}
	for _, header := range []map[string][]string{tdxtesting.TcbInfoHeader, tdxtesting.QeIdentityHeader, tdxtesting.PckCrlHeader} {
		for _, values := range header {
			seeds = append(seeds, []byte(values[0]))
		}
	}
	mutate.Run(t, seeds, func(t *testing.T, input []byte) {
		text, err := chain(http.Header{"X": {string(input)}}, []string{"absent", "X"})
		if err != nil {
			return
		}
		blocks := 0
		for rest := text; len(bytes.TrimSpace(rest)) > 0; blocks++ {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
				t.Fatalf("%q is no chain", text)
			}
		}
		if blocks < 1 || blocks > 4 || len(text) > len(input) {
			t.Errorf("%d certificates: %q", blocks, text)
		}
	})
}

// TestMutationsList: a list in hex, PEM or DER is read, if it is one, as the same list.
func TestMutationsList(t *testing.T) {
	list := tdxdata.RootCrlBody
	seeds := [][]byte{list, []byte(hex.EncodeToString(list)), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list})}
	for _, seed := range seeds {
		if !bytes.Equal(der(seed), list) {
			t.Errorf("%.80q is not read", seed)
		}
	}
	mutate.Run(t, seeds, func(t *testing.T, input []byte) {
		got := der(input)
		if len(got) > len(input) {
			t.Errorf("%d bytes of %d", len(got), len(input))
		}
		if parsed, err := x509.ParseRevocationList(got); err == nil && parsed.NextUpdate.IsZero() {
			if _, err := checkList(got); err == nil {
				t.Error("a list without a next update passes")
			}
		}
	})
}
