package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-sev-guest/verify/testdata"

	"github.com/vouchsafe/vouchsafe/attest/snp"
)

// realChip is the name of the real certificate that go-sev-guest publishes, with its report.
func realChip(t *testing.T) string {
	t.Helper()
	ev, err := snp.Parse(testdata.AttestationBytes)
	if err != nil {
		t.Fatal(err)
	}
	names, err := snp.EndorsementNames(&ev.Report)
	if err != nil || len(names) != 2 || !strings.HasPrefix(names[0], "amd/vcek/Milan/") {
		t.Fatalf("%q %v", names, err)
	}
	return names[0]
}

// fakeKDS answers with that certificate and knows nothing else. It returns its URL, a file with its authority, and how often it was asked.
func fakeKDS(t *testing.T) (url, ca string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if !strings.HasPrefix(r.URL.Path, "/vcek/v1/Milan/") || r.URL.RawQuery == "" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(testdata.VcekBytes)
	}))
	t.Cleanup(server.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return server.URL, ca, asked
}

// command runs a command line and returns its exit code and what it printed.
func command(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = execute(t.Context(), args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// want runs a command line that must end with a code and print a text, on whichever stream.
func want(t *testing.T, code int, text string, args ...string) string {
	t.Helper()
	got, out, errOut := command(t, args...)
	if got != code || !strings.Contains(out+errOut, text) {
		t.Fatalf("vouchsafe %s: exit code %d, want %d with %q:\n%s%s", strings.Join(args, " "), got, code, text, out, errOut)
	}
	return out
}

// TestCollateralCommands takes a real certificate from a service, over a bundle, to the folder of a broker that has no network.
func TestCollateralCommands(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, content []byte) string {
		t.Helper()
		if err := os.WriteFile(in(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		return in(name)
	}
	url, ca, asked := fakeKDS(t)
	chip := realChip(t)
	online := write("online.yaml", fmt.Appendf(nil, "data: .\ncollateral: {dir: staging, fetch: [amd], kds_url: %q, kds_interval: 1ms, ca_file: %q}\n", url, ca))
	offline := write("offline.yaml", []byte("data: .\ncollateral: {dir: broker}\n"))
	report := write("report.bin", testdata.AttestationBytes)

	want(t, 2, "no collateral in", "collateral", "status", "--config", online)
	want(t, 2, "say --fetch VENDOR", "collateral", "sync", "--config", offline)
	want(t, 2, "say --dir DIR", "collateral", "status")
	want(t, 2, `"arm", which is none of`, "collateral", "sync", "--config", online, "--fetch", "arm")
	want(t, 2, "no verifier of this configuration uses", "collateral", "sync", "--config", online, "--fetch", "jwks")
	want(t, 2, "is no name of an item", "collateral", "sync", "--config", online, "--name", "amd/crl/Rome")
	want(t, 2, "is no name of an item", "collateral", "sync", "--config", online, "--fmspc", "12")
	want(t, 2, "is not known here", "collateral", "sync", "--config", online, "--for", report, "--kind", "tpm")
	if n := asked.Load(); n != 0 {
		t.Fatalf("%d requests for mistakes", n)
	}

	// The service has no lists, which sync says; the certificate it has.
	out := want(t, 1, "1 items at hand, 3 missing", "collateral", "sync", "--config", online, "--for", report)
	if !strings.Contains(out, chip+": fetched") || !strings.Contains(out, "amd/crl/Genoa: not_found") {
		t.Errorf("sync:\n%s", out)
	}
	var synced struct {
		Items []struct{ Name, Result, Problem string }
	}
	if err := json.Unmarshal([]byte(want(t, 1, "", "collateral", "sync", "--config", online, "--name", chip, "--format=json")), &synced); err != nil {
		t.Fatal(err)
	}
	if len(synced.Items) != 4 {
		t.Errorf("%+v", synced)
	}

	out = want(t, 0, "amd/vcek/Milan/", "collateral", "status", "--config", online)
	if !strings.Contains(out, "  ok  ") || strings.Contains(out, chip) {
		t.Errorf("status:\n%s", out)
	}
	want(t, 1, "expiring", "collateral", "status", "--config", online, "--within", "87600h")
	var status collateralStatus
	if err := json.Unmarshal([]byte(want(t, 0, "", "collateral", "status", "--config", online, "--format=json")), &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Items) != 1 || status.Items[0].Name != chip || status.Items[0].Refresh.IsZero() || !status.Items[0].Kept || time.Since(status.Items[0].Fetched) > time.Minute {
		t.Errorf("%+v", status)
	}

	public := strings.TrimSpace(want(t, 0, "ops.example.org+", "collateral", "key", "ops.example.org", "--file", in("key")))
	want(t, 2, "exists", "collateral", "key", "ops.example.org", "--file", in("key"))
	want(t, 2, "cannot be the name of a key", "collateral", "key", "a b", "--file", in("other"))
	want(t, 0, "1 items, signed by ops.example.org", "collateral", "export", "--config", online, "--key", in("key"), "--out", in("bundle"))
	want(t, 1, "nothing to export", "collateral", "export", "--config", online, "--key", in("key"), "--out", in("none"), "--name", "intel/")
	if _, _, errOut := command(t, "collateral", "export", "--config", online, "--key", report, "--out", in("x")); !strings.Contains(errOut, "no key that") {
		t.Error(errOut)
	}

	requests := asked.Load()
	want(t, 0, "1 added, 0 unchanged, 0 older, 0 refused", "collateral", "import", in("bundle"), "--public-key", public, "--config", offline)
	keyFile := write("key.pub", []byte(public+"\n"))
	want(t, 0, "0 added, 1 unchanged", "collateral", "import", in("bundle"), "--public-key", keyFile, "--config", offline)
	bundle, err := os.ReadFile(in("bundle"))
	if err != nil {
		t.Fatal(err)
	}
	bundle[len(bundle)-1] ^= 1
	want(t, 1, "not the one that was signed", "collateral", "import", write("damaged", bundle), "--public-key", public, "--config", offline)
	other := strings.TrimSpace(want(t, 0, "", "collateral", "key", "ops.example.org", "--file", in("key2")))
	want(t, 1, "not signed by the key", "collateral", "import", in("bundle"), "--public-key", other, "--config", offline)
	out = want(t, 0, "", "collateral", "status", "--dir", in("broker"), "--format=json")
	status = collateralStatus{}
	if err := json.Unmarshal([]byte(out), &status); err != nil || len(status.Items) != 1 || !status.Items[0].Refresh.IsZero() {
		t.Errorf("%v %s", err, out)
	}
	if asked.Load() != requests {
		t.Error("something was fetched where nothing is to be")
	}

	// A damaged file is said, and left alone by a command that only looks.
	file := filepath.Join(in("broker"), filepath.FromSlash(chip)+".item")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)-1] ^= 1
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, 1, "damaged: ", "collateral", "status", "--dir", in("broker"))
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

// TestCollateralSettings: insecure and senseless settings are refused, and none contacts anybody by default.
func TestCollateralSettings(t *testing.T) {
	for what, s := range map[string]collateralSettings{
		"unknown vendor":   {Fetch: []string{"arm"}},
		"without verifier": {Fetch: []string{"intel"}},
		"long grace":       {Grace: 91 * 24 * time.Hour},
		"negative grace":   {Grace: -1},
		"long time-out":    {Timeout: time.Hour},
		"plain HTTP":       {Fetch: []string{"amd"}, KDSURL: "http://kds.test"},
		"proxy":            {Fetch: []string{"amd"}, Proxy: "socks5://x"},
		"proxy's password": {Fetch: []string{"amd"}, Proxy: "http://a:b@x.test:1"},
		"no authority":     {Fetch: []string{"amd"}, CAFile: "collateral_test.go"},
		"absent authority": {Fetch: []string{"amd"}, CAFile: "nothing"},
		"few items":        {MaxItems: -1},
		"fast":             {Fetch: []string{"amd"}, KDSInterval: -1},
	} {
		s.Dir = t.TempDir()
		if _, err := s.open("", collateralHooks{}, toServe, nil, nil); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	s := collateralSettings{Dir: t.TempDir()}
	m, err := s.open("", collateralHooks{}, toServe, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if m.Fetching("amd") || len(m.Always()) != 0 {
		t.Error("something is fetched by default")
	}
}
