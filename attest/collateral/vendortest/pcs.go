package vendortest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/intel"
)

// PCS is Intel's service under a root of its own.
type PCS struct {
	*Server
	tb        testing.TB
	root, tcb *x509.Certificate
	rootKey   *ecdsa.PrivateKey
	tcbKey    *ecdsa.PrivateKey
	chain     []byte
}

// StartPCS starts one that has the identities of the quoting enclaves and the revocation lists, good for a month, and no TCB info yet.
func StartPCS(tb testing.TB, now time.Time) *PCS {
	tb.Helper()
	p := &PCS{Server: Start(tb), tb: tb}
	p.root, p.rootKey = p.certificate("Test SGX Root CA", 1, nil, nil, now)
	p.tcb, p.tcbKey = p.certificate("Test SGX TCB Signing", 2, p.root, p.rootKey, now)
	for _, c := range []*x509.Certificate{p.tcb, p.root} {
		p.chain = append(p.chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	next := now.AddDate(0, 1, 0)
	p.Set("/sgx/certification/v4/qe/identity", p.Identity("QE", now.Add(-time.Hour), next))
	p.Set("/tdx/certification/v4/qe/identity", p.Identity("TD_QE", now.Add(-time.Hour), next))
	list := p.List(now.Add(-time.Hour), next)
	chain := http.Header{"Sgx-Pck-Crl-Issuer-Chain": {url.PathEscape(string(p.chain))}}
	p.Set("/sgx/certification/v4/pckcrl?ca=processor&encoding=der", Answer{Body: list, Header: chain})
	p.Set("/sgx/certification/v4/pckcrl?ca=platform&encoding=der", Answer{Body: list, Header: chain})
	p.Set("/sgx/certification/v4/rootcacrl", Answer{Body: []byte(hex.EncodeToString(list))})
	return p
}

func (p *PCS) certificate(name string, serial int64, parent *x509.Certificate, signer *ecdsa.PrivateKey, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p.check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(5, 0, 0),
		IsCA: parent == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	p.check(err)
	cert, err := x509.ParseCertificate(der)
	p.check(err)
	return cert, key
}

func (p *PCS) check(err error) {
	p.tb.Helper()
	if err != nil {
		p.tb.Fatal(err)
	}
}

// sign makes a signed document as Intel does: the signature is ECDSA over the member's bytes, r and s in hex.
func (p *PCS) sign(member, body, header string) Answer {
	digest := sha256.Sum256([]byte(body))
	r, s, err := ecdsa.Sign(rand.Reader, p.tcbKey, digest[:])
	p.check(err)
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return Answer{
		Body:   fmt.Appendf(nil, `{"%s":%s,"signature":"%x"}`, member, body, signature),
		Header: http.Header{header: {url.PathEscape(string(p.chain))}},
	}
}

// TCB makes the TCB info of a technology (SGX or TDX) and FMSPC.
func (p *PCS) TCB(technology, fmspc string, issued, next time.Time) Answer {
	return p.sign("tcbInfo", fmt.Sprintf(`{"id":"%s","version":3,"issueDate":"%s","nextUpdate":"%s","fmspc":"%s","tcbLevels":[]}`,
		technology, issued.UTC().Format(time.RFC3339), next.UTC().Format(time.RFC3339), fmspc), "Tcb-Info-Issuer-Chain")
}

// TCBPath is what TCB info is asked for by; technology is sgx or tdx.
func TCBPath(technology, fmspc string) string {
	return "/" + technology + "/certification/v4/tcb?fmspc=" + fmspc
}

// Identity makes the identity of a quoting enclave: QE or TD_QE.
func (p *PCS) Identity(id string, issued, next time.Time) Answer {
	return p.sign("enclaveIdentity", fmt.Sprintf(`{"id":"%s","version":2,"issueDate":"%s","nextUpdate":"%s"}`,
		id, issued.UTC().Format(time.RFC3339), next.UTC().Format(time.RFC3339)), "Sgx-Enclave-Identity-Issuer-Chain")
}

// List makes a revocation list by the root.
func (p *PCS) List(this, next time.Time) []byte {
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(this.Unix()), ThisUpdate: this, NextUpdate: next,
	}, p.root, p.rootKey)
	p.check(err)
	return der
}

// Verify is the hook that finds this service's signatures good, and no others.
func (p *PCS) Verify(_ string, e *attest.Endorsement, _ time.Time) error {
	if list, err := x509.ParseRevocationList(e.Data); err == nil {
		return list.CheckSignatureFrom(p.root)
	}
	block, _ := pem.Decode(e.Chain)
	if block == nil {
		return errors.New("no chain")
	}
	signer, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	if err := signer.CheckSignatureFrom(p.root); err != nil {
		return err
	}
	var document struct {
		TCB       json.RawMessage `json:"tcbInfo"`
		Identity  json.RawMessage `json:"enclaveIdentity"`
		Signature string          `json:"signature"`
	}
	if err := json.Unmarshal(e.Data, &document); err != nil {
		return err
	}
	signature, err := hex.DecodeString(document.Signature)
	if err != nil || len(signature) != 64 {
		return errors.New("no signature")
	}
	digest := sha256.Sum256(bytes.Join([][]byte{document.TCB, document.Identity}, nil))
	key, ok := signer.PublicKey.(*ecdsa.PublicKey)
	if !ok || !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return errors.New("the signature is not the signer's")
	}
	return nil
}

// Publisher returns what fetches from it.
func (p *PCS) Publisher(client *collateral.Client, interval time.Duration) collateral.Publisher {
	p.tb.Helper()
	publisher, err := intel.New(intel.Config{Verify: p.Verify, Client: client, Base: p.URL, Interval: interval})
	p.check(err)
	return publisher
}
