package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/sample"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/tpm/tpmtest"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/enrol"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/client/tpmdevice"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
)

// gpu stands for a device: the unsigned test evidence of one.
type gpu struct {
	kind   attest.Kind
	change func([]byte) []byte // may be nil
	err    error
}

func (g gpu) Kind() attest.Kind { return g.kind }
func (g gpu) Evidence(_ context.Context, digest []byte) ([]byte, error) {
	evidence := sample.Evidence("7", digest)
	if g.change != nil {
		evidence = g.change(evidence)
	}
	return evidence, g.err
}

// needsDevice releases to a virtual machine with a device.
const needsDevice = `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: app}
spec:
  secrets: ["app/*"]
  waive:
    - {rule: genuine-hardware, reason: no hardware vouches for sample evidence}
  require:
    - {name: machine, that: claims.kind == "virtual"}
    - {name: device, that: 'claims.devices.exists(d, d.kind == "sampledevice" && d.sample.svn == "7")'}
`

func deviceBroker(t *testing.T) *brokertest.Broker {
	t.Helper()
	b := brokertest.Start(t, brokertest.Config{Verifiers: func(*data.Data) []attest.Verifier {
		return []attest.Verifier{sample.NewDevice()}
	}})
	b.PutSecret("app/key", []byte("hunter2"))
	b.ApplyPolicy(needsDevice)
	return b
}

func fetch(t *testing.T, c client.Config) (string, error) {
	t.Helper()
	c.Retry.Max = 1
	workload, err := client.New(c)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := workload.Fetch(t.Context(), "app/key")
	if err != nil {
		return "", err
	}
	return string(secrets[0].Value), nil
}

// TestDevices: with its device a machine gets what it does not get without.
func TestDevices(t *testing.T) {
	b := deviceBroker(t)
	c := client.Config{URL: b.URL, CA: b.CA, Collector: virtualdevice.New(b.Device), Devices: []client.Collector{gpu{kind: attest.SampleDevice}}}
	if value, err := fetch(t, c); err != nil || value != "hunter2" {
		t.Errorf("with the device: %q, %v", value, err)
	}
	c.Devices = nil
	var refused *client.Refused
	if _, err := fetch(t, c); !errors.As(err, &refused) || refused.Code != release.CodeDenied {
		t.Errorf("without: %v", err)
	}
	// A device that proves another challenge, as a relayed one would.
	c.Devices = []client.Collector{gpu{kind: attest.SampleDevice, change: func([]byte) []byte { return sample.Evidence("7", make([]byte, 48)) }}}
	if _, err := fetch(t, c); !errors.As(err, &refused) || refused.Code != release.CodeEvidence {
		t.Errorf("a relayed device: %v", err)
	}
}

// TestDevicesOnTheWay: who sits between can neither take a device away nor add or exchange one.
func TestDevicesOnTheWay(t *testing.T) {
	b := deviceBroker(t)
	for name, change := range map[string]func(*release.Request){
		"taken away": func(r *release.Request) { r.Additional = "" },
		"emptied":    func(r *release.Request) { r.Additional = "{}" },
		"spelled otherwise": func(r *release.Request) {
			r.Additional = strings.Replace(r.Additional, ":", ": ", 1)
		},
		"improved": func(r *release.Request) { r.Additional = strings.Replace(r.Additional, `"7"`, `"8"`, 1) },
	} {
		middle := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			if r.URL.Path == release.ReleasePath {
				request, err := release.DecodeRequest(body)
				if err != nil {
					t.Error(err)
					return
				}
				change(request)
				if body, err = json.Marshal(request); err != nil {
					t.Error(err)
				}
			}
			forward, err := http.NewRequest(r.Method, b.URL+r.URL.Path, bytes.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			forward.Header = r.Header
			response, err := b.HTTP.Do(forward)
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			w.WriteHeader(response.StatusCode)
			_, _ = io.Copy(w, response.Body)
		}))
		response, err := b.HTTP.Get(b.URL + release.KeysPath)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		_, err = fetch(t, client.Config{
			URL: middle.URL, Keys: keys, Collector: virtualdevice.New(b.Device), Devices: []client.Collector{gpu{kind: attest.SampleDevice}},
		})
		var refused *client.Refused
		if !errors.As(err, &refused) || refused.Code != release.CodeEvidence {
			t.Errorf("%s: %v", name, err)
		}
		middle.Close()
	}
}

