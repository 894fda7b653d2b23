package nvidia

import (
	"bytes"
	"context"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ocsp"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/nvidiatest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// Names of the manifests of the Hopper that NewDevice makes.
const (
	driverID = "NV_GPU_DRIVER_GH100_580.10.01"
	vbiosID  = "NV_GPU_VBIOS_1010_0200_882_96009F0001"
)

func TestManifestsThatAreNotAtHand(t *testing.T) {
	f := newFleet(t)
	d := f.NewDevice("HOPPER", nvidiatest.Shape{})
	in := input(nvidiatest.Evidence(d.Present(digest)))
	for name, test := range map[string]struct {
		without []string
		named   []string
	}{
		"both":       {[]string{driverID, vbiosID}, []string{driverID, vbiosID}},
		"the driver": {[]string{driverID}, []string{driverID}},
		"the VBIOS":  {[]string{vbiosID}, []string{vbiosID}},
	} {
		t.Run(name, func(t *testing.T) {
			gone := memory{}
			for _, id := range test.without {
				gone["nvidia/rim/"+id] = nil
			}
			_, err := f.verifier(t, gone, nil).Verify(t.Context(), in)
			u := wantUnavailable(t, err)
			for _, id := range test.named {
				if !strings.Contains(u.What, id) {
					t.Errorf("%q does not name %s", u.What, id)
				}
			}
			if u.RetryAfter != 7*time.Second {
				t.Errorf("come back after %v", u.RetryAfter)
			}
			c, err := f.verifier(t, gone, func(cfg *Config) { cfg.AllowUnmeasured = true }).Verify(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			n := c.NVIDIA.Devices[0]
			if diff := cmp.Diff(test.named, n.ManifestsWanted); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.named, c.NVIDIA.ManifestsWanted); diff != "" {
				t.Error(diff)
			}
			if n.MeasurementsMatch != nil || c.NVIDIA.MeasurementsMatch != nil || n.TCBStatus != "" || c.TCBStatus != "" || c.Debug != nil || n.SecureBoot != nil ||
				len(n.Manifests) != 2-len(test.without) {
				t.Errorf("%+v", c)
			}
		})
	}
	// Without endorsements at all it is the same.
	v, err := newVerifier(Config{AllowUnmeasured: true}, f.trust())
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.Verify(t.Context(), in)
	if err != nil || c.TCBStatus != "" || len(c.NVIDIA.ManifestsWanted) != 2 || c.Collateral.RevocationChecked {
		t.Errorf("%v, %+v", err, c)
	}
	// One of two that could not be judged leaves nothing to be said of both, but one that is bad is bad.
	bad := f.NewDevice("LS10", nvidiatest.Shape{})
	bad.Blocks[0].Value = bytes.Repeat([]byte{1}, 48)
	v = f.verifier(t, memory{"nvidia/rim/" + driverID: nil}, func(cfg *Config) { cfg.AllowUnmeasured = true })
	c, err = v.Verify(t.Context(), input(nvidiatest.Evidence(d.Present(digest), bad.Present(digest))))
	if err != nil || c.NVIDIA.MeasurementsMatch != nil || c.TCBStatus != attest.TCBOutOfDate {
		t.Errorf("%v, %+v", err, c)
	}
}

// TestManifestsThatAreBad: a manifest that is there is never passed over, even where devices need not be measured.
func TestManifestsThatAreBad(t *testing.T) {
	f := newFleet(t)
	d := f.NewDevice("HOPPER", nvidiatest.Shape{})
	good := f.manifests["nvidia/rim/"+driverID]
	stranger := nvidiatest.NewWorld(t)
	future := *f.World
	future.ManifestSigner = f.Issue(&f.ManifestCA, "HCC RIM L4 Signer", false, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) })
	for name, data := range map[string][]byte{
		"no XML":             []byte("{}"),
		"empty":              {},
		"someone else's":     stranger.Manifest("GH100", "580.10.01", d.Golden(1, 4)...),
		"changed":            bytes.Replace(good, []byte("True"), []byte("False"), 1),
		"of another version": f.Manifest("GH100", "580.10.02", d.Golden(1, 4)...),
		"of another chip":    f.Manifest("GB100", "580.10.01", d.Golden(1, 4)...),
		"in conflict":        f.Manifest("GH100", "580.10.01", d.Golden(1, 5)...),
		"that of the VBIOS":  f.manifests["nvidia/rim/"+vbiosID],
		"its signer not yet": future.Manifest("GH100", "580.10.01", d.Golden(1, 4)...),
	} {
		for _, allow := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				v := f.verifier(t, memory{"nvidia/rim/" + driverID: data}, func(cfg *Config) { cfg.AllowUnmeasured = allow })
				for range 2 { // from the cache too
					_, err := v.Verify(t.Context(), input(nvidiatest.Evidence(d.Present(digest))))
					wantUnavailable(t, err)
				}
			})
		}
	}
}

