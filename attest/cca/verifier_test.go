package cca

import (
	"context"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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

func repeat(b byte, n int) string { return hex.EncodeToString(fill(b, n)) }

func TestVerify(t *testing.T) {
	m := newMachine(t)
	v := m.verifier(t)
	if v.Kind() != attest.CCA {
		t.Errorf("kind %q", v.Kind())
	}
	p, r := sign(t, m.cpak, encode(t, m.platform(t))), sign(t, m.rak, encode(t, m.realm(t)))
	raw := collection(t, p, r)
	key := sha256.Sum256(m.rawKey(t))
	challenge := make([]byte, 64)
	copy(challenge, digest)
	want := &attest.Claims{
		Kind: attest.CCA, HardwareRoot: attest.RootCCA, Bound: attest.Ptr(true), Measurement: repeat(0x33, 64), ReportData: hex.EncodeToString(challenge),
		InitData: repeat(0, 64), Debug: attest.Ptr(false), TCBStatus: attest.TCBNotPublished,
		Collateral: &attest.CollateralClaims{Current: true, Source: "local"},
		CCA: &attest.CCAClaims{
			PlatformProfile: "tag:arm.com,2023:cca_platform#1.0.0", ImplementationID: repeat(0x11, 32), InstanceID: "01" + repeat(0x22, 32), Config: "cfcfcfcf",
			Lifecycle: 0x3003, LifecycleState: "secured", VerificationService: "https://verifier.example", PlatformHash: "sha-256",
			Components: []attest.CCAComponent{
				{Type: "BL", Measurement: repeat(0xaa, 32), Signer: repeat(0xbb, 32), Version: "1.2.3", Hash: "sha-256"},
				{Measurement: repeat(0xcc, 48), Signer: repeat(0xdd, 64)},
			},
			RealmHash: "sha-512", ExtensibleMeasurements: []string{repeat(1, 64), repeat(2, 64), repeat(3, 64), repeat(4, 64)},
			RealmKey: hex.EncodeToString(key[:]),
		},
	}
	for name, evidence := range map[string][]byte{"collection": raw, "wrapper": wrapper(t, p, r), "JSON": append([]byte(" \n"), asJSON(t, raw)...), "untagged": collection(t, p[1:], r[1:])} {
		for range 2 { // cold, then from the cache
			got, err := v.Verify(t.Context(), input(evidence))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", name, diff)
			}
		}
	}
}

// TestKeys: every curve of both keys, and both forms of the realm's.
func TestKeys(t *testing.T) {
	curves := []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}
	for _, cpak := range curves {
		for _, rak := range curves {
			m := &machine{cpak: newKey(t, cpak), rak: newKey(t, rak), cose: true}
			if _, err := m.verifier(t).Verify(t.Context(), input(m.token(t, nil))); err != nil {
				t.Errorf("%s and %s: %v", cpak.Params().Name, rak.Params().Name, err)
			}
		}
	}
	// Raw keys are on P-384, by the first drafts.
	m := &machine{cpak: newKey(t, elliptic.P384()), rak: newKey(t, elliptic.P256())}
	_, err := m.verifier(t).Verify(t.Context(), input(m.token(t, nil)))
	wantCode(t, "a raw key on P-256", err, attest.CodeMalformed)
}

// TestHashes: the platform's challenge by each hash, and only by the one named.
func TestHashes(t *testing.T) {
	m := newMachine(t)
	v := m.verifier(t)
	key := m.rawKey(t)
	h256, h384, h512 := sha256.Sum256(key), sha512.Sum384(key), sha512.Sum512(key)
	digests := map[string][]byte{"sha-256": h256[:], "sha-384": h384[:], "sha-512": h512[:]}
	for named := range digests {
		for used, d := range digests {
			_, err := v.Verify(t.Context(), input(m.token(t, func(p, r claimSet) { p[10], r[44240] = d, named })))
			if named == used && err != nil {
				t.Errorf("%s: %v", named, err)
			}
			if named != used {
				wantCode(t, named+" named and "+used+" used", err, attest.CodeKeyNotReported)
			}
		}
	}
}

