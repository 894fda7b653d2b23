package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/nvidia/nvidiatest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/pki"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

func TestVerify(t *testing.T) {
	w := nvidiatest.NewWorld(t)
	root := w.DeviceRoot
	middle := w.Issue(&root, "middle", true, nil)
	leaf := w.Issue(&middle, "leaf", false, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	})
	// below returns a chain whose middle is wrong in one way.
	below := func(change func(*x509.Certificate)) []*x509.Certificate {
		m := w.Issue(&root, "middle", true, change)
		return []*x509.Certificate{w.Issue(&m, "leaf", false, nil).Certificate, m.Certificate}
	}
	stranger := nvidiatest.NewWorld(t).DeviceRoot
	forged := w.Certify(&stranger, leaf.Key, "leaf", false, nil)
	small, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		certs []*x509.Certificate
		ok    bool
	}{
		"good":                     {[]*x509.Certificate{leaf.Certificate, middle.Certificate}, true},
		"with the root":            {[]*x509.Certificate{leaf.Certificate, middle.Certificate, root.Certificate}, true},
		"nothing":                  {nil, false},
		"the root only":            {[]*x509.Certificate{root.Certificate}, false},
		"out of order":             {[]*x509.Certificate{middle.Certificate, leaf.Certificate}, false},
		"the middle missing":       {[]*x509.Certificate{leaf.Certificate, root.Certificate}, false},
		"the middle twice":         {[]*x509.Certificate{leaf.Certificate, middle.Certificate, middle.Certificate}, false},
		"the root twice":           {[]*x509.Certificate{leaf.Certificate, middle.Certificate, root.Certificate, root.Certificate}, true}, // it vouches for itself
		"another's root of a name": {[]*x509.Certificate{forged.Certificate, stranger.Certificate}, false},
		"another's signature":      {[]*x509.Certificate{forged.Certificate}, false},
		"an authority as leaf":     {[]*x509.Certificate{middle.Certificate}, false},
		"no authority":             {below(func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }), false},
		"no right to sign":         {below(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), false},
		"an unknown critical one": {below(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}), false},
		"a key on P-256": {[]*x509.Certificate{w.Certify(&root, small, "leaf", false, nil).Certificate}, false},
		"signed with SHA-512": {[]*x509.Certificate{
			w.Issue(&middle, "leaf", false, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA512 }).Certificate, middle.Certificate,
		}, false},
		"path length 0, for a leaf": {below(func(c *x509.Certificate) { c.MaxPathLenZero = true }), true},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := pki.Verify(test.certs, root.Certificate)
			if (err == nil) != test.ok || err != nil && !errors.Is(err, pki.ErrUntrusted) {
				t.Fatal(err)
			}
			if err == nil && (c.Leaf() != test.certs[0] || c.Key() == nil) {
				t.Error("the leaf is another")
			}
		})
	}
	t.Run("path length", func(t *testing.T) {
		a := w.Issue(&root, "a", true, func(c *x509.Certificate) { c.MaxPathLenZero = true })
		b := w.Issue(&a, "b", true, nil)
		l := w.Issue(&b, "leaf", false, nil)
		if _, err := pki.Verify([]*x509.Certificate{l.Certificate, b.Certificate, a.Certificate}, root.Certificate); !errors.Is(err, pki.ErrUntrusted) {
			t.Error(err)
		}
	})
	c, err := pki.Verify([]*x509.Certificate{leaf.Certificate, middle.Certificate}, root.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		at time.Time
		ok bool
	}{
		{leaf.Certificate.NotBefore.Add(-time.Second), false}, {leaf.Certificate.NotBefore, true},
		{leaf.Certificate.NotAfter, true}, {leaf.Certificate.NotAfter.Add(time.Second), false},
	} {
		if err := c.Check(test.at); (err == nil) != test.ok {
			t.Errorf("at %v: %v", test.at, err)
		}
	}
}

func TestParsePEM(t *testing.T) {
	w := nvidiatest.NewWorld(t)
	one := string(nvidiatest.PEM(w.DeviceRoot.Certificate))
	for name, test := range map[string]struct {
		text string
		n    int // -1: an error
	}{
		"none":                        {"", 0},
		"one":                         {one, 1},
		"white space":                 {"\r\n " + one + "\n\t" + one + "\n", 2},
		"without last break":          {strings.TrimSuffix(one, "\n"), 1},
		"text before":                 {"x" + one, -1},
		"text between":                {one + "x" + one, -1},
		"text after":                  {one + "x", -1},
		"a key":                       {strings.ReplaceAll(one, "CERTIFICATE", "PRIVATE KEY"), -1},
		"a header":                    {strings.Replace(one, "CERTIFICATE-----\n", "CERTIFICATE-----\na: b\n\n", 1), -1},
		"not base64":                  {strings.Replace(one, "MII", "!!!", 1), -1},
		"not base64, then a good one": {strings.Replace(one, "MII", "!!!", 1) + one, -1},
		"cut off":                     {one[:len(one)/2], -1},
		"nine":                        {strings.Repeat(one, 9), -1},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := pki.ParsePEM([]byte(test.text))
			if err != nil && !errors.Is(err, pki.ErrMalformed) || (err != nil) != (test.n < 0) || err == nil && len(got) != test.n {
				t.Errorf("%d certificates, %v", len(got), err)
			}
		})
	}
}

