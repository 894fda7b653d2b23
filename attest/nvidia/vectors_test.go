package nvidia

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vouchsafe/vouchsafe/attest"
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
	out, err := json.Marshal(wireEvidence{devices})
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

func TestARealHopperMeasuresWhatItsRealManifestsSay(t *testing.T) {
	evidence, nonce := hopper(t, "hopper_cert_chain_case1.txt")
	v, err := New(Config{Endorsements: realManifests(t)})
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.BoundTo(nonce), Time: recorded})
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.MarshalIndent(c, "", " ")
	t.Log(string(text))
	_ = cmp.Diff
	_ = errors.Is
}
