package nvidia

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/nvidiatest"
)

func TestEveryArchitecture(t *testing.T) {
	f := newFleet(t)
	for arch, want := range map[string]struct {
		chip, driver, vbios, mode string
		manifests                 []string
	}{
		"HOPPER":    {"GH100", "580.10.01", "96.00.9f.00.01", "mpt", []string{"NV_GPU_DRIVER_GH100_580.10.01", "NV_GPU_VBIOS_1010_0200_882_96009F0001"}},
		"LS10":      {"LS_10", "", "96.10.6d.00.01", "", []string{"NV_SWITCH_BIOS_5612_0002_890_96106D0001"}},
		"BLACKWELL": {"GB100", "580.10.01", "96.00.9f.00.01", "mpt", []string{"NV_GPU_CC_DRIVER_GB100_580.10.01", "NV_GPU_VBIOS_1010_0200_882_96009F0001"}},
	} {
		t.Run(arch, func(t *testing.T) {
			f := &fleet{f.World, f.manifests}
			if arch == "BLACKWELL" {
				f = newFleet(t)
				f.blackwellVBIOS()
			}
			d := f.NewDevice(arch, nvidiatest.Shape{})
			c, err := f.verifier(t, nil, nil).Verify(t.Context(), input(nvidiatest.Evidence(d.Present(digest))))
			if err != nil {
				t.Fatal(err)
			}
			n := c.NVIDIA.Devices[0]
			var ids []string
			for _, m := range n.Manifests {
				ids = append(ids, m.ID)
			}
			if n.Architecture != arch || n.Chip != want.chip || n.DriverVersion != want.driver || n.VBIOSVersion != want.vbios || n.Mode != want.mode {
				t.Errorf("%+v", n)
			}
			if diff := cmp.Diff(want.manifests, ids); diff != "" {
				t.Error(diff)
			}
			if !*n.MeasurementsMatch || !*c.NVIDIA.MeasurementsMatch || n.TCBStatus != attest.TCBUpToDate || c.TCBStatus != attest.TCBUpToDate ||
				*c.Debug || !*n.SecureBoot || !*c.Bound || c.Kind != attest.NVIDIA || c.HardwareRoot != attest.RootNVIDIA {
				t.Errorf("%+v", c)
			}
			if n.Switch != (arch == "LS10") || n.FirmwareID != hex.EncodeToString(d.FWID) || !n.FirmwareIDReported || n.SerialNumber != "48b02d0000000001" {
				t.Errorf("%+v", n)
			}
			if arch == "LS10" {
				if diff := cmp.Diff([]string{"48b02d0000000009"}, n.ConnectedGPUs); diff != "" || n.PDI[0] != "48b02d0000000001" || n.SwitchPDIs != nil {
					t.Errorf("%s %+v", diff, n)
				}
			} else if n.SwitchPDIs[0] != "48b02d0000000001" || n.PDI != nil || !cmp.Equal(n.Unreferenced, []int{8}) {
				t.Errorf("%+v", n)
			}
			if c.ReportData != hex.EncodeToString(digest[:NonceSize]) || c.Collateral == nil || !c.Collateral.Current || c.Collateral.RevocationChecked {
				t.Errorf("%s, %+v", c.ReportData, c.Collateral)
			}
		})
	}
}

func TestSeveralDevices(t *testing.T) {
	f := newFleet(t)
	v := f.verifier(t, nil, nil)
	var all []nvidiatest.Wire
	for range 15 {
		all = append(all, f.NewDevice("HOPPER", nvidiatest.Shape{}).Present(digest))
	}
	all = append(all, f.NewDevice("LS10", nvidiatest.Shape{}).Present(digest))
	c, err := v.Verify(t.Context(), input(nvidiatest.Evidence(all...)))
	if err != nil || len(c.NVIDIA.Devices) != 16 || !*c.NVIDIA.MeasurementsMatch || c.NVIDIA.Devices[3].ClaimedUUID != all[3].UUID {
		t.Fatalf("%v, %+v", err, c)
	}
	_, err = v.Verify(t.Context(), input(nvidiatest.Evidence(append(all, f.NewDevice("HOPPER", nvidiatest.Shape{}).Present(digest))...)))
	wantCode(t, err, attest.CodeTooLarge)

	// One that is not in order is enough for all.
	bad := f.NewDevice("HOPPER", nvidiatest.Shape{})
	bad.Blocks[2].Value = bytes.Repeat([]byte{9}, 48)
	c, err = v.Verify(t.Context(), input(nvidiatest.Evidence(all[0], bad.Present(digest), all[1])))
	if err != nil {
		t.Fatal(err)
	}
	if *c.NVIDIA.MeasurementsMatch || c.TCBStatus != attest.TCBOutOfDate || c.Debug != nil || c.NVIDIA.Devices[0].TCBStatus != attest.TCBUpToDate {
		t.Errorf("%+v", c)
	}
	if n := c.NVIDIA.Devices[1]; *n.MeasurementsMatch || n.TCBStatus != attest.TCBOutOfDate || !cmp.Equal(n.Mismatched, []int{3}) || n.SecureBoot != nil || n.Debug != nil {
		t.Errorf("%+v", n)
	}
}