// TestLifecycle: all that is not secured is debug.
func TestLifecycle(t *testing.T) {
	m := newMachine(t)
	v := m.verifier(t)
	for value, want := range map[int]string{
		0x0000: "unknown", 0x10ff: "assembly-and-test", 0x2000: "rot-provisioning", 0x3000: "secured", 0x30ff: "secured", 0x4000: "non-cca-debug",
		0x5000: "recoverable-debug", 0x60ff: "decommissioned",
	} {
		got, err := v.Verify(t.Context(), input(m.token(t, func(p, _ claimSet) { p[2395] = value })))
		if err != nil || got.CCA.LifecycleState != want || *got.Debug != (want != "secured") {
			t.Errorf("%#x: %+v, %v", value, got, err)
		}
	}
	for _, value := range []any{0x0100, 0x3100, 0x6100, 0x7000, 0xffff, 1 << 20, -1, "x", 3.5, nil, []byte{0x30, 0}} {
		_, err := v.Verify(t.Context(), input(m.token(t, func(p, _ claimSet) { p[2395] = value })))
		wantCode(t, "lifecycle", err, attest.CodeMalformed)
	}
}

func TestReferenceValues(t *testing.T) {
	m := newMachine(t)
	good := ReferenceValue{Config: fill(0xcf, 4), Components: []Component{
		{Measurement: fill(0xcc, 48), Signer: fill(0xdd, 64)}, // in another order than the token
		{Type: "BL", Measurement: fill(0xaa, 32), Signer: fill(0xbb, 32)},
	}}
	copy(good.ImplementationID[:], fill(0x11, 32))
	with := func(change func(v *ReferenceValue)) ReferenceValue {
		v := good
		v.Components = slices.Clone(good.Components)
		change(&v)
		return v
	}
	for name, c := range map[string]struct {
		values []ReferenceValue
		want   string
	}{
		"none":                   {nil, attest.TCBNotPublished},
		"good":                   {[]ReferenceValue{good}, attest.TCBUpToDate},
		"good, the second":       {[]ReferenceValue{with(func(v *ReferenceValue) { v.Config = fill(1, 4) }), good}, attest.TCBUpToDate},
		"version stated":         {[]ReferenceValue{with(func(v *ReferenceValue) { v.Components[1].Version = "1.2.3" })}, attest.TCBUpToDate},
		"another version":        {[]ReferenceValue{with(func(v *ReferenceValue) { v.Components[1].Version = "1.2.4" })}, attest.TCBOutOfDate},
		"another type":           {[]ReferenceValue{with(func(v *ReferenceValue) { v.Components[1].Type = "M1" })}, attest.TCBOutOfDate},
		"another hash":           {[]ReferenceValue{with(func(v *ReferenceValue) { v.Components[1].Hash = "sha-512" })}, attest.TCBOutOfDate},
		"another implementation": {[]ReferenceValue{with(func(v *ReferenceValue) { v.ImplementationID[0]++ })}, attest.TCBOutOfDate},
		"another configuration":  {[]ReferenceValue{with(func(v *ReferenceValue) { v.Config = fill(0xce, 4) })}, attest.TCBOutOfDate},
		"another measurement":    {[]ReferenceValue{with(func(v *ReferenceValue) { v.Components[0].Measurement = fill(0xcd, 48) })}, attest.TCBOutOfDate},
		"another signer":         {[]ReferenceValue{with(func(v *ReferenceValue) { v.Components[0].Signer = fill(0xcd, 64) })}, attest.TCBOutOfDate},
		"a component fewer":      {[]ReferenceValue{with(func(v *ReferenceValue) { v.Components = v.Components[:1] })}, attest.TCBOutOfDate},
		"a component twice":      {[]ReferenceValue{with(func(v *ReferenceValue) { v.Components[0] = v.Components[1] })}, attest.TCBOutOfDate},
	} {
		got, err := m.verifier(t, c.values...).Verify(t.Context(), input(m.token(t, nil)))
		if err != nil || got.TCBStatus != c.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestInitData(t *testing.T) {
	m := newMachine(t)
	v := m.verifier(t)
	sum := sha512.Sum384([]byte("document"))
	init := &attest.InitData{Algorithm: "sha384", Digest: sum[:], Data: map[string]string{"policy": "x"}}
	carried, err := Personalization(init)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		carried []byte
		init    *attest.InitData
		bound   bool
	}{
		"carried":                {carried[:], init, true},
		"not carried":            {make([]byte, 64), init, false},
		"another":                {fill(7, 64), init, false},
		"empty digest":           {make([]byte, 64), &attest.InitData{Algorithm: "sha384"}, false},
		"digest of another hash": {carried[:], &attest.InitData{Algorithm: "sha256", Digest: sum[:]}, false},
	} {
		in := input(m.token(t, func(_, r claimSet) { r[44235] = c.carried }))
		in.Init = c.init
		got, err := v.Verify(t.Context(), in)
		if err != nil || got.InitDataBound == nil || *got.InitDataBound != c.bound || (len(got.InitDataClaims) > 0) != c.bound {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	m, other := newMachine(t), newMachine(t)
	v := m.verifier(t)
	good := m.token(t, nil)
	changed := func(change func(p, r claimSet)) attest.Input { return input(m.token(t, change)) }
	p, r := sign(t, m.cpak, encode(t, m.platform(t))), sign(t, m.rak, encode(t, m.realm(t)))
	bound := func(b attest.Binding) attest.Input { in := input(good); in.Binding = b; return in }
	last := func(b []byte) []byte { b = slices.Clone(b); b[len(b)-1] ^= 1; return b }
	cose256 := &machine{cpak: m.cpak, rak: newKey(t, elliptic.P256()), cose: true}
	for name, c := range map[string]struct {
		in   attest.Input
		code attest.Code
	}{
		"nothing":                          {input(nil), attest.CodeMalformed},
		"long evidence":                    {input(make([]byte, MaxEvidence+1)), attest.CodeTooLarge},
		"a long token":                     {input(make([]byte, MaxToken+1)), attest.CodeTooLarge},
		"a long token in JSON":             {input(asJSON(t, make([]byte, MaxToken+1))), attest.CodeTooLarge},
		"another tag":                      {input(append([]byte{0xd9, 0x01, 0x90}, good[3:]...)), attest.CodeMalformed},
		"no tag":                           {input(good[3:]), attest.CodeMalformed},
		"a wrapper's tag on a collection":  {input(append([]byte{0xd9, 0x03, 0x8b}, good[3:]...)), attest.CodeMalformed},
		"JSON without a token":             {input([]byte(`{}`)), attest.CodeMalformed},
		"JSON with base64":                 {input([]byte(`{"token":"2QGP"}`)), attest.CodeMalformed},
		"JSON with null":                   {input([]byte(`{"token":null}`)), attest.CodeMalformed},
		"JSON with a null in it":           {input([]byte(`{"token":[217,null]}`)), attest.CodeMalformed},
		"JSON with 256":                    {input([]byte(`{"token":[256]}`)), attest.CodeMalformed},
		"JSON with -1":                     {input([]byte(`{"token":[-1]}`)), attest.CodeMalformed},
		"JSON with a token twice":          {input([]byte(`{"token":[1],"token":[1]}`)), attest.CodeMalformed},
		"a platform token only":            {input(encode(t, tagged(399, map[int]any{44234: p}))), attest.CodeMalformed},
		"a realm token only":               {input(encode(t, tagged(399, map[int]any{44241: r}))), attest.CodeMalformed},
		"three tokens":                     {input(encode(t, tagged(399, map[int]any{44234: p, 44241: r, 44242: r}))), attest.CodeMalformed},
		"another label":                    {input(encode(t, tagged(399, map[int]any{44235: p, 44241: r}))), attest.CodeMalformed},
		"a wrapper of another format":      {input(encode(t, tagged(907, map[int]any{44234: []any{262, p}, 44241: []any{263, r}}))), attest.CodeMalformed},
		"a wrapper of three":               {input(encode(t, tagged(907, map[int]any{44234: []any{263, p, 1}, 44241: []any{263, r}}))), attest.CodeMalformed},
		"a wrapper of bytes":               {input(encode(t, tagged(907, map[int]any{44234: p, 44241: r}))), attest.CodeMalformed},
		"tokens exchanged":                 {input(collection(t, r, p)), attest.CodeMalformed},
		"another digest":                   {bound(attest.BoundTo(fill(1, 48))), attest.CodeBinding},
		"a shorter digest":                 {bound(attest.BoundTo(digest[:32])), attest.CodeBinding},
		"a longer digest":                  {bound(attest.BoundTo(append(slices.Clone(digest), 1))), attest.CodeBinding},
		"no binding":                       {bound(attest.Binding{}), attest.CodeBinding},
		"digest at the end":                {changed(func(_, r claimSet) { r[10] = append(make([]byte, 16), digest...) }), attest.CodeBinding},
		"another profile":                  {changed(func(p, _ claimSet) { p[265] = "tag:arm.com,2024:cca_platform#2.0.0" }), attest.CodeVersionUnsupported},
		"another realm profile":            {changed(func(_, r claimSet) { r[265] = "tag:arm.com,2024:realm#2.0.0" }), attest.CodeVersionUnsupported},
		"a raw key with a profile":         {changed(func(_, r claimSet) { r[265] = profileRealm2023 }), attest.CodeMalformed},
		"another's realm on this platform": {input(collection(t, p, sign(t, other.rak, encode(t, other.realm(t))))), attest.CodeKeyNotReported},
		"this realm on another's platform": {input(collection(t, sign(t, other.cpak, encode(t, other.platform(t))), r)), attest.CodeKeyNotReported},
		"another's platform key":           {input(collection(t, sign(t, other.cpak, encode(t, m.platform(t))), r)), attest.CodeSignature},
		"another's realm key":              {input(collection(t, p, sign(t, other.rak, encode(t, m.realm(t))))), attest.CodeSignature},
		"platform signature":               {input(collection(t, last(p), r)), attest.CodeSignature},
		"realm signature":                  {input(collection(t, p, last(r))), attest.CodeSignature},
		"an unknown platform":              {changed(func(p, _ claimSet) { p[256] = append([]byte{1}, fill(0x23, 32)...) }), attest.CodeKeyNotEnrolled},
		"another implementation":           {changed(func(p, _ claimSet) { p[2396] = fill(0x12, 32) }), attest.CodeCertMismatch},
		"platform signed on P-256":         {input(collection(t, sign(t, newKey(t, elliptic.P256()), encode(t, m.platform(t))), r)), attest.CodeAlgorithm},
		"realm signed on another curve":    {input(collection(t, sign(t, m.cpak, encode(t, cose256.platform(t))), sign(t, m.rak, encode(t, cose256.realm(t))))), attest.CodeAlgorithm},
	} {
		_, err := v.Verify(t.Context(), c.in)
		wantCode(t, name, err, c.code)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var unavailable *attest.Unavailable
	if _, err := v.Verify(ctx, input(good)); !errors.As(err, &unavailable) {
		t.Errorf("without time: %v", err)
	}
	in := input(good)
	in.Binding = attest.Unbound()
	if got, err := v.Verify(t.Context(), in); err != nil || *got.Bound {
		t.Errorf("inspection: %v, %v", got, err)
	}
}

// TestClaimSets: each claim missing, null, of another type, too short or too long.
func TestClaimSets(t *testing.T) {
	m := newMachine(t)
	v := m.verifier(t)
	component := func(change func(c claimSet)) any {
		c := claimSet{1: "BL", 2: fill(0xaa, 32), 4: "1", 5: fill(0xbb, 32), 6: "sha-256"}
		change(c)
		return []any{c}
	}
	set := func(label int, value any) func(claimSet) { return func(c claimSet) { c[label] = value } }
	platform := map[string]func(claimSet){
		"challenge of 31": set(10, fill(1, 31)), "challenge of 40": set(10, fill(1, 40)), "challenge of 65": set(10, fill(1, 65)), "challenge text": set(10, "x"),
		"implementation of 31": set(2396, fill(1, 31)), "implementation of 33": set(2396, fill(1, 33)), "instance of 32": set(256, fill(1, 32)),
		"instance of 34": set(256, fill(1, 34)), "instance of type 2": set(256, append([]byte{2}, fill(1, 32)...)),
		"config empty": set(2401, []byte{}), "config long": set(2401, make([]byte, 1025)), "config numbers": set(2401, []int{1}),
		"service empty": set(2400, ""), "service long": set(2400, strings.Repeat("x", 1025)), "service bytes": set(2400, []byte("x")),
		"hash empty": set(2402, ""), "hash sha-1": set(2402, "sha-1"), "hash upper": set(2402, "SHA-256"), "profile number": set(265, 1),
		"no components": set(2399, []any{}), "65 components": set(2399, slices.Repeat(component(func(claimSet) {}).([]any), 65)), "components map": set(2399, claimSet{}),
		"component number": set(2399, []any{1}), "component without measurement": set(2399, component(func(c claimSet) { delete(c, 2) })),
		"component without signer": set(2399, component(func(c claimSet) { delete(c, 5) })), "component of 20": set(2399, component(func(c claimSet) { c[2] = fill(1, 20) })),
		"component type number": set(2399, component(func(c claimSet) { c[1] = 1 })), "component hash": set(2399, component(func(c claimSet) { c[6] = "md5" })),
		"component version null": set(2399, component(func(c claimSet) { c[4] = nil })),
	}
	for _, label := range []int{265, 10, 2396, 256, 2401, 2395, 2399, 2402} {
		platform[fmt.Sprint("missing ", label)] = func(c claimSet) { delete(c, label) }
		platform[fmt.Sprint("null ", label)] = set(label, nil)
	}
	for name, change := range platform {
		_, err := v.Verify(t.Context(), input(m.token(t, func(p, _ claimSet) { change(p) })))
		wantCode(t, "platform: "+name, err, attest.CodeMalformed)
	}
	realm := map[string]func(claimSet){
		"challenge of 63": set(10, fill(1, 63)), "challenge of 65": set(10, fill(1, 65)), "personalisation of 63": set(44235, fill(1, 63)),
		"measurement of 20": set(44238, fill(1, 20)), "measurement text": set(44238, "x"), "three registers": set(44239, []any{fill(1, 32), fill(1, 32), fill(1, 32)}),
		"five registers": set(44239, slices.Repeat([]any{fill(1, 32)}, 5)), "register of 20": set(44239, []any{fill(1, 32), fill(1, 32), fill(1, 32), fill(1, 20)}),
		"register null": set(44239, []any{fill(1, 32), nil, fill(1, 32), fill(1, 32)}), "hash": set(44236, "sha-224"), "key's hash": set(44240, "shake128"),
		"key empty": set(44237, []byte{}), "key short": set(44237, fill(4, 96)), "key long": set(44237, fill(4, 513)), "key off the curve": set(44237, append([]byte{4}, fill(1, 96)...)),
		"key compressed": set(44237, append([]byte{2}, fill(1, 48)...)), "key at infinity": set(44237, []byte{0}), "profile empty": set(265, ""), "profile null": set(265, nil),
	}
	for _, label := range []int{10, 44235, 44236, 44237, 44238, 44239, 44240} {
		realm[fmt.Sprint("missing ", label)] = func(c claimSet) { delete(c, label) }
		realm[fmt.Sprint("null ", label)] = set(label, nil)
	}
	for name, change := range realm {
		_, err := v.Verify(t.Context(), input(m.token(t, func(_, r claimSet) { change(r) })))
		wantCode(t, "realm: "+name, err, attest.CodeMalformed)
	}
	// Claims that are not known are passed over.
	if _, err := v.Verify(t.Context(), input(m.token(t, func(p, r claimSet) { p[1234567], p["text"], r[-70000], r["text"] = "x", 1, 1, nil }))); err != nil {
		t.Errorf("unknown claims: %v", err)
	}
}

// TestCOSEKey: a key that says anything else than what it is for is none.
func TestCOSEKey(t *testing.T) {
	m := &machine{cpak: newKey(t, elliptic.P384()), rak: newKey(t, elliptic.P384()), cose: true}
	point, err := m.rak.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	x, y := point[1:49], point[49:]
	for name, c := range map[string]struct {
		key  any
		good bool
	}{
		"good":               {map[int]any{1: 2, -1: 2, -2: x, -3: y}, true},
		"with the algorithm": {map[int]any{1: 2, 3: -35, -1: 2, -2: x, -3: y}, true},
		"another algorithm":  {map[int]any{1: 2, 3: -7, -1: 2, -2: x, -3: y}, false},
		"algorithm null":     {map[int]any{1: 2, 3: nil, -1: 2, -2: x, -3: y}, false},
		"with operations":    {map[int]any{1: 2, 4: []int{1}, -1: 2, -2: x, -3: y}, false},
		"private":            {map[int]any{1: 2, -1: 2, -2: x, -3: y, -4: x}, false},
		"type OKP":           {map[int]any{1: 1, -1: 2, -2: x, -3: y}, false},
		"another curve":      {map[int]any{1: 2, -1: 1, -2: x, -3: y}, false},
		"unknown curve":      {map[int]any{1: 2, -1: 8, -2: x, -3: y}, false},
		"no curve":           {map[int]any{1: 2, -2: x, -3: y}, false},
		"compressed":         {map[int]any{1: 2, -1: 2, -2: x, -3: true}, false},
		"without y":          {map[int]any{1: 2, -1: 2, -2: x}, false},
		"off the curve":      {map[int]any{1: 2, -1: 2, -2: x, -3: x}, false},
		"short":              {map[int]any{1: 2, -1: 2, -2: x[1:], -3: y}, false},
		"an array":           {[]any{1, 2}, false},
	} {
		if _, err := parseCOSEKey(encode(t, c.key)); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseCOSEKey(append(encode(t, map[int]any{1: 2, -1: 2, -2: x, -3: y}), 0)); err == nil {
		t.Error("a key with a byte after it")
	}
}

func TestNew(t *testing.T) {
	m := newMachine(t)
	a := m.anchor()
	none, offset, twice := a, a, []TrustAnchor{a, a}
	none.Key = nil
	offset.InstanceID[0] = 2
	for name, cfg := range map[string]Config{
		"no anchors": {}, "an anchor without a key": {TrustAnchors: []TrustAnchor{none}}, "an instance of another type": {TrustAnchors: []TrustAnchor{offset}},
		"one twice": {TrustAnchors: twice}, "a cache of -1": {TrustAnchors: []TrustAnchor{a}, CacheSize: -1},
		"an empty reference":                    {TrustAnchors: []TrustAnchor{a}, ReferenceValues: []ReferenceValue{{}}},
		"a reference without a component's sum": {TrustAnchors: []TrustAnchor{a}, ReferenceValues: []ReferenceValue{{Config: []byte{1}, Components: []Component{{}}}}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestStores(t *testing.T) {
	key := `{"kty":"EC","crv":"P-384","x":"IShnxS4rlQiwpCCpBWDzlNLfqiG911FP8akBr-fh94uxHU5m-Kijivp2r2oxxN6M","y":"hM4tr8mWQli1P61xh3T0ViDREbF26DGOEYfbAjWjGNN7pZf-6A4OTHYqEryz6m7U"}`
	anchor := `{"pkey":` + key + `,"implementation-id":"` + repeat(0x11, 32) + `","instance-id":"01` + repeat(0x22, 32) + `"}`
	if got, err := ParseTrustAnchors([]byte("[" + anchor + "]")); err != nil || len(got) != 1 || got[0].InstanceID[1] != 0x22 {
		t.Errorf("%+v, %v", got, err)
	}
	for name, text := range map[string]string{
		"nothing": "", "null": "null", "none": "[]", "one twice": "[" + anchor + "," + anchor + "]", "another member": `[{"x":1}]`,
		"no key":              `[{"implementation-id":"` + repeat(0x11, 32) + `","instance-id":"01` + repeat(0x22, 32) + `"}]`,
		"a short instance":    "[" + strings.Replace(anchor, "01"+repeat(0x22, 32), "01", 1) + "]",
		"a private key":       "[" + strings.Replace(anchor, `"kty"`, `"d":"AA","kty"`, 1) + "]",
		"another curve":       "[" + strings.Replace(anchor, "P-384", "P-256", 1) + "]",
		"off the curve":       "[" + strings.Replace(anchor, "IShn", "IShm", 1) + "]",
		"a huge file":         strings.Repeat(" ", MaxStore+1),
		"an instance of type": "[" + strings.Replace(anchor, `"01`, `"02`, 1) + "]",
	} {
		if _, err := ParseTrustAnchors([]byte(text)); err == nil {
			t.Errorf("trust anchors: %s: taken", name)
		}
	}
	component := `{"measurement-value":"` + repeat(0xaa, 32) + `","signer-id":"` + repeat(0xbb, 32) + `","component-type":"BL"}`
	value := `{"implementation-id":"` + repeat(0x11, 32) + `","platform-configuration":"cfcfcfcf","sw-components":[` + component + `]}`
	if got, err := ParseReferenceValues([]byte(`{"platform":[` + value + `],"realm":[{"x":1}]}`)); err != nil || len(got) != 1 || got[0].Components[0].Type != "BL" {
		t.Errorf("%+v, %v", got, err)
	}
	for name, text := range map[string]string{
		"nothing": "", "none": "{}", "no platform": `{"realm":[]}`, "no components": `{"platform":[` + strings.Replace(value, component, "", 1) + `]}`,
		"no configuration": `{"platform":[` + strings.Replace(value, "cfcfcfcf", "", 1) + `]}`, "not hex": `{"platform":[` + strings.Replace(value, "cfcfcfcf", "zz", 1) + `]}`,
		"short digest": `{"platform":[` + strings.Replace(value, repeat(0xaa, 32), "aa", 1) + `]}`, "a huge file": strings.Repeat(" ", MaxStore+1),
		"a misspelt member": `{"platform":[` + strings.Replace(value, "signer-id", "signer", 1) + `]}`,
	} {
		if _, err := ParseReferenceValues([]byte(text)); err == nil {
			t.Errorf("reference values: %s: taken", name)
		}
	}
}

// TestRealToken: the example token of the trustee project, its trust anchor and its reference values.
func TestRealToken(t *testing.T) {
	token := vectors.Read(t, "cca/cca-example-token.cbor")
	anchors, err := ParseTrustAnchors(vectors.Read(t, "cca/tastore.json"))
	if err != nil {
		t.Fatal(err)
	}
	references, err := ParseReferenceValues(vectors.Read(t, "cca/rvstore.json"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := New(Config{TrustAnchors: anchors, ReferenceValues: references})
	if err != nil {
		t.Fatal(err)
	}
	challenge, err := hex.DecodeString("57e979ae2618de0c1ab73144c440d741cf9236dc9d52ed190053382a4d190252f9f0370403c35dcb155fb4362d73c66d5b0494bf939315d3dc52b8cdc8b85a96")
	if err != nil {
		t.Fatal(err)
	}
	in := input(token)
	in.Binding = attest.BoundTo(challenge)
	got, err := v.Verify(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	var stored struct {
		Realm []struct {
			Initial    string   `json:"initial-measurement"`
			Extensible []string `json:"extensible-measurements"`
		} `json:"realm"`
	}
	if err := json.Unmarshal(vectors.Read(t, "cca/rvstore.json"), &stored); err != nil {
		t.Fatal(err)
	}
	if got.Measurement != stored.Realm[0].Initial || !slices.Equal(got.CCA.ExtensibleMeasurements, stored.Realm[0].Extensible) || got.TCBStatus != attest.TCBUpToDate ||
		*got.Debug || got.CCA.Lifecycle != 12291 || len(got.CCA.Components) != 13 || got.CCA.Components[8].Type != "RMM" || got.CCA.PlatformProfile != profilePlatformLegacy {
		t.Errorf("%+v\n%+v", got, got.CCA)
	}
	in.Binding = attest.BoundTo(digest)
	_, err = v.Verify(t.Context(), in)
	wantCode(t, "replayed", err, attest.CodeBinding)
}
