package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// googleCertificate reads a real certificate of a Google Cloud instance from the test data of go-tpm-tools.
func googleCertificate(t testing.TB, name string) []byte {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/go-tpm-tools").Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Skipf("the module go-tpm-tools is not downloaded: %v", err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "internal", "test", "certificates", name))
	if err != nil {
		t.Skip(err)
	}
	certs, err := ParsePEM(content)
	if err != nil || len(certs) != 1 {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	return certs[0].Raw
}

func TestBuiltInRoots(t *testing.T) {
	for name, test := range map[string]struct {
		certs []*x509.Certificate
		want  []string
	}{
		"roots": {GoogleAKRoots(), []string{
			"594759594b9b61524f6c8ef668f7177f7b9066bc0674f2f49fe9e052be78beb2",
			"9bd5285f8fb18502a7947e621ffd470266f49fcd3b73e19a190f690ad32a7caf",
		}},
		"intermediates": {GoogleAKIntermediates(), []string{
			"c84de8116dfaf5a908f21e810487791f5437e206d00ad8025050cca6bd2ff627",
			"5d8dbcf8c8053dd8ffad711b6219355032b7122c34cac0f90ccb49def69ec504",
			"7132b6ea71101f6c51bb58f98c3798c19b65be510eca0344318900510b593178",
		}},
	} {
		var sums []string
		for _, cert := range test.certs {
			sum := sha256.Sum256(cert.Raw)
			sums = append(sums, hex.EncodeToString(sum[:]))
		}
		if !slices.Equal(sums, test.want) {
			t.Errorf("%s are %v, want %v", name, sums, test.want)
		}
	}
}

func TestGoogleCertificates(t *testing.T) {
	google := newAnchors(GoogleAKRoots(), GoogleAKIntermediates(), nil)
	for _, name := range []string{"pca_tpm_rsa_sign_cert.pem", "pca_tpm_ecc_sign_cert.pem", "uca_tpm_rsa_sign_cert.pem", "uca_tpm_ecc_sign_cert.pem"} {
		leaf, err := parseLeaf(googleCertificate(t, name))
		if err != nil {
			t.Fatal(err)
		}
		chain, err := google.verify(leaf, nil, at)
		if err != nil || chain.checked || !chain.current {
			t.Errorf("%s: %+v, %v", name, chain, err)
		}
		host, err := checkAKCertificate(leaf)
		if err != nil || !strings.HasPrefix(host, "projects/google.com:wuale-gcp-testing/zones/us-central1-a/instances/") {
			t.Errorf("%s: host %q, %v", name, host, err)
		}
		_, err = google.verify(leaf, nil, leaf.NotBefore.Add(-time.Second))
		refused(t, err, attest.CodeCertExpired)
		_, err = google.verify(leaf, nil, leaf.NotAfter.Add(time.Second))
		refused(t, err, attest.CodeCertExpired)
	}
	for _, name := range []string{"pca_tpm_rsa_enc_cert.pem", "uca_tpm_ecc_enc_cert.pem"} { // endorsement keys'
		leaf, err := parseLeaf(googleCertificate(t, name))
		if err != nil {
			t.Fatal(err)
		}
		_, err = checkAKCertificate(leaf)
		refused(t, err, attest.CodeCertMalformed)
	}
}

// authority is a made cloud authority: a root, an intermediate, and lists of both.
type authority struct {
	t            *testing.T
	rootKey, key crypto.Signer
	root, issuer *x509.Certificate
}

func (a *authority) certify(template, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

func ca(serial int64, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte(name),
		NotBefore: at.AddDate(-1, 0, 0), NotAfter: at.AddDate(5, 0, 0),
	}
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	var err error
	if a.rootKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err == nil {
		a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.root = a.certify(ca(1, "root"), ca(1, "root"), a.rootKey.Public(), a.rootKey)
	a.issuer = a.certify(ca(2, "issuer"), a.root, a.key.Public(), a.rootKey)
	return a
}

// instanceExtension names an instance.
func instanceExtension(t *testing.T, production bool) pkix.Extension {
	t.Helper()
	info := instance{Zone: "z", ProjectNumber: 1, ProjectID: "p", InstanceID: 7, InstanceName: "n"}
	info.Security.Production = production
	value, err := asn1.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: oidInstance, Value: value}
}

// leaf certifies an attestation key; change makes the certificate wrong in one way.
func (a *authority) leaf(k *softKey, change func(*x509.Certificate)) []byte {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "7"}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: at.AddDate(0, -1, 0), NotAfter: at.AddDate(1, 0, 0), BasicConstraintsValid: true,
		ExtraExtensions: []pkix.Extension{instanceExtension(a.t, true)},
	}
	change(template)
	return a.certify(template, a.issuer, k.signer.Public(), a.key).Raw
}