func TestDevicesThatAreOne(t *testing.T) {
	f := newFleet(t)
	v := f.verifier(t, nil, nil)
	d, other := f.NewDevice("HOPPER", nvidiatest.Shape{}), f.NewDevice("HOPPER", nvidiatest.Shape{})
	renamed := d.Present(digest)
	renamed.UUID = "another"
	sameName := other.Present(digest)
	sameName.UUID = d.UUID
	// After a reboot a device may have another attestation key. Its identity key is the same.
	rebooted := *d
	rebooted.Leaf = f.Issue(&d.Identity, "GH100 A01 GSP FMC LF", false, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{nvidiatest.Composite(d.Identity.Key, d.FWID)}
	})
	again := rebooted.Present(digest)
	again.UUID = "rebooted"
	for name, second := range map[string]nvidiatest.Wire{"exactly": d.Present(digest), "renamed": renamed, "another's name": sameName, "another leaf": again} {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), input(nvidiatest.Evidence(d.Present(digest), second)))
			wantCode(t, err, attest.CodeDeviceTwice)
		})
	}
}

func TestBinding(t *testing.T) {
	f := newFleet(t)
	v := f.verifier(t, nil, nil)
	d, other := f.NewDevice("HOPPER", nvidiatest.Shape{}), f.NewDevice("HOPPER", nvidiatest.Shape{})
	stale := bytes.Repeat([]byte{1}, 32)
	for name, evidence := range map[string][]byte{
		"another nonce":         nvidiatest.Evidence(d.Present(stale)),
		"one of two":            nvidiatest.Evidence(d.Present(digest), other.Present(stale)),
		"the nonce put in":      nvidiatest.Evidence(d.PresentReport(append(append([]byte{0x11, 0xe0, 1, 0xff}, digest[:32]...), d.Report(stale, nil)[36:]...))),
		"the end of the digest": nvidiatest.Evidence(d.Present(digest[16:])),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), input(evidence))
			if name == "the nonce put in" {
				wantCode(t, err, attest.CodeSignature)
				return
			}
			wantCode(t, err, attest.CodeBinding)
		})
	}
	in := input(nvidiatest.Evidence(d.Present(digest)))
	for name, binding := range map[string]attest.Binding{
		"none": {}, "too short": attest.BoundTo(digest[:31]), "another's": attest.BoundTo(stale),
	} {
		t.Run("binding "+name, func(t *testing.T) {
			in := in
			in.Binding = binding
			_, err := v.Verify(t.Context(), in)
			wantCode(t, err, attest.CodeBinding)
		})
	}
	in.Binding = attest.Unbound()
	if c, err := v.Verify(t.Context(), in); err != nil || *c.Bound {
		t.Errorf("unbound: %v, %+v", err, c)
	}
	in.Evidence = nvidiatest.Evidence(d.Present(digest), other.Present(stale))
	_, err := v.Verify(t.Context(), in)
	wantCode(t, err, attest.CodeBinding)
}

