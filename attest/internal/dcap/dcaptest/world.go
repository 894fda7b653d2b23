// Package dcaptest makes a world of Intel's for tests: a root, the authorities below it, platforms that they certify, quotes by these, and the
// collateral service that says how good they are. Everything is signed as Intel would, by keys made here, so that a test can change one thing and
// leave the rest true.
package dcaptest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
)

// Now is a time at which everything that is made here is valid.
var Now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// Authority is a certificate with its key.
type Authority struct {
	*x509.Certificate
	Key *ecdsa.PrivateKey
}

// World is Intel's world.
type World struct {
	Root, Platform, Processor, Signer *Authority
}

// New makes a world.
func New() *World {
	w := new(World)
	w.Root = w.issue(nil, "Intel SGX Root CA", 1, nil)
	w.Platform = w.issue(w.Root, "Intel SGX PCK Platform CA", 2, nil)
	w.Processor = w.issue(w.Root, "Intel SGX PCK Processor CA", 3, nil)
	w.Signer = w.Leaf(w.Root, "Intel SGX TCB Signing", 4, nil)
	return w
}

// Roots returns the world's root, for both purposes.
func (w *World) Roots() dcap.Roots {
	return dcap.Roots{Platform: w.Root.Certificate, Collateral: w.Root.Certificate}
}

func (w *World) issue(issuer *Authority, name string, serial int64, edit func(*x509.Certificate)) *Authority {
	return w.Leaf(issuer, name, serial, func(t *x509.Certificate) {
		t.IsCA, t.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
		t.NotAfter = Now.AddDate(20, 0, 0)
		if edit != nil {
			edit(t)
		}
	})
}

// Intermediate issues an authority's certificate.
func (w *World) Intermediate(issuer *Authority, name string, serial int64, edit func(*x509.Certificate)) *Authority {
	return w.issue(issuer, name, serial, edit)
}

// Leaf issues a certificate; by itself where issuer is nil.
func (w *World) Leaf(issuer *Authority, name string, serial int64, edit func(*x509.Certificate)) *Authority {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject: pkix.Name{CommonName: name, Organization: []string{"Intel Corporation"}, Locality: []string{"Santa Clara"},
			Province: []string{"CA"}, Country: []string{"US"}},
		NotBefore: time.Date(2022, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: Now.AddDate(5, 0, 0), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, SignatureAlgorithm: x509.ECDSAWithSHA256,
	}
	if edit != nil {
		edit(template)
	}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.Certificate, issuer.Key
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer))
	return &Authority{must(x509.ParseCertificate(der)), key}
}