func (a *authority) list(issuer *x509.Certificate, by crypto.Signer, next time.Time, serials ...int64) *x509.RevocationList {
	a.t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: at.AddDate(0, -2, 0), NextUpdate: next}
	for _, serial := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: at.AddDate(0, -1, 0)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, issuer, by)
	if err != nil {
		a.t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return list
}

func TestCertifiedKey(t *testing.T) {
	a, foreign := newAuthority(t), newAuthority(t)
	k, other := newKey(t, algECDSA, proper), newKey(t, algECDSA, proper)
	same := func(*x509.Certificate) {}
	next := at.AddDate(0, 1, 0)
	tests := []struct {
		name   string
		leaf   []byte
		change func(*Evidence)
		lists  []*x509.RevocationList
		code   attest.Code
	}{
		{"good", a.leaf(k, same), nil, nil, ""},
		{"held against lists", a.leaf(k, same), nil, []*x509.RevocationList{
			a.list(a.issuer, a.key, next, 99), a.list(a.root, a.rootKey, next, 98)}, ""},
		{"revoked", a.leaf(k, same), nil, []*x509.RevocationList{a.list(a.issuer, a.key, next, 3)}, attest.CodeCertRevoked},
		{"issuer revoked", a.leaf(k, same), nil, []*x509.RevocationList{a.list(a.root, a.rootKey, next, 2)}, attest.CodeCertRevoked},
		{"list of an impostor", a.leaf(k, same), nil, []*x509.RevocationList{foreign.list(foreign.issuer, foreign.key, next, 3)}, ""},
		{"of another key", a.leaf(other, same), nil, nil, attest.CodeCertMismatch},
		{"of another authority", foreign.leaf(k, same), nil, nil, attest.CodeCertUntrusted},
		{"of another authority, which brings its root", foreign.leaf(k, same), func(e *Evidence) {
			e.AKCertificates = append(e.AKCertificates, foreign.issuer.Raw, foreign.root.Raw)
		}, nil, attest.CodeCertUntrusted},
		{"issued by a key that takes a second to verify with", a.leaf(k, same), func(e *Evidence) {
			// Anyone can make such a certificate, and the leaf's signature is tried with its key before it is known whose it is.
			n := new(big.Int).SetBit(big.NewInt(1), 57_000, 1)
			huge := a.certify(ca(9, "issuer"), a.root, &rsa.PublicKey{N: n, E: 1<<31 - 1}, a.rootKey)
			e.AKCertificates = append(e.AKCertificates, huge.Raw)
		}, nil, attest.CodeAlgorithm},
		{"expired", a.leaf(k, func(c *x509.Certificate) { c.NotAfter = at.Add(-time.Second) }), nil, nil, attest.CodeCertExpired},
		{"not yet valid", a.leaf(k, func(c *x509.Certificate) { c.NotBefore = at.Add(time.Second) }), nil, nil, attest.CodeCertExpired},
		{"an authority's", a.leaf(k, func(c *x509.Certificate) { c.IsCA = true }), nil, nil, attest.CodeCertMalformed},
		{"for encryption", a.leaf(k, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), nil, nil, attest.CodeCertMalformed},
		{"names no instance", a.leaf(k, func(c *x509.Certificate) { c.ExtraExtensions = nil }), nil, nil, attest.CodeCertMalformed},
		{"not production", a.leaf(k, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{instanceExtension(t, false)}
		}), nil, nil, attest.CodeCertMalformed},
		{"unknown critical extension", a.leaf(k, func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}), nil, nil, attest.CodeCertUntrusted},
		{"not a certificate", []byte{0x30, 0}, nil, nil, attest.CodeCertMalformed},
		{"endless", make([]byte, maxCertificate+1), nil, nil, attest.CodeTooLarge},
		{"no certificate", nil, func(e *Evidence) { e.AKCertificates = nil }, nil, attest.CodeKeyNotEnrolled},
		{"key in another spelling", a.leaf(k, same), func(e *Evidence) {
			var outer asn1.RawValue // a SEQUENCE, to which the parser lets anything be added
			if _, err := asn1.Unmarshal(e.AKPublic, &outer); err != nil {
				t.Fatal(err)
			}
			spelt, err := asn1.Marshal(asn1.RawValue{Class: outer.Class, Tag: outer.Tag, IsCompound: true, Bytes: append(outer.Bytes, 5, 0)})
			if err != nil {
				t.Fatal(err)
			}
			e.AKPublic = spelt
		}, nil, attest.CodeMalformed},
		{"key that is not restricted", a.leaf(k, same), func(e *Evidence) {
			e.AKTPMPublic = append([]byte(nil), e.AKTPMPublic...)
			e.AKTPMPublic[5] &^= 1
		}, nil, attest.CodeKeyAttributes},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := newVerifier(t, Config{
				Enrolments: store{}, AKRoots: []*x509.Certificate{a.root}, AKIntermediates: []*x509.Certificate{a.issuer}, RevocationLists: test.lists,
			})
			e := k.evidence(t)
			e.AKCertificates = [][]byte{test.leaf}
			if test.change != nil {
				test.change(e)
			}
			claims, err := v.Verify(t.Context(), input(marshal(t, e)))
			if test.code != "" {
				refused(t, err, test.code)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if claims.HardwareRoot != attest.RootGoogleAK || claims.TPM.Enrolled || claims.TPM.Host != "projects/p/zones/z/instances/7" ||
				claims.Collateral.RevocationChecked != (len(test.lists) == 2) {
				t.Errorf("%+v, tpm %+v, collateral %+v", claims, claims.TPM, claims.Collateral)
			}
		})
	}
	t.Run("partial list", func(t *testing.T) {
		// It says, critically, that it is of one kind of certificates only (RFC 5280, section 5.2.5): what it names is revoked, and what
		// it does not name may be so by another list.
		partial := func(serials ...int64) *x509.RevocationList {
			list := a.list(a.issuer, a.key, next, serials...)
			template := &x509.RevocationList{
				Number: list.Number, ThisUpdate: list.ThisUpdate, NextUpdate: next, RevokedCertificateEntries: list.RevokedCertificateEntries,
				ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 3, 0x85, 1, 0xff}}},
			}
			der, err := x509.CreateRevocationList(rand.Reader, template, a.issuer, a.key)
			if err != nil {
				t.Fatal(err)
			}
			if list, err = x509.ParseRevocationList(der); err != nil {
				t.Fatal(err)
			}
			return list
		}
		verify := func(list *x509.RevocationList) (*attest.Claims, error) {
			v := newVerifier(t, Config{AKRoots: []*x509.Certificate{a.root}, AKIntermediates: []*x509.Certificate{a.issuer},
				RevocationLists: []*x509.RevocationList{list, a.list(a.root, a.rootKey, next)}})
			e := k.evidence(t)
			e.AKCertificates = [][]byte{a.leaf(k, same)}
			return v.Verify(t.Context(), input(marshal(t, e)))
		}
		if claims, err := verify(partial(99)); err != nil || claims.Collateral.RevocationChecked {
			t.Errorf("%+v, %v: want a claim that revocation was not checked", claims, err)
		}
		_, err := verify(partial(3))
		refused(t, err, attest.CodeCertRevoked)
	})
	t.Run("stale list", func(t *testing.T) {
		v := newVerifier(t, Config{AKRoots: []*x509.Certificate{a.root}, AKIntermediates: []*x509.Certificate{a.issuer},
			RevocationLists: []*x509.RevocationList{a.list(a.issuer, a.key, at.Add(-time.Hour))}})
		e := k.evidence(t)
		e.AKCertificates = [][]byte{a.leaf(k, same)}
		claims, err := v.Verify(t.Context(), input(marshal(t, e)))
		if err != nil || claims.Collateral.Current {
			t.Errorf("%+v, %v: want a claim that the collateral is not current", claims, err)
		}
	})
}

