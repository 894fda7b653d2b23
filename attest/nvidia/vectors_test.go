package nvidia

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/pki"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// recorded is a time at which the certificates of the real manifests were valid.
var recorded = time.Date(2025, 8, 21, 12, 0, 0, 0, time.UTC)

// memory is Endorsements of what it holds.
type memory map[string][]byte

func (m memory) Endorsement(_ context.Context, name string) (*attest.Endorsement, error) {
	data, ok := m[name]
	if !ok {
		return nil, &attest.Unavailable{What: name, RetryAfter: 7 * time.Second}
	}
	return &attest.Endorsement{Name: name, Data: data, Digest: sha256.Sum256(data), Fetched: recorded.Add(-time.Hour)}, nil
}

// hopper returns the real report and chain as evidence, and the nonce.
func hopper(t testing.TB, chain string) ([]byte, []byte) {
	t.Helper()
	report := strings.TrimSpace(string(vectors.Read(t, "nvidia/hopperAttestationReport.txt")))
	nonce, err := hex.DecodeString(report[8:72])
	if err != nil {
		t.Fatal(err)
	}
	return evidenceOf(t, wireDevice{
		Architecture: "HOPPER", UUID: "1111-2222-33333-444444-555555", Evidence: report,
		Certificate: base64.StdEncoding.EncodeToString(vectors.Read(t, "nvidia/"+chain)),
	}), nonce
}

func evidenceOf(t testing.TB, devices ...wireDevice) []byte {
	t.Helper()
	out, err := json.Marshal(map[string]any{"device_evidence_list": devices})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// realManifests are those of the versions that the real report names.
func realManifests(t testing.TB) memory {
	t.Helper()
	m := memory{}
	for _, id := range []string{"NV_GPU_DRIVER_GH100_550.90.07", "NV_GPU_VBIOS_1010_0200_882_96009F0001"} {
		text, err := os.ReadFile("rim/testdata/" + id + ".xml")
		if err != nil {
			t.Fatal(err)
		}
		m["nvidia/rim/"+id] = text
	}
	return m
}

// realResponse adds NVIDIA's OCSP response about the provisioner in the real chain.
func realResponse(t testing.TB, m memory) {
	t.Helper()
	text, err := os.ReadFile("testdata/gh100-provisioner.ocsp.b64")
	if err != nil {
		t.Fatal(err)
	}
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	m["nvidia/ocsp/b20040bdc80f6961a2b9c9493cb804b61f41f1008f14ba80010039f4dd467ee9"] = der
}

// TestRealHopper is the real report, chain and manifests together, with what the vectors say of the report.
func TestRealHopper(t *testing.T) {
	evidence, nonce := hopper(t, "hopper_cert_chain_case1.txt")
	var want struct {
		Config struct {
			Driver string `json:"driver_version"`
			VBIOS  string `json:"vbios_version"`
			FWID   string `json:"fwid"`
		} `json:"config"`
		Measurements map[int]string `json:"measurements"`
	}
	if err := json.Unmarshal(vectors.Read(t, "nvidia/hopperAttestationReport-claims.txt"), &want); err != nil {
		t.Fatal(err)
	}
	for index, value := range want.Measurements {
		if strings.Trim(value, "0") == "" {
			delete(want.Measurements, index)
		}
	}
	manifests := realManifests(t)
	realResponse(t, manifests)
	v, err := New(Config{Endorsements: manifests})
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.BoundTo(nonce), Time: recorded})
	if err != nil {
		t.Fatal(err)
	}
	n := c.NVIDIA.Devices[0]
	if diff := cmp.Diff(want.Measurements, n.Measurements); diff != "" {
		t.Error(diff)
	}
	if n.DriverVersion != want.Config.Driver || n.VBIOSVersion != want.Config.VBIOS || n.FirmwareID != want.Config.FWID || !n.FirmwareIDReported {
		t.Errorf("%+v", n)
	}
	if !strings.HasPrefix(c.ReportData, "931d8dd0") || !strings.HasSuffix(c.ReportData, "dfcb") {
		t.Errorf("the nonce is %s", c.ReportData)
	}
	if !*n.MeasurementsMatch || n.TCBStatus != attest.TCBUpToDate || *n.Debug || !*n.NVDEC0Disabled || n.Mismatched != nil || n.Model != "GH100 A01 GSP BROM" ||
		n.SerialNumber != "48b02d92494badf4" || n.Identity != "0456ef114633549618e8fbe54ece97118b2f034f11b036980137a15264a46d07" {
		t.Errorf("%+v", n)
	}
	// One response of three is there, so the chain was not checked as a whole, but that one counts.
	if n.RevocationChecked || c.Collateral.RevocationChecked || !c.Collateral.Current || !c.Collateral.Expires.Equal(time.Date(2025, 8, 22, 6, 47, 7, 0, time.UTC)) {
		t.Errorf("%+v", c.Collateral)
	}
	// Today the signers of these manifests are out of time, which the policy baseline refuses.
	c, err = v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.BoundTo(nonce), Time: now})
	if err != nil || c.Collateral.Current {
		t.Errorf("%v, %+v", err, c)
	}
}

