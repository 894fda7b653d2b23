package rim_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/nvidia/nvidiatest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/pki"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/rim"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/xmlsig"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

func realRoot(tb testing.TB) *x509.Certificate {
	tb.Helper()
	text, err := os.ReadFile("../roots/manifest.pem")
	if err != nil {
		tb.Fatal(err)
	}
	root, err := pki.Root(text)
	if err != nil {
		tb.Fatal(err)
	}
	return root
}

func realManifest(tb testing.TB, name string) []byte {
	tb.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func TestRealManifests(t *testing.T) {
	for name, want := range map[string]struct {
		version     string
		active      int
		block       int
		value       string
		notAfter    time.Time
		alternative int
	}{
		"NV_GPU_DRIVER_GH100_550.90.07.xml": {
			version: "550.90.07", active: 21, block: 36, alternative: 4, value: "c0962ed90316ecea",
			notAfter: time.Date(2026, 6, 1, 2, 8, 29, 0, time.UTC),
		},
		"NV_GPU_VBIOS_1010_0200_882_96009F0001.xml": {
			version: "96.00.9F.00.01", active: 12, block: 13, alternative: 4, value: "e9bec0ccddde61f5",
			notAfter: time.Date(2026, 2, 22, 23, 17, 58, 0, time.UTC),
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := rim.Open(realManifest(t, name), realRoot(t))
			if err != nil {
				t.Fatal(err)
			}
			if m.Product != "GH100" || m.Version != want.version || len(m.Measurements) != want.active || !m.Chain.NotAfter.Equal(want.notAfter) {
				t.Errorf("it is of %s %s, with %d measurements, until %v", m.Product, m.Version, len(m.Measurements), m.Chain.NotAfter)
			}
			values := m.Measurements[want.block].Alternatives
			if len(values) != want.alternative || !strings.HasPrefix(hexOf(values[3][:]), want.value) {
				t.Errorf("block %d may be %x", want.block, values)
			}
			// Any other root is not trusted, NVIDIA's of devices included.
			if _, err := rim.Open(realManifest(t, name), nvidiatest.NewWorld(t).ManifestRoot.Certificate); !errors.Is(err, pki.ErrUntrusted) {
				t.Errorf("with another root: %v", err)
			}
		})
	}
}

func TestARealManifestThatWasChangedIsRefused(t *testing.T) {
	root, text := realRoot(t), realManifest(t, "NV_GPU_DRIVER_GH100_550.90.07.xml")
	for name, change := range map[string][2]string{
		"a value":              {"68454d4bb5545a74", "68454d4bb5545a75"},
		"active":               {`index="7" active="True"`, `index="7" active="False"`},
		"the version":          {"550.90.07", "550.90.08"},
		"the product":          {`product="GH100"`, `product="GB100"`},
		"a namespace":          {"xmlenc#sha384", "xmlenc#sha385"},
		"an unsigned resource": {"</ns0:Payload>", `<ns0:Resource type="Measurement"/></ns0:Payload>`},
		"the digest":           {"gMJpwhbI", "gMJpwhbJ"},
		"the signature":        {"uA3a8vHy", "uA3a8vHz"},
		"a certificate":        {"MIICkDCC", "MIICkDCD"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1)
			if bytes.Equal(changed, text) {
				t.Fatal("nothing was changed")
			}
			if _, err := rim.Open(changed, root); err == nil {
				t.Error("it is accepted")
			}
		})
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, c := range b {
		out.WriteByte(digits[c>>4])
		out.WriteByte(digits[c&15])
	}
	return out.String()
}

func value(b byte) []byte { return bytes.Repeat([]byte{b}, 48) }

