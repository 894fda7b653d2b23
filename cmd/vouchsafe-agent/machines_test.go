//go:build linux

package main

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/azure/azuretest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/nvidiatest"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/tpm/swtpm"
	"github.com/vouchsafe/vouchsafe/attest/tpm/tpmtest"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/data"
)

// module is the security module of an enclave. Its documents are about what was asked, and nobody signed them.
type module struct{}

func (module) Exchange(_ context.Context, request []byte) ([]byte, error) {
	var asked map[string]struct {
		UserData []byte `cbor:"user_data"`
	}
	if err := cbor.Unmarshal(request, &asked); err != nil {
		return nil, err
	}
	payload, err := cbor.Marshal(map[string][]byte{"user_data": asked["Attestation"].UserData})
	if err != nil {
		return nil, err
	}
	document, err := cbor.Marshal([]any{[]byte{}, map[string]any{}, payload, []byte{}})
	if err != nil {
		return nil, err
	}
	return cbor.Marshal(map[string]any{"Attestation": map[string][]byte{"document": document}})
}

// What a paravisor keeps in its TPM, and where.
const (
	hclReportIndex tpm2.TPMHandle = 0x01400001
	userDataIndex  tpm2.TPMHandle = 0x01400002
	akHandle       tpm2.TPMHandle = 0x81000003

	indexSize = 2048 // bytes, as large as a software TPM makes one
	nvChunk   = 512  // bytes, of one write
)

// reportedData is what the report in the TPM of the Azure machine is about: there is no paravisor to make another.
var reportedData = []byte("what the paravisor was asked to report about: 48")

// paravise makes a TPM that of an Azure confidential VM on TDX.
func paravise(t *testing.T, soft *tpmtest.TPM) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	device, err := swtpm.Dial(t.Context(), soft.Addr())
	check(err)
	defer device.Close()
	variable := azuretest.VariableData(azuretest.Key("HCLAkPub", "sign", makeAK(t, device)), reportedData)
	sum := sha256.Sum256([]byte(variable))
	report := azuretest.Envelope(variable, azuretest.TDReport(sum[:]), azuretest.TDX, indexSize)

	_, err = tpm2.NVDefineSpace{AuthHandle: owner(), PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
		NVIndex: hclReportIndex, NameAlg: tpm2.TPMAlgSHA256, DataSize: indexSize, Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true},
	})}.Execute(device)
	check(err)
	check(writeReport(device, report))
}

// owner is the hierarchy of the TPM's owner, with the empty authorisation it has.
func owner() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
}

// writeReport writes what is to be in the index for the report.
func writeReport(device transport.TPM, report []byte) error {
	area, err := tpm2.NVReadPublic{NVIndex: hclReportIndex}.Execute(device)
	if err != nil {
		return err
	}
	for at := 0; at < len(report); at += nvChunk {
		_, err := tpm2.NVWrite{
			AuthHandle: owner(), NVIndex: tpm2.NamedHandle{Handle: hclReportIndex, Name: area.NVName}, Offset: uint16(at),
			Data: tpm2.TPM2BMaxNVBuffer{Buffer: report[at:min(len(report), at+nvChunk)]},
		}.Execute(device)
		if err != nil {
			return err
		}
	}
	return nil
}

// spoil has something else in the place of a TPM's report.
func spoil(soft *tpmtest.TPM) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, _ []string) {
		device, err := swtpm.Dial(context.Background(), soft.Addr())
		ts.Check(err)
		defer device.Close()
		ts.Check(writeReport(device, make([]byte, indexSize)))
	}
}

// makeAK makes the attestation key where the paravisor has it.
func makeAK(t *testing.T, device transport.TPM) *rsa.PublicKey {
	t.Helper()
	made, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, Restricted: true, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{
				Scheme:  tpm2.TPMAlgRSASSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			KeyBits: 2048,
		}),
	})}.Execute(device)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.EvictControl{
		Auth:             owner(),
		ObjectHandle:     &tpm2.NamedHandle{Handle: made.ObjectHandle, Name: made.Name},
		PersistentHandle: akHandle,
	}.Execute(device)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: made.ObjectHandle}).Execute(device); err != nil {
		t.Fatal(err)
	}
	public, err := tpm.ParsePublic(made.OutPublic.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return public.Key.(*rsa.PublicKey)
}

