package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	tdxtesting "github.com/google/go-tdx-guest/testing"
	tdxdata "github.com/google/go-tdx-guest/testing/testdata"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/azure"
	"github.com/vouchsafe/vouchsafe/attest/cca"
	"github.com/vouchsafe/vouchsafe/attest/csv"
	"github.com/vouchsafe/vouchsafe/attest/eventlog"
	"github.com/vouchsafe/vouchsafe/attest/nvidia"
	"github.com/vouchsafe/vouchsafe/attest/sgx"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/tdx"
	"github.com/vouchsafe/vouchsafe/attest/token"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	vectorsdir "github.com/vouchsafe/vouchsafe/internal/vectors"
)

// Times at which real certificates and collateral are valid.
var (
	in2026 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	in2023 = time.Date(2023, 6, 20, 12, 0, 0, 0, time.UTC)
)

// judges judge the files of the folder of vectors, each under its name.
var judges = map[string]func(t *testing.T){
	"snp/genoa-v3-evidence.json": func(t *testing.T) {
		c := accepted(t, newSNP(t), file(t, "snp/genoa-v3-evidence.json"), in2026)
		want := attest.TCBVersion{Bootloader: 10, SNP: 23, Microcode: 25}
		if !strings.HasPrefix(c.Measurement, "6a6519d757e68c2e") || c.SNP.ReportedTCB != want || c.SNP.Policy != 0x30000 {
			t.Errorf("%+v", c.SNP)
		}
	},
	"snp/milan-v2-report.bin": func(t *testing.T) {
		if c := accepted(t, newSNP(t), milan(t), in2026); !strings.HasPrefix(c.Measurement, "a1f39304") {
			t.Error(c.Measurement)
		}
	},
	"snp/milan-v2-vcek.der": func(t *testing.T) {
		evidence := milan(t)
		evidence[len(evidence)-1] ^= 1 // the last byte of the certificate's signature
		refused(t, newSNP(t), evidence, in2026, attest.Unbound(), attest.CodeCertUntrusted)
	},
	"az-snp-vtpm/evidence-v0.json": azureSNP("az-snp-vtpm/evidence-v0.json", "e15c4479", []byte("challenge")),
	"az-snp-vtpm/evidence-v1.json": azureSNP("az-snp-vtpm/evidence-v1.json", "e15c4479", []byte("challenge")),
	"az-snp-vtpm/evidence-v2.json": azureSNP("az-snp-vtpm/evidence-v2.json", "84275b2f", []byte(
		"\x98\x2f\x5c\x6e\x45\xdf\x0e\xd3\xf1\x0b\x6f\x60\xb0\x2f\x0c\x83\x90\xe2\x81\x30\x0f\x38\x05\xe2\x27\x9c\x16\x16\x8c\xd6\xae\x9a"+
			"\xa3\x98\xf6\x47\xca\xa2\x33\x87\x48\xcd\x0f\xd9\xf5\xf8\x19\xef")),
	"az-tdx-vtpm/evidence-v1.json": func(t *testing.T) {
		v := must(azure.New(azure.Config{Hardware: newTDX(t)}))(t)
		missing(t, v, file(t, "az-tdx-vtpm/evidence-v1.json"), in2026, "intel/tcb/tdx/00806f050000")
	},
	"tdx/quote-v4.dat": func(t *testing.T) {
		c := accepted(t, newTDX(t), file(t, "tdx/quote-v4.dat"), in2023)
		if !strings.HasPrefix(c.Measurement, "705ee938") || !strings.HasPrefix(c.ReportData, "7c71fe2c") || c.TCBStatus != attest.TCBUpToDate || !*c.Debug {
			t.Errorf("%+v", c)
		}
	},
	"tdx/tcbInfo.json":         hasMembers("tdx/tcbInfo.json", "fmspc", "tcbLevels"),
	"tdx/enclaveIdentity.json": hasMembers("tdx/enclaveIdentity.json", "mrsigner", "tcbLevels"),
	"sgx/quote-v3.dat": func(t *testing.T) {
		quote := file(t, "sgx/quote-v3.dat")
		v := must(sgx.New(sgx.Config{Endorsements: intel2023()}))(t)
		missing(t, v, quote, in2026, "intel/tcb/sgx/")
		const enclave, report = 48 + 64, 48 + 320
		if !bytes.HasPrefix(quote[enclave:], []byte{0x8f, 0x17, 0x3e, 0x46}) || !bytes.HasPrefix(quote[report:], []byte("test")) {
			t.Errorf("MRENCLAVE %x, report data %x", quote[enclave:][:4], quote[report:][:4])
		}
		quote[enclave] ^= 1 // which the signature that was verified covers
		refused(t, v, quote, in2026, attest.Unbound(), attest.CodeSignature)
	},
	"nvidia/hopperAttestationReport.txt": func(t *testing.T) {
		c, err := gpu(t, "hopper_cert_chain_case1.txt")
		if err != nil || !strings.HasPrefix(c.ReportData, "931d8dd0") {
			t.Errorf("%+v, %v", c, err)
		}
	},
	"nvidia/hopperAttestationReport-claims.txt": func(t *testing.T) {
		var want struct {
			Config struct {
				Driver string `json:"driver_version"`
				VBIOS  string `json:"vbios_version"`
			} `json:"config"`
		}
		if err := json.Unmarshal(file(t, "nvidia/hopperAttestationReport-claims.txt"), &want); err != nil {
			t.Fatal(err)
		}
		c, err := gpu(t, "hopper_cert_chain_case1.txt")
		if err != nil || c.NVIDIA.Devices[0].DriverVersion != want.Config.Driver || c.NVIDIA.Devices[0].VBIOSVersion != want.Config.VBIOS {
			t.Errorf("%+v, %v, want %+v", c, err, want)
		}
	},
	"nvidia/hopper_cert_chain_case1.txt": chain("hopper_cert_chain_case1.txt", ""),
	"nvidia/hopper_cert_chain_case2.txt": chain("hopper_cert_chain_case2.txt", attest.CodeCertMissing),
	"nvidia/hopper_cert_chain_case3.txt": chain("hopper_cert_chain_case3.txt", attest.CodeCertUntrusted),
	"nvidia/hopper_cert_chain_case4.txt": chain("hopper_cert_chain_case4.txt", attest.CodeCertUntrusted),
	"nvidia/hopper_signing_cert.pem":     chain("hopper_signing_cert.pem", attest.CodeCertUntrusted),
	"cca/cca-example-token.cbor": func(t *testing.T) {
		c := accepted(t, realm(t, true), file(t, "cca/cca-example-token.cbor"), in2026)
		if c.HardwareRoot != attest.RootCCA || c.TCBStatus != attest.TCBUpToDate {
			t.Errorf("%+v", c)
		}
	},
	"cca/tastore.json": func(t *testing.T) {
		if c := accepted(t, realm(t, false), file(t, "cca/cca-example-token.cbor"), in2026); c.TCBStatus != attest.TCBNotPublished {
			t.Errorf("%+v", c)
		}
	},
	"cca/rvstore.json": func(t *testing.T) {
		if values, err := cca.ParseReferenceValues(file(t, "cca/rvstore.json")); err != nil || len(values) == 0 {
			t.Errorf("%v, %v", values, err)
		}
	},
	"cca/cpak-pub.json":   hasMembers("cca/cpak-pub.json", "kty"),
	"cca/cca-claims.json": hasMembers("cca/cca-claims.json", "platform", "realm"),
	"csv/evidence.json": func(t *testing.T) {
		evidence := file(t, "csv/evidence.json")
		if _, err := csv.Parse(evidence); err != nil {
			t.Error(err)
		}
		missing(t, must(csv.New(csv.Config{}))(t), evidence, in2026, "")
	},
	"ear/example-claims.json":          ear,
	"eventlog/CCEL_data_gcp":           replay("eventlog/CCEL_data_gcp", ""),
	"eventlog/CCEL_data_grub":          replay("eventlog/CCEL_data_grub", "eventlog/CCEL_data_grub_out.json"),
	"eventlog/CCEL_data_ovmf":          replay("eventlog/CCEL_data_ovmf", "eventlog/CCEL_data_ovmf_out.json"),
	"eventlog/CCEL_data_grub_out.json": hasMembers("eventlog/CCEL_data_grub_out.json", "uefi_event_logs"),
	"eventlog/CCEL_data_ovmf_out.json": hasMembers("eventlog/CCEL_data_ovmf_out.json", "uefi_event_logs"),

	"tpm/evidence-64byte-nonce.json": func(t *testing.T) {
		evidence := file(t, "tpm/evidence-64byte-nonce.json")
		if _, err := tpm.ParseEvidence(evidence); err != nil {
			t.Error(err)
		}
		v := must(tpm.New(tpm.Config{AKRoots: tpm.GoogleAKRoots()}))(t)
		refused(t, v, evidence, in2026, attest.BoundTo(make([]byte, 48)), attest.CodeBinding)
	},
	"kbs-known-answers.json": func(t *testing.T) {
		if !json.Valid(file(t, "kbs-known-answers.json")) {
			t.Error("not JSON")
		}
	},
	"README.md": func(t *testing.T) {
		for _, v := range vectors {
			if name := filepath.Base(v.name); v.module == "" && !bytes.Contains(file(t, "README.md"), []byte(v.name)) && !strings.ContainsAny(name, "-_") && name != "README.md" {
				t.Logf("%s is described together with others", v.name)
			}
		}
	},
}

