package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	snptestdata "github.com/google/go-sev-guest/verify/testdata"
	tdxtesting "github.com/google/go-tdx-guest/testing"
	"github.com/google/go-tdx-guest/testing/testdata"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vouchsafe/vouchsafe/attest/tpm/swtpm"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// tdxItems writes the real quote that go-tdx-guest publishes, and Intel's collateral for it of June 2023 as plain files: tdxitems QUOTE DIR.
func tdxItems(ts *testscript.TestScript, _ bool, args []string) {
	quote, _, _ := bytes.Cut(testdata.RawQuote, []byte("\nextra bytes")) // its publisher added those
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), quote, 0o600))
	write := func(name string, data []byte, header map[string][]string) {
		path := ts.MkAbs(filepath.Join(args[1], filepath.FromSlash(name)))
		ts.Check(os.MkdirAll(filepath.Dir(path), 0o700))
		ts.Check(os.WriteFile(path, data, 0o600))
		for _, values := range header {
			chain, err := url.QueryUnescape(values[0])
			ts.Check(err)
			plain := strings.TrimSuffix(path, filepath.Ext(path))
			ts.Check(os.WriteFile(plain+".chain.pem", []byte(chain), 0o600))
		}
	}
	write("intel/tcb/tdx/50806f000000.json", testdata.TcbInfoBody, tdxtesting.TcbInfoHeader)
	write("intel/identity/tdqe.json", testdata.QeIdentityBody, tdxtesting.QeIdentityHeader)
	write("intel/crl/platform.der", testdata.PckCrlBody, tdxtesting.PckCrlHeader)
	write("intel/crl/root.crl", testdata.RootCrlBody, nil)
}

// keyService runs a service of AMD's that has the certificate of one real chip and nothing else, and writes a report of that chip: keyservice VARIABLE CAFILE
// REPORT. The variable is its URL.
func keyService(ts *testscript.TestScript, _ bool, args []string) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/vcek/v1/Milan/") {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(snptestdata.VcekBytes)
	}))
	ts.Defer(server.Close)
	ts.Setenv(args[0], server.URL)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), ca, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), snptestdata.AttestationBytes, 0o600))
}

// softTPM runs a software TPM in a folder, sets TPM to where it is, and TPM_ROOT and TPM_AUTHORITY to files with its maker's certificates: softtpm DIR.
func softTPM(ts *testscript.TestScript, _ bool, args []string) {
	process, err := swtpm.Start(context.Background(), ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(process.Stop)
	ts.Setenv("TPM", process.Addr())
	ts.Setenv("TPM_ROOT", process.RootFile())
	ts.Setenv("TPM_AUTHORITY", process.IntermediateFile())
}

// gpuEvidence writes the real report of a GPU with a chain of the vectors, as clients send it: gpuevidence FILE CHAIN.
func gpuEvidence(ts *testscript.TestScript, _ bool, args []string) {
	read := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(vectors.Folder(), "nvidia", name))
		ts.Check(err)
		return content
	}
	text, err := json.Marshal(map[string]any{"device_evidence_list": []any{map[string]string{
		"arch": "HOPPER", "uuid": "1111", "evidence": strings.TrimSpace(string(read("hopperAttestationReport.txt"))),
		"certificate": base64.StdEncoding.EncodeToString(read(args[1])),
	}}})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
}

// writeEIF writes an enclave image of version 4 with a kernel, command line, metadata and two RAM disks, by AWS's specification: eif FILE.
func writeEIF(ts *testscript.TestScript, _ bool, args []string) {
	be := binary.BigEndian
	raw := make([]byte, 548)
	copy(raw, ".eif")
	be.PutUint16(raw[4:], 4)
	be.PutUint64(raw[8:], 1<<30)
	be.PutUint64(raw[16:], 2)
	parts := []struct {
		kind uint16
		data string
	}{{1, "a kernel"}, {2, "quiet"}, {5, `{"ImageName":"test"}`}, {3, "init"}, {3, "application"}}
	be.PutUint16(raw[26:], uint16(len(parts)))
	for i, p := range parts {
		be.PutUint64(raw[28+8*i:], uint64(len(raw)))
		be.PutUint64(raw[284+8*i:], uint64(len(p.data)))
		raw = be.AppendUint32(raw, uint32(p.kind)<<16)
		raw = append(be.AppendUint64(raw, uint64(len(p.data))), p.data...)
	}
	be.PutUint32(raw[544:], crc32.ChecksumIEEE(append(slices.Clone(raw[:544]), raw[548:]...)))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), raw, 0o600))
}

// serves checks which kinds the broker at a port says that it verifies: serves PORT KIND….
func serves(ts *testscript.TestScript, _ bool, args []string) {
	answer, err := http.Get("http://localhost:" + args[0] + "/v1/kinds")
	ts.Check(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	ts.Check(err)
	var said struct{ Kinds []string }
	ts.Check(json.Unmarshal(text, &said))
	if want := slices.Sorted(slices.Values(args[1:])); !slices.Equal(said.Kinds, want) {
		ts.Fatalf("it verifies %v, not %v: %s", said.Kinds, want, text)
	}
}