// untouched: nothing is persistent in a TPM, and no index was defined.
func untouched(soft *tpmtest.TPM) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, _ []string) {
		device, err := swtpm.Dial(context.Background(), soft.Addr())
		ts.Check(err)
		defer device.Close()
		if _, err := (tpm2.NVReadPublic{NVIndex: userDataIndex}).Execute(device); err == nil != neg {
			ts.Fatalf("the index for user data: %v", err)
		}
	}
}

// TestAzure has the machine of a confidential VM of Azure, and one with an ordinary TPM, look for what attests them.
func TestAzure(t *testing.T) {
	paravisor, ordinary := tpmtest.Start(t), tpmtest.Start(t)
	paravise(t, paravisor)
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			Report string `json:"report"`
		}
		_ = json.NewDecoder(r.Body).Decode(&request)
		report, err := base64.RawURLEncoding.DecodeString(request.Report)
		if err != nil || r.URL.Path != "/acc/tdquote" || len(report) != 1024 {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"quote": base64.RawURLEncoding.EncodeToString(azuretest.TDQuote(report))})
	}))
	t.Cleanup(host.Close) // the scripts run when this function has returned
	p := params(t, start(t, brokertest.Config{}), "testdata/azure")
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		e.Setenv("PARAVISOR", paravisor.Addr())
		e.Setenv("ORDINARY", ordinary.Addr())
		e.Setenv("HOST", host.URL)
		e.Setenv("REPORTED", fmt.Sprintf("%x", reportedData))
		return setup(e)
	}
	p.Cmds["untouched"], p.Cmds["spoil"] = untouched(ordinary), spoil(paravisor)
	testscript.Run(t, p)
}

// TestConfidentialSpace asks a launcher for tokens.
func TestConfidentialSpace(t *testing.T) {
	dir, err := os.MkdirTemp("", "launcher") // the name of a socket has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "teeserver.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			Audience string   `json:"audience"`
			Nonces   []string `json:"nonces"`
			Type     string   `json:"token_type"`
		}
		_ = json.NewDecoder(r.Body).Decode(&request)
		claims, _ := json.Marshal(map[string]any{"aud": request.Audience, "eat_nonce": request.Nonces, "type": request.Type})
		_, _ = fmt.Fprintf(w, "e30.%s.c2ln", base64.RawURLEncoding.EncodeToString(claims))
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	p := params(t, start(t, brokertest.Config{}), "testdata/token")
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		e.Setenv("LAUNCHER", socket)
		return setup(e)
	}
	testscript.Run(t, p)
}

// TestGPU presents GPUs of a made-up maker beside a virtual machine, by the program that asks a driver's library and a library that answers.
// A broker knows whose they are not: the test is that all gets there.
func TestGPU(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc is absent, which compiles the driver's library that this test needs")
	}
	dir := t.TempDir()
	device := nvidiatest.NewWorld(t).NewDevice("HOPPER", nvidiatest.Shape{})
	var figures strings.Builder
	for name, value := range map[string][]byte{
		"report": device.Report(make([]byte, 32), nil), "chain": nvidiatest.PEM(device.Certificates()...),
	} {
		fmt.Fprintf(&figures, "static const unsigned char figure_%s[] = {", name)
		for _, b := range value {
			fmt.Fprintf(&figures, "%d,", b)
		}
		figures.WriteString("};\n")
	}
	library, nvml, wrapper := filepath.Join(dir, "libnvidia-ml.so.1"), filepath.Join(dir, "vouchsafe-nvml"), filepath.Join(dir, "with-library")
	for name, content := range map[string]string{
		filepath.Join(dir, "figures.h"): figures.String(),
		wrapper:                         fmt.Sprintf("#!/bin/sh\nexec %s -library %s \"$1\"\n", nvml, library),
	} {
		if err := os.WriteFile(name, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, command := range [][]string{
		{gcc, "-shared", "-fPIC", "-o", library, "-I", dir, "../vouchsafe-nvml/testdata/nvml.c"},
		{"go", "build", "-o", nvml, "../vouchsafe-nvml"},
	} {
		c := exec.CommandContext(t.Context(), command[0], command[1:]...)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
	b := start(t, brokertest.Config{Verifiers: func(*data.Data) []attest.Verifier {
		verifier, err := nvidia.New(nvidia.Config{AllowUnmeasured: true})
		if err != nil {
			t.Fatal(err)
		}
		return []attest.Verifier{verifier}
	}})
	p := params(t, b, "testdata/gpu")
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		e.Setenv("NVML", wrapper)
		e.Setenv("BARE", nvml)
		return setup(e)
	}
	testscript.Run(t, p)
}