func file(t *testing.T, name string) []byte { t.Helper(); return vectorsdir.Read(t, name) }

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func verify(t *testing.T, v attest.Verifier, evidence []byte, at time.Time, binding attest.Binding) (*attest.Claims, error) {
	t.Helper()
	return v.Verify(t.Context(), attest.Input{Namespace: "default", Evidence: evidence, Binding: binding, Time: at})
}

func accepted(t *testing.T, v attest.Verifier, evidence []byte, at time.Time) *attest.Claims {
	t.Helper()
	c, err := verify(t, v, evidence, at, attest.Unbound())
	if err != nil {
		t.Fatal(err)
	}
	// The binding that it carries, and no other.
	field, err := hex.DecodeString(c.ReportData)
	if err != nil {
		t.Fatal(err)
	}
	if bound, err := verify(t, v, evidence, at, attest.BoundTo(field)); err != nil || !*bound.Bound {
		t.Errorf("with the report data that it carries: %v", err)
	}
	refused(t, v, evidence, at, attest.BoundTo(bytes.Repeat([]byte{0x5a}, 48)), attest.CodeBinding)
	return c
}

func refused(t *testing.T, v attest.Verifier, evidence []byte, at time.Time, binding attest.Binding, code attest.Code) {
	t.Helper()
	_, err := verify(t, v, evidence, at, binding)
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("%v, want a refusal with %s", err, code)
	}
}