func TestComparison(t *testing.T) {
	f := newFleet(t)
	zeros := make([]byte, 48)
	for name, test := range map[string]struct {
		change       func(*nvidiatest.Device)
		mismatched   []int
		unreferenced []int
	}{
		"as released":           {func(*nvidiatest.Device) {}, nil, []int{8}},
		"another of the values": {func(d *nvidiatest.Device) { d.Blocks[0].Value = zeros }, nil, []int{8}},
		"another value":         {func(d *nvidiatest.Device) { d.Blocks[5].Value = bytes.Repeat([]byte{1}, 48) }, []int{6}, []int{8}},
		"two of another":        {func(d *nvidiatest.Device) { d.Blocks[0].Value, d.Blocks[6].Value = []byte{1}, []byte{2} }, []int{1, 7}, []int{8}},
		"a value cut off":       {func(d *nvidiatest.Device) { d.Blocks[0].Value = d.Blocks[0].Value[:47] }, []int{1}, []int{8}},
		"a block missing":       {func(d *nvidiatest.Device) { d.Blocks = d.Blocks[1:] }, []int{1}, []int{8}},
		"blocks exchanged":      {func(d *nvidiatest.Device) { d.Blocks[0].Index, d.Blocks[1].Index = 2, 1 }, []int{1, 2}, []int{8}},
		"in another order":      {func(d *nvidiatest.Device) { d.Blocks[0], d.Blocks[1] = d.Blocks[1], d.Blocks[0] }, nil, []int{8}},
		"a block that nobody names": {func(d *nvidiatest.Device) {
			d.Blocks = append(d.Blocks, nvidiatest.Block{Index: 255, Value: []byte{1}})
		}, nil, []int{8, 255}},
		"one that measures nothing": {func(d *nvidiatest.Device) { d.Blocks[7].Value = zeros }, nil, nil},
		"one block only":            {func(d *nvidiatest.Device) { d.Blocks = d.Blocks[:1] }, []int{2, 3, 4, 5, 6, 7}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := f.NewDevice("HOPPER", nvidiatest.Shape{})
			test.change(d)
			c, err := f.verifier(t, nil, nil).Verify(t.Context(), input(nvidiatest.Evidence(d.Present(digest))))
			if err != nil {
				t.Fatal(err)
			}
			n := c.NVIDIA.Devices[0]
			if diff := cmp.Diff(test.mismatched, n.Mismatched); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.unreferenced, n.Unreferenced); diff != "" {
				t.Error(diff)
			}
			if matches := len(test.mismatched) == 0; *n.MeasurementsMatch != matches || (c.TCBStatus == attest.TCBUpToDate) != matches || (c.TCBStatus == attest.TCBOutOfDate) == matches {
				t.Errorf("%+v", n)
			}
		})
	}
}