// PEM returns certificates one after the other.
func PEM(certs ...*Authority) (text []byte) {
	for _, c := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

// Machine is a platform that was certified.
type Machine struct {
	PCK       *Authority
	Issuer    *Authority
	Authority string // "platform" or "processor"
	FMSPC     string
}

// FMSPC is of the machines made here, unless a test says otherwise.
const FMSPC = "00906ed50000"

// DefaultPCK is what a machine's certificate says, unless a test says otherwise: the highest level of [World.TCBInfo].
func DefaultPCK() dcap.PCK {
	p := dcap.PCK{PCESVN: 13, FMSPC: [6]byte{0x00, 0x90, 0x6e, 0xd5}, SGXType: 1, Config: &dcap.Config{SMTEnabled: true}}
	for i := range p.TCB {
		p.TCB[i], p.CPUSVN[i], p.PPID[i] = 5, byte(i), byte(0xa0+i)
	}
	p.Instance = p.PPID[:]
	return p
}

// Machine certifies a platform by the Platform CA, or without an instance by the Processor CA.
func (w *World) Machine(p dcap.PCK, edit func(*x509.Certificate)) *Machine {
	m := &Machine{Issuer: w.Platform, Authority: "platform", FMSPC: hex.EncodeToString(p.FMSPC[:])}
	if p.Instance == nil {
		m.Issuer, m.Authority = w.Processor, "processor"
	}
	m.PCK = w.Leaf(m.Issuer, "Intel SGX PCK Certificate", 1000, func(t *x509.Certificate) {
		t.ExtraExtensions = []pkix.Extension{{Id: sgxArc, Value: Extension(p)}}
		if edit != nil {
			edit(t)
		}
	})
	return m
}

var sgxArc = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

type attribute struct {
	ID    asn1.ObjectIdentifier
	Value any
}

func oid(members ...int) asn1.ObjectIdentifier {
	return append(append(asn1.ObjectIdentifier{}, sgxArc...), members...)
}

// Extension encodes the SGX extension of a PCK certificate.
func Extension(p dcap.PCK) []byte {
	tcb := []attribute{}
	for i, svn := range p.TCB {
		tcb = append(tcb, attribute{oid(2, i+1), int(svn)})
	}
	tcb = append(tcb, attribute{oid(2, 17), int(p.PCESVN)}, attribute{oid(2, 18), p.CPUSVN[:]})
	all := []attribute{{oid(1), p.PPID[:]}, {oid(2), tcb}, {oid(3), p.PCEID[:]}, {oid(4), p.FMSPC[:]}, {oid(5), asn1.Enumerated(p.SGXType)}}
	if p.Instance != nil {
		all = append(all, attribute{oid(6), p.Instance})
	}
	if c := p.Config; c != nil && p.Instance != nil {
		all = append(all, attribute{oid(7), []attribute{{oid(7, 1), c.DynamicPlatform}, {oid(7, 2), c.CachedKeys}, {oid(7, 3), c.SMTEnabled}}})
	}
	return must(asn1.Marshal(all))
}

// Object is a JSON object that a test can change before it is signed.
type Object = map[string]any

// Level is a level of a platform: all of its components have at least svn.
func Level(tee dcap.TEE, svn, pceSVN int, status string, advisories ...string) Object {
	components := func() (list []Object) {
		for range 16 {
			list = append(list, Object{"svn": svn})
		}
		return list
	}
	tcb := Object{"sgxtcbcomponents": components(), "pcesvn": pceSVN}
	if tee == dcap.TDX {
		list := components()
		list[0], list[1] = Object{"svn": svn}, Object{"svn": 0}
		for i := 3; i < 16; i++ {
			list[i] = Object{"svn": 0}
		}
		tcb["tdxtcbcomponents"] = list
	}
	return Object{"tcb": tcb, "tcbDate": "2026-05-01T00:00:00Z", "tcbStatus": status, "advisoryIDs": advisories}
}

// EnclaveLevel is a level of a quoting enclave or TDX module.
func EnclaveLevel(svn int, status string, advisories ...string) Object {
	return Object{"tcb": Object{"isvsvn": svn}, "tcbDate": "2026-04-01T00:00:00Z", "tcbStatus": status, "advisoryIDs": advisories}
}

// Module is the identity of a TDX module.
func Module(id string, levels ...Object) Object {
	m := Object{"mrsigner": zeros(48), "attributes": zeros(8), "attributesMask": "FFFFFFFFFFFFFFFF"}
	if id != "" {
		m["id"], m["tcbLevels"] = id, levels
	}
	return m
}

func zeros(n int) string { return hex.EncodeToString(make([]byte, n)) }

// TCBInfo is what the service says of platforms: level 5 has the given status, level 3 is out of date, level 1 revoked.
func TCBInfo(tee dcap.TEE, status string) Object {
	info := Object{
		"id": "SGX", "version": 3, "issueDate": "2026-11-01T00:00:00Z", "nextUpdate": "2026-12-01T00:00:00Z", "fmspc": FMSPC, "pceId": "0000",
		"tcbType": 0, "tcbEvaluationDataNumber": 18,
		"tcbLevels": []Object{
			Level(tee, 5, 13, status), Level(tee, 3, 10, "OutOfDate", "INTEL-SA-00003"), Level(tee, 1, 5, "Revoked", "INTEL-SA-00001"),
		},
	}
	if tee == dcap.TDX {
		info["id"], info["tdxModule"] = "TDX", Module("")
		info["tdxModuleIdentities"] = []Object{
			Module("TDX_03", EnclaveLevel(5, "UpToDate"), EnclaveLevel(3, "OutOfDate", "INTEL-SA-00033")),
			Module("TDX_01", EnclaveLevel(5, "UpToDate"), EnclaveLevel(3, "OutOfDate", "INTEL-SA-00031"), EnclaveLevel(2, "Revoked")),
		}
	}
	return info
}

// Signers of quoting enclaves made here, in hex.
const signerQE = "8C4F5775D796503E96137F77C68A829A0056AC8DED70140B081B094490C57BFF"

// Identity is what the service says of the quoting enclave: level 8 has the given status, level 4 is out of date, level 2 revoked.
func Identity(tee dcap.TEE, status string) Object {
	identity := Object{
		"id": "QE", "version": 2, "issueDate": "2026-11-02T00:00:00Z", "nextUpdate": "2026-12-02T00:00:00Z", "tcbEvaluationDataNumber": 17,
		"miscselect": "00000000", "miscselectMask": "FFFFFFFF", "attributes": "11000000000000000000000000000000",
		"attributesMask": "FBFFFFFFFFFFFFFF0000000000000000", "mrsigner": signerQE, "isvprodid": 1,
		"tcbLevels": []Object{EnclaveLevel(8, status), EnclaveLevel(4, "OutOfDate", "INTEL-SA-00004"), EnclaveLevel(2, "Revoked")},
	}
	if tee == dcap.TDX {
		identity["id"], identity["isvprodid"] = "TD_QE", 2
	}
	return identity
}

// Sign makes the service's answer of what is said, as the member.
func (w *World) Sign(member string, said any) []byte {
	return w.SignBytes(member, must(json.Marshal(said)))
}

// SignBytes makes the service's answer of JSON that is already written.
func (w *World) SignBytes(member string, body []byte) []byte {
	return []byte(`{"` + member + `":` + string(body) + `,"signature":"` + hex.EncodeToString(SignRaw(w.Signer.Key, body)) + `"}`)
}

// SignRaw signs with ECDSA and SHA-256; the signature is r and s.
func SignRaw(key *ecdsa.PrivateKey, data []byte) []byte {
	digest := sha256.Sum256(data)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		panic(err)
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out
}

// List makes the revocation list of an authority.
func (a *Authority) List(next time.Time, serials ...*big.Int) []byte {
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: Now.AddDate(0, 0, -10), NextUpdate: next, SignatureAlgorithm: x509.ECDSAWithSHA256}
	for _, serial := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: Now.AddDate(0, 0, -20)})
	}
	return must(x509.CreateRevocationList(rand.Reader, template, a.Certificate, a.Key))
}

