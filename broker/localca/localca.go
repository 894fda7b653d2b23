// Package localca makes TLS certificates where there is no authority to ask: for development, and for a first installation. It keeps an
// authority (P-256, ten years) and a server certificate (P-256, 397 days at most) in a folder, and makes the latter again when it is
// about to expire or is for other names; clients are given the authority's certificate, which stays the same.
//
// Files: ca.pem (certificate), ca.key, server.pem (certificate), server.key; keys are PKCS #8 with mode 0600. Each is replaced at once or
// not at all.
package localca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/atomicfile"
)

const (
	caLifetime     = 10 * 365 * 24 * time.Hour
	serverLifetime = 397 * 24 * time.Hour // the longest that clients of the web accept
	renewBefore    = 30 * 24 * time.Hour
)

// Files are the paths that Ensure made or found.
type Files struct {
	CA          string // PEM certificate for clients to trust
	Certificate string // PEM certificate of the server
	Key         string // PEM key of the server
}

// Ensure makes in dir what is missing of an authority and of a certificate for hosts, which are DNS names and IP addresses, and
// returns where they are.
func Ensure(dir string, hosts []string, now time.Time) (Files, error) {
	fail := func(err error) (Files, error) { return Files{}, fmt.Errorf("localca: %s: %w", dir, err) }
	if len(hosts) == 0 {
		return fail(errors.New("no host names for the certificate"))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	f := Files{CA: filepath.Join(dir, "ca.pem"), Certificate: filepath.Join(dir, "server.pem"), Key: filepath.Join(dir, "server.key")}
	ca, err := authority(f.CA, filepath.Join(dir, "ca.key"), now)
	if err != nil {
		return fail(err)
	}
	if good(f, hosts, ca.Leaf, now) {
		return f, nil
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: hosts[0]},
		NotBefore:   now.Add(-time.Hour), // for clients whose clock is a little behind
		NotAfter:    now.Add(serverLifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	// The key goes first, so that a crash leaves no certificate without one.
	key, err := newKey(f.Key)
	if err != nil {
		return fail(err)
	}
	if err := issue(template, ca, f.Certificate, key); err != nil {
		return fail(err)
	}
	return f, nil
}

// authority reads the authority, or makes it when there is none. A key without a certificate, which a crash leaves, gets another one, which
// to clients that have the first is the same authority. A certificate without its key is an error: making both anew would leave every client
// behind.
func authority(certFile, keyFile string, now time.Time) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil {
		return &pair, nil
	}
	if _, noCert := os.Stat(certFile); !errors.Is(noCert, fs.ErrNotExist) {
		return nil, fmt.Errorf("the authority in %s cannot be used; remove both files to make another: %w", filepath.Dir(certFile), err)
	}
	key, err := readKey(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = newKey(keyFile)
	}
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Vouchsafe local CA"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	if err := issue(template, nil, certFile, key); err != nil {
		return nil, err
	}
	pair, err = tls.LoadX509KeyPair(certFile, keyFile)
	return &pair, err
}

// good reports whether the server's certificate is for hosts, by the authority, and not about to expire.
func good(f Files, hosts []string, ca *x509.Certificate, now time.Time) bool {
	pair, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
	if err != nil || pair.Leaf.CheckSignatureFrom(ca) != nil || now.Add(renewBefore).After(pair.Leaf.NotAfter) {
		return false
	}
	return !slices.ContainsFunc(hosts, func(host string) bool { return pair.Leaf.VerifyHostname(host) != nil })
}

// newKey makes a key and writes it.
func newKey(file string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, atomicfile.Write(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// readKey reads what newKey wrote.
func readKey(file string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a key of another kind than ECDSA", file)
	}
	return key, nil
}

// issue writes a certificate of key, signed by ca, or by itself when ca is nil.
func issue(template *x509.Certificate, ca *tls.Certificate, certFile string, key *ecdsa.PrivateKey) error {
	var err error
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return err
	}
	parent, signer := template, crypto.PrivateKey(key)
	if ca != nil {
		parent, signer = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return err
	}
	return atomicfile.Write(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}