// TestTPMBesideMachine: a software TPM that was enrolled, beside a virtual machine.
func TestTPMBesideMachine(t *testing.T) {
	soft := tpmtest.Start(t)
	roots, intermediates := soft.Authority()
	enroller, err := tpm.NewEnroller(tpm.EnrollerConfig{EKRoots: roots, EKIntermediates: intermediates})
	if err != nil {
		t.Fatal(err)
	}
	b := brokertest.Start(t, brokertest.Config{Enroller: enroller, Verifiers: func(d *data.Data) []attest.Verifier {
		v, err := tpm.New(tpm.Config{Enrolments: broker.NewEnrolments(d.Store)})
		if err != nil {
			t.Fatal(err)
		}
		return []attest.Verifier{v, sample.NewDevice()}
	}})
	b.PutSecret("app/key", []byte("hunter2"))
	b.ApplyPolicy(`apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: app}
spec:
  secrets: ["app/*"]
  waive:
    - {rule: genuine-hardware, reason: no hardware vouches for sample evidence}
  require:
    - {name: machine, that: claims.kind == "virtual"}
    - {name: host, that: 'claims.devices.exists(d, d.kind == "tpm" && d.tpm.host == "node-1")'}
    - {name: two-devices, that: claims.devices.size() == 2}
`)
	device, err := tpmdevice.Open(t.Context(), tpmdevice.Config{Device: soft.Addr(), StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	c := client.Config{
		URL: b.URL, CA: b.CA, Collector: virtualdevice.New(b.Device),
		Devices: []client.Collector{device, gpu{kind: attest.SampleDevice}},
	}
	var refused *client.Refused
	if _, err := fetch(t, c); !errors.As(err, &refused) || refused.Code != release.CodeEvidence {
		t.Errorf("not enrolled: %v", err)
	}
	if _, err := enrol.Host(t.Context(), enrol.Config{URL: b.URL, CA: b.CA, Token: b.Token}, "node-1", device); err != nil {
		t.Fatal(err)
	}
	if value, err := fetch(t, c); err != nil || value != "hunter2" {
		t.Errorf("enrolled: %q, %v", value, err)
	}
}

// TestKinds asks a real broker, and one that is none.
func TestKinds(t *testing.T) {
	b := deviceBroker(t)
	kinds, err := client.Kinds(t.Context(), client.Config{URL: b.URL, CA: b.CA})
	if err != nil || !slices.Equal(kinds, []attest.Kind{attest.SampleDevice, attest.Virtual}) {
		t.Errorf("%v, %v", kinds, err)
	}
	if release.KindsPath != wire.ListKinds.Path {
		t.Error("the path is another")
	}
	for body, want := range map[string]error{`{"kinds":[]}`: client.ErrReply, `[]`: client.ErrReply, `{"kinds":["snp"],"newer":1}`: nil} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
		if _, err := client.Kinds(t.Context(), client.Config{URL: server.URL}); !errors.Is(err, want) {
			t.Errorf("%s: %v", body, err)
		}
		server.Close()
	}
	if _, err := client.Kinds(t.Context(), client.Config{URL: b.URL}); !errors.Is(err, client.ErrReply) {
		t.Errorf("a certificate that is not trusted: %v", err)
	}
	if _, err := client.Kinds(t.Context(), client.Config{URL: "ftp://x"}); err == nil {
		t.Error("no broker's address passed")
	}
}

// TestDevicesRefused: what no broker would accept is found before anybody is asked.
func TestDevicesRefused(t *testing.T) {
	machine, device := gpu{kind: attest.Virtual}, gpu{kind: attest.SampleDevice}
	for name, c := range map[string]client.Config{
		"no machine":              {Devices: []client.Collector{device}},
		"a device as the machine": {Collector: device},
		"a machine as a device":   {Collector: machine, Devices: []client.Collector{gpu{kind: attest.SNP}}},
		"one that is nil":         {Collector: machine, Devices: []client.Collector{device, nil}},
		"a kind twice":            {Collector: machine, Devices: []client.Collector{device, device}},
		"the machine's kind":      {Collector: gpu{kind: attest.TPM}, Devices: []client.Collector{gpu{kind: attest.TPM}}},
		"too many":                {Collector: machine, Devices: make([]client.Collector, attest.MaxDevices+1)},
	} {
		c.URL = "https://broker.test"
		if _, err := client.New(c); err == nil {
			t.Errorf("%s passed", name)
		}
	}
}

func TestCollect(t *testing.T) {
	r := attest.RuntimeData{Hash: 5, Nonce: "n", Recipient: []byte(`{"kty":"x"}`)} // SHA-256
	machine := gpu{kind: attest.Virtual}
	e, err := client.Collect(t.Context(), machine, nil, r)
	if err != nil || e.Additional != "" || e.Devices != nil {
		t.Errorf("%+v, %v", e, err)
	}
	devices := []client.Collector{gpu{kind: attest.NVIDIA}, gpu{kind: attest.TPM}}
	if e, err = client.Collect(t.Context(), machine, devices, r); err != nil {
		t.Fatal(err)
	}
	digest, err := r.Device()
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"nvidia":` + string(sample.Evidence("7", digest)) + `,"tpm":` + string(sample.Evidence("7", digest)) + `}`; e.Additional != want {
		t.Errorf("additional evidence %s, not %s", e.Additional, want)
	}
	r.Additional = e.Additional
	if digest, err = r.Primary(); err != nil || !bytes.Equal(e.Primary, sample.Evidence("7", digest)) {
		t.Errorf("primary evidence %s, %v", e.Primary, err)
	}
	if _, err := client.Collect(t.Context(), machine, devices, r); err == nil {
		t.Error("additional evidence that was there already passed")
	}
	r.Additional = ""
	broken := errors.New("broken")
	for name, device := range map[string]gpu{
		"no JSON":   {kind: attest.NVIDIA, change: func([]byte) []byte { return []byte{1} }},
		"nothing":   {kind: attest.NVIDIA, change: func([]byte) []byte { return nil }},
		"two":       {kind: attest.NVIDIA, change: func(b []byte) []byte { return append(append(b, ','), b...) }},
		"an escape": {kind: attest.NVIDIA, change: func(b []byte) []byte { return append(b, `,"tpm":{}`...) }},
		"too large": {kind: attest.NVIDIA, change: func([]byte) []byte { return []byte(`"` + strings.Repeat("x", attest.MaxEvidenceSize) + `"`) }},
		"not UTF-8": {kind: attest.NVIDIA, change: func([]byte) []byte { return []byte("\"\xff\"") }},
		"broken":    {kind: attest.NVIDIA, err: broken},
	} {
		if _, err := client.Collect(t.Context(), machine, []client.Collector{device}, r); err == nil || device.err != nil && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