// Service is Intel's collateral service, with what it has; it is not for concurrent changes.
type Service struct {
	Items map[string]*attest.Endorsement
	Asked []string // names, in order, of what it was asked for and did not have
}

// RetryAfter is what a Service says of what it does not have.
const RetryAfter = 7 * time.Second

// Endorsement implements attest.Endorsements.
func (s *Service) Endorsement(_ context.Context, name string) (*attest.Endorsement, error) {
	if item := s.Items[name]; item != nil {
		return item, nil
	}
	s.Asked = append(s.Asked, name)
	return nil, &attest.Unavailable{What: name, RetryAfter: RetryAfter}
}

// Put adds or replaces an item, which was fetched a day ago.
func (s *Service) Put(name string, data, chain []byte) {
	if s.Items == nil {
		s.Items = map[string]*attest.Endorsement{}
	}
	s.Items[name] = &attest.Endorsement{Name: name, Data: data, Chain: chain, Digest: sha256.Sum256(data), Fetched: Now.AddDate(0, 0, -1)}
}

// Service returns a service that says of the machine what info and identity say, and has lists on which nothing is.
func (w *World) Service(tee dcap.TEE, m *Machine, info, identity Object) *Service {
	s := new(Service)
	s.PutTCB(w, tee, m, info)
	s.PutIdentity(w, tee, identity)
	s.Put("intel/crl/"+m.Authority, m.Issuer.List(Now.AddDate(0, 0, 20)), PEM(m.Issuer, w.Root))
	s.Put("intel/crl/root", w.Root.List(Now.AddDate(0, 6, 0)), nil)
	return s
}

// PutTCB signs and adds TCB info.
func (s *Service) PutTCB(w *World, tee dcap.TEE, m *Machine, info Object) {
	s.Put("intel/tcb/"+path(tee)+"/"+m.FMSPC, w.Sign("tcbInfo", info), PEM(w.Signer, w.Root))
}

// PutIdentity signs and adds the identity of a quoting enclave.
func (s *Service) PutIdentity(w *World, tee dcap.TEE, identity Object) {
	name := "intel/identity/qe"
	if tee == dcap.TDX {
		name = "intel/identity/tdqe"
	}
	s.Put(name, w.Sign("enclaveIdentity", identity), PEM(w.Signer, w.Root))
}

func path(tee dcap.TEE) string {
	if tee == dcap.TDX {
		return "tdx"
	}
	return "sgx"
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
