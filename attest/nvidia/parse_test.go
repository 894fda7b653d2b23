package nvidia

import (
	"bytes"
	"crypto/x509"
	"errors"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/crypto/ocsp"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/nvidiatest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// TestTruncated: no beginning of a report, a chain or evidence is accepted in its place.
func TestTruncated(t *testing.T) {
	f := newFleet(t)
	d := f.NewDevice("HOPPER", nvidiatest.Shape{})
	report, chain := d.Report(digest, nil), nvidiatest.PEM(d.Certificates()...)
	for n := 0; n < len(report); n += mutate.Stride(7) {
		if r, err := ParseReport(report[:n]); err == nil && r.VerifySignature(&d.Leaf.Key.PublicKey) == nil {
			t.Fatalf("%d of the report's %d bytes are accepted", n, len(report))
		}
	}
	whole := len(chain) - len(nvidiatest.PEM(f.DeviceRoot.Certificate))
	v := f.verifier(t, nil, nil)
	for n := 0; n < len(chain); n += mutate.Stride(7) {
		if c, err := v.chain(chain[:n], now); err == nil && n < whole-1 {
			t.Fatalf("%d of the chain's %d bytes are accepted: %+v", n, len(chain), c)
		}
	}
	evidence := nvidiatest.Evidence(d.Present(digest))
	for n := 0; n < len(evidence); n += mutate.Stride(7) {
		if _, err := Parse(evidence[:n]); err == nil {
			t.Fatalf("%d of the evidence's %d bytes are accepted", n, len(evidence))
		}
	}
}

// TestLengthsAndCounts sets each byte that is a length or count, which are all of those that matter to the parser, to every value. No
// other value than what is right can be signed into a report that is read.
func TestLengthsAndCounts(t *testing.T) {
	f := newFleet(t)
	d := f.NewDevice("HOPPER", nvidiatest.Shape{})
	d.Blocks = d.Blocks[:2]
	report := d.Report(digest, nil)
	record := requestSize + 8
	block := 4 + 3 + 48
	opaque := record + 2*block + NonceSize
	for name, at := range map[string]int{
		"blocks": requestSize + 4, "record, low": requestSize + 5, "record, middle": requestSize + 6, "record, high": requestSize + 7,
		"block, low": record + 2, "block, high": record + 3, "value, low": record + 5, "value, high": record + 6,
		"second block": record + block + 2, "opaque, low": opaque, "opaque, high": opaque + 1, "first field, low": opaque + 4, "first field, high": opaque + 5,
	} {
		for value := range 256 {
			changed := bytes.Clone(report)
			changed[at] = byte(value)
			_, err := ParseReport(changed)
			if right := changed[at] == report[at]; (err == nil) != right && !(name == "first field, low" || name == "first field, high") {
				t.Errorf("%s of %d: %v", name, value, err)
			}
			var refusal *attest.Refusal
			if err != nil && !errors.As(err, &refusal) {
				t.Errorf("%s of %d: %v is no refusal", name, value, err)
			}
		}
	}
}

// TestMemory: what is huge, or says that it is, costs no memory beyond its own size.
func TestMemory(t *testing.T) {
	f := newFleet(t)
	v := f.verifier(t, nil, nil)
	d := f.NewDevice("HOPPER", nvidiatest.Shape{})
	long := bytes.Repeat([]byte{'['}, MaxEvidence)
	many := append(append([]byte(`{"device_evidence_list":[`), bytes.Repeat([]byte("{},"), 300_000)...), []byte("{}]}")...)
	for name, evidence := range map[string][]byte{
		"nested":          long,
		"many devices":    many,
		"a record of 16M": nvidiatest.Evidence(d.PresentReport(d.Report(digest, func(p *nvidiatest.Parts) { p.RecordLength = 1<<24 - 1 }))),
		"255 blocks":      nvidiatest.Evidence(d.PresentReport(d.Report(digest, func(p *nvidiatest.Parts) { p.Count = 255 }))),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := v.Verify(t.Context(), input(evidence))
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Error("it is accepted")
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<20 {
				t.Errorf("%d bytes were allocated", grown)
			}
		})
	}
}

func seeds(tb testing.TB) (f *fleet, evidence [][]byte) {
	f = newFleet(tb)
	hopper, switched := f.NewDevice("HOPPER", nvidiatest.Shape{}), f.NewDevice("LS10", nvidiatest.Shape{})
	return f, [][]byte{
		nvidiatest.Evidence(hopper.Present(digest)), nvidiatest.Evidence(switched.Present(digest)),
		nvidiatest.Evidence(f.NewDevice("BLACKWELL", nvidiatest.Shape{}).Present(digest), hopper.Present(digest)),
	}
}

// TestMutatedEvidence: whatever is done to evidence, the verifier answers with claims of those devices or a typed error.
func TestMutatedEvidence(t *testing.T) {
	f, evidence := seeds(t)
	v := f.verifier(t, nil, func(cfg *Config) { cfg.AllowUnmeasured = true })
	mutate.Run(t, evidence, func(t *testing.T, input []byte) { holds(t, v, input) })
}

