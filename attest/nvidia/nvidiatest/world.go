// Package nvidiatest makes NVIDIA devices for tests: certificates, measurement reports, reference manifests and OCSP responses, signed
// by roots of its own. What it makes has the form of what real devices and NVIDIA make, and each part of it can be made wrong.
package nvidiatest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/ocsp"
)

// Forever is when certificates of devices end.
var Forever = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// Authority is a key with its certificate.
type Authority struct {
	Certificate *x509.Certificate
	Key         *ecdsa.PrivateKey
}

// World has the roots.
type World struct {
	tb                         testing.TB
	DeviceRoot, ManifestRoot   Authority
	Family                     Authority // "NVIDIA GH100 Identity"
	ManifestCA, ManifestSigner Authority
}

// NewWorld makes roots and the authorities below them.
func NewWorld(tb testing.TB) *World {
	tb.Helper()
	w := &World{tb: tb}
	w.DeviceRoot = w.Issue(nil, "NVIDIA Device Identity CA", true, nil)
	w.Family = w.Issue(&w.DeviceRoot, "NVIDIA GH100 Identity", true, nil)
	w.ManifestRoot = w.Issue(nil, "NVIDIA CoRIM signing Root CA", true, nil)
	w.ManifestCA = w.Issue(&w.ManifestRoot, "NVIDIA Reference Value GH100 CA", true, nil)
	w.ManifestSigner = w.Issue(&w.ManifestCA, "HCC RIM L4 Signer", false, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	})
	return w
}

// Issue makes a key and its certificate, by itself where by is nil. change may make the certificate wrong before it is signed.
func (w *World) Issue(by *Authority, name string, authority bool, change func(*x509.Certificate)) Authority {
	w.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	w.check(err)
	return w.Certify(by, key, name, authority, change)
}

// Certify makes a certificate of a key there is.
func (w *World) Certify(by *Authority, key *ecdsa.PrivateKey, name string, authority bool, change func(*x509.Certificate)) Authority {
	w.tb.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	w.check(err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"NVIDIA Corporation"}},
		NotBefore: time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: Forever,
		SignatureAlgorithm: x509.ECDSAWithSHA384, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if authority {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	}
	if change != nil {
		change(template)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.Certificate, by.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	w.check(err)
	cert, err := x509.ParseCertificate(der)
	w.check(err)
	return Authority{cert, key}
}

// PEM returns certificates in PEM, in order.
func PEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// OCSP makes a response of status about cert, by a responder that issuer authorises, good for a day from then. change may change the
// responder's certificate.
func (w *World) OCSP(cert *x509.Certificate, issuer Authority, status int, then time.Time, change func(*x509.Certificate)) []byte {
	w.tb.Helper()
	responder := w.Issue(&issuer, "NVIDIA OCSP Responder", false, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
		if change != nil {
			change(c)
		}
	})
	return w.OCSPBy(responder, cert, issuer, status, then)
}

// OCSPBy is OCSP by a responder there is. That of the issuer itself does not bring its certificate.
func (w *World) OCSPBy(responder Authority, cert *x509.Certificate, issuer Authority, status int, then time.Time) []byte {
	w.tb.Helper()
	brought := responder.Certificate
	if brought.Equal(issuer.Certificate) {
		brought = nil
	}
	der, err := ocsp.CreateResponse(issuer.Certificate, responder.Certificate, ocsp.Response{
		Status: status, SerialNumber: cert.SerialNumber, ThisUpdate: then, NextUpdate: then.Add(24 * time.Hour),
		RevokedAt: then.Add(-time.Hour), RevocationReason: ocsp.KeyCompromise,
		Certificate: brought, IssuerHash: crypto.SHA384, SignatureAlgorithm: x509.ECDSAWithSHA384,
	}, responder.Key)
	w.check(err)
	return der
}

// OCSPName is the name of the endorsement that holds a response about cert.
func OCSPName(cert *x509.Certificate) string {
	digest := sha256.Sum256(cert.Raw)
	return "nvidia/ocsp/" + hex.EncodeToString(digest[:])
}

func (w *World) check(err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
	}
}

// Composite is the extension by which Hopper and LS10 identify firmware.
func Composite(device *ecdsa.PrivateKey, fwid []byte) pkix.Extension {
	spki, err := x509.MarshalPKIXPublicKey(device.Public())
	if err != nil {
		panic(err)
	}
	return extension(asn1.ObjectIdentifier{2, 23, 133, 5, 4, 1}, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddBytes(spki)
		addFWID(b, fwid)
	})
}

// TCBInfo is the extension by which Blackwell does: DiceTcbInfo with the flags in the first byte of a bit string.
func TCBInfo(fwid []byte, flags byte) pkix.Extension {
	return extension(asn1.ObjectIdentifier{2, 23, 133, 5, 4, 1, 1}, func(b *cryptobyte.Builder) {
		b.AddASN1(0x80, func(b *cryptobyte.Builder) { b.AddBytes([]byte("NVIDIA")) })
		b.AddASN1(0xa6, func(b *cryptobyte.Builder) { addFWID(b, fwid) })
		b.AddASN1(0x87, func(b *cryptobyte.Builder) { b.AddBytes([]byte{0, flags}) })
	})
}

func addFWID(b *cryptobyte.Builder, fwid []byte) {
	b.AddASN1(0x30, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2})
		b.AddASN1OctetString(fwid)
	})
}

func extension(id asn1.ObjectIdentifier, body func(*cryptobyte.Builder)) pkix.Extension {
	var b cryptobyte.Builder
	b.AddASN1(0x30, body)
	return pkix.Extension{Id: id, Value: b.BytesOrPanic()}
}

// Name is a subject alternative name with a DMTF name.
func Name(text string) pkix.Extension {
	return extension(asn1.ObjectIdentifier{2, 5, 29, 17}, func(b *cryptobyte.Builder) {
		b.AddASN1(0xa0, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 412, 274, 1})
			b.AddASN1(0xa0, func(b *cryptobyte.Builder) {
				b.AddASN1(0x0c, func(b *cryptobyte.Builder) { b.AddBytes([]byte(text)) })
			})
		})
	})
}
