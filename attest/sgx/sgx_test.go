package sgx

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
)

// setup is a machine, the service that knows it, and a verifier that trusts the world.
type setup struct {
	machine  *dcaptest.Machine
	service  *dcaptest.Service
	verifier *Verifier
}

func newSetup(tb testing.TB, info, identity dcaptest.Object) *setup {
	tb.Helper()
	w := dcaptest.Shared()
	s := &setup{machine: w.Machine(dcaptest.DefaultPCK(), nil)}
	s.service = w.Service(dcap.SGX, s.machine, info, identity)
	var err error
	if s.verifier, err = newVerifier(Config{Endorsements: s.service}, w.Roots()); err != nil {
		tb.Fatal(err)
	}
	return s
}

func goodSetup(tb testing.TB) *setup {
	return newSetup(tb, dcaptest.TCBInfo(dcap.SGX, "UpToDate"), dcaptest.Identity(dcap.SGX, "UpToDate"))
}

func (s *setup) quote(version uint16) *dcaptest.Quote {
	return dcaptest.Shared().Quote(s.machine, version, dcaptest.BodyEnclave)
}

func (s *setup) verify(tb testing.TB, evidence []byte) (*attest.Claims, error) {
	tb.Helper()
	return dcaptest.Verify(tb, s.verifier, evidence, dcaptest.Now)
}

func kbs(quote []byte) []byte {
	return []byte(`{"quote":"` + base64.StdEncoding.EncodeToString(quote) + `"}`)
}

// TestVerify goes through every layout, in both forms, cold and warm.
func TestVerify(t *testing.T) {
	s := goodSetup(t)
	for _, version := range []uint16{3, 4, 5} {
		raw := s.quote(version).Bytes()
		for _, evidence := range [][]byte{raw, kbs(raw), append(bytes.Clone(raw), make([]byte, 100)...)} {
			claims, err := s.verify(t, evidence)
			if err != nil {
				t.Fatalf("version %d: %v", version, err)
			}
			if claims.Kind != attest.SGX || claims.HardwareRoot != "intel-sgx" || !*claims.Bound || *claims.Debug || claims.MigrationAgent != nil ||
				claims.TCBStatus != "up-to-date" || claims.Measurement[:6] != "808182" || claims.SGX.QuoteVersion != int(version) || claims.SGX.SVN != 3 ||
				claims.SGX.ProductID != 9 || claims.SGX.MRSigner[:6] != "c0c1c2" || !claims.SGX.Mode64Bit || claims.TDX != nil || claims.Intel.Module != nil ||
				claims.Intel.FMSPC != dcaptest.FMSPC || claims.Intel.QESVN != 8 || !claims.Collateral.Current || !claims.Collateral.RevocationChecked {
				t.Errorf("claims %+v\n%+v\n%+v", claims, claims.SGX, claims.Intel)
			}
		}
	}
	if len(s.service.Asked) > 0 {
		t.Errorf("asked for %v too", s.service.Asked)
	}
}