// missing holds that evidence cannot be judged for want of an item, and that everything else about it was good.
func missing(t *testing.T, v attest.Verifier, evidence []byte, at time.Time, item string) {
	t.Helper()
	_, err := verify(t, v, evidence, at, attest.Unbound())
	var unavailable *attest.Unavailable
	if !errors.As(err, &unavailable) || !strings.Contains(err.Error(), item) {
		t.Errorf("%v, want %s to be missing", err, item)
	}
}

func newSNP(t *testing.T) attest.Verifier {
	t.Helper()
	return must(snp.New(snp.Config{}))(t)
}

func milan(t *testing.T) []byte {
	t.Helper()
	return append(file(t, "snp/milan-v2-report.bin"), snp.Certificates{VCEK: file(t, "snp/milan-v2-vcek.der")}.Table()...)
}

func azureSNP(name, pcr0 string, bound []byte) func(t *testing.T) {
	return func(t *testing.T) {
		v := must(azure.New(azure.Config{Hardware: newSNP(t)}))(t)
		c, err := verify(t, v, file(t, name), in2026, attest.BoundTo(bound))
		if err != nil || !strings.HasPrefix(c.TPM.PCRs[0], pcr0) || !*c.Bound {
			t.Errorf("%+v, %v", c, err)
		}
		refused(t, v, file(t, name), in2026, attest.BoundTo([]byte("another")), attest.CodeBinding)
	}
}

// items are endorsements.
type items map[string]*attest.Endorsement

func (i items) Endorsement(_ context.Context, name string) (*attest.Endorsement, error) {
	if item := i[name]; item != nil {
		return item, nil
	}
	return nil, &attest.Unavailable{What: name}
}

// intel2023 is what Intel's service sent in June 2023, as go-tdx-guest recorded it.
func intel2023() items {
	all := items{}
	for name, item := range map[string]struct {
		data  []byte
		chain map[string][]string
	}{
		"intel/tcb/tdx/50806f000000": {tdxdata.TcbInfoBody, tdxtesting.TcbInfoHeader},
		"intel/identity/tdqe":        {tdxdata.QeIdentityBody, tdxtesting.QeIdentityHeader},
		"intel/crl/platform":         {tdxdata.PckCrlBody, tdxtesting.PckCrlHeader},
		"intel/crl/root":             {tdxdata.RootCrlBody, nil},
	} {
		e := &attest.Endorsement{Name: name, Data: item.data, Digest: sha256.Sum256(item.data), Fetched: in2023.Add(-time.Hour)}
		for _, values := range item.chain {
			chain, err := url.QueryUnescape(values[0])
			if err != nil {
				panic(err) // of test data
			}
			e.Chain = []byte(chain)
		}
		all[name] = e
	}
	return all
}

func newTDX(t *testing.T) attest.Verifier {
	t.Helper()
	return must(tdx.New(tdx.Config{Endorsements: intel2023()}))(t)
}

