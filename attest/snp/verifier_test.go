package snp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// TestVerify goes through every product, version and signing key.
func TestVerify(t *testing.T) {
	v := testVerifier(t, Config{})
	for _, p := range Products() {
		for version := uint32(minVersion); version <= maxVersion; version++ {
			for _, key := range []SigningKey{VCEK, VLEK} {
				a := authorities()[p]
				r := a.sign(t, report(p, version, key))
				leaf := a.leaf(t, r, leafOptions{})
				for range 2 { // cold and warm
					claims, err := verify(t, v, extended(r, leaf))
					if err != nil {
						t.Fatalf("%s version %d %v: %v", p, version, key, err)
					}
					if claims.Kind != attest.SNP || !*claims.Bound || *claims.Debug || *claims.MigrationAgent || *claims.VMPL != 0 ||
						claims.TCBStatus != "not-published" || claims.HardwareRoot != a.name || claims.InitDataBound != nil ||
						claims.SNP.SigningKey != key.String() || claims.SNP.ReportVersion != int(version) ||
						(claims.SNP.ReportedTCB.FMC != nil) != (p == Turin) || claims.SNP.ReportedTCB.Microcode != 213 ||
						(claims.SNP.CPUIDFamily != nil) != (version >= 3) || claims.Collateral.Source != "evidence" ||
						!claims.Collateral.Current || claims.Collateral.RevocationChecked {
						t.Errorf("%s version %d %v: claims %+v %+v", p, version, key, claims, claims.SNP)
					}
				}
			}
		}
	}
}