func TestRefusals(t *testing.T) {
	f := newFleet(t)
	v := f.verifier(t, nil, nil)
	stranger := newFleet(t)
	type device = nvidiatest.Device
	present := func(s nvidiatest.Shape, change func(*device)) nvidiatest.Wire {
		d := f.NewDevice("HOPPER", s)
		if change != nil {
			change(d)
		}
		return d.Present(digest)
	}
	parts := func(change func(*nvidiatest.Parts)) nvidiatest.Wire {
		d := f.NewDevice("HOPPER", nvidiatest.Shape{})
		return d.PresentReport(d.Report(digest, change))
	}
	wire := func(change func(*nvidiatest.Wire, *device)) nvidiatest.Wire {
		d := f.NewDevice("HOPPER", nvidiatest.Shape{})
		w := d.Present(digest)
		change(&w, d)
		return w
	}
	field := func(number uint16, value []byte) nvidiatest.Wire {
		return present(nvidiatest.Shape{}, func(d *device) { d.Set(number, value) })
	}
	pem := func(certs ...*x509.Certificate) string {
		return base64.StdEncoding.EncodeToString(nvidiatest.PEM(certs...))
	}
	expired := func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }
	small, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		wire nvidiatest.Wire
		code attest.Code
	}{
		"an architecture nobody knows": {wire(func(w *nvidiatest.Wire, _ *device) { w.Arch = "RUBIN" }), attest.CodeVersionUnsupported},
		"no architecture":              {wire(func(w *nvidiatest.Wire, _ *device) { w.Arch = "" }), attest.CodeVersionUnsupported},
		"another architecture":         {wire(func(w *nvidiatest.Wire, _ *device) { w.Arch = "BLACKWELL" }), attest.CodeCertMismatch},
		"a switch that is a GPU":       {wire(func(w *nvidiatest.Wire, _ *device) { w.Arch = "LS10" }), attest.CodeCertMismatch},
		"no identifier":                {wire(func(w *nvidiatest.Wire, _ *device) { w.UUID = "" }), attest.CodeMalformed},
		"a long identifier":            {wire(func(w *nvidiatest.Wire, _ *device) { w.UUID = strings.Repeat("x", 81) }), attest.CodeMalformed},
		"an identifier with a break":   {wire(func(w *nvidiatest.Wire, _ *device) { w.UUID = "x\ny" }), attest.CodeMalformed},
		"no report":                    {wire(func(w *nvidiatest.Wire, _ *device) { w.Evidence = "" }), attest.CodeMalformed},
		"a report in no encoding":      {wire(func(w *nvidiatest.Wire, _ *device) { w.Evidence = "%" }), attest.CodeMalformed},
		"a report over 8 KiB":          {parts(func(p *nvidiatest.Parts) { p.Rest = make([]byte, 8<<10) }), attest.CodeTooLarge},
		"a report far over it":         {wire(func(w *nvidiatest.Wire, _ *device) { w.Evidence = strings.Repeat("11", 9<<10) }), attest.CodeTooLarge},
		"a chain over 8 KiB":           {wire(func(w *nvidiatest.Wire, _ *device) { w.Certificate = strings.Repeat("QUJD", 3<<10) }), attest.CodeTooLarge},
		"a chain that is not base64":   {wire(func(w *nvidiatest.Wire, _ *device) { w.Certificate = "-----BEGIN" }), attest.CodeMalformed},
		"no chain":                     {wire(func(w *nvidiatest.Wire, _ *device) { w.Certificate = "" }), attest.CodeCertMissing},
		"a chain of nothing":           {wire(func(w *nvidiatest.Wire, _ *device) { w.Certificate = "IAo=" }), attest.CodeCertMalformed},
		"a chain that is no PEM":       {wire(func(w *nvidiatest.Wire, _ *device) { w.Certificate = "QUJD" }), attest.CodeCertMalformed},
		"the root only":                {wire(func(w *nvidiatest.Wire, _ *device) { w.Certificate = pem(f.DeviceRoot.Certificate) }), attest.CodeCertMissing},
		"no attestation certificate":   {wire(func(w *nvidiatest.Wire, d *device) { w.Certificate = pem(d.Certificates()[1:]...) }), attest.CodeCertUntrusted},
		"no provisioner": {wire(func(w *nvidiatest.Wire, d *device) {
			w.Certificate = pem(d.Certificates()[0], d.Certificates()[1], d.Certificates()[3])
		}), attest.CodeCertUntrusted},
		"a chain out of order": {wire(func(w *nvidiatest.Wire, d *device) {
			c := d.Certificates()
			w.Certificate = pem(c[1], c[0], c[2], c[3], c[4])
		}), attest.CodeCertUntrusted},
		"a certificate twice": {wire(func(w *nvidiatest.Wire, d *device) {
			c := d.Certificates()
			w.Certificate = pem(c[0], c[0], c[1], c[2], c[3], c[4])
		}), attest.CodeCertUntrusted},
		"a chain that is too short": {wire(func(w *nvidiatest.Wire, d *device) {
			w.Certificate = pem(f.Issue(&f.Family, "GH100 x", false, nil).Certificate, f.Family.Certificate)
		}), attest.CodeCertUntrusted},
		"someone else's root": {stranger.NewDevice("HOPPER", nvidiatest.Shape{}).Present(digest), attest.CodeCertUntrusted},
		"the chain of another device": {wire(func(w *nvidiatest.Wire, _ *device) {
			w.Certificate = pem(f.NewDevice("HOPPER", nvidiatest.Shape{}).Certificates()...)
		}), attest.CodeSignature},
		"a leaf that is an authority":  {present(nvidiatest.Shape{Leaf: func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }}, nil), attest.CodeCertUntrusted},
		"a leaf that may not sign":     {present(nvidiatest.Shape{Leaf: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }}, nil), attest.CodeCertUntrusted},
		"a path that is too long":      {present(nvidiatest.Shape{Provisioner: func(c *x509.Certificate) { c.MaxPathLenZero = true }}, nil), attest.CodeCertUntrusted},
		"a leaf that expired":          {present(nvidiatest.Shape{Leaf: expired}, nil), attest.CodeCertExpired},
		"a provisioner that expired":   {present(nvidiatest.Shape{Provisioner: expired}, nil), attest.CodeCertExpired},
		"a leaf of the future":         {present(nvidiatest.Shape{Leaf: func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }}, nil), attest.CodeCertExpired},
		"a chip nobody knows":          {present(nvidiatest.Shape{ProvisionerName: "NVIDIA CX7 Provisioner ICA 1", IdentityName: "CX7 A", LeafName: "CX7 B"}, nil), attest.CodeCertUntrusted},
		"an identity of another chip":  {present(nvidiatest.Shape{IdentityName: "GB100 A01 GSP BROM"}, nil), attest.CodeCertUntrusted},
		"a leaf of another chip":       {present(nvidiatest.Shape{LeafName: "GB100 A01 GSP FMC LF"}, nil), attest.CodeCertUntrusted},
		"a leaf of a longer name":      {present(nvidiatest.Shape{LeafName: "GH1000 A01"}, nil), attest.CodeCertUntrusted},
		"a provisioner without number": {present(nvidiatest.Shape{ProvisionerName: "NVIDIA GH100 Provisioner ICA "}, nil), attest.CodeCertUntrusted},
		"the family's name is another": {present(nvidiatest.Shape{Family: family(f, "NVIDIA GH100 Signing")}, nil), attest.CodeCertUntrusted},
		"no firmware identifier":       {present(nvidiatest.Shape{Leaf: func(c *x509.Certificate) { c.ExtraExtensions = c.ExtraExtensions[:1] }}, nil), attest.CodeCertMalformed},
		"a broken firmware identifier": {present(nvidiatest.Shape{Leaf: func(c *x509.Certificate) { c.ExtraExtensions[1].Value = []byte{0x30, 0} }}, nil), attest.CodeCertMalformed},
		"two firmware identifiers": {present(nvidiatest.Shape{Leaf: func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, nvidiatest.TCBInfo(make([]byte, 48), 0))
		}}, nil), attest.CodeCertMalformed},
		"another device's key in it":  {present(nvidiatest.Shape{Leaf: func(c *x509.Certificate) { c.ExtraExtensions[1] = nvidiatest.Composite(f.Family.Key, make([]byte, 48)) }}, nil), attest.CodeCertMalformed},
		"a DMTF name of another chip": {present(nvidiatest.Shape{Leaf: func(c *x509.Certificate) { c.ExtraExtensions[0] = nvidiatest.Name("NVIDIA:GB100:1") }}, nil), attest.CodeCertMalformed},
		"a DMTF name of someone else": {present(nvidiatest.Shape{Leaf: func(c *x509.Certificate) { c.ExtraExtensions[0] = nvidiatest.Name("INTEL:GH100:1") }}, nil), attest.CodeCertMalformed},
		"a DMTF name of four parts":   {present(nvidiatest.Shape{Leaf: func(c *x509.Certificate) { c.ExtraExtensions[0] = nvidiatest.Name("NVIDIA:GH100:1:2") }}, nil), attest.CodeCertMalformed},
		"a leaf's key on P-256":       {present(nvidiatest.Shape{}, func(d *device) { d.Leaf = f.Certify(&d.Identity, small, "GH100 A01", false, nil) }), attest.CodeCertUntrusted},
		"a flipped signature": {wire(func(w *nvidiatest.Wire, d *device) {
			r := d.Report(digest, nil)
			r[len(r)-1] ^= 1
			w.Evidence = hex.EncodeToString(r)
		}), attest.CodeSignature},
		"a signature of zeros": {wire(func(w *nvidiatest.Wire, d *device) {
			r := d.Report(digest, nil)
			clear(r[len(r)-96:])
			w.Evidence = hex.EncodeToString(r)
		}), attest.CodeSignature},
		"SPDM 1.2 in the request":        {parts(func(p *nvidiatest.Parts) { p.Request[0] = 0x12 }), attest.CodeVersionUnsupported},
		"SPDM 1.2 in the response":       {parts(func(p *nvidiatest.Parts) { p.Response[0] = 0x12 }), attest.CodeVersionUnsupported},
		"another request":                {parts(func(p *nvidiatest.Parts) { p.Request[1] = 0x83 }), attest.CodeMalformed},
		"another response":               {parts(func(p *nvidiatest.Parts) { p.Response[1] = 0x7f }), attest.CodeMalformed},
		"no signature asked for":         {parts(func(p *nvidiatest.Parts) { p.Request[2] = 0 }), attest.CodeMalformed},
		"one measurement asked for":      {parts(func(p *nvidiatest.Parts) { p.Request[3] = 1 }), attest.CodeMalformed},
		"no blocks":                      {parts(func(p *nvidiatest.Parts) { p.Count = 0 }), attest.CodeMalformed},
		"a block less than counted":      {parts(func(p *nvidiatest.Parts) { p.Count++ }), attest.CodeMalformed},
		"a block more than counted":      {parts(func(p *nvidiatest.Parts) { p.Count-- }), attest.CodeMalformed},
		"255 blocks counted":             {parts(func(p *nvidiatest.Parts) { p.Count = 255 }), attest.CodeMalformed},
		"a record of no bytes":           {parts(func(p *nvidiatest.Parts) { p.RecordLength = 0 }), attest.CodeMalformed},
		"a record of 16 MiB":             {parts(func(p *nvidiatest.Parts) { p.RecordLength = 1<<24 - 1 }), attest.CodeMalformed},
		"a block twice":                  {present(nvidiatest.Shape{}, func(d *device) { d.Blocks[1].Index = 1 }), attest.CodeMalformed},
		"a block with the index 0":       {present(nvidiatest.Shape{}, func(d *device) { d.Blocks[1].Index = 0 }), attest.CodeMalformed},
		"an empty block":                 {present(nvidiatest.Shape{}, func(d *device) { d.Blocks[1].Value = nil }), attest.CodeMalformed},
		"a block of no DMTF measurement": {parts(func(p *nvidiatest.Parts) { p.Record[1] = 2 }), attest.CodeMalformed},
		"a value longer than its block":  {parts(func(p *nvidiatest.Parts) { p.Record[5]++ }), attest.CodeMalformed},
		"opaque data of no bytes":        {parts(func(p *nvidiatest.Parts) { p.OpaqueLength = 0 }), attest.CodeMalformed},
		"opaque data of 64 KiB":          {parts(func(p *nvidiatest.Parts) { p.OpaqueLength = 1<<16 - 1 }), attest.CodeMalformed},
		"a field cut off":                {parts(func(p *nvidiatest.Parts) { p.Opaque = append(p.Opaque, 1, 0, 9); p.OpaqueLength += 3 }), attest.CodeMalformed},
		"a field twice":                  {parts(func(p *nvidiatest.Parts) { p.Opaque = append(p.Opaque, 3, 0, 1, 0, '1'); p.OpaqueLength += 5 }), attest.CodeMalformed},
		"opaque data with a header": {parts(func(p *nvidiatest.Parts) {
			p.Opaque = append([]byte("NVDAOD\x00\x00\x01\x00\x00\x00"), p.Opaque...)
			p.OpaqueLength += 12
		}), attest.CodeVersionUnsupported},
		"bytes after the opaque data": {parts(func(p *nvidiatest.Parts) { p.Rest = []byte{0} }), attest.CodeMalformed},
		"no driver":                   {field(3, nil), attest.CodeMalformed},
		"no VBIOS":                    {field(6, nil), attest.CodeMalformed},
		"no project":                  {field(17, nil), attest.CodeMalformed},
		"no SKU":                      {field(18, nil), attest.CodeMalformed},
		"no chip SKU":                 {field(15, nil), attest.CodeMalformed},
		"a driver that is a path":     {field(3, []byte("../../x\x00")), attest.CodeMalformed},
		"an empty driver":             {field(3, []byte("\x00")), attest.CodeMalformed},
		"a long driver":               {field(3, bytes.Repeat([]byte{'1'}, 33)), attest.CodeMalformed},
		"a VBIOS of 7 bytes":          {field(6, make([]byte, 7)), attest.CodeMalformed},
		"a firmware nobody certified": {field(20, make([]byte, 48)), attest.CodeCertMismatch},
		"a firmware of 47 bytes":      {field(20, make([]byte, 47)), attest.CodeMalformed},
		"opaque data of version 2":    {field(34, []byte{2}), attest.CodeVersionUnsupported},
		"a version of 9 bytes":        {field(34, make([]byte, 9)), attest.CodeMalformed},
		"an empty mode":               {field(36, []byte{}), attest.CodeMalformed},
		"NVDEC0 neither on nor off":   {field(11, []byte{0}), attest.CodeMalformed},
		"identifiers of 7 bytes":      {field(22, make([]byte, 7)), attest.CodeMalformed},
		"the chip of another family":  {field(35, []byte("GB100\x00")), attest.CodeCertMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := v.Verify(t.Context(), input(nvidiatest.Evidence(test.wire)))
			wantCode(t, err, test.code)
			if c != nil {
				t.Errorf("%+v", c)
			}
			// The same behind a good device: none is accepted when one is refused.
			_, err = v.Verify(t.Context(), input(nvidiatest.Evidence(f.NewDevice("HOPPER", nvidiatest.Shape{}).Present(digest), test.wire)))
			wantCode(t, err, test.code)
		})
	}
}

