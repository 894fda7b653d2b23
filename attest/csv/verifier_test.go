package csv

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

func wantCode(t *testing.T, name string, err error, code attest.Code) {
	t.Helper()
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("%s: %v, not %s", name, err, code)
	}
}

func wantUnavailable(t *testing.T, name string, err error) {
	t.Helper()
	var unavailable *attest.Unavailable
	var refusal *attest.Refusal
	if !errors.As(err, &unavailable) || errors.As(err, &refusal) && !strings.Contains(err.Error(), "cannot judge now") {
		t.Errorf("%s: %v is no unavailability", name, err)
	}
}

func repeat(b byte, n int) string { return hex.EncodeToString(fill(b, n)) }

func TestVerify(t *testing.T) {
	c := newChip(t)
	v := c.verifier(t, nil)
	if v.Kind() != attest.CSV {
		t.Errorf("kind %q", v.Kind())
	}
	chipKey := c.cekKey.public().name
	data := make([]byte, 64)
	copy(data, digest)
	for _, version := range []int{1, 2} {
		want := &attest.Claims{
			Kind: attest.CSV, HardwareRoot: attest.RootCSV, Bound: attest.Ptr(true), Measurement: repeat(0xee, 32), ReportData: hex.EncodeToString(data),
			Debug: attest.Ptr(false), MigrationAgent: attest.Ptr(false), TCBStatus: attest.TCBNotPublished,
			Collateral: &attest.CollateralClaims{Current: true, Source: "evidence"},
			CSV: &attest.CSVClaims{
				ReportVersion: version, Firmware: "1.3", ChipKey: hex.EncodeToString(chipKey[:]), VMID: repeat(0x11, 16), VMVersion: repeat(0x22, 16), Nonce: repeat(7, 16),
				Policy: 0x0102344d, KeySharing: true, CSV2Required: true, CSV3Required: true, HSKVersion: 4, CEKVersion: 3, APIMajor: 2, APIMinor: 1,
			},
		}
		if version == 2 {
			want.CSV.Build = attest.Ptr(2400)
			want.CSV.RTMRs = []string{repeat(0, 32), repeat(1, 32), repeat(2, 32), repeat(3, 32), repeat(4, 32)}
		}
		text := c.evidence(t, version).json(t)
		for range 2 { // cold, then from the cache
			got, err := v.Verify(t.Context(), input(text))
			if err != nil {
				t.Fatalf("version %d: %v", version, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("version %d: (-want +got)\n%s", version, diff)
			}
		}
	}
	// A report that says its version and is of the first.
	e := c.evidence(t, 1)
	e.magic = []byte(extended)
	if _, err := v.Verify(t.Context(), input(e.json(t))); err != nil {
		t.Error(err)
	}
}

func TestPolicyBits(t *testing.T) {
	c := newChip(t)
	v := c.verifier(t, nil)
	for bit, check := range map[uint32]func(a, b *attest.Claims) bool{
		policyNoDebug: func(off, on *attest.Claims) bool { return *off.Debug && !*on.Debug },
		policyNoSend: func(off, on *attest.Claims) bool {
			return *off.MigrationAgent && !*on.MigrationAgent && off.CSV.SendAllowed && !on.CSV.SendAllowed
		},
		policyNoKeySharing: func(off, on *attest.Claims) bool { return off.CSV.KeySharing && !on.CSV.KeySharing },
		policyCSV2:         func(off, on *attest.Claims) bool { return !off.CSV.CSV2Required && on.CSV.CSV2Required },
		policyDomain:       func(off, on *attest.Claims) bool { return !off.CSV.DomainOnly && on.CSV.DomainOnly },
		policyCSV:          func(off, on *attest.Claims) bool { return !off.CSV.CSVRequired && on.CSV.CSVRequired },
		policyCSV3:         func(off, on *attest.Claims) bool { return !off.CSV.CSV3Required && on.CSV.CSV3Required },
		policyASIDReuse:    func(off, on *attest.Claims) bool { return !off.CSV.ASIDReuse && on.CSV.ASIDReuse },
	} {
		var got [2]*attest.Claims
		for i, policy := range []uint32{0, bit} {
			e := c.evidence(t, 2)
			r := c.report(2)
			r.policy = policy
			e.page = r.page(t)
			claims, err := v.Verify(t.Context(), input(e.json(t)))
			if err != nil {
				t.Fatal(err)
			}
			got[i] = claims
		}
		if !check(got[0], got[1]) {
			t.Errorf("bit %#x: %+v and %+v", bit, got[0].CSV, got[1].CSV)
		}
	}
}

// store is collateral at hand: items by name, or an error for all.
type store struct {
	items map[string][]byte
	err   error
}

func (s store) Endorsement(_ context.Context, name string) (*attest.Endorsement, error) {
	if s.err != nil {
		return nil, s.err
	}
	data, ok := s.items[name]
	if !ok {
		return nil, &attest.Unavailable{What: name}
	}
	return &attest.Endorsement{Name: name, Data: data}, nil
}

func TestEndorsements(t *testing.T) {
	c, other := newChip(t), newChip(t)
	const name = "hygon/hsk_cek/KPA6491124005007"
	both := append(c.hsk(t), c.cek(t)...)
	e := c.evidence(t, 1)
	e.hsk = nil
	text := e.json(t)
	got, err := c.verifier(t, store{items: map[string][]byte{name: both}}).Verify(t.Context(), input(text))
	if err != nil || got.Collateral.Source != "local" {
		t.Errorf("%+v, %v", got, err)
	}
	for what, s := range map[string]attest.Endorsements{
		"no endorsements":      nil,
		"none of the chip":     store{},
		"an error":             store{err: errors.New("disk")},
		"a short one":          store{items: map[string][]byte{name: both[1:]}},
		"a long one":           store{items: map[string][]byte{name: append(slices.Clone(both), 0)}},
		"one of another root":  store{items: map[string][]byte{name: append(other.hsk(t), other.cek(t)...)}},
		"one of another usage": store{items: map[string][]byte{name: append(c.hskKey.hsk(t, c.hrk, 0x12), c.cek(t)...)}},
	} {
		_, err := c.verifier(t, s).Verify(t.Context(), input(text))
		wantUnavailable(t, what, err)
	}
	// The endorsement is good, and of another chip: the evidence is bad.
	otherCEK := newOwner(t, "HYGON-SSD-CEK").cert(t, 0x1004, c.hskKey, 0x13)
	_, err = c.verifier(t, store{items: map[string][]byte{name: append(c.hsk(t), otherCEK...)}}).Verify(t.Context(), input(text))
	wantCode(t, "another chip's", err, attest.CodeCertUntrusted)
	for _, serial := range [][]byte{nil, make([]byte, 64), []byte("../../etc"), []byte("a b"), fill('A', 65), {0, 'A'}} {
		e.serial = serial
		_, err := c.verifier(t, store{err: errors.New("asked")}).Verify(t.Context(), input(e.json(t)))
		wantCode(t, "serial "+string(serial), err, attest.CodeCertMissing)
	}
}

func TestRefusals(t *testing.T) {
	c, other := newChip(t), newChip(t)
	v := c.verifier(t, nil)
	good := c.evidence(t, 1)
	with := func(change func(e *evidence)) attest.Input {
		e := good
		change(&e)
		return input(e.json(t))
	}
	made := func(version int, change func(r *report)) attest.Input {
		e := c.evidence(t, version)
		r := c.report(version)
		change(&r)
		e.page = r.page(t)
		return input(e.json(t))
	}
	text := good.json(t)
	bound := func(b attest.Binding) attest.Input { in := input(text); in.Binding = b; return in }
	withInit := input(text)
	withInit.Init = &attest.InitData{Algorithm: "sha256", Digest: make([]byte, 32)}
	replaced := func(old, to string) attest.Input { return input([]byte(strings.Replace(string(text), old, to, 1))) }
	hskBy := func(issuer *owner) []byte { return c.hskKey.hsk(t, issuer, 0x13) }
	put := func(cert []byte, at int, n uint32) []byte { b := slices.Clone(cert); le.PutUint32(b[at:], n); return b }
	for name, tc := range map[string]struct {
		in   attest.Input
		code attest.Code
	}{
		"nothing":                    {input(nil), attest.CodeMalformed},
		"long":                       {input(make([]byte, MaxEvidence+1)), attest.CodeTooLarge},
		"an empty object":            {input([]byte("{}")), attest.CodeMalformed},
		"two objects":                {input(slices.Concat(text, text)), attest.CodeMalformed},
		"a report twice":             {replaced(`"cert_chain"`, `"attestation_report":{},"cert_chain"`), attest.CodeMalformed},
		"a member's case":            {replaced(`"pek"`, `"PEK"`), attest.CodeMalformed},
		"data in base64":             {replaced(`"magic":[`, `"magic":"AA==","x":[`), attest.CodeMalformed},
		"null in data":               {replaced(`"magic":[0,`, `"magic":[null,`), attest.CodeMalformed},
		"256 in data":                {replaced(`"magic":[0,`, `"magic":[256,`), attest.CodeMalformed},
		"no PEK":                     {replaced(`"pek"`, `"other"`), attest.CodeMalformed},
		"flags negative":             {replaced(`"flags":0`, `"flags":-1`), attest.CodeMalformed},
		"a short page":               {with(func(e *evidence) { e.page = e.page[1:] }), attest.CodeMalformed},
		"a long page":                {with(func(e *evidence) { e.page = append(slices.Clone(e.page), 0) }), attest.CodeMalformed},
		"a short magic":              {with(func(e *evidence) { e.magic = e.magic[1:] }), attest.CodeMalformed},
		"another magic":              {with(func(e *evidence) { e.magic = fill(1, 16) }), attest.CodeVersionUnsupported},
		"flags 2":                    {with(func(e *evidence) { e.magic, e.flags = []byte(extended), 2 }), attest.CodeVersionUnsupported},
		"version 2 without magic":    {with(func(e *evidence) { e.flags = 1 }), attest.CodeVersionUnsupported},
		"another digest":             {bound(attest.BoundTo(fill(1, 48))), attest.CodeBinding},
		"a shorter digest":           {bound(attest.BoundTo(digest[:32])), attest.CodeBinding},
		"no binding":                 {bound(attest.Binding{}), attest.CodeBinding},
		"version 1 read as 2":        {with(func(e *evidence) { e.magic, e.flags = []byte(extended), 1 }), attest.CodeBinding},
		"init-data":                  {withInit, attest.CodeInitData},
		"signed by a CEK":            {made(1, func(r *report) { r.usage = 0x1004 }), attest.CodeAlgorithm},
		"signed with ECDSA":          {made(2, func(r *report) { r.algo = 2 }), attest.CodeAlgorithm},
		"signed by another":          {made(1, func(r *report) { r.signer = other.pekKey }), attest.CodeSignature},
		"signed by another, 2":       {made(2, func(r *report) { r.signer = other.pekKey }), attest.CodeSignature},
		"signed under another name":  {made(2, func(r *report) { r.signer = &owner{c.pekKey.key, "HYGON-SSD-CEK"} }), attest.CodeSignature},
		"another's PEK":              {with(func(e *evidence) { e.pek = other.pek(t) }), attest.CodeSignature},
		"a PEK that signed itself":   {with(func(e *evidence) { e.pek = c.pekKey.cert(t, 0x1002, c.pekKey, 0x1004) }), attest.CodeCertUntrusted},
		"a PEK by another's CEK":     {with(func(e *evidence) { e.pek = c.pekKey.cert(t, 0x1002, other.cekKey, 0x1004) }), attest.CodeCertUntrusted},
		"a PEK by the HSK":           {with(func(e *evidence) { e.pek = c.pekKey.cert(t, 0x1002, c.hskKey, 0x1004) }), attest.CodeCertUntrusted},
		"a PEK signed as an owner":   {with(func(e *evidence) { e.pek = c.pekKey.cert(t, 0x1002, c.cekKey, 0x1001) }), attest.CodeCertUntrusted},
		"a PEK of another usage":     {with(func(e *evidence) { e.pek = c.pekKey.cert(t, 0x1003, c.cekKey, 0x1004) }), attest.CodeCertMalformed},
		"a PEK of another algorithm": {with(func(e *evidence) { e.pek = put(e.pek, 12, 2) }), attest.CodeCertMalformed},
		"a PEK of another curve":     {with(func(e *evidence) { e.pek = put(e.pek, 16, 1) }), attest.CodeCertMalformed},
		"a PEK off the curve":        {with(func(e *evidence) { e.pek = put(e.pek, 20, 1) }), attest.CodeCertMalformed},
		"a PEK with a long x":        {with(func(e *evidence) { e.pek = put(e.pek, 20+68, 1) }), attest.CodeCertMalformed},
		"a PEK without identity":     {with(func(e *evidence) { b := slices.Clone(e.pek); le.PutUint16(b[164:], 0); e.pek = b }), attest.CodeCertMalformed},
		"a PEK with a long identity": {with(func(e *evidence) { b := slices.Clone(e.pek); le.PutUint16(b[164:], 255); e.pek = b }), attest.CodeCertMalformed},
		"a CEK by another's HSK":     {with(func(e *evidence) { e.cek = c.cekKey.cert(t, 0x1004, other.hskKey, 0x13) }), attest.CodeCertUntrusted},
		"a CEK by the root":          {with(func(e *evidence) { e.cek = c.cekKey.cert(t, 0x1004, c.hrk, 0x13) }), attest.CodeCertUntrusted},
		"a CEK of another usage":     {with(func(e *evidence) { e.cek = c.cekKey.cert(t, 0x1002, c.hskKey, 0x13) }), attest.CodeCertMalformed},
		"a HSK by another's root":    {with(func(e *evidence) { e.hsk = hskBy(other.hrk) }), attest.CodeCertUntrusted},
		"a HSK that signed itself":   {with(func(e *evidence) { e.hsk = hskBy(c.hskKey) }), attest.CodeCertUntrusted},
		"a HSK of another usage":     {with(func(e *evidence) { e.hsk = c.hskKey.hsk(t, c.hrk, 0) }), attest.CodeCertMalformed},
		"a HSK off the curve":        {with(func(e *evidence) { e.hsk = put(e.hsk, 68, 1) }), attest.CodeCertMalformed},
		"another chain":              {with(func(e *evidence) { e.hsk, e.cek = other.hsk(t), other.cek(t) }), attest.CodeCertUntrusted},
	} {
		_, err := v.Verify(t.Context(), tc.in)
		wantCode(t, name, err, tc.code)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := v.Verify(ctx, input(text))
	wantUnavailable(t, "without time", err)
	if got, err := v.Verify(t.Context(), bound(attest.Unbound())); err != nil || *got.Bound {
		t.Errorf("inspection: %v, %v", got, err)
	}
	if _, err := v.Verify(t.Context(), replaced(`"cert_chain"`, `"added":[{}],"cert_chain"`)); err != nil {
		t.Errorf("an unknown member: %v", err)
	}
}

// TestMask shows what the package documentation says of version 1: another mask moves the policy and the measurement together, and never one alone.
func TestMask(t *testing.T) {
	c := newChip(t)
	v := c.verifier(t, nil)
	e := c.evidence(t, 1)
	r := c.report(1)
	r.policy = 0 // debugging allowed
	// The guest asks for a report about other data, which the mask that it will write turns into the digest.
	r.data = unmask(r.data, []byte{1, 0, 0, 0})
	e.page = r.page(t)
	e.page[offAnonce] ^= 1
	// Usage and algorithm are not signed, so they can be put right again.
	e.page[offUsage] ^= 1
	e.page[offAlgorithm] ^= 1
	got, err := v.Verify(t.Context(), input(e.json(t)))
	if err != nil {
		t.Fatal(err)
	}
	if *got.Debug {
		t.Error("the policy did not move: the package documentation is out of date")
	}
	want := hex.EncodeToString(unmask(fill(0xee, 32), []byte{1, 0, 0, 0}))
	if got.Measurement != want || got.Measurement == repeat(0xee, 32) {
		t.Errorf("the measurement is %s", got.Measurement)
	}
	if got.CSV.ReportVersion != 1 {
		t.Error("the claim does not say that the report is masked")
	}
	// Version 2 has no mask.
	e = c.evidence(t, 2)
	e.page[offAnonce] ^= 1
	_, err = v.Verify(t.Context(), input(e.json(t)))
	wantCode(t, "version 2", err, attest.CodeSignature)
}

func TestNew(t *testing.T) {
	v, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(v.root.identity); got != "HYGON-SSD-HRK" {
		t.Error(got)
	}
	for _, size := range []int{-1, maxCacheSize + 1} {
		if _, err := New(Config{CacheSize: size}); err == nil {
			t.Errorf("a cache of %d", size)
		}
	}
}

// TestRealEvidence: the PEK of a real platform signed a real report; without the certificates of its HSK and CEK it is not accepted.
func TestRealEvidence(t *testing.T) {
	text := vectors.Read(t, "csv/evidence.json")
	ev, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	pek, err := parsePEK(ev.PEK)
	if err != nil {
		t.Fatal(err)
	}
	if err := ev.Report.verify(pek.key); err != nil {
		t.Error(err)
	}
	r := ev.Report
	if r.Version != 1 || hex.EncodeToString(r.Measure[:]) != "ae2a2cf1f41a485fa37bf9ae92f678783c59fbc79de7b5d237743d58f5538034" || r.Policy != 0x45 || ev.Serial != "KPA64911240507" ||
		string(pek.key.identity) != "HYGON-SSD-PEK" || pek.firmware != "1.3" || ev.HSKCEK != nil || r.ReportData != [64]byte{} {
		t.Errorf("%+v, serial %q", r, ev.Serial)
	}
	v, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	in := input(text)
	in.Binding = attest.BoundTo(make([]byte, 48)) // its report data are zeros
	_, err = v.Verify(t.Context(), in)
	wantUnavailable(t, "without certificates", err)
	in.Binding = attest.BoundTo(digest)
	_, err = v.Verify(t.Context(), in)
	wantCode(t, "replayed", err, attest.CodeBinding)
}