// TestNVDEC0: its measurement is compared where the report says that it is on, or does not say.
func TestNVDEC0(t *testing.T) {
	f := newFleet(t)
	for name, test := range map[string]struct {
		state []byte
		match bool
	}{"on": {[]byte{0xaa}, false}, "off": {[]byte{0x55}, true}, "not said": {nil, false}} {
		d := f.NewDevice("HOPPER", nvidiatest.Shape{})
		d.Set(11, test.state)
		d.Blocks = append(d.Blocks, nvidiatest.Block{Index: 36, Value: bytes.Repeat([]byte{1}, 48)})
		golden := append(d.Golden(1, 4), nvidiatest.Golden{Block: 36, Values: [][]byte{bytes.Repeat([]byte{2}, 48)}})
		v := f.verifier(t, memory{"nvidia/rim/" + driverID: f.Manifest("GH100", "580.10.01", golden...)}, nil)
		c, err := v.Verify(t.Context(), input(nvidiatest.Evidence(d.Present(digest))))
		if err != nil || *c.NVIDIA.MeasurementsMatch != test.match {
			t.Errorf("%s: %v, %+v", name, err, c)
		}
	}
}

// TestManifestsAge: a manifest is current until its signer's chain ends, and the configured grace longer.
func TestManifestsAge(t *testing.T) {
	f := newFleet(t)
	d := f.NewDevice("HOPPER", nvidiatest.Shape{})
	end := f.ManifestSigner.Certificate.NotAfter
	for name, test := range map[string]struct {
		at             time.Time
		grace          time.Duration
		current, stale bool
	}{
		"good":             {end.Add(-time.Second), 0, true, false},
		"at its end":       {end, 0, false, true},
		"within the grace": {end.Add(time.Hour), 2 * time.Hour, true, true},
		"beyond it":        {end.Add(3 * time.Hour), 2 * time.Hour, false, true},
	} {
		in := input(nvidiatest.Evidence(d.Present(digest)))
		in.Time = test.at
		c, err := f.verifier(t, nil, func(cfg *Config) { cfg.Grace = test.grace }).Verify(t.Context(), in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := c.Collateral; got.Current != test.current || got.Stale != test.stale || !got.Expires.Equal(end) || got.Age == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// ocspOf adds good responses, or such of status, for every certificate of a device's chain that NVIDIA's responders know.
func (f *fleet) ocspOf(d *nvidiatest.Device, status int, then time.Time, into memory) {
	for _, one := range []struct {
		cert   *x509.Certificate
		issuer nvidiatest.Authority
	}{{d.Identity.Certificate, d.Provisioner}, {d.Provisioner.Certificate, f.Family}, {f.Family.Certificate, f.DeviceRoot}} {
		into[nvidiatest.OCSPName(one.cert)] = f.OCSP(one.cert, one.issuer, status, then, nil)
	}
}

// ocspOfManifests does so for the chain of who signs manifests.
func (f *fleet) ocspOfManifests(status int, then time.Time, into memory) {
	into[nvidiatest.OCSPName(f.ManifestSigner.Certificate)] = f.OCSP(f.ManifestSigner.Certificate, f.ManifestCA, status, then, nil)
	into[nvidiatest.OCSPName(f.ManifestCA.Certificate)] = f.OCSP(f.ManifestCA.Certificate, f.ManifestRoot, status, then, nil)
}

func TestRevocation(t *testing.T) {
	f := newFleet(t)
	d := f.NewDevice("HOPPER", nvidiatest.Shape{})
	then := now.Add(-time.Hour)
	all := func() memory {
		m := memory{}
		f.ocspOf(d, ocsp.Good, then, m)
		f.ocspOfManifests(ocsp.Good, then, m)
		return m
	}
	provisioner, signer := nvidiatest.OCSPName(d.Provisioner.Certificate), nvidiatest.OCSPName(f.ManifestSigner.Certificate)
	verify := func(t *testing.T, m memory) (*attest.Claims, error) {
		v := f.verifier(t, m, nil)
		c, err := v.Verify(t.Context(), input(nvidiatest.Evidence(d.Present(digest))))
		again, errAgain := v.Verify(t.Context(), input(nvidiatest.Evidence(d.Present(digest))))
		if (err == nil) != (errAgain == nil) || err == nil && !cmp.Equal(c.NVIDIA.RevocationChecked, again.NVIDIA.RevocationChecked) {
			t.Errorf("from the cache: %v, and before: %v", errAgain, err)
		}
		return c, err
	}
	checked := func(t *testing.T, m memory, whole, device, manifest bool) *attest.Claims {
		t.Helper()
		c, err := verify(t, m)
		if err != nil {
			t.Fatal(err)
		}
		n := c.NVIDIA.Devices[0]
		if c.NVIDIA.RevocationChecked != whole || c.Collateral.RevocationChecked != whole || n.RevocationChecked != device || n.Manifests[0].RevocationChecked != manifest {
			t.Errorf("%+v", c.NVIDIA)
		}
		return c
	}
	t.Run("all good", func(t *testing.T) {
		if c := checked(t, all(), true, true, true); !c.Collateral.Current || !c.Collateral.Expires.Equal(then.Add(24*time.Hour)) {
			t.Errorf("%+v", c.Collateral)
		}
	})
	t.Run("one not at hand", func(t *testing.T) {
		m := all()
		delete(m, provisioner)
		checked(t, m, false, false, true)
	})
	t.Run("that of the manifests not at hand", func(t *testing.T) {
		m := all()
		delete(m, signer)
		checked(t, m, false, true, false)
	})
	t.Run("one nobody knows", func(t *testing.T) {
		m := all()
		m[provisioner] = f.OCSP(d.Provisioner.Certificate, f.Family, ocsp.Unknown, then, nil)
		checked(t, m, false, false, true)
	})
	t.Run("late", func(t *testing.T) {
		m := all()
		m[provisioner] = f.OCSP(d.Provisioner.Certificate, f.Family, ocsp.Good, now.Add(-25*time.Hour), nil)
		if c := checked(t, m, true, true, true); c.Collateral.Current || !c.Collateral.Stale {
			t.Errorf("%+v", c.Collateral)
		}
	})
	for _, old := range []time.Time{then, now.AddDate(-1, 0, 0)} { // what was revoked stays so
		for _, cert := range []struct {
			of     *x509.Certificate
			issuer nvidiatest.Authority
		}{{d.Identity.Certificate, d.Provisioner}, {d.Provisioner.Certificate, f.Family}, {f.Family.Certificate, f.DeviceRoot}} {
			t.Run("revoked", func(t *testing.T) {
				m := all()
				m[nvidiatest.OCSPName(cert.of)] = f.OCSP(cert.of, cert.issuer, ocsp.Revoked, old, nil)
				_, err := verify(t, m)
				wantCode(t, err, attest.CodeCertRevoked)
			})
		}
	}
	t.Run("a manifest's signer revoked", func(t *testing.T) {
		m := all()
		m[signer] = f.OCSP(f.ManifestSigner.Certificate, f.ManifestCA, ocsp.Revoked, then, nil)
		_, err := verify(t, m)
		wantUnavailable(t, err)
	})
	self := f.OCSPBy(f.Family, d.Provisioner.Certificate, f.Family, ocsp.Good, then)
	t.Run("by the issuer itself", func(t *testing.T) {
		m := all()
		m[provisioner] = self
		checked(t, m, true, true, true)
	})
	stranger := nvidiatest.NewWorld(t)
	for name, response := range map[string][]byte{
		"empty":                        {},
		"no OCSP":                      []byte("good"),
		"too long":                     append(bytes.Clone(self), make([]byte, maxResponse)...),
		"trailing bytes":               append(f.OCSP(d.Provisioner.Certificate, f.Family, ocsp.Good, then, nil), 0),
		"an error of the responder":    ocsp.UnauthorizedErrorResponse,
		"of another certificate":       f.OCSP(d.Identity.Certificate, f.Family, ocsp.Good, then, nil),
		"by another issuer":            f.OCSP(d.Provisioner.Certificate, f.DeviceRoot, ocsp.Good, then, nil),
		"by a stranger":                stranger.OCSP(d.Provisioner.Certificate, stranger.Family, ocsp.Good, then, nil),
		"of the future":                f.OCSP(d.Provisioner.Certificate, f.Family, ocsp.Good, now.Add(time.Hour), nil),
		"by one that is not for OCSP":  f.OCSP(d.Provisioner.Certificate, f.Family, ocsp.Good, then, func(c *x509.Certificate) { c.ExtKeyUsage = nil }),
		"by a device":                  f.OCSPBy(f.Issue(&f.Family, "GH100", false, nil), d.Provisioner.Certificate, f.Family, ocsp.Good, then),
		"by one that may not sign":     f.OCSP(d.Provisioner.Certificate, f.Family, ocsp.Good, then, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }),
		"by one that was out of time":  f.OCSP(d.Provisioner.Certificate, f.Family, ocsp.Good, then, func(c *x509.Certificate) { c.NotAfter = then.Add(-time.Second) }),
		"by one that was not yet good": f.OCSP(d.Provisioner.Certificate, f.Family, ocsp.Good, then, func(c *x509.Certificate) { c.NotBefore = then.Add(time.Second) }),
	} {
		t.Run(name, func(t *testing.T) {
			m := all()
			m[provisioner] = response
			_, err := verify(t, m)
			wantUnavailable(t, err)
		})
	}
	t.Run("every byte flipped", func(t *testing.T) {
		good := f.OCSP(d.Provisioner.Certificate, f.Family, ocsp.Good, then, nil)
		for i := 0; i < len(good); i += mutate.Stride(7) {
			changed := bytes.Clone(good)
			changed[i] ^= 1
			if s, err := verifyResponse(changed, d.Provisioner.Certificate, f.Family.Certificate); err == nil && (!s.good || !s.thisUpdate.Equal(then)) {
				t.Fatalf("byte %d: %+v", i, s)
			}
		}
	})
}

// broken is a store that fails in ways it must not, or is out of time.
type broken struct{ err error }

func (b broken) Endorsement(context.Context, string) (*attest.Endorsement, error) { return nil, b.err }

func TestAStoreThatFails(t *testing.T) {
	f := newFleet(t)
	d := f.NewDevice("HOPPER", nvidiatest.Shape{})
	v, err := newVerifier(Config{Endorsements: broken{context.DeadlineExceeded}, AllowUnmeasured: true}, f.trust())
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), input(nvidiatest.Evidence(d.Present(digest))))
	wantUnavailable(t, err)
}

// TestOneChainOnePlace: a chain in another writing does not take the place of someone else's.
func TestOneChainOnePlace(t *testing.T) {
	f := newFleet(t)
	v := f.verifier(t, nil, nil)
	d := f.NewDevice("HOPPER", nvidiatest.Shape{})
	text := nvidiatest.PEM(d.Certificates()...)
	for _, writing := range [][]byte{
		text, append([]byte("\n"), text...), append(bytes.Clone(text), ' '), nvidiatest.PEM(d.Certificates()[:4]...),
		bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")),
	} {
		if _, err := v.chain(writing, now); err != nil {
			t.Error(err)
		}
	}
	if v.chains.Len() != 1 {
		t.Errorf("%d places", v.chains.Len())
	}
	if _, err := v.chain(nvidiatest.PEM(d.Certificates()[1:]...), now); err == nil || v.chains.Len() != 1 {
		t.Errorf("%v, %d places", err, v.chains.Len())
	}
}
