package tdx

import (
	"crypto/sha256"
	"crypto/sha512"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/eventlog"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
)

// TestAttributes: who can look into a TD, or move it, must show.
func TestAttributes(t *testing.T) {
	s := goodSetup(t)
	for name, test := range map[string]struct {
		body             uint16
		change           func([]byte)
		debug, migration bool
	}{
		"a plain TD":            {dcaptest.BodyTD15, func([]byte) {}, false, false},
		"DEBUG":                 {dcaptest.BodyTD10, func(b []byte) { b[dcaptest.TDAttributes] = 1 }, true, false},
		"another bit of TUD":    {dcaptest.BodyTD10, func(b []byte) { b[dcaptest.TDAttributes] = 0x10 }, true, false},
		"the last bit of TUD":   {dcaptest.BodyTD10, func(b []byte) { b[dcaptest.TDAttributes] = 0x80 }, true, false},
		"the first bit of SEC":  {dcaptest.BodyTD10, func(b []byte) { b[dcaptest.TDAttributes+1] = 1 }, false, false},
		"MIGRATABLE":            {dcaptest.BodyTD10, func(b []byte) { b[dcaptest.TDAttributes+3] |= 0x20 }, false, true},
		"a service TD":          {dcaptest.BodyTD15, func(b []byte) { b[dcaptest.TDMRServiceTD+47] = 1 }, false, true},
		"all that TDX 1.0 says": {dcaptest.BodyTD10, func(b []byte) { copy(b[dcaptest.TDAttributes:], "\xff\xff\xff\xff\xff\xff\xff\xff") }, true, true},
	} {
		q := s.quote(5, test.body)
		test.change(q.Body)
		claims, err := s.verify(t, q.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if *claims.Debug != test.debug || *claims.MigrationAgent != test.migration || (claims.TDX.MRServiceTD != "") != (name == "a service TD") {
			t.Errorf("%s: debug %v, migration %v, %+v", name, *claims.Debug, *claims.MigrationAgent, claims.TDX)
		}
		all := claims.TDX.KeyLocker && claims.TDX.PerfMon && claims.TDX.ProtectionKeys && claims.TDX.Migratable
		if all != (name == "all that TDX 1.0 says") {
			t.Errorf("%s: %+v", name, claims.TDX)
		}
	}
}

// TestFields: each field of the report is the claim of its name, and no two are mixed up.
func TestFields(t *testing.T) {
	s := goodSetup(t)
	q := s.quote(5, dcaptest.BodyTD15)
	for at, letter := range map[int]byte{
		dcaptest.TDMRSEAM: 0x11, dcaptest.TDXFAM: 0x22, dcaptest.TDMRTD: 0x33, dcaptest.TDMRConfigID: 0x44, dcaptest.TDMROwner: 0x55, dcaptest.TDMROwnerConfig: 0x66,
		dcaptest.TDRTMR0: 0x77, dcaptest.TDRTMR0 + 48: 0x88, dcaptest.TDRTMR0 + 96: 0x99, dcaptest.TDRTMR0 + 144: 0xaa, dcaptest.TDMRServiceTD: 0xbb,
	} {
		size := 48
		if at == dcaptest.TDXFAM {
			size = 8
		}
		for i := range size {
			q.Body[at+i] = letter
		}
	}
	claims, err := s.verify(t, q.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	x := func(digits string, n int) string { return strings.Repeat(digits, n) }
	want := &attest.TDXClaims{
		QuoteVersion: 5, TDXVersion: "1.5", MRSEAM: x("11", 48), XFAM: x("22", 8), MRTD: x("33", 48), MRConfigID: x("44", 48), MROwner: x("55", 48),
		MROwnerConfig: x("66", 48), RTMR0: x("77", 48), RTMR1: x("88", 48), RTMR2: x("99", 48), RTMR3: x("aa", 48), MRServiceTD: x("bb", 48),
		TDAttributes: "0000001000000000", SEPTVEDisable: true, TEETCBSVN: "050005" + x("00", 13), TEETCBSVN2: "050005" + x("00", 13),
		MRSignerSEAM: x("00", 48), SEAMAttributes: x("00", 8),
	}
	if !reflect.DeepEqual(claims.TDX, want) {
		t.Errorf("claims %+v, want %+v", claims.TDX, want)
	}
	if claims.Measurement != want.MRTD || claims.InitData != want.MRConfigID {
		t.Errorf("measurement %s, init-data %s", claims.Measurement, claims.InitData)
	}
}

// TestInitData: MRCONFIGID carries the digest, cut off or filled up to 48 bytes.
func TestInitData(t *testing.T) {
	s := goodSetup(t)
	document := []byte("algorithm = …")
	d256, d384, d512 := sha256.Sum256(document), sha512.Sum384(document), sha512.Sum512(document)
	init := func(algorithm string, digest []byte) *attest.InitData {
		return &attest.InitData{Algorithm: algorithm, Digest: digest, Data: map[string]string{"policy": "deny"}}
	}
	for name, test := range map[string]struct {
		register []byte
		init     *attest.InitData
		bound    bool
	}{
		"sha256":           {d256[:], init("sha256", d256[:]), true},
		"sha384":           {d384[:], init("sha384", d384[:]), true},
		"sha512, cut off":  {d512[:48], init("sha512", d512[:]), true},
		"another document": {d384[:], init("sha256", d256[:]), false},
		"none carried":     {nil, init("sha384", d384[:]), false},
		"an empty digest":  {nil, init("sha384", nil), false},
		"unknown hash":     {nil, init("md5", nil), false},
		"a part of it":     {d384[:32], init("sha384", d384[:]), false},
	} {
		q := s.quote(4, dcaptest.BodyTD10)
		copy(q.Body[dcaptest.TDMRConfigID:], test.register)
		claims, err := s.verifier.Verify(t.Context(), attest.Input{Evidence: q.Bytes(), Binding: attest.BoundTo(dcaptest.Binding), Time: dcaptest.Now, Init: test.init})
		if err != nil || *claims.InitDataBound != test.bound || (claims.InitDataClaims["policy"] == "deny") != test.bound {
			t.Errorf("%s: %+v, %v", name, claims, err)
		}
	}
}

// TestEventLog: the log is replayed to the four registers of the quote, after they were verified, and what it proves becomes claims.
func TestEventLog(t *testing.T) {
	s := goodSetup(t)
	boot := &attest.BootClaims{CommandLine: "quiet"}
	calls := 0
	v, err := newVerifier(Config{Endorsements: s.service}, dcaptest.Shared().Roots(), func(log []byte, rtmrs [4][]byte) (*attest.BootClaims, error) {
		calls++
		if string(log) != "\x00\x01\x02" {
			return nil, attest.Refuse(attest.CodeEventLog, "another log")
		}
		for i, r := range rtmrs {
			if len(r) != 48 || r[0] != byte(0x10*i) {
				t.Errorf("register %d is %x", i, r)
			}
		}
		return boot, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	quote := s.quote(4, dcaptest.BodyTD10).Bytes()
	if claims, err := dcaptest.Verify(t, v, kbs(quote, `"AAEC"`), dcaptest.Now); err != nil || claims.Boot != boot {
		t.Errorf("%+v, %v", claims, err)
	}
	_, err = dcaptest.Verify(t, v, kbs(quote, `"AAED"`), dcaptest.Now)
	dcaptest.WantCode(t, err, attest.CodeEventLog)
	if claims, err := dcaptest.Verify(t, v, kbs(quote, `null`), dcaptest.Now); err != nil || claims.Boot != nil {
		t.Errorf("%+v, %v", claims, err)
	}
	quote[dcaptest.HeaderSize+dcaptest.TDRTMR0] ^= 1
	calls = 0
	_, err = dcaptest.Verify(t, v, kbs(quote, `"AAEC"`), dcaptest.Now)
	if dcaptest.WantCode(t, err, attest.CodeSignature); calls > 0 {
		t.Error("a log was replayed to registers that nobody signed")
	}
}

func TestConfig(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("no endorsements")
	}
	for name, cfg := range map[string]Config{
		"negative grace": {Grace: -1}, "grace of years": {Grace: 367 * 24 * time.Hour}, "negative cache": {CacheSize: -1}, "huge cache": {CacheSize: 1 << 30},
	} {
		cfg.Endorsements = new(dcaptest.Service)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	v, err := New(Config{Endorsements: new(dcaptest.Service)})
	if err != nil || v.Kind() != attest.TDX {
		t.Errorf("%v", err)
	}
	w := dcaptest.Shared()
	for name, roots := range map[string]dcap.Roots{
		"none": {}, "one": {Platform: w.Root.Certificate}, "an authority": {Platform: w.Platform.Certificate, Collateral: w.Root.Certificate},
		"a leaf": {Platform: w.Root.Certificate, Collateral: w.Signer.Certificate},
	} {
		if _, err := newVerifier(Config{Endorsements: new(dcaptest.Service)}, roots, eventlog.BootRTMR); err == nil {
			t.Errorf("roots: %s is accepted", name)
		}
	}
}

// TestWrongRoot: what the test's root vouches for is nothing to the verifier that ships, and the other way round.
func TestWrongRoot(t *testing.T) {
	s := goodSetup(t)
	v, err := New(Config{Endorsements: s.service})
	if err != nil {
		t.Fatal(err)
	}
	_, err = dcaptest.Verify(t, v, s.quote(4, dcaptest.BodyTD10).Bytes(), dcaptest.Now)
	dcaptest.WantCode(t, err, attest.CodeCertUntrusted)
	_, err = s.verifier.Verify(t.Context(), attest.Input{Evidence: dcaptest.RecordedQuote(), Binding: attest.Unbound(), Time: dcaptest.RecordedAt})
	dcaptest.WantCode(t, err, attest.CodeCertUntrusted)
	_, err = EndorsementNames(s.quote(4, dcaptest.BodyTD10).Bytes())
	dcaptest.WantCode(t, err, attest.CodeCertUntrusted)
	_, err = EndorsementNames([]byte("quote"))
	dcaptest.WantCode(t, err, attest.CodeMalformed)
}

// TestSmallCache: what does not fit is verified again, and many at a time are no trouble.
func TestSmallCache(t *testing.T) {
	w, s := dcaptest.Shared(), goodSetup(t)
	v, err := newVerifier(Config{Endorsements: s.service, CacheSize: 2}, w.Roots(), eventlog.BootRTMR)
	if err != nil {
		t.Fatal(err)
	}
	var evidence [][]byte
	for range 5 {
		evidence = append(evidence, s.quote(4, dcaptest.BodyTD10).Bytes())
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				if _, err := dcaptest.Verify(t, v, evidence[(i+j)%len(evidence)], dcaptest.Now); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestClaimsAreOnesOwn: who changes claims does not change what is held for the next.
func TestClaimsAreOnesOwn(t *testing.T) {
	s := goodSetup(t)
	q := s.quote(4, dcaptest.BodyTD10)
	q.Body[0] = 4
	evidence := q.Bytes()
	first, err := s.verify(t, evidence)
	if err != nil {
		t.Fatal(err)
	}
	first.Intel.Platform.Advisories[0], first.Intel.Advisories[0] = "changed", "changed"
	*first.Intel.SMTEnabled = false
	second, err := s.verify(t, evidence)
	if err != nil || second.Intel.Platform.Advisories[0] != "INTEL-SA-00003" || second.Intel.Advisories[0] != "INTEL-SA-00003" || !*second.Intel.SMTEnabled {
		t.Errorf("%+v, %v", second.Intel, err)
	}
}
