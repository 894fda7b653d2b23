package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tdxtesting "github.com/google/go-tdx-guest/testing"
	"github.com/google/go-tdx-guest/testing/testdata"
	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/intel"
	"github.com/vouchsafe/vouchsafe/attest/tdx"
)

// fakePCS is Intel's service as go-tdx-guest recorded it in June 2023. It returns the server, and a file with its authority.
func fakePCS(t *testing.T) (server *httptest.Server, ca string) {
	t.Helper()
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := func(body []byte, header map[string][]string) {
			for name, values := range header {
				w.Header()[http.CanonicalHeaderKey(name)] = values
			}
			_, _ = w.Write(body)
		}
		switch uri := r.URL.RequestURI(); {
		case uri == "/tdx/certification/v4/tcb?fmspc=50806f000000":
			answer(testdata.TcbInfoBody, tdxtesting.TcbInfoHeader)
		case uri == "/tdx/certification/v4/qe/identity":
			answer(testdata.QeIdentityBody, tdxtesting.QeIdentityHeader)
		case strings.HasPrefix(uri, "/sgx/certification/v4/pckcrl?ca=platform"):
			answer(testdata.PckCrlBody, tdxtesting.PckCrlHeader)
		case uri == "/sgx/certification/v4/rootcacrl":
			answer(testdata.RootCrlBody, nil)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return server, ca
}

// TestIntelCollateral takes Intel's real collateral from a service over a bundle to a server's folder, by which evidence is then judged as that server would.
func TestIntelCollateral(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, content []byte) string {
		t.Helper()
		if err := os.WriteFile(in(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		return in(name)
	}
	server, ca := fakePCS(t)
	raw, _, _ := bytes.Cut(testdata.RawQuote, []byte("\nextra bytes")) // its publisher added those
	quote := write("quote.dat", raw)
	online := write("online.yaml", fmt.Appendf(nil, "data: .\ncollateral: {dir: staging, fetch: [intel], pcs_url: %q, ca_file: %q}\n", server.URL, ca))
	offline := write("offline.yaml", []byte("data: .\nkinds: [tdx]\ncollateral: {dir: broker}\n"))

	// Evidence says what it needs, and all of it is Intel's; but that it is of 2023, so that none is kept today.
	var got struct{ Items []synced }
	if err := json.Unmarshal([]byte(want(t, 1, "", "collateral", "sync", "--config", online, "--for", quote, "--kind", "tdx", "--timeout", "4s", "--format=json")), &got); err != nil {
		t.Fatal(err)
	}
	asked, expired := map[string]bool{}, 0
	for _, i := range got.Items {
		asked[i.Name] = true
		if strings.Contains(i.Problem, "has expired") { // which is looked at last
			expired++
		}
	}
	if !asked["intel/tcb/tdx/50806f000000"] || !asked["intel/identity/tdqe"] || !asked["intel/crl/platform"] || !asked["intel/crl/root"] || expired == 0 {
		t.Errorf("%+v", got.Items)
	}
	want(t, 2, "version_unsupported", "collateral", "sync", "--config", online, "--for", quote, "--kind", "sgx")

	// As it was fetched then.
	private, public, err := note.GenerateKey(rand.Reader, "operator.test")
	if err != nil {
		t.Fatal(err)
	}
	bundle := write("bundle", recordedBundle(t, server, private))
	want(t, 2, "cannot_judge", "evidence", "verify", "--kind", "tdx", "--config", offline, "--at", "2023-06-20T12:00:00Z", quote)
	want(t, 0, "4 added", "collateral", "import", bundle, "--public-key", public, "--config", offline)
	out := want(t, 0, "", "evidence", "verify", "--kind", "tdx", "--config", offline, "--at", "2023-06-20T12:00:00Z", quote)
	var verdict struct{ Claims attest.Claims }
	if err := json.Unmarshal([]byte(out), &verdict); err != nil {
		t.Fatal(err)
	}
	if c := verdict.Claims; c.Intel == nil || c.Intel.FMSPC != "50806f000000" || !c.Collateral.Current || c.Collateral.Age == nil {
		t.Errorf("%s", out)
	}
	want(t, 1, "intel/tcb/tdx/50806f000000", "collateral", "status", "--config", offline) // it has expired long since
}

// recordedBundle fetches the collateral as in June 2023, and signs a bundle of it.
func recordedBundle(t *testing.T, server *httptest.Server, private string) []byte {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	client, err := collateral.NewClient(collateral.ClientConfig{Roots: roots})
	if err != nil {
		t.Fatal(err)
	}
	p, err := intel.New(intel.Config{
		Verify: func(name string, e *attest.Endorsement, _ time.Time) error { return tdx.CheckCollateral(name, e) },
		Client: client, Base: server.URL, Interval: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	then, start := time.Date(2023, 6, 20, 11, 0, 0, 0, time.UTC), time.Now()
	m, err := collateral.Open(collateral.Config{
		Publishers: []collateral.Publisher{p}, Now: func() time.Time { return then.Add(time.Since(start)) }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"intel/tcb/tdx/50806f000000", "intel/identity/tdqe", "intel/crl/platform", "intel/crl/root"}
	if err := whileRunning(t.Context(), m, func(ctx context.Context) error {
		return m.Fetch(ctx, names, func(o collateral.Outcome) {
			if o.Err != nil {
				t.Error(o.Err)
			}
		})
	}); err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	var bundle bytes.Buffer
	if err := collateral.Export(t.Context(), &bundle, m.Items(), signer, then); err != nil {
		t.Fatal(err)
	}
	return bundle.Bytes()
}
