package nitro

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vouchsafe/vouchsafe/attest"
)

// wantCode fails unless err refuses with code.
func wantCode(t *testing.T, name string, err error, code attest.Code) {
	t.Helper()
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("%s: %v, not %s", name, err, code)
	}
}

func TestVerify(t *testing.T) {
	h := newHypervisor(t, nil)
	v := h.verifier(t)
	if v.Kind() != attest.Nitro {
		t.Errorf("kind %q", v.Kind())
	}
	raw := h.document(t, nil)
	wrapped := []byte(` {"document":"` + base64.StdEncoding.EncodeToString(raw) + `"}`)
	pcrs := map[int]string{}
	for i := range 16 {
		pcrs[i] = hex.EncodeToString(make([]byte, 48))
	}
	for i, b := range map[int]byte{0: 0xa0, 1: 0xa1, 2: 0xa2, 4: 0xa4, 8: 0xa8} {
		pcrs[i] = hex.EncodeToString(fill(b))
	}
	want := &attest.Claims{
		Kind: attest.Nitro, HardwareRoot: attest.RootNitro, Bound: attest.Ptr(true),
		Measurement: hex.EncodeToString(fill(0xa0)), ReportData: hex.EncodeToString(digest), Debug: attest.Ptr(false),
		TCBStatus:  attest.TCBNotPublished,
		Collateral: &attest.CollateralClaims{Current: true, Expires: now.Add(3 * time.Hour), Source: "evidence"},
		Nitro: &attest.NitroClaims{
			ModuleID: moduleID, InstanceID: "i-0123456789abcdef0", Region: "eu-central-1", Timestamp: now, PCRs: pcrs, Signed: true,
		},
	}
	for name, evidence := range map[string][]byte{"raw": raw, "tagged": append([]byte{0xd2}, raw...), "JSON": wrapped} {
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

func TestClaims(t *testing.T) {
	h := newHypervisor(t, nil)
	v := h.verifier(t)
	for name, c := range map[string]struct {
		change func(m map[string]any)
		check  func(c *attest.Claims) bool
	}{
		"public key and nonce": {
			func(m map[string]any) { m["public_key"], m["nonce"] = []byte{1}, []byte{2} },
			func(c *attest.Claims) bool { return c.Nitro.PublicKey == "01" && c.Nitro.Nonce == "02" },
		},
		"optional members missing": {
			func(m map[string]any) { delete(m, "public_key"); delete(m, "nonce") },
			func(c *attest.Claims) bool { return c.Nitro.PublicKey == "" && c.Nitro.Nonce == "" },
		},
		"not signed": {
			func(m map[string]any) { m["pcrs"].(map[int]any)[8] = make([]byte, 48) },
			func(c *attest.Claims) bool { return !c.Nitro.Signed && !*c.Debug },
		},
		"no PCR8": {
			func(m map[string]any) { delete(m["pcrs"].(map[int]any), 8) },
			func(c *attest.Claims) bool { return !c.Nitro.Signed && c.Nitro.PCRs[8] == "" },
		},
		"debug": {
			func(m map[string]any) {
				for i := range 3 {
					m["pcrs"].(map[int]any)[i] = make([]byte, 48)
				}
			},
			func(c *attest.Claims) bool { return *c.Debug },
		},
		"PCR0 of zeros only": {
			func(m map[string]any) { m["pcrs"].(map[int]any)[0] = make([]byte, 48) },
			func(c *attest.Claims) bool { return *c.Debug },
		},
		"PCR2 of zeros only": {
			func(m map[string]any) { m["pcrs"].(map[int]any)[2] = make([]byte, 48) },
			func(c *attest.Claims) bool { return *c.Debug },
		},
		"no PCR0": {
			func(m map[string]any) { delete(m["pcrs"].(map[int]any), 0) },
			func(c *attest.Claims) bool { return *c.Debug && c.Measurement == "" },
		},
		"another module": {
			func(m map[string]any) { m["module_id"] = "i-0-enc1" },
			func(c *attest.Claims) bool { return c.Nitro.Region == "" && c.Nitro.InstanceID == "i-0" },
		},
		"a module without an instance": {
			func(m map[string]any) { m["module_id"] = "x" },
			func(c *attest.Claims) bool { return c.Nitro.InstanceID == "" },
		},
	} {
		got, err := v.Verify(t.Context(), input(h.document(t, c.change)))
		if err != nil || !c.check(got) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// TestMembers: each member missing, twice, null, of another type, too short or too long.
func TestMembers(t *testing.T) {
	h := newHypervisor(t, nil)
	v := h.verifier(t)
	set := func(name string, value any) func(map[string]any) { return func(m map[string]any) { m[name] = value } }
	register := func(index, value any) func(map[string]any) {
		return func(m map[string]any) {
			list := map[any]any{}
			for k, v := range m["pcrs"].(map[int]any) {
				list[k] = v
			}
			list[index] = value
			m["pcrs"] = list
		}
	}
	many := map[int]any{}
	for i := range 33 {
		many[i] = fill(1)
	}
	cases := map[string]func(map[string]any){
		"module_id empty": set("module_id", ""), "module_id bytes": set("module_id", []byte("x")), "module_id long": set("module_id", string(make([]byte, 257))),
		"timestamp zero": set("timestamp", 0), "timestamp negative": set("timestamp", -1), "timestamp text": set("timestamp", "1"), "timestamp float": set("timestamp", 1.5),
		"timestamp huge": set("timestamp", uint64(1<<63)), "digest SHA256": set("digest", "SHA256"), "digest lower": set("digest", "sha384"), "digest number": set("digest", 1),
		"pcrs empty": set("pcrs", map[int]any{}), "pcrs 33": set("pcrs", many), "pcrs array": set("pcrs", []any{fill(1)}), "pcrs null": set("pcrs", nil),
		"register 32": register(32, fill(1)), "register -1": register(-1, fill(1)), "register text": register("0x", fill(1)), "register float": register(0.5, fill(1)),
		"register short": register(0, fill(1)[:47]), "register long": register(0, make([]byte, 64)), "register of SHA-256": register(0, make([]byte, 32)),
		"register null": register(0, nil), "register numbers": register(0, make([]int, 48)),
		"certificate empty": set("certificate", []byte{}), "certificate long": set("certificate", make([]byte, 1025)), "certificate null": set("certificate", nil),
		"certificate text": set("certificate", "x"), "cabundle empty": set("cabundle", [][]byte{}), "cabundle bytes": set("cabundle", []byte{1}),
		"cabundle 9": set("cabundle", slices.Repeat([][]byte{{1}}, 9)), "cabundle null": set("cabundle", nil), "cabundle of nothing": set("cabundle", [][]byte{h.root.Raw, {}}),
		"cabundle of a long one": set("cabundle", [][]byte{h.root.Raw, make([]byte, 1025)}), "cabundle of text": set("cabundle", []any{"x"}),
		"public_key empty": set("public_key", []byte{}), "public_key long": set("public_key", make([]byte, 1025)), "user_data long": set("user_data", make([]byte, 1025)),
		"nonce long": set("nonce", make([]byte, 1025)), "nonce text": set("nonce", "x"), "user_data numbers": set("user_data", []int{1, 2}),
		"another member": set("extra", 1), "another member's case": set("Nonce", nil),
	}
	for _, name := range []string{"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"} {
		cases[name+" missing"] = func(m map[string]any) { delete(m, name) }
		cases[name+" null"] = set(name, nil)
	}
	for name, change := range cases {
		_, err := v.Verify(t.Context(), input(h.document(t, change)))
		wantCode(t, name, err, attest.CodeMalformed)
	}
	// What no encoder makes.
	good := encode(t, h.payload(digest))
	for name, payload := range map[string][]byte{
		"a member twice":    slices.Concat([]byte{good[0] + 1}, good[1:], encode(t, "digest"), encode(t, "SHA384")),
		"an indefinite map": slices.Concat([]byte{0xbf}, good[1:], []byte{0xff}),
		"bytes after":       append(slices.Clone(good), 0),
		"nothing":           {},
		"null":              {0xf6},
		"a tag":             append([]byte{0xc1}, good...),
		"deep":              append(bytes.Repeat([]byte{0x81}, 1000), 0x80),
		"a huge map":        {0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"a huge string":     {0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		_, err := v.Verify(t.Context(), input(h.signRaw(t, payload)))
		wantCode(t, name, err, attest.CodeMalformed)
	}
}

func TestRefusals(t *testing.T) {
	h, other := newHypervisor(t, nil), newHypervisor(t, nil)
	v := h.verifier(t)
	good := h.document(t, nil)
	at := func(when time.Time) attest.Input { in := input(good); in.Time = when; return in }
	bound := func(b attest.Binding) attest.Input { in := input(good); in.Binding = b; return in }
	withInit := input(good)
	withInit.Init = &attest.InitData{Algorithm: "sha256", Digest: make([]byte, 32)}
	withBundle := func(bundle ...[]byte) []byte { return h.document(t, func(m map[string]any) { m["cabundle"] = bundle }) }
	stamped := func(when time.Time) []byte {
		return h.document(t, func(m map[string]any) { m["timestamp"] = when.UnixMilli() })
	}
	data := func(value any) []byte { return h.document(t, func(m map[string]any) { m["user_data"] = value }) }
	algorithm := func(alg int) []byte {
		return encode(t, []any{encode(t, map[int]int{1: alg}), map[int]int{}, encode(t, h.payload(digest)), make([]byte, 96)})
	}
	resigned := slices.Clone(good)
	resigned[len(resigned)-1] ^= 1
	for name, c := range map[string]struct {
		in   attest.Input
		code attest.Code
	}{
		"nothing":                      {input(nil), attest.CodeMalformed},
		"a long document":              {input(make([]byte, MaxEvidence+1)), attest.CodeTooLarge},
		"a long payload":               {input(encode(t, []any{encode(t, map[int]int{1: -35}), map[int]int{}, make([]byte, maxPayload+1), make([]byte, 96)})), attest.CodeTooLarge},
		"JSON without a document":      {input([]byte(`{}`)), attest.CodeMalformed},
		"JSON with another member":     {input([]byte(`{"document":"AA==","x":1}`)), attest.CodeMalformed},
		"JSON with two documents":      {input([]byte(`{"document":"AA==","document":"AA=="}`)), attest.CodeMalformed},
		"ES256":                        {input(algorithm(-7)), attest.CodeAlgorithm},
		"ES512":                        {input(algorithm(-36)), attest.CodeAlgorithm},
		"no algorithm":                 {input(algorithm(0)), attest.CodeAlgorithm},
		"another digest":               {bound(attest.BoundTo(fill(1))), attest.CodeBinding},
		"no binding":                   {bound(attest.Binding{}), attest.CodeBinding},
		"a shorter digest":             {bound(attest.BoundTo(digest[:32])), attest.CodeBinding},
		"a padded digest":              {input(data(append(slices.Clone(digest), make([]byte, 16)...))), attest.CodeBinding},
		"no user data":                 {input(data(nil)), attest.CodeBinding},
		"empty user data":              {input(data([]byte{})), attest.CodeBinding},
		"digest as the nonce":          {input(h.document(t, func(m map[string]any) { m["user_data"], m["nonce"] = nil, digest })), attest.CodeBinding},
		"init-data":                    {withInit, attest.CodeInitData},
		"another root":                 {input(other.document(t, nil)), attest.CodeCertUntrusted},
		"bundle without the root":      {input(withBundle(h.bundle[1:]...)), attest.CodeCertUntrusted},
		"bundle reversed":              {input(withBundle(h.bundle[3], h.bundle[2], h.bundle[1], h.bundle[0])), attest.CodeCertUntrusted},
		"bundle without the instance":  {input(withBundle(h.bundle[:3]...)), attest.CodeCertUntrusted},
		"bundle without the region":    {input(withBundle(h.bundle[0], h.bundle[2], h.bundle[3])), attest.CodeCertUntrusted},
		"bundle with one twice":        {input(withBundle(h.bundle[0], h.bundle[1], h.bundle[1], h.bundle[2], h.bundle[3])), attest.CodeCertUntrusted},
		"the root alone":               {input(withBundle(h.bundle[0])), attest.CodeCertUntrusted},
		"another's intermediates":      {input(withBundle(h.bundle[0], other.bundle[1], other.bundle[2], other.bundle[3])), attest.CodeCertUntrusted},
		"the enclave as an authority":  {input(withBundle(append(slices.Clone(h.bundle), h.leaf)...)), attest.CodeCertUntrusted},
		"an intermediate of garbage":   {input(withBundle(h.bundle[0], []byte{1})), attest.CodeCertMalformed},
		"an intermediate and a byte":   {input(withBundle(h.bundle[0], append(slices.Clone(h.bundle[1]), 0))), attest.CodeCertMalformed},
		"a certificate of garbage":     {input(h.document(t, func(m map[string]any) { m["certificate"] = []byte{1} })), attest.CodeCertMalformed},
		"an authority's certificate":   {input(h.document(t, func(m map[string]any) { m["certificate"] = h.bundle[3] })), attest.CodeCertMalformed},
		"before the certificate":       {at(now.Add(-2 * time.Minute)), attest.CodeCertExpired},
		"after the certificate":        {at(now.Add(3*time.Hour + time.Second)), attest.CodeCertExpired},
		"timestamp before":             {input(stamped(now.Add(-2 * time.Minute))), attest.CodeCertExpired},
		"timestamp after":              {input(stamped(now.Add(4 * time.Hour))), attest.CodeCertExpired},
		"timestamp at the end of time": {input(h.document(t, func(m map[string]any) { m["timestamp"] = int64(1<<63 - 1) })), attest.CodeCertExpired},
		"another's signature":          {input(resigned), attest.CodeSignature},
		"another's key":                {input((&hypervisor{leafKey: other.leafKey, leaf: h.leaf, bundle: h.bundle}).document(t, nil)), attest.CodeSignature},
	} {
		_, err := v.Verify(t.Context(), c.in)
		wantCode(t, name, err, c.code)
	}
}

// TestChains: certificates that are not as AWS makes them, signed all the way.
func TestChains(t *testing.T) {
	critical := func(id ...int) link {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier(id), Critical: true, Value: []byte{0x05, 0x00}}}
		}
	}
	for name, c := range map[string]struct {
		change map[int]link
		curves map[int]elliptic.Curve
		code   attest.Code
	}{
		"an intermediate that is no authority": {change: map[int]link{2: func(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, 0; c.MaxPathLenZero = false }}, code: attest.CodeCertUntrusted},
		"an intermediate for documents only":   {change: map[int]link{3: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }}, code: attest.CodeCertUntrusted},
		"an intermediate without key usage":    {change: map[int]link{3: func(c *x509.Certificate) { c.KeyUsage = 0 }}, code: attest.CodeCertUntrusted},
		"a path that is too long":              {change: map[int]link{1: func(c *x509.Certificate) { c.MaxPathLen = 1 }}, code: attest.CodeCertUntrusted},
		"a path of none":                       {change: map[int]link{2: func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }}, code: attest.CodeCertUntrusted},
		"an unknown critical extension":        {change: map[int]link{1: critical(1, 2, 3)}, code: attest.CodeCertMalformed},
		"critical name constraints": {change: map[int]link{2: func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"aws"}
		}}, code: attest.CodeCertMalformed},
		"an unknown critical extension of the enclave": {change: map[int]link{4: critical(1, 2, 3)}, code: attest.CodeCertMalformed},
		"an enclave that may not sign":                 {change: map[int]link{4: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }}, code: attest.CodeCertMalformed},
		"an enclave without key usage":                 {change: map[int]link{4: func(c *x509.Certificate) { c.KeyUsage = 0 }}, code: attest.CodeCertMalformed},
		"an expired zone":                              {change: map[int]link{2: func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }}, code: attest.CodeCertExpired},
		"a region that is not yet":                     {change: map[int]link{1: func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) }}, code: attest.CodeCertExpired},
		"an expired root":                              {change: map[int]link{0: func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }}, code: attest.CodeCertExpired},
		"SHA-256":                                      {change: map[int]link{2: func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA256 }}, code: attest.CodeCertUntrusted},
		"SHA-512":                                      {change: map[int]link{4: func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA512 }}, code: attest.CodeCertUntrusted},
		"a zone on P-256":                              {curves: map[int]elliptic.Curve{2: elliptic.P256()}, code: attest.CodeCertMalformed},
		"an enclave on P-256":                          {curves: map[int]elliptic.Curve{4: elliptic.P256()}, code: attest.CodeCertMalformed},
		"an enclave on P-521":                          {curves: map[int]elliptic.Curve{4: elliptic.P521()}, code: attest.CodeCertMalformed},
	} {
		h := newHypervisorOn(t, c.change, c.curves)
		v := h.verifier(t)
		for range 2 { // and from the cache
			_, err := v.Verify(t.Context(), input(h.document(t, nil)))
			wantCode(t, name, err, c.code)
		}
	}
}