// TestRealChains: the first is good, and each of the others lacks something.
func TestRealChains(t *testing.T) {
	v, err := New(Config{Endorsements: realManifests(t)})
	if err != nil {
		t.Fatal(err)
	}
	for name, code := range map[string]attest.Code{
		"hopper_cert_chain_case1.txt": "",
		"hopper_cert_chain_case2.txt": attest.CodeCertMissing,   // the root, and nothing else
		"hopper_cert_chain_case3.txt": attest.CodeCertUntrusted, // the provisioner's certificate is missing, so nobody vouches for the device's identity
		"hopper_cert_chain_case4.txt": attest.CodeCertUntrusted, // the attestation certificate is missing, and the device's identity key signs no reports
		"hopper_signing_cert.pem":     attest.CodeCertUntrusted, // the attestation certificate, and nobody to vouch for it
	} {
		t.Run(name, func(t *testing.T) {
			evidence, nonce := hopper(t, name)
			_, err := v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.BoundTo(nonce), Time: recorded})
			if code != "" {
				wantCode(t, err, code)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestARealSwitch: the chain of an LS10, below the same authority as Hopper's.
func TestARealSwitch(t *testing.T) {
	text, err := os.ReadFile("testdata/ls10-chain.pem")
	if err != nil {
		t.Fatal(err)
	}
	roots, err := nvidiaRoots()
	if err != nil {
		t.Fatal(err)
	}
	ders, err := pki.ParsePEM(text)
	if err != nil {
		t.Fatal(err)
	}
	c, err := verifyChain(ders, roots.device)
	if err != nil {
		t.Fatal(err)
	}
	if c.architecture != LS10 || c.chip != "LS_10" || c.name.serial != "48B02D7651C8FD93" || !strings.HasPrefix(hex.EncodeToString(c.layer.fwid), "3961f4de9a4a7834") {
		t.Errorf("%+v", c)
	}
}

// TestRealReportFlipped: no bit of the report may be another, and no byte of its chain's certificates.
func TestRealReportFlipped(t *testing.T) {
	evidence, nonce := hopper(t, "hopper_cert_chain_case1.txt")
	devices, err := Parse(evidence)
	if err != nil {
		t.Fatal(err)
	}
	v, err := New(Config{AllowUnmeasured: true})
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.StdEncoding.EncodeToString
	device := wireDevice{Architecture: "HOPPER", UUID: "x", Certificate: encode(devices[0].Chain)}
	for i := 0; i < len(devices[0].Report); i += mutate.Stride(7) {
		report := append([]byte(nil), devices[0].Report...)
		report[i] ^= 1 << (i % 8)
		device.Evidence = encode(report)
		in := attest.Input{Evidence: evidenceOf(t, device), Binding: attest.BoundTo(nonce), Time: recorded}
		if i >= 4 && i < 36 { // the nonce, if the attacker could choose what is expected
			in.Binding = attest.Unbound()
		}
		if _, err := v.Verify(t.Context(), in); err == nil {
			t.Fatalf("byte %d may be flipped", i)
		}
	}
	device.Evidence = encode(devices[0].Report)
	blocks, err := pki.ParsePEM(devices[0].Chain)
	if err != nil {
		t.Fatal(err)
	}
	for at, der := range blocks {
		for i := range der {
			if i%61 != at || i%mutate.Stride(7) != 0 { // some of them, others in each: each costs up to five signatures
				continue
			}
			changed := append([][]byte(nil), blocks...)
			changed[at] = append([]byte(nil), der...)
			changed[at][i] ^= 1 << (i % 8)
			var text []byte
			for _, one := range changed {
				text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one})...)
			}
			device.Certificate = encode(text)
			in := attest.Input{Evidence: evidenceOf(t, device), Binding: attest.BoundTo(nonce), Time: recorded}
			if _, err := v.Verify(t.Context(), in); err == nil {
				t.Fatalf("byte %d of certificate %d may be flipped", i, at)
			}
		}
	}
}