func TestSynthetic(t *testing.T) {
	w := nvidiatest.NewWorld(t)
	text := w.Manifest("GB100", "580.1", nvidiatest.Golden{Block: 1, Values: [][]byte{value(1), value(2)}},
		nvidiatest.Golden{Block: 2, Values: [][]byte{value(3)}, Inactive: true})
	m, err := rim.Open(text, w.ManifestRoot.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if m.Product != "GB100" || m.Version != "580.1" || m.TagID != "tag-580.1" || len(m.Measurements) != 1 {
		t.Errorf("%+v", m)
	}
	if one := m.Measurements[1]; !one.Matches(value(1)) || !one.Matches(value(2)) || one.Matches(value(3)) || one.Matches(nil) {
		t.Errorf("block 1 may be %x", one.Alternatives)
	}
}

// TestWhatIsSignedButNotOfTheForm: whatever is in a manifest must be understood, though NVIDIA signed it.
func TestWhatIsSignedButNotOfTheForm(t *testing.T) {
	w := nvidiatest.NewWorld(t)
	good := nvidiatest.Resource(nvidiatest.Golden{Block: 1, Values: [][]byte{value(1)}})
	second := nvidiatest.Resource(nvidiatest.Golden{Block: 2, Values: [][]byte{value(1)}})
	body := func(resources ...string) string { return nvidiatest.Body("GH100", "1", resources...) }
	replace := func(text, from, to string) string {
		if !strings.Contains(text, from) {
			t.Fatalf("%s does not have %s", text, from)
		}
		return strings.Replace(text, from, to, 1)
	}
	for name, text := range map[string]string{
		"no resource":                 body(),
		"an index twice":              body(good, good),
		"no active one":               body(replace(good, "True", "False")),
		"active in another spelling":  body(replace(good, "True", "true")),
		"another type":                body(good, replace(second, "Measurement\" ", "MinSvn\" ")),
		"another size":                body(replace(good, `size="48"`, `size="32"`)),
		"a negative index":            body(replace(good, `index="0"`, `index="-1"`)),
		"an index over 254":           body(replace(good, `index="0"`, `index="255"`)),
		"an index in another writing": body(replace(good, `index="0"`, `index="00"`)),
		"too few alternatives":        body(replace(good, `alternatives="1"`, `alternatives="0"`)),
		"more alternatives than are":  body(replace(good, `alternatives="1"`, `alternatives="2"`)),
		"huge alternatives":           body(replace(good, `alternatives="1"`, `alternatives="99999999999999999999"`)),
		"a value that is no hex":      body(replace(good, "0101", "01zz")),
		"a value that is too short":   body(replace(good, "0101", "01")),
		"an unknown attribute":        body(replace(good, ` size=`, ` role="x" size=`)),
		"an element in a resource":    body(replace(good, "></ns0:Resource>", "><ns0:Resource></ns0:Resource></ns0:Resource>")),
		"text among resources":        body(good, "x", second),
		"another element":             body(good, replace(replace(second, "ns0:Resource", "ns0:File"), "/ns0:Resource", "/ns0:File")),
		"no version":                  replace(body(good), ` colloquialVersion="1"`, ""),
		"no product":                  replace(body(good), ` product="GH100"`, ""),
		"two payloads":                body(good) + "<ns0:Payload></ns0:Payload>",
		"no payload":                  replace(replace(body(good), "<ns0:Payload>", ""), "</ns0:Payload>", ""),
		"hashes of another namespace": body(replace(good, "ns2:Hash0", "ns0:Hash0")),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := rim.Open(w.SignManifest(text, "</SoftwareIdentity>"), w.ManifestRoot.Certificate)
			if !errors.Is(err, rim.ErrFormat) && !errors.Is(err, xmlsig.ErrSyntax) {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := rim.Open(w.SignManifest(body(good, second), "</SoftwareIdentity>"), w.ManifestRoot.Certificate); err != nil {
		t.Errorf("what these are changed from: %v", err)
	}
}

// TestFlippedBytes: no change of a byte makes a manifest say anything else.
func TestFlippedBytes(t *testing.T) {
	w := nvidiatest.NewWorld(t)
	text := w.Manifest("GH100", "1", nvidiatest.Golden{Block: 1, Values: [][]byte{value(1), value(2)}})
	for i := 0; i < len(text); i += mutate.Stride(1) {
		changed := bytes.Clone(text)
		changed[i] ^= 1 << (i % 7)
		if m, err := rim.Open(changed, w.ManifestRoot.Certificate); err == nil {
			t.Fatalf("the byte %d, %q, as %q: %+v", i, text[i], changed[i], m)
		}
	}
}

func TestTruncated(t *testing.T) {
	w := nvidiatest.NewWorld(t)
	text := w.Manifest("GH100", "1", nvidiatest.Golden{Block: 1, Values: [][]byte{value(1)}})
	for n := 0; n < len(text); n += mutate.Stride(1) {
		if _, err := rim.Open(text[:n], w.ManifestRoot.Certificate); err == nil {
			t.Fatalf("%d of %d bytes are accepted", n, len(text))
		}
	}
}

func TestMutatedManifests(t *testing.T) {
	w := nvidiatest.NewWorld(t)
	seed := w.Manifest("GH100", "1", nvidiatest.Golden{Block: 1, Values: [][]byte{value(1), value(2)}})
	mutate.Run(t, [][]byte{seed, realManifest(t, "NV_GPU_VBIOS_1010_0200_882_96009F0001.xml")}, func(t *testing.T, input []byte) {
		m, err := rim.Open(input, w.ManifestRoot.Certificate)
		if err == nil && (m.Product != "GH100" || m.Version != "1" || len(m.Measurements) != 1 || !m.Measurements[1].Matches(value(1))) {
			t.Errorf("%+v", m)
		}
	})
}

// FuzzOpen begins with manifests that NVIDIA signed, which verify in every process of the fuzzer.
func FuzzOpen(f *testing.F) {
	root := realRoot(f)
	f.Add(realManifest(f, "NV_GPU_DRIVER_GH100_550.90.07.xml"))
	f.Add(realManifest(f, "NV_GPU_VBIOS_1010_0200_882_96009F0001.xml"))
	f.Fuzz(func(t *testing.T, input []byte) {
		m, err := rim.Open(input, root)
		if err == nil && (m.Product != "GH100" || m.Version != "550.90.07" && m.Version != "96.00.9F.00.01") {
			t.Errorf("%+v", m)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	root, text := realRoot(b), realManifest(b, "NV_GPU_DRIVER_GH100_550.90.07.xml")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := rim.Open(text, root); err != nil {
			b.Fatal(err)
		}
	}
}
