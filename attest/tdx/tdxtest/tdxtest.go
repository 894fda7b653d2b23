// Package tdxtest makes TDX quotes and Intel's collateral under a root of its own, for tests that need more than package tdx alone: platforms with their
// certificates, TCB info, identities, revocation lists, quotes that carry any digest, and verifiers that trust that root in the place of Intel's. All else is
// as in production: formats, algorithms and the code that judges them.
//
// No program links it, which internal/house tests; a verifier with another root than Intel's can be made nowhere else.
package tdxtest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"math/big"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
	"github.com/vouchsafe/vouchsafe/attest/tdx"
)

// Vendor stands in for Intel.
type Vendor struct {
	tb    testing.TB
	now   time.Time
	world *dcaptest.World
}

// NewVendor makes a vendor whose collateral is current around now.
func NewVendor(tb testing.TB, now time.Time) *Vendor {
	return &Vendor{tb: tb, now: now.UTC().Truncate(time.Second), world: dcaptest.New()}
}

// Verifier returns a verifier of kind tdx that trusts this vendor alone.
func (v *Vendor) Verifier(cfg tdx.Config) *tdx.Verifier {
	v.tb.Helper()
	verifier, err := tdx.NewUnder(cfg, v.world.Roots())
	check(v.tb, err)
	return verifier
}

// Check is [tdx.CheckCollateral] for this vendor's collateral.
func (v *Vendor) Check(name string, e *attest.Endorsement, _ time.Time) error {
	return dcap.Check(name, e, v.world.Roots())
}

// Machine is a platform with the key of its certificate.
type Machine struct {
	FMSPC  string // in hex, a family of platforms of its own
	vendor *Vendor
	made   *dcaptest.Machine
}

// Machine certifies the platform of a number, each of a family of its own.
func (v *Vendor) Machine(number uint32) *Machine {
	pck := dcaptest.DefaultPCK()
	binary.BigEndian.PutUint32(pck.FMSPC[2:], number)
	made := v.world.Machine(pck, func(t *x509.Certificate) { t.SerialNumber = big.NewInt(1000 + int64(number)) })
	return &Machine{FMSPC: made.FMSPC, vendor: v, made: made}
}

// Name is the endorsement that only platforms of m's family need.
func (m *Machine) Name() string { return "intel/tcb/tdx/" + m.FMSPC }

// Quote makes a quote of a TD on m that carries a digest of up to 64 bytes.
func (m *Machine) Quote(digest []byte) []byte {
	q := m.vendor.world.Quote(m.made, 4, dcaptest.BodyTD10)
	field := q.Body[dcaptest.TDReportData : dcaptest.TDReportData+64]
	clear(field)
	copy(field, digest)
	return q.Bytes()
}

// TCBInfo is what the vendor says of m's family: it is up to date.
func (m *Machine) TCBInfo() *attest.Endorsement {
	info := dcaptest.TCBInfo(dcap.TDX, "UpToDate")
	info["fmspc"] = m.FMSPC
	return m.vendor.signed(m.Name(), "tcbInfo", info)
}

// Shared are the items that every platform needs: the identity of the quoting enclave and the revocation lists, on which the serial numbers of platforms'
// certificates are that are given.
func (v *Vendor) Shared(revoked ...*Machine) []*attest.Endorsement {
	var serials []*big.Int
	for _, m := range revoked {
		serials = append(serials, m.made.PCK.SerialNumber)
	}
	chain := dcaptest.PEM(v.world.Platform, v.world.Root)
	return []*attest.Endorsement{
		v.signed("intel/identity/tdqe", "enclaveIdentity", dcaptest.Identity(dcap.TDX, "UpToDate")),
		item("intel/crl/platform", v.list(v.world.Platform, serials...), chain),
		item("intel/crl/root", v.list(v.world.Root), nil),
	}
}

// signed signs what a document says, which is current for a month.
func (v *Vendor) signed(name, member string, said dcaptest.Object) *attest.Endorsement {
	said["issueDate"], said["nextUpdate"] = v.now.Add(-time.Hour).Format(time.RFC3339), v.now.AddDate(0, 1, 0).Format(time.RFC3339)
	return item(name, v.world.Sign(member, said), dcaptest.PEM(v.world.Signer, v.world.Root))
}

func (v *Vendor) list(by *dcaptest.Authority, serials ...*big.Int) []byte {
	template := &x509.RevocationList{
		Number: big.NewInt(v.now.Unix()), ThisUpdate: v.now.Add(-time.Hour), NextUpdate: v.now.AddDate(0, 1, 0), SignatureAlgorithm: x509.ECDSAWithSHA256,
	}
	for _, serial := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: v.now})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, by.Certificate, by.Key)
	check(v.tb, err)
	return der
}

func item(name string, data, chain []byte) *attest.Endorsement {
	return &attest.Endorsement{Name: name, Data: data, Chain: chain, Digest: sha256.Sum256(data)}
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