// TestRefusals changes one thing each in evidence that is good otherwise.
func TestRefusals(t *testing.T) {
	other := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	without := func(arc ...int) func([]pkix.Extension) []pkix.Extension {
		id := append(slices.Clone(amdArc), arc...)
		return func(exts []pkix.Extension) []pkix.Extension {
			return slices.DeleteFunc(exts, func(e pkix.Extension) bool { return e.Id.Equal(id) })
		}
	}
	with := func(value []byte, arc ...int) func([]pkix.Extension) []pkix.Extension {
		id := append(slices.Clone(amdArc), arc...)
		return func(exts []pkix.Extension) []pkix.Extension {
			return append(without(arc...)(exts), pkix.Extension{Id: id, Value: value})
		}
	}
	genoa, milan := authorities()[Genoa], authorities()[Milan]
	impostor := genoa.authority(genoa.intermediateName(VCEK), 2, nil, genoa.arkKey, genoa.arkKey)
	tests := []struct {
		name     string
		key      SigningKey
		unsigned func(*Report) // before the signature
		signed   func(*Report) // after it
		leaf     leafOptions
		want     attest.Code
	}{
		{name: "no key", unsigned: func(r *Report) { r.KeyInfo = uint32(None) << keySigningShift }, want: attest.CodeSignature},
		{name: "reserved key", unsigned: func(r *Report) { r.KeyInfo = 2 << keySigningShift }, want: attest.CodeMalformed},
		{name: "algorithm", unsigned: func(r *Report) { r.SignatureAlgo = 2 }, want: attest.CodeAlgorithm},
		{name: "algorithm zero", unsigned: func(r *Report) { r.SignatureAlgo = 0 }, want: attest.CodeAlgorithm},
		{name: "binding", unsigned: func(r *Report) { r.ReportData[0]++ }, want: attest.CodeBinding},
		{name: "binding and more", unsigned: func(r *Report) { r.ReportData[63] = 1 }, want: attest.CodeBinding},
		{name: "hypervisor's report", unsigned: func(r *Report) { r.VMPL = 0xffffffff }, want: attest.CodeMalformed},
		{name: "policy bit 17", unsigned: func(r *Report) { r.Policy &^= policyOne }, want: attest.CodeMalformed},
		{name: "policy bit 26", unsigned: func(r *Report) { r.Policy |= 1 << 26 }, want: attest.CodeMalformed},
		{name: "platform bit 63", unsigned: func(r *Report) { r.PlatformInfo |= 1 << 63 }, want: attest.CodeMalformed},
		{name: "version 1", unsigned: func(r *Report) { r.Version = 1 }, want: attest.CodeVersionUnsupported},
		{name: "version 6", unsigned: func(r *Report) { r.Version = 6 }, want: attest.CodeVersionUnsupported},
		{name: "version after signing", signed: func(r *Report) { r.Version = 4 }, want: attest.CodeSignature},
		{name: "debug cleared", unsigned: func(r *Report) { r.Policy |= PolicyDebug }, signed: func(r *Report) { r.Policy &^= PolicyDebug }, want: attest.CodeSignature},
		{name: "r zero", signed: func(r *Report) { r.R = [scalarSize]byte{} }, want: attest.CodeSignature},
		{name: "s zero", signed: func(r *Report) { r.S = [scalarSize]byte{} }, want: attest.CodeSignature},
		{name: "r and s zero", signed: func(r *Report) { r.R, r.S = [scalarSize]byte{}, [scalarSize]byte{} }, want: attest.CodeSignature},
		{name: "r over 48 bytes", signed: func(r *Report) { r.R[48] = 1 }, want: attest.CodeSignature},
		{name: "s last byte", signed: func(r *Report) { r.S[71] = 1 }, want: attest.CodeSignature},
		{name: "s plus order", signed: func(r *Report) {
			for i := range p384ScalarSize {
				r.S[i] = 0xff
			}
		}, want: attest.CodeSignature},
		{name: "processor", unsigned: func(r *Report) { r.CPU = CPUID{0x19, 1, 1} }, want: attest.CodeCertMismatch},
		{name: "unknown processor", unsigned: func(r *Report) { r.CPU = CPUID{0x17, 1, 1} }, want: attest.CodeVersionUnsupported},
		{name: "no processor", unsigned: func(r *Report) { r.CPU = CPUID{} }, want: attest.CodeVersionUnsupported},
		{name: "reserved in TCB", unsigned: func(r *Report) { r.LaunchTCB[3] = 1 }, want: attest.CodeMalformed},

		{name: "chip", leaf: leafOptions{endorsement: func(e *Endorsement) { e.HWID = slices.Repeat([]byte{9}, 64) }}, want: attest.CodeCertMismatch},
		{name: "chip in part", leaf: leafOptions{endorsement: func(e *Endorsement) { e.HWID = e.HWID[:8] }}, want: attest.CodeCertMismatch},
		{name: "TCB", leaf: leafOptions{endorsement: func(e *Endorsement) { e.TCB.SNP++ }}, want: attest.CodeCertMismatch},
		{name: "FMC where there is none", leaf: leafOptions{endorsement: func(e *Endorsement) { e.HasFMC = true }}, want: attest.CodeCertMismatch},
		{name: "product", leaf: leafOptions{endorsement: func(e *Endorsement) { e.Product = "Milan-B1" }}, want: attest.CodeCertMismatch},
		{name: "product prefix", leaf: leafOptions{endorsement: func(e *Endorsement) { e.Product = "Genoa2" }}, want: attest.CodeCertMismatch},
		{name: "reserved TCB part", leaf: leafOptions{extensions: with([]byte{2, 1, 1}, 3, 4)}, want: attest.CodeCertMalformed},
		{name: "no TCB", leaf: leafOptions{extensions: without(3, 8)}, want: attest.CodeCertMalformed},
		{name: "no product", leaf: leafOptions{extensions: without(2)}, want: attest.CodeCertMalformed},
		{name: "no chip", leaf: leafOptions{extensions: without(4)}, want: attest.CodeCertMalformed},
		{name: "short chip", leaf: leafOptions{extensions: with(make([]byte, 63), 4)}, want: attest.CodeCertMalformed},
		{name: "TCB over a byte", leaf: leafOptions{extensions: with([]byte{2, 2, 1, 0}, 3, 8)}, want: attest.CodeCertMalformed},
		{name: "TCB negative", leaf: leafOptions{extensions: with([]byte{2, 1, 0x80}, 3, 8)}, want: attest.CodeCertMalformed},
		{name: "TCB trailing", leaf: leafOptions{extensions: with([]byte{2, 1, 4, 0}, 3, 8)}, want: attest.CodeCertMalformed},
		{name: "VCEK of a cloud", leaf: leafOptions{extensions: with(must(asn1.MarshalWithParams("x", "ia5")), 5)}, want: attest.CodeCertMalformed},
		{name: "common name", leaf: leafOptions{name: "VCEK"}, want: attest.CodeCertMalformed},
		{name: "VLEK's name", leaf: leafOptions{name: commonNameVLEK}, want: attest.CodeCertMalformed},
		{name: "P-256", leaf: leafOptions{key: &p256.PublicKey}, want: attest.CodeCertMalformed},
		{name: "authority", leaf: leafOptions{template: func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }}, want: attest.CodeCertMalformed},
		{name: "critical extension", leaf: leafOptions{extensions: func(e []pkix.Extension) []pkix.Extension {
			return append(e, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}}, want: attest.CodeCertMalformed},
		{name: "PKCS #1 signature", leaf: leafOptions{template: func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA384WithRSA }}, want: attest.CodeCertUntrusted},
		{name: "SHA-256", leaf: leafOptions{template: func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA256WithRSAPSS }}, want: attest.CodeCertUntrusted},
		{name: "other key", leaf: leafOptions{key: &other.PublicKey}, want: attest.CodeSignature},
		{name: "other signer", leaf: leafOptions{issuer: impostor, signer: genoa.arkKey}, want: attest.CodeCertUntrusted},
		{name: "issued by the root", leaf: leafOptions{signer: genoa.arkKey, issuer: genoa.ark}, want: attest.CodeCertUntrusted},
		{name: "other root", leaf: leafOptions{issuer: milan.ask, signer: milan.askKey}, want: attest.CodeCertMismatch},
		{name: "VCEK by the VLEK's authority", leaf: leafOptions{issuer: genoa.asvk, signer: genoa.asvkKey}, want: attest.CodeCertUntrusted},
		{name: "VLEK by the VCEK's authority", key: VLEK, leaf: leafOptions{issuer: genoa.ask, signer: genoa.askKey}, want: attest.CodeCertUntrusted},
		{name: "VLEK of a chip", key: VLEK, leaf: leafOptions{extensions: with(make([]byte, 64), 4)}, want: attest.CodeCertMalformed},
		{name: "VLEK of nobody", key: VLEK, leaf: leafOptions{extensions: without(5)}, want: attest.CodeCertMalformed},
		{name: "VLEK with a stepping", key: VLEK, leaf: leafOptions{endorsement: func(e *Endorsement) { e.Product = "Genoa-B1" }}, want: attest.CodeCertMismatch},
		{name: "not yet", leaf: leafOptions{template: func(c *x509.Certificate) { c.NotBefore = appraisal.Add(time.Hour) }}, want: attest.CodeCertExpired},
		{name: "no longer", leaf: leafOptions{template: func(c *x509.Certificate) { c.NotAfter = appraisal.Add(-time.Hour) }}, want: attest.CodeCertExpired},
	}
	v := testVerifier(t, Config{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := report(Genoa, 3, test.key)
			leaf := genoa.leaf(t, r, test.leaf)
			if test.unsigned != nil {
				test.unsigned(r)
			}
			genoa.sign(t, r)
			if test.signed != nil {
				test.signed(r)
			}
			for range 2 { // the cache must not change the answer
				claims, err := verify(t, v, extended(r, leaf))
				wantCode(t, err, test.want)
				if claims != nil {
					t.Error("claims came with it")
				}
			}
		})
	}
}

