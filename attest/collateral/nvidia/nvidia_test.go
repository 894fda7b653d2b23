package nvidia_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/nvidia"
	"github.com/vouchsafe/vouchsafe/attest/collateral/vendortest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

const id = "NV_GPU_DRIVER_GH100_535.86.09"

func name(t *testing.T, text string) collateral.Name {
	t.Helper()
	n, err := collateral.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func accept(string, *attest.Endorsement, time.Time) (collateral.Validity, error) {
	return collateral.Validity{}, nil
}

func TestManifest(t *testing.T) {
	s := vendortest.Start(t)
	p, err := nvidia.New(nvidia.Config{Verify: accept, Client: s.Client(t, 5*time.Second), RIM: s.URL, OCSP: s.URL + "/ocsp"})
	if err != nil {
		t.Fatal(err)
	}
	manifest := `<?xml version="1.0"?><SoftwareIdentity name="x"><Payload/></SoftwareIdentity>`
	answer := func(id, xml string) vendortest.Answer {
		return vendortest.Answer{Body: fmt.Appendf(nil, `{"id":%q,"rim":%q,"sha256":"x"}`, id, base64.StdEncoding.EncodeToString([]byte(xml)))}
	}
	s.Set("/v1/rim/"+id, answer(id, manifest))
	n := name(t, "nvidia/rim/"+id)
	got, err := p.Source.Fetch(t.Context(), n)
	if err != nil || string(got.Data) != manifest {
		t.Fatal(err)
	}
	if _, err := p.Check(n, &attest.Endorsement{Data: got.Data}, time.Now()); err != nil {
		t.Error(err)
	}
	for what, a := range map[string]vendortest.Answer{
		"another": answer("NV_OTHER", manifest), "no manifest": {Body: []byte(`{"id":"` + id + `"}`)}, "garbage": {Body: []byte("x")},
		"not base64": {Body: []byte(`{"rim":"***"}`)}, "twice": {Body: []byte(`{"rim":"","rim":""}`)},
	} {
		s.Set("/v1/rim/"+id, a)
		if _, err := p.Source.Fetch(t.Context(), n); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	for what, xml := range map[string]string{
		"nothing": "", "text": "x", "two": "<a/><b/>", "not closed": "<a>", "closed twice": "<a/></a>", "entities": `<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`,
		"deep": strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100),
	} {
		if _, err := p.Check(n, &attest.Endorsement{Data: []byte(xml)}, time.Now()); err == nil {
			t.Errorf("%s passed", what)
		}
	}
	refusing, err := nvidia.New(nvidia.Config{Verify: func(string, *attest.Endorsement, time.Time) (collateral.Validity, error) {
		return collateral.Validity{}, errors.New("not signed")
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := refusing.Check(n, &attest.Endorsement{Data: []byte(manifest)}, time.Now()); err == nil {
		t.Error("what the hook refuses passed")
	}
	if _, err := nvidia.New(nvidia.Config{}); err == nil {
		t.Error("without a hook nothing is verified, and that was accepted")
	}
}

// TestOCSP asks with the request that the library of others reads and makes the same.
func TestOCSP(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x1234567890), Subject: pkix.Name{CommonName: "GPU"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	request, err := nvidia.OCSPRequest(cert, cert)
	if err != nil {
		t.Fatal(err)
	}
	want, err := ocsp.CreateRequest(cert, cert, nil)
	if err != nil || string(want) != string(request) {
		t.Errorf("the request is\n%x, want\n%x (%v)", request, want, err)
	}
	response, err := ocsp.CreateResponse(cert, cert, ocsp.Response{
		Status: ocsp.Good, SerialNumber: cert.SerialNumber, ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	s := vendortest.Start(t)
	s.Set("/ocsp", vendortest.Answer{Body: response})
	known := strings.Repeat("a", 64)
	p, err := nvidia.New(nvidia.Config{
		Verify: accept, Client: s.Client(t, 5*time.Second), RIM: s.URL, OCSP: s.URL + "/ocsp",
		Request: func(sha256 string) ([]byte, bool) { return request, sha256 == known },
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Source.Fetch(t.Context(), name(t, "nvidia/ocsp/"+known))
	if err != nil || string(got.Data) != string(response) || string(s.Body("/ocsp")) != string(request) {
		t.Errorf("%v", err)
	}
	if _, err := p.Check(name(t, "nvidia/ocsp/"+known), &attest.Endorsement{Data: response}, time.Now()); err != nil {
		t.Error(err)
	}
	if _, err := p.Check(name(t, "nvidia/ocsp/"+known), &attest.Endorsement{Data: append(response, 0)}, time.Now()); err == nil {
		t.Error("a response with more after it passed")
	}
	requests := s.Count("")
	if _, err := p.Source.Fetch(t.Context(), name(t, "nvidia/ocsp/"+strings.Repeat("b", 64))); err == nil || s.Count("") != requests {
		t.Errorf("asked about a certificate that is not known: %v", err)
	}
}

// FuzzCheck: no manifest or response makes the check panic.
func FuzzCheck(f *testing.F) {
	p, err := nvidia.New(nvidia.Config{Verify: accept})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`<?xml version="1.0"?><SoftwareIdentity name="x"><Payload/></SoftwareIdentity>`))
	f.Add([]byte{0x30, 3, 10, 1, 6})
	rim, err := collateral.ParseName("nvidia/rim/" + id)
	if err != nil {
		f.Fatal(err)
	}
	ocsp, err := collateral.ParseName("nvidia/ocsp/" + strings.Repeat("a", 64))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, data []byte) {
		for _, n := range []collateral.Name{rim, ocsp} {
			_, _ = p.Check(n, &attest.Endorsement{Data: data}, time.Now())
		}
	})
}

// TestMutations: what passes as a manifest is one XML document without a document type, and what passes as a response one sequence in DER.
func TestMutations(t *testing.T) {
	p, err := nvidia.New(nvidia.Config{Verify: accept})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile("../../nvidia/rim/testdata/NV_GPU_VBIOS_1010_0200_882_96009F0001.xml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../nvidia/testdata/gh100-provisioner.ocsp.b64")
	if err != nil {
		t.Fatal(err)
	}
	response, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	small := []byte(`<?xml version="1.0"?><!-- x --><SoftwareIdentity name="x"><Payload a="b">&lt;</Payload></SoftwareIdentity>`)
	typed := []byte(`<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`)
	rim, answer := name(t, "nvidia/rim/"+id), name(t, "nvidia/ocsp/"+strings.Repeat("a", 64))
	taken := 0
	mutate.Run(t, [][]byte{manifest, small, typed}, func(t *testing.T, input []byte) {
		if _, err := p.Check(rim, &attest.Endorsement{Data: input}, time.Now()); err != nil {
			return
		}
		taken++
		if bytes.Contains(input, []byte("<!DOCTYPE")) && !bytes.Contains(input, []byte("<!--")) && !bytes.Contains(input, []byte("CDATA")) {
			t.Errorf("a manifest with a document type: %.300q", input)
		}
	})
	if taken < 2 {
		t.Error("what is good is not taken as a manifest")
	}
	taken = 0
	mutate.Run(t, [][]byte{response, {0x30, 3, 10, 1, 6}}, func(t *testing.T, input []byte) {
		if _, err := p.Check(answer, &attest.Endorsement{Data: input}, time.Now()); err != nil {
			return
		}
		taken++
		if input[0]&0x1f != 0x10 {
			t.Errorf("%x is no sequence", input)
		}
	})
	if taken < 2 {
		t.Error("what is good is not taken as a response")
	}
}