// holds fails when the verifier returns something else than claims that are bound, or a typed error.
func holds(t *testing.T, v *Verifier, evidence []byte) {
	c, err := v.Verify(t.Context(), input(evidence))
	var refusal *attest.Refusal
	var unavailable *attest.Unavailable
	if err != nil && !errors.As(err, &refusal) && !errors.As(err, &unavailable) {
		t.Errorf("%v", err)
	}
	if err == nil && (!*c.Bound || len(c.NVIDIA.Devices) == 0 || c.ReportData == "") {
		t.Errorf("%+v", c)
	}
}

func FuzzVerify(f *testing.F) {
	fleet, evidence := seeds(f)
	v := fleet.verifier(f, nil, func(cfg *Config) { cfg.AllowUnmeasured = true })
	for _, e := range evidence {
		f.Add(e)
	}
	f.Fuzz(func(t *testing.T, evidence []byte) { holds(t, v, evidence) })
}

// agrees fails when the scanner reads something else than strictjson does, which reads all of it several times.
func agrees(t *testing.T, text []byte) {
	got, more, err := scanEvidence(text, MaxDevices)
	if err != nil || more {
		return
	}
	var want struct {
		Devices []wireDevice `json:"device_evidence_list"`
	}
	if err := strictjson.UnmarshalNewer(text, &want); err != nil || len(got) != len(want.Devices) || !slices.Equal(got, want.Devices) {
		t.Errorf("%q: %+v and %+v, %v", text, got, want.Devices, err)
	}
}

const smallEvidence = `{"a":[1,{"b":"\"\u00e9"}],"device_evidence_list":[{"arch":"HOPPER","uuid":"1","evidence":"11e0","certificate":"QUJD","x":null},{"uuid":"2"}]}`

func TestMutatedJSON(t *testing.T) {
	_, evidence := seeds(t)
	mutate.Run(t, append(evidence, []byte(smallEvidence)), agrees)
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte(smallEvidence))
	f.Fuzz(agrees)
}

func FuzzParseReport(f *testing.F) {
	world := newFleet(f)
	for _, arch := range Architectures() {
		f.Add(world.NewDevice(string(arch), nvidiatest.Shape{}).Report(digest, nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseReport(data)
		if err != nil {
			return
		}
		size := 0
		for _, b := range r.Blocks {
			size += len(b.Value)
		}
		if size > len(data) || len(r.Signed)+signatureSize != len(data) {
			t.Errorf("%d bytes of values in %d", size, len(data))
		}
		for _, a := range Architectures() {
			if d, err := describe(r.Fields, a); err == nil && d.vbios == "" {
				t.Errorf("%+v", d)
			}
		}
	})
}

func FuzzLayer(f *testing.F) {
	w := nvidiatest.NewWorld(f)
	f.Add(nvidiatest.Composite(w.DeviceRoot.Key, make([]byte, 48)).Value, nvidiatest.Name("NVIDIA:GH100:1").Value)
	f.Add(nvidiatest.TCBInfo(make([]byte, 48), 0x10).Value, []byte{})
	f.Fuzz(func(t *testing.T, layer, name []byte) {
		if l, err := parseComposite(layer); err == nil && len(l.fwid) != fwidSize {
			t.Errorf("%+v", l)
		}
		if l, err := parseTCBInfo(layer); err == nil && len(l.fwid) != fwidSize {
			t.Errorf("%+v", l)
		}
		cert := &x509.Certificate{}
		cert.Extensions = append(cert.Extensions, nvidiatest.Name(""))
		cert.Extensions[0].Value = name
		if n, err := readName(cert); err == nil && n != nil && n.manufacturer+n.product+n.serial == "" {
			t.Log("a name of nothing")
		}
	})
}

// responses are of the world's authority, and take is what may be made of any.
func responses(tb testing.TB) (seeds [][]byte, take func(t *testing.T, der []byte)) {
	tb.Helper()
	w := nvidiatest.NewWorld(tb)
	seeds = [][]byte{
		w.OCSP(w.Family.Certificate, w.DeviceRoot, ocsp.Good, now, nil), w.OCSPBy(w.DeviceRoot, w.Family.Certificate, w.DeviceRoot, ocsp.Good, now),
	}
	return seeds, func(t *testing.T, der []byte) {
		if s, err := verifyResponse(der, w.Family.Certificate, w.DeviceRoot.Certificate); err == nil && (!s.good || s.revoked) {
			t.Errorf("%+v", s)
		}
		if _, err := verifyResponse(der, w.ManifestCA.Certificate, w.ManifestRoot.Certificate); err == nil {
			t.Error("it is taken for another certificate's")
		}
	}
}

// TestMutatedResponses: no change of a response about a certificate makes it another's, or anything but good.
func TestMutatedResponses(t *testing.T) {
	seeds, take := responses(t)
	mutate.Run(t, seeds, take)
}

func FuzzResponse(f *testing.F) {
	seeds, take := responses(f)
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(take)
}
