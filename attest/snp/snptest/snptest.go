// Package snptest makes SEV-SNP evidence and AMD's collateral under roots of its own, for tests that need more than package snp alone: chips with their
// certificates, revocation lists, reports that carry any digest, and verifiers that trust those roots in the place of AMD's. All else is as in
// production: formats, algorithms and the code that judges them.
//
// No program links it, which internal/house tests; a verifier with other roots than AMD's can be made nowhere else.
package snptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-sev-guest/testing/data"

	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/snp/internal/roots"
)

// Vendor stands in for AMD: the roots of Milan, Genoa and Turin. Its authorities' keys are test keys that go-sev-guest publishes.
type Vendor struct {
	tb    testing.TB
	now   time.Time
	roots map[snp.Product]roots.Root
}

// NewVendor makes a vendor whose certificates are valid around now.
func NewVendor(tb testing.TB, now time.Time) *Vendor {
	tb.Helper()
	v := &Vendor{tb: tb, now: now, roots: map[snp.Product]roots.Root{}}
	for _, p := range snp.Products() {
		ark := v.authority("ARK-"+string(p), 1, nil, data.ARKPrivateKey, data.ARKPrivateKey)
		v.roots[p] = roots.Root{
			Product: string(p), ARK: ark,
			ASK:  v.authority("SEV-"+string(p), 2, ark, data.ASKPrivateKey, data.ARKPrivateKey),
			ASVK: v.authority("SEV-VLEK-"+string(p), 3, ark, data.ASVKPrivateKey, data.ARKPrivateKey),
		}
	}
	return v
}

func (v *Vendor) authority(name string, serial int64, parent *x509.Certificate, key, signer *rsa.PrivateKey) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: v.now.AddDate(-1, 0, 0), NotAfter: v.now.AddDate(20, 0, 0),
		SignatureAlgorithm: x509.SHA384WithRSAPSS, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	check(v.tb, err)
	cert, err := x509.ParseCertificate(der)
	check(v.tb, err)
	return cert
}

func (v *Vendor) all() []roots.Root {
	var all []roots.Root
	for _, p := range snp.Products() {
		all = append(all, v.roots[p])
	}
	return all
}

// Verifier returns a verifier of kind snp that trusts this vendor alone.
func (v *Vendor) Verifier(cfg snp.Config) *snp.Verifier {
	v.tb.Helper()
	verifier, err := snp.NewUnder(cfg, v.all())
	check(v.tb, err)
	return verifier
}

// Collateral returns what checks this vendor's collateral.
func (v *Vendor) Collateral() *snp.Collateral {
	v.tb.Helper()
	c, err := snp.NewCollateralUnder(v.all())
	check(v.tb, err)
	return c
}

// RevocationList makes a list by a product's root that names serial numbers: 2 is the intermediate's that signs VCEKs.
func (v *Vendor) RevocationList(p snp.Product, this, next time.Time, serials ...int64) []byte {
	v.tb.Helper()
	template := &x509.RevocationList{
		Number: big.NewInt(this.Unix()), ThisUpdate: this, NextUpdate: next, SignatureAlgorithm: x509.SHA384WithRSAPSS,
	}
	for _, serial := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: this})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, v.roots[p].ARK, data.ARKPrivateKey)
	check(v.tb, err)
	return der
}

// Chip is a processor with the key that signs its reports.
type Chip struct {
	Product snp.Product
	HWID    []byte
	TCB     snp.TCB
	vendor  *Vendor
	key     *ecdsa.PrivateKey
	vcek    []byte
}

// Chip makes the chip of a number: the same number has the same identifier, and a key of its own each time.
func (v *Vendor) Chip(p snp.Product, number int) *Chip {
	v.tb.Helper()
	c := &Chip{Product: p, TCB: snp.TCB{Bootloader: 4, SNP: 22, Microcode: 213}, vendor: v}
	id := sha512.Sum512(fmt.Appendf(nil, "chip %d", number))
	c.HWID = id[:]
	if p == snp.Turin {
		c.HWID, c.TCB.FMC = c.HWID[:8], 3
	}
	var err error
	c.key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(v.tb, err)
	c.vcek = v.certify(c)
	return c
}

func (v *Vendor) certify(c *Chip) []byte {
	e := &snp.Endorsement{SigningKey: snp.VCEK, Product: string(c.Product), TCB: c.TCB, HasFMC: c.Product == snp.Turin, HWID: c.HWID}
	if c.Product != snp.Turin {
		e.Product += "-B1"
	}
	extensions, err := e.Extensions()
	check(v.tb, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: new(big.Int), Subject: pkix.Name{CommonName: "SEV-VCEK"},
		NotBefore: v.now.AddDate(0, -1, 0), NotAfter: v.now.AddDate(7, 0, 0),
		SignatureAlgorithm: x509.SHA384WithRSAPSS, ExtraExtensions: extensions,
	}, v.roots[c.Product].ASK, &c.key.PublicKey, data.ASKPrivateKey)
	check(v.tb, err)
	return der
}

// VCEK returns the certificate of the chip's key, DER.
func (c *Chip) VCEK() []byte { return c.vcek }

// Name is the name of that certificate among endorsements.
func (c *Chip) Name() string {
	tcb := c.TCB.Encode(c.Product)
	return fmt.Sprintf("amd/vcek/%s/%x-%x", c.Product, c.HWID, tcb[:])
}

// Report makes a raw report that carries reportData, of a guest whose measurement is the SHA-256 of "guest" and zeros.
func (c *Chip) Report(reportData []byte) []byte {
	c.vendor.tb.Helper()
	tcb := c.TCB.Encode(c.Product)
	r := &snp.Report{
		Version: 3, Policy: snp.PolicyDefault | snp.PolicySMT, SignatureAlgo: 1, KeyInfo: uint32(snp.VCEK) << 2, PlatformInfo: 0x25,
		CurrentTCB: tcb, ReportedTCB: tcb, CommittedTCB: tcb, LaunchTCB: tcb,
		Current: snp.Firmware{Major: 1, Minor: 55, Build: 40}, Committed: snp.Firmware{Major: 1, Minor: 55, Build: 39},
		CPU: map[snp.Product]snp.CPUID{
			snp.Milan: {Family: 0x19, Model: 1, Stepping: 1}, snp.Genoa: {Family: 0x19, Model: 0x11, Stepping: 1},
			snp.Turin: {Family: 0x1A, Model: 2, Stepping: 1},
		}[c.Product],
	}
	copy(r.ReportData[:], reportData)
	copy(r.ChipID[:], c.HWID)
	for i := range r.ReportIDMA {
		r.ReportIDMA[i] = 0xff
	}
	measurement := sha256.Sum256([]byte("guest"))
	copy(r.Measurement[:], measurement[:])
	digest := sha512.Sum384(r.Marshal()[:snp.SignedSize])
	x, y, err := ecdsa.Sign(rand.Reader, c.key, digest[:])
	check(c.vendor.tb, err)
	check(c.vendor.tb, r.SetSignature(x, y))
	return r.Marshal()
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