// TestSwappedKeys: a VLEK's certificate under the VCEK's GUID, and the other way round.
func TestSwappedKeys(t *testing.T) {
	a, v := authorities()[Genoa], testVerifier(t, Config{})
	vcek, vlek := a.sign(t, report(Genoa, 3, VCEK)), a.sign(t, report(Genoa, 3, VLEK))
	certs := Certificates{VCEK: a.leaf(t, vlek, leafOptions{})}
	_, err := verify(t, v, append(vcek.Marshal(), certs.Table()...))
	wantCode(t, err, attest.CodeCertMismatch)
	certs = Certificates{VLEK: a.leaf(t, vcek, leafOptions{})}
	_, err = verify(t, v, append(vlek.Marshal(), certs.Table()...))
	wantCode(t, err, attest.CodeCertMismatch)
}

func TestHiddenChip(t *testing.T) {
	a := authorities()[Genoa]
	r := report(Genoa, 3, VCEK)
	leaf := a.leaf(t, r, leafOptions{})
	r.ChipID = [ChipIDSize]byte{}
	a.sign(t, r)
	v := testVerifier(t, Config{})
	claims, err := verify(t, v, extended(r, leaf))
	if err != nil {
		t.Fatal(err)
	}
	if claims.SNP.ChipID != "" {
		t.Error("a hidden chip is claimed")
	}
	_, err = verify(t, v, r.Marshal())
	wantCode(t, err, attest.CodeCertMissing)
}

