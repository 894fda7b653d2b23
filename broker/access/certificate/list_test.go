package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// lists are a revocation list in DER and in PEM.
func lists(t testing.TB) [][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "x"}, SubjectKeyId: []byte{1}, KeyUsage: x509.KeyUsageCRLSign}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Unix(1, 0), NextUpdate: time.Unix(2, 0),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(7), RevocationTime: time.Unix(1, 0)}},
	}, issuer, key)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{der, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})}
}

func checkList(t testing.TB, content []byte) {
	if parsed, err := ParseList(content); err == nil && len(parsed.Raw) > len(content) {
		t.Errorf("a list of %d bytes in %d", len(parsed.Raw), len(content))
	}
}

func FuzzList(f *testing.F) {
	for _, seed := range lists(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content []byte) { checkList(t, content) })
}

func TestMutationsList(t *testing.T) {
	for _, good := range lists(t) {
		if _, err := ParseList(good); err != nil {
			t.Error(err)
		}
		if _, err := ParseList(append(good[:len(good):len(good)], good...)); err == nil {
			t.Error("two lists are one")
		}
	}
	mutate.Run(t, lists(t), func(t *testing.T, input []byte) { checkList(t, input) })
}