func TestParse(t *testing.T) {
	w := nvidiatest.NewWorld(t)
	good := w.DeviceRoot.Certificate.Raw
	for name, ders := range map[string][][]byte{
		"none": nil, "nine": {good, good, good, good, good, good, good, good, good}, "empty": {{}}, "long": {make([]byte, pki.MaxCertificate+1)},
		"cut off": {good[:len(good)-1]}, "trailing": {append(bytes.Clone(good), 0)},
	} {
		if _, err := pki.Parse(ders); !errors.Is(err, pki.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRoot(t *testing.T) {
	for name, subject := range map[string]string{"device": "NVIDIA Device Identity CA", "manifest": "NVIDIA CoRIM signing Root CA"} {
		text, err := os.ReadFile("../roots/" + name + ".pem")
		if err != nil {
			t.Fatal(err)
		}
		root, err := pki.Root(text)
		if err != nil || root.Subject.CommonName != subject {
			t.Errorf("%s: %v, %v", name, root, err)
		}
	}
	w := nvidiatest.NewWorld(t)
	notItself := w.Issue(&w.DeviceRoot, "x", true, nil)
	for name, text := range map[string][]byte{
		"two": nvidiatest.PEM(w.DeviceRoot.Certificate, w.DeviceRoot.Certificate), "none": nil,
		"no authority": nvidiatest.PEM(w.Issue(nil, "x", false, nil).Certificate), "signed by another": nvidiatest.PEM(notItself.Certificate),
	} {
		if _, err := pki.Root(text); err == nil {
			t.Errorf("%s is a root", name)
		}
	}
}

// TestMutations: of a chain that NVIDIA issued and one made here, no change verifies, each under its own root.
func TestMutations(t *testing.T) {
	read := func(path string) []byte {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	device, err := pki.Root(read("../roots/device.pem"))
	if err != nil {
		t.Fatal(err)
	}
	w := nvidiatest.NewWorld(t)
	root := w.DeviceRoot
	middle := w.Issue(&root, "middle", true, nil)
	leaf := w.Issue(&middle, "leaf", false, nil)
	seeds := [][]byte{read("../testdata/ls10-chain.pem"), nvidiatest.PEM(leaf.Certificate, middle.Certificate, root.Certificate)}
	roots := []*x509.Certificate{device, root.Certificate}
	good := map[string]bool{} // of certificates, as they were issued
	for i, seed := range seeds {
		ders, err := pki.ParsePEM(seed)
		if err != nil {
			t.Fatal(err)
		}
		certs, err := pki.Parse(ders)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pki.Verify(certs, roots[i]); err != nil {
			t.Errorf("chain %d as it was: %v", i, err)
		}
		for _, der := range ders {
			good[string(der)] = true
		}
	}
	mutate.Run(t, seeds, func(t *testing.T, input []byte) {
		ders, err := pki.ParsePEM(input)
		if err != nil {
			return
		}
		if len(ders) > pki.MaxChain {
			t.Errorf("%d certificates", len(ders))
		}
		certs, err := pki.Parse(ders)
		if err != nil {
			return
		}
		for i := range roots {
			if _, err := pki.Verify(certs, roots[i]); err != nil {
				continue
			}
			for _, der := range ders {
				if !good[string(der)] {
					t.Errorf("a certificate that was not issued verifies: %x", der)
				}
			}
		}
	})
}

// FuzzParsePEM: what is read is what a second writing of it says.
func FuzzParsePEM(f *testing.F) {
	w := nvidiatest.NewWorld(f)
	f.Add(nvidiatest.PEM(w.DeviceRoot.Certificate, w.Family.Certificate))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"))
	f.Fuzz(func(t *testing.T, text []byte) {
		ders, err := pki.ParsePEM(text)
		if err != nil {
			return
		}
		var again []byte
		for _, der := range ders {
			again = append(again, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
		same, err := pki.ParsePEM(again)
		if err != nil || len(same) != len(ders) {
			t.Fatalf("%d certificates, then %d: %v", len(ders), len(same), err)
		}
		if certs, err := pki.Parse(ders); err == nil {
			if _, err := pki.Verify(certs, w.ManifestRoot.Certificate); err == nil {
				t.Error("a chain of a root nobody signed with")
			}
		}
	})
}