func hasMembers(name string, members ...string) func(t *testing.T) {
	return func(t *testing.T) {
		text := file(t, name)
		for _, member := range members {
			if !json.Valid(text) || !bytes.Contains(text, []byte(`"`+member+`"`)) {
				t.Errorf("no member %s", member)
			}
		}
	}
}

// gpu appraises the real report with a chain.
func gpu(t *testing.T, chain string) (*attest.Claims, error) {
	t.Helper()
	v := must(nvidia.New(nvidia.Config{AllowUnmeasured: true}))(t)
	return verify(t, v, gpuEvidence(t, chain), in2026, attest.Unbound())
}

func gpuEvidence(t *testing.T, chain string) []byte {
	t.Helper()
	return fmt.Appendf(nil, `{"device_evidence_list":[{"arch":"HOPPER","uuid":"GPU","evidence":"%s","certificate":"%s"}]}`,
		strings.TrimSpace(string(file(t, "nvidia/hopperAttestationReport.txt"))), base64.StdEncoding.EncodeToString(file(t, "nvidia/"+chain)))
}

func chain(name string, code attest.Code) func(t *testing.T) {
	return func(t *testing.T) {
		_, err := gpu(t, name)
		var refusal *attest.Refusal
		if code == "" && err != nil || code != "" && (!errors.As(err, &refusal) || refusal.Code != code) {
			t.Errorf("%v, want %q", err, code)
		}
	}
}

func realm(t *testing.T, values bool) attest.Verifier {
	t.Helper()
	cfg := cca.Config{TrustAnchors: must(cca.ParseTrustAnchors(file(t, "cca/tastore.json")))(t)}
	if values {
		cfg.ReferenceValues = must(cca.ParseReferenceValues(file(t, "cca/rvstore.json")))(t)
	}
	return must(cca.New(cfg))(t)
}

// covered replays a domain's log, quotes what it gives, and holds that this is then covered.
func covered(t *testing.T, text []byte) *eventlog.Log {
	t.Helper()
	log := must(eventlog.Parse(text))(t)
	values := must(log.Replay(crypto.SHA384))(t)
	var rtmrs [4][]byte
	for i := range rtmrs {
		if rtmrs[i] = values[i+1]; rtmrs[i] == nil {
			rtmrs[i] = make([]byte, 48)
		}
	}
	boot, err := eventlog.BootRTMR(text, rtmrs)
	if err != nil || len(boot.RTMRs) < 2 {
		t.Errorf("%+v, %v", boot, err)
	}
	return log
}

func replay(name, golden string) func(t *testing.T) {
	return func(t *testing.T) {
		log := covered(t, file(t, name))
		if golden == "" {
			return
		}
		var want struct {
			Events []struct {
				Type string `json:"type_name"`
			} `json:"uefi_event_logs"`
		}
		if err := json.Unmarshal(file(t, golden), &want); err != nil {
			t.Fatal(err)
		}
		unmeasured := 0
		for _, e := range want.Events {
			if e.Type == "EV_NO_ACTION" {
				unmeasured++
			}
		}
		if len(log.Events) != len(want.Events)-unmeasured {
			t.Errorf("%d measured events, want %d of %d", len(log.Events), len(want.Events)-unmeasured, len(want.Events))
		}
	}
}

// ear signs the recorded claims, which came without their signature.
func ear(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	set := must(json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k", Algorithm: "ES256", Use: "sig"}}}))(t)
	v := must(token.New(token.Config{Verifiers: []token.Trusted{{Name: "recorded", Format: token.EAR, Keys: set}}}))(t)
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil))(t)
	issued := int64(1760426134)
	for status, code := range map[string]attest.Code{"contraindicated": attest.CodeVerdict, "warning": ""} {
		text := bytes.Replace(file(t, "ear/example-claims.json"), []byte(`"ear.status": "contraindicated"`), []byte(`"ear.status": "`+status+`"`), 1)
		var claims map[string]any
		if err := json.Unmarshal(text, &claims); err != nil {
			t.Fatal(err)
		}
		claims["iat"], claims["exp"] = issued, issued+300
		signed := must(must(signer.Sign(must(json.Marshal(claims))(t)))(t).CompactSerialize())(t)
		c, err := verify(t, v, []byte(signed), time.Unix(issued+60, 0), attest.BoundTo([]byte("test")))
		var refusal *attest.Refusal
		switch {
		case code != "" && (!errors.As(err, &refusal) || refusal.Code != code):
			t.Errorf("%s: %v, want %s", status, err, code)
		case code == "" && (err != nil || !strings.HasPrefix(c.Measurement, "8f173e46")):
			t.Errorf("%s: %+v, %v", status, c, err)
		}
	}
}