func TestLocalCertificate(t *testing.T) {
	for _, p := range Products() {
		for _, version := range []uint32{2, 3} {
			a := authorities()[p]
			r := a.sign(t, report(p, version, VCEK))
			names := must(CertificateNames(r))
			dir := fstest.MapFS{}
			v := testVerifier(t, Config{Certificates: dir})
			_, err := verify(t, v, r.Marshal())
			var unavailable *attest.Unavailable
			if !errors.As(err, &unavailable) {
				t.Fatalf("without the certificate: %v", err)
			}
			name := names[0]
			if version < 3 {
				name = names[slices.Index(Products(), p)]
			}
			dir[name] = &fstest.MapFile{Data: a.leaf(t, r, leafOptions{})}
			claims, err := verify(t, v, r.Marshal())
			if err != nil || claims.Collateral.Source != "local" {
				t.Fatalf("%s version %d: %v, %v", p, version, claims, err)
			}
			dir[name] = &fstest.MapFile{Data: make([]byte, maxCertificate+1)}
			if _, err = verify(t, v, r.Marshal()); !errors.As(err, &unavailable) {
				t.Errorf("with a file that is no certificate: %v", err)
			}
		}
	}
	r := authorities()[Milan].sign(t, report(Milan, 3, VLEK))
	if name := must(CertificateNames(r))[0]; name != "Milan/vlek-04010000000016d5.der" {
		t.Errorf("a VLEK is looked for at %s", name)
	}
}

// TestPresentedIntermediate: a newer intermediate that the root signed will do, one that it did not sign will not, and a good
// chain with a bad intermediate beside it is judged by the built-in one.
func TestPresentedIntermediate(t *testing.T) {
	a := authorities()[Genoa]
	r := a.sign(t, report(Genoa, 3, VCEK))
	newer := a.authority(a.intermediateName(VCEK), 9, a.ark, a.asvkKey, a.arkKey)
	impostor := a.authority(a.ark.Subject.CommonName, 1, nil, a.askKey, a.askKey)
	forged := a.authority(a.intermediateName(VCEK), 9, impostor, a.asvkKey, a.askKey)
	renamed := a.authority("SEV-Other", 9, a.ark, a.asvkKey, a.arkKey)
	byNewer := a.leaf(t, r, leafOptions{issuer: newer, signer: a.asvkKey})
	for name, test := range map[string]struct {
		leaf, intermediate []byte
		want               attest.Code
	}{
		"newer":                {byNewer, newer.Raw, ""},
		"none":                 {byNewer, nil, attest.CodeCertUntrusted},
		"forged":               {byNewer, forged.Raw, attest.CodeCertUntrusted},
		"renamed":              {byNewer, renamed.Raw, attest.CodeCertUntrusted},
		"root for it":          {byNewer, a.ark.Raw, attest.CodeCertUntrusted},
		"junk":                 {byNewer, []byte("junk"), attest.CodeCertUntrusted},
		"junk beside built-in": {a.leaf(t, r, leafOptions{}), []byte("junk"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			certs := Certificates{VCEK: test.leaf, ASK: test.intermediate}
			_, err := verify(t, testVerifier(t, Config{}), append(r.Marshal(), certs.Table()...))
			if test.want == "" && err != nil {
				t.Error(err)
			} else if test.want != "" {
				wantCode(t, err, test.want)
			}
		})
	}
}

// revocationList makes a list by a's root that names serials.
func (a *authority) revocationList(next time.Time, serials ...int64) []byte {
	template := &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: appraisal.AddDate(0, -2, 0), NextUpdate: next, SignatureAlgorithm: x509.SHA384WithRSAPSS,
	}
	for _, serial := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: appraisal.AddDate(0, -3, 0)})
	}
	return must(x509.CreateRevocationList(rand.Reader, template, a.ark, a.arkKey))
}