// TestFields: each field of the report is the claim of its name, and no two are mixed up.
func TestFields(t *testing.T) {
	s := goodSetup(t)
	q := s.quote(3)
	fill := func(at, n int, letter byte) {
		for i := range n {
			q.Body[at+i] = letter
		}
	}
	fill(0, 16, 0x11)
	fill(16, 4, 0x22)
	fill(32, 16, 0x33)
	fill(48, 8, 0)
	copy(q.Body[48:], []byte{0xf5, 0x04})
	fill(56, 8, 0x44)
	fill(64, 32, 0x55)
	fill(128, 32, 0x66)
	fill(192, 64, 0x77)
	binary.LittleEndian.PutUint16(q.Body[256:], 0x8899)
	binary.LittleEndian.PutUint16(q.Body[258:], 0xaabb)
	binary.LittleEndian.PutUint16(q.Body[260:], 0xccdd)
	fill(304, 16, 0xee)
	claims, err := s.verify(t, q.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	x := func(digits string, n int) string { return strings.Repeat(digits, n) }
	want := &attest.SGXClaims{
		QuoteVersion: 3, CPUSVN: x("11", 16), MiscSelect: x("22", 4), ExtProductID: x("33", 16), Attributes: "f504" + x("00", 6) + x("44", 8),
		MREnclave: x("55", 32), MRSigner: x("66", 32), ConfigID: x("77", 64), ProductID: 0x8899, SVN: 0xaabb, ConfigSVN: 0xccdd, FamilyID: x("ee", 16),
		Mode64Bit: true, ProvisionKey: true, LaunchKey: true, CET: true, KSS: true, AEXNotify: true,
	}
	if !reflect.DeepEqual(claims.SGX, want) || claims.Measurement != want.MREnclave || claims.InitData != want.ConfigID || *claims.Debug {
		t.Errorf("claims %+v, want %+v", claims.SGX, want)
	}
	q.Body[48] |= 2
	if claims, err = s.verify(t, q.Bytes()); err != nil || !*claims.Debug {
		t.Errorf("a debug enclave: %+v, %v", claims, err)
	}
}

// TestConverged: each state at platform and quoting enclave.
func TestConverged(t *testing.T) {
	for _, row := range [][3]string{
		{"UpToDate", "UpToDate", "up-to-date"},
		{"SWHardeningNeeded", "UpToDate", "sw-hardening-needed"},
		{"ConfigurationNeeded", "UpToDate", "configuration-needed"},
		{"ConfigurationAndSWHardeningNeeded", "UpToDate", "configuration-and-sw-hardening-needed"},
		{"OutOfDate", "UpToDate", "out-of-date"},
		{"OutOfDateConfigurationNeeded", "UpToDate", "out-of-date-configuration-needed"},
		{"Revoked", "UpToDate", "revoked"},
		{"UpToDate", "OutOfDate", "out-of-date"},
		{"SWHardeningNeeded", "OutOfDate", "out-of-date"},
		{"ConfigurationNeeded", "OutOfDate", "out-of-date-configuration-needed"},
		{"ConfigurationAndSWHardeningNeeded", "OutOfDate", "out-of-date-configuration-needed"},
		{"OutOfDateConfigurationNeeded", "OutOfDate", "out-of-date-configuration-needed"},
		{"Revoked", "OutOfDate", "revoked"},
		{"UpToDate", "Revoked", "revoked"},
		{"UpToDate", "ConfigurationNeeded", "configuration-needed"},
		{"UpToDate", "SWHardeningNeeded", "sw-hardening-needed"},
	} {
		s := newSetup(t, dcaptest.TCBInfo(dcap.SGX, row[0]), dcaptest.Identity(dcap.SGX, row[1]))
		claims, err := s.verify(t, s.quote(3).Bytes())
		if err != nil || claims.TCBStatus != row[2] || claims.Intel.LaunchTCBStatus != row[2] {
			t.Errorf("%v: %+v, %v", row, claims, err)
		}
	}
}

// TestLevels: the platform's components and its PCE are held against the levels; what TDX adds is not.
func TestLevels(t *testing.T) {
	w := dcaptest.Shared()
	for name, test := range map[string]struct {
		pck    func(*dcap.PCK)
		want   string
		listed bool
	}{
		"the highest":       {func(*dcap.PCK) {}, "up-to-date", true},
		"a component below": {func(p *dcap.PCK) { p.TCB[15] = 4 }, "out-of-date", true},
		"the PCE below":     {func(p *dcap.PCK) { p.PCESVN = 12 }, "out-of-date", true},
		"far below":         {func(p *dcap.PCK) { p.TCB[0] = 1 }, "revoked", true},
		"below every level": {func(p *dcap.PCK) { p.TCB[0] = 0 }, "revoked", false},
	} {
		pck := dcaptest.DefaultPCK()
		test.pck(&pck)
		s := &setup{machine: w.Machine(pck, nil)}
		s.service = w.Service(dcap.SGX, s.machine, dcaptest.TCBInfo(dcap.SGX, "UpToDate"), dcaptest.Identity(dcap.SGX, "UpToDate"))
		var err error
		if s.verifier, err = newVerifier(Config{Endorsements: s.service}, w.Roots()); err != nil {
			t.Fatal(err)
		}
		claims, err := s.verify(t, s.quote(3).Bytes())
		if err != nil || claims.TCBStatus != test.want || claims.Intel.Platform.Listed != test.listed {
			t.Errorf("%s: %+v, %v", name, claims, err)
		}
	}
}

// TestRefusals changes one thing each in a quote that is good otherwise.
func TestRefusals(t *testing.T) {
	w, s := dcaptest.Shared(), goodSetup(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := dcaptest.New()
	foreign := other.Machine(dcaptest.DefaultPCK(), nil)
	body := dcaptest.HeaderSize
	for name, test := range map[string]struct {
		version  uint16
		unsigned func(*dcaptest.Quote)
		signed   func([]byte) []byte
		want     attest.Code
	}{
		"version 1":            {unsigned: func(q *dcaptest.Quote) { q.Header[0] = 1 }, want: attest.CodeVersionUnsupported},
		"version 2":            {unsigned: func(q *dcaptest.Quote) { q.Header[0] = 2 }, want: attest.CodeVersionUnsupported},
		"a reserved byte":      {unsigned: func(q *dcaptest.Quote) { q.Header[5] = 1 }, want: attest.CodeVersionUnsupported},
		"key type":             {unsigned: func(q *dcaptest.Quote) { q.Header[2] = 3 }, want: attest.CodeAlgorithm},
		"vendor":               {unsigned: func(q *dcaptest.Quote) { q.Header[27]++ }, want: attest.CodeMalformed},
		"binding":              {unsigned: func(q *dcaptest.Quote) { q.Body[dcaptest.EnclaveReportData] = 0 }, want: attest.CodeBinding},
		"reserved in report":   {unsigned: func(q *dcaptest.Quote) { q.Body[100] = 1 }, want: attest.CodeMalformed},
		"reserved before CONF": {unsigned: func(q *dcaptest.Quote) { q.Body[191] = 1 }, want: attest.CodeMalformed},
		"reserved after SVNs":  {unsigned: func(q *dcaptest.Quote) { q.Body[262] = 1 }, want: attest.CodeMalformed},
		"reserved after MISC":  {unsigned: func(q *dcaptest.Quote) { q.Body[31] = 1 }, want: attest.CodeMalformed},
		"a TD's quote":         {version: 4, unsigned: func(q *dcaptest.Quote) { *q = *w.Quote(s.machine, 4, dcaptest.BodyTD10) }, want: attest.CodeVersionUnsupported},
		"an enclave as a TD":   {version: 5, unsigned: func(q *dcaptest.Quote) { q.Header[4] = 0x81 }, want: attest.CodeVersionUnsupported},
		"a TD as an enclave":   {version: 5, unsigned: func(q *dcaptest.Quote) { q.BodyType = 2 }, want: attest.CodeVersionUnsupported},
		"PPID, encrypted":      {unsigned: func(q *dcaptest.Quote) { q.CertType = 3 }, want: attest.CodeCertMissing},
		"PPID, plain":          {unsigned: func(q *dcaptest.Quote) { q.CertType = 1 }, want: attest.CodeCertMissing},
		"PCK alone, type 4":    {unsigned: func(q *dcaptest.Quote) { q.CertType = 4 }, want: attest.CodeCertMissing},
		"type 6 in version 3":  {unsigned: func(q *dcaptest.Quote) { q.CertType = 6 }, want: attest.CodeCertMissing},
		"another world": {unsigned: func(q *dcaptest.Quote) {
			q.Chain, q.PCK = dcaptest.PEM(foreign.PCK, other.Platform, other.Root), foreign.PCK.Key
		}, want: attest.CodeCertUntrusted},
		"signature":             {signed: func(b []byte) []byte { b[body+384+4]++; return b }, want: attest.CodeSignature},
		"measurement":           {signed: func(b []byte) []byte { b[body+dcaptest.EnclaveMREnclave]++; return b }, want: attest.CodeSignature},
		"debug cleared":         {unsigned: func(q *dcaptest.Quote) { q.Body[48] |= 2 }, signed: func(b []byte) []byte { b[body+48] &^= 2; return b }, want: attest.CodeSignature},
		"QE's signature":        {unsigned: func(q *dcaptest.Quote) { q.PCK = key }, want: attest.CodeSignature},
		"QE covers nothing":     {unsigned: func(q *dcaptest.Quote) { q.KeepReport = true }, want: attest.CodeKeyNotReported},
		"QE's signer":           {unsigned: func(q *dcaptest.Quote) { q.QE[dcaptest.EnclaveMRSigner]++ }, want: attest.CodeIdentity},
		"QE's product: TD's QE": {unsigned: func(q *dcaptest.Quote) { q.QE[dcaptest.EnclaveProductID] = 2 }, want: attest.CodeIdentity},
		"QE in debug mode":      {unsigned: func(q *dcaptest.Quote) { q.QE[dcaptest.EnclaveFlags] |= 2 }, want: attest.CodeIdentity},
		"QE's MISCSELECT":       {unsigned: func(q *dcaptest.Quote) { q.QE[dcaptest.EnclaveMiscSelect+3] = 1 }, want: attest.CodeIdentity},
		"bytes after it":        {signed: func(b []byte) []byte { return append(b, 1) }, want: attest.CodeMalformed},
		"too large":             {signed: func(b []byte) []byte { return append(b, make([]byte, MaxEvidence)...) }, want: attest.CodeTooLarge},
		"an event log": {signed: func(b []byte) []byte {
			return bytes.Replace(kbs(b), []byte("}"), []byte(`,"cc_eventlog":"AAAA"}`), 1)
		}, want: attest.CodeEventLog},
		"a null log": {signed: func(b []byte) []byte { return bytes.Replace(kbs(b), []byte("}"), []byte(`,"cc_eventlog":null}`), 1) }},
	} {
		t.Run(name, func(t *testing.T) {
			q := s.quote(max(test.version, 3))
			if test.unsigned != nil {
				test.unsigned(q)
			}
			evidence := q.Bytes()
			if test.signed != nil {
				evidence = test.signed(evidence)
			}
			for range 2 {
				_, err := s.verify(t, evidence)
				if test.want != "" {
					dcaptest.WantCode(t, err, test.want)
				} else if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestCollateral: SGX has TCB info and an identity of its own, and needs both lists.
func TestCollateral(t *testing.T) {
	w := dcaptest.Shared()
	next := dcaptest.Now.AddDate(0, 0, 9)
	for name, change := range map[string]func(*setup){
		"none at all": func(s *setup) { s.service.Items = nil },
		"TDX's TCB info": func(s *setup) {
			s.service.Put("intel/tcb/sgx/"+dcaptest.FMSPC, w.Sign("tcbInfo", dcaptest.TCBInfo(dcap.TDX, "UpToDate")), dcaptest.PEM(w.Signer))
		},
		"TDX's TCB info as SGX's": func(s *setup) {
			info := dcaptest.TCBInfo(dcap.TDX, "UpToDate")
			info["id"] = "SGX"
			s.service.PutTCB(w, dcap.SGX, s.machine, info)
		},
		"TDX's identity": func(s *setup) {
			s.service.Put("intel/identity/qe", w.Sign("enclaveIdentity", dcaptest.Identity(dcap.TDX, "UpToDate")), dcaptest.PEM(w.Signer))
		},
		"no list":        func(s *setup) { delete(s.service.Items, "intel/crl/platform") },
		"no root's list": func(s *setup) { delete(s.service.Items, "intel/crl/root") },
		"unknown status": func(s *setup) { s.service.PutTCB(w, dcap.SGX, s.machine, dcaptest.TCBInfo(dcap.SGX, "Ok")) },
	} {
		s := goodSetup(t)
		change(s)
		_, err := s.verify(t, s.quote(3).Bytes())
		var unavailable *attest.Unavailable
		if !errors.As(err, &unavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := goodSetup(t)
	s.service.Put("intel/crl/platform", w.Platform.List(next, big.NewInt(1000)), nil)
	_, err := s.verify(t, s.quote(3).Bytes())
	dcaptest.WantCode(t, err, attest.CodeCertRevoked)
}

// TestInitData: CONFIGID carries the digest, filled up to 64 bytes.
func TestInitData(t *testing.T) {
	s := goodSetup(t)
	digest := sha512.Sum384([]byte("document"))
	init := &attest.InitData{Algorithm: "sha384", Digest: digest[:], Data: map[string]string{"policy": "deny"}}
	for name, change := range map[string]func([]byte){
		"carried":       func(b []byte) { copy(b, digest[:]) },
		"not carried":   func([]byte) {},
		"and more":      func(b []byte) { copy(b, digest[:]); b[63] = 1 },
		"another's":     func(b []byte) { copy(b, digest[1:]) },
		"a part of it":  func(b []byte) { copy(b, digest[:47]) },
		"shifted there": func(b []byte) { copy(b[16:], digest[:]) },
	} {
		q := s.quote(3)
		change(q.Body[dcaptest.EnclaveConfigID:][:64])
		claims, err := s.verifier.Verify(t.Context(), attest.Input{Evidence: q.Bytes(), Binding: attest.BoundTo(dcaptest.Binding), Time: dcaptest.Now, Init: init})
		if err != nil || *claims.InitDataBound != (name == "carried") || (claims.InitDataClaims != nil) != (name == "carried") {
			t.Errorf("%s: %+v, %v", name, claims, err)
		}
	}
}

func TestConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"nothing": {}, "negative grace": {Endorsements: new(dcaptest.Service), Grace: -1},
		"years of grace": {Endorsements: new(dcaptest.Service), Grace: 400 * 24 * time.Hour}, "negative cache": {Endorsements: new(dcaptest.Service), CacheSize: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	v, err := New(Config{Endorsements: new(dcaptest.Service)})
	if err != nil || v.Kind() != attest.SGX {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), attest.Input{Evidence: goodSetup(t).quote(3).Bytes(), Binding: attest.BoundTo(dcaptest.Binding), Time: dcaptest.Now})
	dcaptest.WantCode(t, err, attest.CodeCertUntrusted)
	_, err = EndorsementNames(goodSetup(t).quote(3).Bytes())
	dcaptest.WantCode(t, err, attest.CodeCertUntrusted)
}
