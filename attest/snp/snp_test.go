package snp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/google/go-sev-guest/testing/data"

	"github.com/vouchsafe/vouchsafe/attest"
)

// appraisal is a time at which the certificates made here are valid.
var appraisal = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// authority is a product's root with its intermediates, made for tests.
type authority struct {
	anchor
	arkKey, askKey, asvkKey *rsa.PrivateKey
	vcekKey, vlekKey        *ecdsa.PrivateKey
}

// authorities are made once: RSA of 4096 bits takes its time. The keys are test keys that go-sev-guest publishes.
var authorities = sync.OnceValue(func() map[Product]*authority {
	out := map[Product]*authority{}
	for _, p := range Products() {
		a := &authority{
			anchor: anchor{product: p, name: "test-" + string(p)},
			arkKey: data.ARKPrivateKey, askKey: data.ASKPrivateKey, asvkKey: data.ASVKPrivateKey,
			vcekKey: must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
			vlekKey: must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		}
		a.ark = a.authority("ARK-"+string(p), 1, nil, a.arkKey, a.arkKey)
		a.ask = a.authority(a.intermediateName(VCEK), 2, a.ark, a.askKey, a.arkKey)
		a.asvk = a.authority(a.intermediateName(VLEK), 3, a.ark, a.asvkKey, a.arkKey)
		if err := a.check(); err != nil {
			panic(err)
		}
		out[p] = a
	}
	return out
})

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (a *authority) authority(name string, serial int64, parent *x509.Certificate, key, signer *rsa.PrivateKey) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: appraisal.AddDate(-1, 0, 0), NotAfter: appraisal.AddDate(20, 0, 0),
		SignatureAlgorithm: x509.SHA384WithRSAPSS, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if parent == nil {
		parent = template
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer))))
}

// leafOptions change a certificate from the one that matches.
type leafOptions struct {
	name        string
	endorsement func(*Endorsement)
	extensions  func([]pkix.Extension) []pkix.Extension
	template    func(*x509.Certificate)
	key         any
	signer      *rsa.PrivateKey
	issuer      *x509.Certificate
}

// leaf makes the certificate of the key that signs r.
func (a *authority) leaf(tb testing.TB, r *Report, opts leafOptions) []byte {
	tb.Helper()
	tcb := must(r.ReportedTCB.Decode(a.product))
	e := &Endorsement{SigningKey: r.SigningKey(), Product: string(a.product), TCB: tcb, HasFMC: a.product == Turin}
	name, issuer, signer, key := commonNameVCEK, a.ask, a.askKey, &a.vcekKey.PublicKey
	if r.SigningKey() == VLEK {
		name, issuer, signer, key = commonNameVLEK, a.asvk, a.asvkKey, &a.vlekKey.PublicKey
		e.CSP = "a cloud"
	} else {
		e.HWID = r.ChipID[:a.product.hwidSize()]
		if a.product != Turin {
			e.Product += "-B1"
		}
	}
	if opts.endorsement != nil {
		opts.endorsement(e)
	}
	exts, err := e.Extensions()
	if err != nil {
		tb.Fatal(err)
	}
	if opts.extensions != nil {
		exts = opts.extensions(exts)
	}
	if opts.name != "" {
		name = opts.name
	}
	if opts.issuer != nil {
		issuer = opts.issuer
	}
	if opts.signer != nil {
		signer = opts.signer
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int), Subject: pkix.Name{CommonName: name},
		NotBefore: appraisal.AddDate(0, -1, 0), NotAfter: appraisal.AddDate(7, 0, 0),
		SignatureAlgorithm: x509.SHA384WithRSAPSS, ExtraExtensions: exts,
	}
	if opts.template != nil {
		opts.template(template)
	}
	var public any = key
	if opts.key != nil {
		public = opts.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, public, signer)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// report makes an unsigned report as p's processors would.
func report(p Product, version uint32, key SigningKey) *Report {
	tcb := TCB{Bootloader: 4, TEE: 1, SNP: 22, Microcode: 213}
	if p == Turin {
		tcb.FMC = 3
	}
	r := &Report{
		Version: version, Policy: PolicyDefault | PolicySMT, SignatureAlgo: signatureECDSA,
		KeyInfo: uint32(key) << keySigningShift, GuestSVN: 7, PlatformInfo: 0x25,
		CurrentTCB: tcb.Encode(p), ReportedTCB: tcb.Encode(p), CommittedTCB: tcb.Encode(p), LaunchTCB: tcb.Encode(p),
		Current: Firmware{1, 55, 40}, Committed: Firmware{1, 55, 39},
	}
	copy(r.ReportData[:], binding)
	for i := range r.ReportIDMA {
		r.ReportIDMA[i] = 0xff
	}
	for i := range p.hwidSize() {
		r.ChipID[i] = byte(i + 1)
	}
	for i := range r.Measurement {
		r.Measurement[i] = byte(0x80 + i)
	}
	if version >= 3 {
		r.CPU = map[Product]CPUID{Milan: {0x19, 1, 1}, Genoa: {0x19, 0x11, 1}, Turin: {0x1A, 2, 1}}[p]
	}
	if version >= 5 {
		r.LaunchMitVector, r.CurrMitVector = 1, 3
	}
	return r
}

var binding = []byte("0123456789abcdef0123456789abcdef0123456789abcdef")

// sign signs r with the key its key information names.
func (a *authority) sign(tb testing.TB, r *Report) *Report {
	tb.Helper()
	key := a.vcekKey
	if r.SigningKey() == VLEK {
		key = a.vlekKey
	}
	digest := sha512.Sum384(r.Marshal()[:SignedSize])
	x, y, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		tb.Fatal(err)
	}
	if err := r.SetSignature(x, y); err != nil {
		tb.Fatal(err)
	}
	return r
}

// extended returns r with leaf, as an extended report.
func extended(r *Report, leaf []byte) []byte {
	certs := Certificates{VCEK: leaf}
	if r.SigningKey() == VLEK {
		certs = Certificates{VLEK: leaf}
	}
	return append(r.Marshal(), certs.Table()...)
}

// testVerifier trusts the authorities made here.
func testVerifier(tb testing.TB, cfg Config) *Verifier {
	tb.Helper()
	var anchors []anchor
	for _, p := range Products() {
		anchors = append(anchors, authorities()[p].anchor)
	}
	v, err := newVerifier(cfg, anchors)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func verify(tb testing.TB, v *Verifier, evidence []byte) (*attest.Claims, error) {
	return v.Verify(tb.Context(), attest.Input{Evidence: evidence, Binding: attest.BoundTo(binding), Time: appraisal})
}

// wantCode fails unless err is a refusal with the code.
func wantCode(tb testing.TB, err error, code attest.Code) {
	tb.Helper()
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		tb.Errorf("error %v, want %s", err, code)
	}
}