// TestReplay: a document that is good does not become good for another challenge, nor a cached chain for another document.
func TestReplay(t *testing.T) {
	h := newHypervisor(t, nil)
	v := h.verifier(t)
	good := h.document(t, nil)
	if _, err := v.Verify(t.Context(), input(good)); err != nil {
		t.Fatal(err)
	}
	in := input(good)
	in.Binding = attest.BoundTo(fill(9))
	_, err := v.Verify(t.Context(), in)
	wantCode(t, "another challenge", err, attest.CodeBinding)

	// The chain is known; the payload is another's.
	forged := h.payload(digest)
	forged["pcrs"].(map[int]any)[0] = fill(0xff)
	forger := &hypervisor{leafKey: newKey(t, elliptic.P384())}
	_, err = v.Verify(t.Context(), input(forger.sign(t, forged)))
	wantCode(t, "a forged payload", err, attest.CodeSignature)

	in = input(good)
	in.Binding = attest.Unbound()
	claims, err := v.Verify(t.Context(), in)
	if err != nil || *claims.Bound {
		t.Errorf("inspection: %+v, %v", claims, err)
	}

	// A chain that is known expires all the same.
	in = input(good)
	in.Time = now.Add(4 * time.Hour)
	_, err = v.Verify(t.Context(), in)
	wantCode(t, "later", err, attest.CodeCertExpired)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var unavailable *attest.Unavailable
	if _, err := v.Verify(ctx, input(good)); !errors.As(err, &unavailable) {
		t.Errorf("without time: %v", err)
	}
}

func TestNew(t *testing.T) {
	v, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(v.root.Subject); got != "CN=aws.nitro-enclaves,OU=AWS,O=Amazon,C=US" {
		t.Error(got)
	}
	if err := v.root.CheckSignatureFrom(v.root); err != nil {
		t.Error(err)
	}
	for _, size := range []int{-1, maxCacheSize + 1} {
		if _, err := New(Config{CacheSize: size}); err == nil {
			t.Errorf("a cache of %d", size)
		}
	}
}