func TestRevocation(t *testing.T) {
	genoa, milan := authorities()[Genoa], authorities()[Milan]
	r := genoa.sign(t, report(Genoa, 3, VCEK))
	numbered := genoa.leaf(t, r, leafOptions{template: func(c *x509.Certificate) { c.SerialNumber = big.NewInt(77) }})
	plain := genoa.leaf(t, r, leafOptions{})
	soon := appraisal.AddDate(0, 1, 0)
	for name, test := range map[string]struct {
		lists            [][]byte
		leaf             []byte
		want             attest.Code
		checked, current bool
	}{
		"none":             {nil, plain, "", false, true},
		"other product's":  {[][]byte{milan.revocationList(soon, 2)}, plain, "", false, true},
		"not on it":        {[][]byte{genoa.revocationList(soon, 5)}, plain, "", true, true},
		"stale":            {[][]byte{genoa.revocationList(appraisal.Add(-time.Hour), 5)}, plain, "", true, false},
		"one of two stale": {[][]byte{genoa.revocationList(soon), genoa.revocationList(appraisal.Add(-time.Hour))}, plain, "", true, false},
		"intermediate":     {[][]byte{genoa.revocationList(soon, 2)}, plain, attest.CodeCertRevoked, false, false},
		"by a stale list":  {[][]byte{genoa.revocationList(appraisal.Add(-time.Hour), 2)}, plain, attest.CodeCertRevoked, false, false},
		"root":             {[][]byte{genoa.revocationList(soon, 1)}, plain, attest.CodeCertRevoked, false, false},
		"leaf":             {[][]byte{genoa.revocationList(soon, 77)}, numbered, attest.CodeCertRevoked, false, false},
		"zero is nobody":   {[][]byte{genoa.revocationList(soon, 0)}, plain, "", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			v := testVerifier(t, Config{RevocationLists: test.lists})
			for range 2 {
				claims, err := verify(t, v, extended(r, test.leaf))
				if test.want != "" {
					wantCode(t, err, test.want)
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if c := claims.Collateral; c.RevocationChecked != test.checked || c.Current != test.current {
					t.Errorf("collateral %+v", c)
				}
			}
		})
	}
}

// partialList makes a list that says, critically, that it is of one kind of certificates only (RFC 5280, section 5.2.5).
func (a *authority) partialList() []byte {
	template := &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: appraisal, NextUpdate: appraisal.AddDate(0, 1, 0), SignatureAlgorithm: x509.SHA384WithRSAPSS,
		ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 3, 0x85, 1, 0xff}}},
	}
	return must(x509.CreateRevocationList(rand.Reader, template, a.ark, a.arkKey))
}