func family(f *fleet, name string) *nvidiatest.Authority {
	a := f.Issue(&f.DeviceRoot, name, true, nil)
	return &a
}

func TestEvidenceThatIsNotTheJSON(t *testing.T) {
	f := newFleet(t)
	v := f.verifier(t, nil, nil)
	good := string(nvidiatest.Evidence(f.NewDevice("HOPPER", nvidiatest.Shape{}).Present(digest)))
	for name, test := range map[string]struct {
		text string
		code attest.Code
	}{
		"nothing":                  {"", attest.CodeMalformed},
		"null":                     {"null", attest.CodeMalformed},
		"a list":                   {"[]", attest.CodeMalformed},
		"an empty object":          {"{}", attest.CodeMalformed},
		"an empty list":            {`{"device_evidence_list":[]}`, attest.CodeMalformed},
		"null in the list":         {`{"device_evidence_list":[null]}`, attest.CodeMalformed},
		"a number in the list":     {`{"device_evidence_list":[1]}`, attest.CodeMalformed},
		"a member twice":           {strings.Replace(good, `"arch":`, `"arch":"HOPPER","arch":`, 1), attest.CodeMalformed},
		"the list twice":           {good[:len(good)-1] + "," + good[1:], attest.CodeMalformed},
		"a member in capitals":     {strings.Replace(good, `"arch":`, `"ARCH":"BLACKWELL","arch":`, 1), attest.CodeMalformed},
		"something after it":       {good + "{}", attest.CodeMalformed},
		"over 1 MiB":               {good + strings.Repeat(" ", MaxEvidence), attest.CodeTooLarge},
		"cut off":                  {good[:len(good)-1], attest.CodeMalformed},
		"a name in escapes, twice": {strings.Replace(good, `"arch":`, `"\u0061rch":"LS10","arch":`, 1), attest.CodeMalformed},
		"a control character":      {strings.Replace(good, "HOPPER", "HOP\x01PER", 1), attest.CodeMalformed},
		"one in a long string":     {strings.Replace(good, `"evidence":"`, `"evidence":"`+strings.Repeat("A", 200)+"\n", 1), attest.CodeMalformed},
		"a null byte after it":     {good + "\x00", attest.CodeMalformed},
		"a comma too many":         {strings.Replace(good, `"arch":`, `,"arch":`, 1), attest.CodeMalformed},
		"an unknown value broken":  {strings.Replace(good, `"arch":`, `"x":{"a":},"arch":`, 1), attest.CodeMalformed},
		"unknown members, many":    {strings.Replace(good, `"arch":`, strings.Repeat(`"x":1,`, 70)+`"arch":`, 1), attest.CodeMalformed},
		"no UTF-8":                 {strings.Replace(good, "HOPPER", "HOPPER\xff", 1), attest.CodeMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), input([]byte(test.text)))
			wantCode(t, err, test.code)
		})
	}
	for name, text := range map[string]string{
		"unknown members":  strings.Replace(good, `"arch":`, `"board":{"a":1},"arch":`, 1),
		"lower case":       strings.Replace(good, "HOPPER", "hopper", 1),
		"escapes":          strings.Replace(good, "HOPPER", "HOPP\\u0045R", 1),
		"an escaped quote": strings.Replace(good, `"arch":`, `"x":"a\"b\\","arch":`, 1),
		"white space":      strings.NewReplacer(`,"`, " ,\r\n\t\"", `":`, `" : `).Replace(good) + "\n",
	} {
		if _, err := v.Verify(t.Context(), input([]byte(text))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAContextThatEnded(t *testing.T) {
	f := newFleet(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.verifier(t, nil, nil).Verify(ctx, input(nvidiatest.Evidence(f.NewDevice("HOPPER", nvidiatest.Shape{}).Present(digest))))
	wantUnavailable(t, err)
}

// TestConcurrently is for the race detector: all of the caches are filled and used at once, and are too small.
func TestConcurrently(t *testing.T) {
	f := newFleet(t)
	v := f.verifier(t, nil, func(cfg *Config) { cfg.CacheSize = 1 })
	evidence := nvidiatest.Evidence(f.NewDevice("HOPPER", nvidiatest.Shape{}).Present(digest), f.NewDevice("LS10", nvidiatest.Shape{}).Present(digest))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 4 {
				if _, err := v.Verify(t.Context(), input(evidence)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

func TestDebug(t *testing.T) {
	f := newFleet(t)
	f.blackwellVBIOS()
	d := f.NewDevice("BLACKWELL", nvidiatest.Shape{})
	dev := f.NewDevice("BLACKWELL", nvidiatest.Shape{Leaf: func(c *x509.Certificate) { c.ExtraExtensions[1] = nvidiatest.TCBInfo(d.FWID, 0x10) }})
	for name, test := range map[string]struct {
		device *nvidiatest.Device
		debug  bool
	}{"production": {d, false}, "development": {dev, true}} {
		c, err := f.verifier(t, nil, nil).Verify(t.Context(), input(nvidiatest.Evidence(test.device.Present(digest))))
		if err != nil || *c.Debug != test.debug || *c.NVIDIA.Devices[0].Debug != test.debug {
			t.Errorf("%s: %v, %+v", name, err, c)
		}
	}
}

func TestNew(t *testing.T) {
	if _, err := New(Config{Endorsements: memory{}}); err != nil {
		t.Error(err)
	}
	if _, err := New(Config{AllowUnmeasured: true}); err != nil {
		t.Error(err)
	}
	for name, cfg := range map[string]Config{
		"nothing":          {},
		"a negative cache": {Endorsements: memory{}, CacheSize: -1},
		"a huge cache":     {Endorsements: memory{}, CacheSize: 1 << 30},
		"a negative grace": {Endorsements: memory{}, Grace: -1},
		"a grace of years": {Endorsements: memory{}, Grace: 2 * maxGrace},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	v, _ := New(Config{AllowUnmeasured: true})
	if v.Kind() != attest.NVIDIA {
		t.Error(v.Kind())
	}
}