func TestKnownChainsExpire(t *testing.T) {
	a, k := newAuthority(t), newKey(t, algECDSA, proper)
	v := newVerifier(t, Config{AKRoots: []*x509.Certificate{a.root}, AKIntermediates: []*x509.Certificate{a.issuer}})
	e := k.evidence(t)
	e.AKCertificates = [][]byte{a.leaf(k, func(*x509.Certificate) {})}
	for _, test := range []struct {
		at   time.Time
		code attest.Code
	}{
		{at, ""}, {at, ""}, // the second is remembered
		{at.AddDate(2, 0, 0), attest.CodeCertExpired},
		{at.AddDate(0, -2, 0), attest.CodeCertExpired},
		{at, ""},
	} {
		in := input(marshal(t, e))
		in.Time = test.at
		if _, err := v.Verify(t.Context(), in); test.code != "" {
			refused(t, err, test.code)
		} else if err != nil {
			t.Error(err)
		}
	}
	if v.anchors.known.Len() != 1 {
		t.Errorf("%d chains are remembered, want 1", v.anchors.known.Len())
	}
	e.AKCertificates = append(e.AKCertificates, newAuthority(t).root.Raw)
	if _, err := v.Verify(t.Context(), input(marshal(t, e))); err != nil || v.anchors.known.Len() != 2 {
		t.Errorf("a chain presented with something else is another: %v, %d", err, v.anchors.known.Len())
	}
}