func TestNewRefuses(t *testing.T) {
	stranger := *authorities()[Genoa]
	forged := stranger
	forged.arkKey = stranger.askKey
	forged.ark = stranger.authority("ARK-Genoa", 1, nil, stranger.askKey, stranger.askKey)
	stranger.ark = stranger.authority("ARK-Stranger", 1, nil, stranger.askKey, stranger.askKey)
	stranger.arkKey = stranger.askKey
	for name, cfg := range map[string]Config{
		"list of a part":       {RevocationLists: [][]byte{authorities()[Genoa].partialList()}},
		"list of a stranger":   {RevocationLists: [][]byte{stranger.revocationList(appraisal)}},
		"forged list":          {RevocationLists: [][]byte{forged.revocationList(appraisal)}},
		"list and more":        {RevocationLists: [][]byte{append(authorities()[Genoa].revocationList(appraisal), 0)}},
		"junk list":            {RevocationLists: [][]byte{[]byte("junk")}},
		"unknown product":      {MinimumTCB: map[Product]TCB{"Naples": {}}},
		"FMC of an old one":    {MinimumTCB: map[Product]TCB{Genoa: {FMC: 1}}},
		"negative cache":       {CacheSize: -1},
		"cache without bounds": {CacheSize: maxCacheSize + 1},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := newVerifier(cfg, []anchor{authorities()[Genoa].anchor}); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestTCBStatus(t *testing.T) {
	a := authorities()[Genoa]
	r := a.sign(t, report(Genoa, 3, VCEK))
	evidence := extended(r, a.leaf(t, r, leafOptions{}))
	for _, test := range []struct {
		minimum map[Product]TCB
		want    string
	}{
		{nil, "not-published"},
		{map[Product]TCB{Milan: {}}, "not-published"},
		{map[Product]TCB{Genoa: {}}, "up-to-date"},
		{map[Product]TCB{Genoa: {Bootloader: 4, TEE: 1, SNP: 22, Microcode: 213}}, "up-to-date"},
		{map[Product]TCB{Genoa: {Microcode: 214}}, "out-of-date"},
		{map[Product]TCB{Genoa: {TEE: 2}}, "out-of-date"},
	} {
		claims, err := verify(t, testVerifier(t, Config{MinimumTCB: test.minimum}), evidence)
		if err != nil || claims.TCBStatus != test.want {
			t.Errorf("minimum %v: %v, %v, want %s", test.minimum, claims, err, test.want)
		}
	}
}

// TestTCBStatusOfTheWhole: firmware that was bad when the guest was launched may have changed it, and what is not committed can be
// rolled back under it; a key of a good TCB says nothing of either.
func TestTCBStatusOfTheWhole(t *testing.T) {
	for _, p := range Products() {
		a := authorities()[p]
		least := must(report(p, 3, VCEK).ReportedTCB.Decode(p))
		older := least
		older.SNP--
		v := testVerifier(t, Config{MinimumTCB: map[Product]TCB{p: least}})
		for name, test := range map[string]struct {
			change func(*Report)
			want   string
		}{
			"all at the minimum": {func(*Report) {}, "up-to-date"},
			"launched before":    {func(r *Report) { r.LaunchTCB = older.Encode(p) }, "out-of-date"},
			"not committed":      {func(r *Report) { r.CommittedTCB = older.Encode(p) }, "out-of-date"},
			"reported":           {func(r *Report) { r.ReportedTCB = older.Encode(p) }, "out-of-date"},
		} {
			r := report(p, 3, VCEK)
			test.change(r)
			a.sign(t, r)
			claims, err := verify(t, v, extended(r, a.leaf(t, r, leafOptions{})))
			if err != nil || claims.TCBStatus != test.want {
				t.Errorf("%s, %s: %+v, %v, want %s", p, name, claims, err, test.want)
			}
		}
	}
}

func TestInitData(t *testing.T) {
	a, v := authorities()[Genoa], testVerifier(t, Config{})
	digest := slices.Repeat([]byte{7}, 64)
	document := func(algorithm string, n int) *attest.InitData {
		return &attest.InitData{Algorithm: algorithm, Digest: digest[:n], Data: map[string]string{"aa.toml": "x"}}
	}
	for name, test := range map[string]struct {
		host  []byte
		init  *attest.InitData
		bound bool
	}{
		"sha256":            {digest[:32], document("sha256", 32), true},
		"sha384, cut off":   {digest[:32], document("sha384", 48), true},
		"sha512, cut off":   {digest[:32], document("sha512", 64), true},
		"other":             {digest[:31], document("sha256", 32), false},
		"guest without":     {nil, document("sha256", 32), false},
		"empty digest":      {nil, document("sha256", 0), false},
		"short digest":      {digest[:8], document("sha256", 8), false},
		"unknown algorithm": {digest[:32], document("md5", 32), false},
		"no algorithm":      {nil, document("", 0), false},
	} {
		t.Run(name, func(t *testing.T) {
			r := report(Genoa, 3, VCEK)
			copy(r.HostData[:], test.host)
			evidence := extended(a.sign(t, r), a.leaf(t, r, leafOptions{}))
			claims, err := v.Verify(t.Context(), attest.Input{
				Evidence: evidence, Binding: attest.BoundTo(binding), Init: test.init, Time: appraisal,
			})
			if err != nil {
				t.Fatal(err)
			}
			if *claims.InitDataBound != test.bound || (claims.InitDataClaims != nil) != test.bound {
				t.Errorf("bound %v, claims %v", *claims.InitDataBound, claims.InitDataClaims)
			}
		})
	}
}

func TestMigrationAgentAndDebug(t *testing.T) {
	a, v := authorities()[Genoa], testVerifier(t, Config{})
	for name, test := range map[string]struct {
		change       func(*Report)
		debug, agent bool
	}{
		"debug":         {func(r *Report) { r.Policy |= PolicyDebug }, true, false},
		"agent allowed": {func(r *Report) { r.Policy |= PolicyMigrationAgent }, false, true},
		"agent there":   {func(r *Report) { r.ReportIDMA[0] = 1 }, false, true},
		"agent zero":    {func(r *Report) { r.ReportIDMA = [32]byte{} }, false, true},
	} {
		r := report(Genoa, 3, VCEK)
		test.change(r)
		claims, err := verify(t, v, extended(a.sign(t, r), a.leaf(t, r, leafOptions{})))
		if err != nil || *claims.Debug != test.debug || *claims.MigrationAgent != test.agent {
			t.Errorf("%s: %+v, %v", name, claims, err)
		}
	}
}

// TestCacheJunk: what is presented beside a chain that needs nothing presented makes no place of its own in the cache, or whoever has one
// genuine certificate, which is no secret, could drive all others out.
func TestCacheJunk(t *testing.T) {
	a, v := authorities()[Genoa], testVerifier(t, Config{})
	r := a.sign(t, report(Genoa, 3, VCEK))
	leaf := a.leaf(t, r, leafOptions{})
	for i := range 20 {
		certs := Certificates{VCEK: leaf, ASK: []byte{byte(i), 1}}
		if _, err := verify(t, v, append(r.Marshal(), certs.Table()...)); err != nil {
			t.Fatal(err)
		}
	}
	if n := v.chains.Len(); n != 1 {
		t.Errorf("one chain takes %d places", n)
	}
	// One that needs the presented intermediate is good with that one only.
	newer := a.authority(a.intermediateName(VCEK), 9, a.ark, a.asvkKey, a.arkKey)
	byNewer := a.leaf(t, r, leafOptions{issuer: newer, signer: a.asvkKey})
	for range 2 {
		if _, err := verify(t, v, append(r.Marshal(), Certificates{VCEK: byNewer, ASK: newer.Raw}.Table()...)); err != nil {
			t.Fatal(err)
		}
		_, err := verify(t, v, append(r.Marshal(), Certificates{VCEK: byNewer}.Table()...))
		wantCode(t, err, attest.CodeCertUntrusted)
	}
}

// TestCacheTime: what was verified at one time is judged again at another.
func TestCacheTime(t *testing.T) {
	a, v := authorities()[Genoa], testVerifier(t, Config{CacheSize: 2})
	r := a.sign(t, report(Genoa, 3, VCEK))
	evidence := extended(r, a.leaf(t, r, leafOptions{}))
	at := func(when time.Time) error {
		_, err := v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.BoundTo(binding), Time: when})
		return err
	}
	for range 2 {
		if err := at(appraisal); err != nil {
			t.Fatal(err)
		}
		wantCode(t, at(appraisal.AddDate(8, 0, 0)), attest.CodeCertExpired)
		wantCode(t, at(appraisal.AddDate(-1, 0, 0)), attest.CodeCertExpired)
		wantCode(t, at(time.Time{}), attest.CodeCertExpired)
	}
	for i := range 10 {
		r := report(Genoa, 3, VCEK)
		r.ChipID[0] = byte(100 + i)
		if _, err := verify(t, v, extended(a.sign(t, r), a.leaf(t, r, leafOptions{}))); err != nil {
			t.Fatal(err)
		}
	}
	if n := v.chains.Len(); n > 2 {
		t.Errorf("the cache of 2 holds %d", n)
	}
}

func TestUnbound(t *testing.T) {
	a, v := authorities()[Genoa], testVerifier(t, Config{})
	r := a.sign(t, report(Genoa, 3, VCEK))
	in := attest.Input{Evidence: extended(r, a.leaf(t, r, leafOptions{})), Time: appraisal}
	_, err := v.Verify(t.Context(), in)
	wantCode(t, err, attest.CodeBinding)
	in.Binding = attest.Unbound()
	claims, err := v.Verify(t.Context(), in)
	if err != nil || *claims.Bound {
		t.Errorf("unbound: %+v, %v", claims, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var unavailable *attest.Unavailable
	if _, err := v.Verify(ctx, in); !errors.As(err, &unavailable) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestConcurrent shares a verifier, with fewer places in its cache than chains, between goroutines; run it with -race.
func TestConcurrent(t *testing.T) {
	a, v := authorities()[Genoa], testVerifier(t, Config{CacheSize: 2})
	var evidence [][]byte
	for i := range 4 {
		r := report(Genoa, 3, VCEK)
		r.ChipID[0] = byte(i)
		evidence = append(evidence, extended(a.sign(t, r), a.leaf(t, r, leafOptions{})))
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 20 {
				if _, err := verify(t, v, evidence[i%len(evidence)]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}
