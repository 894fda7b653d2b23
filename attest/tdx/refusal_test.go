package tdx

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
)

// TestRefusals changes one thing each in a quote that is good otherwise.
func TestRefusals(t *testing.T) {
	w, s := dcaptest.Shared(), goodSetup(t)
	other := dcaptest.New()
	otherMachine := other.Machine(dcaptest.DefaultPCK(), nil)
	processor := dcaptest.DefaultPCK()
	processor.Instance = nil
	byProcessor := w.Machine(processor, nil)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	at := func(offset int, value byte) func(*dcaptest.Quote) {
		return func(q *dcaptest.Quote) { q.Body[offset] = value }
	}
	for name, test := range map[string]struct {
		unsigned func(*dcaptest.Quote)
		signed   func([]byte) []byte
		want     attest.Code
	}{
		"version 2":             {unsigned: func(q *dcaptest.Quote) { q.Header[0] = 2 }, want: attest.CodeVersionUnsupported},
		"version 3 of a TD":     {unsigned: func(q *dcaptest.Quote) { q.Header[0] = 3 }, want: attest.CodeVersionUnsupported},
		"version 6":             {unsigned: func(q *dcaptest.Quote) { q.Header[0] = 6 }, want: attest.CodeVersionUnsupported},
		"TEE type":              {unsigned: func(q *dcaptest.Quote) { q.Header[4] = 0x82 }, want: attest.CodeVersionUnsupported},
		"TEE type, high byte":   {unsigned: func(q *dcaptest.Quote) { q.Header[7] = 1 }, want: attest.CodeVersionUnsupported},
		"key type P-384":        {unsigned: func(q *dcaptest.Quote) { q.Header[2] = 3 }, want: attest.CodeAlgorithm},
		"key type 0":            {unsigned: func(q *dcaptest.Quote) { q.Header[2] = 0 }, want: attest.CodeAlgorithm},
		"vendor":                {unsigned: func(q *dcaptest.Quote) { q.Header[12]++ }, want: attest.CodeMalformed},
		"binding":               {unsigned: at(dcaptest.TDReportData, 1), want: attest.CodeBinding},
		"binding and more":      {unsigned: at(dcaptest.TDReportData+63, 1), want: attest.CodeBinding},
		"certification by PPID": {unsigned: func(q *dcaptest.Quote) { q.CertType = 3 }, want: attest.CodeCertMissing},
		"certification type 7":  {unsigned: func(q *dcaptest.Quote) { q.CertType = 7 }, want: attest.CodeCertMissing},
		"no chain":              {unsigned: func(q *dcaptest.Quote) { q.Chain = nil }, want: attest.CodeCertMissing},
		"a chain of zeros":      {unsigned: func(q *dcaptest.Quote) { q.Chain = make([]byte, 9) }, want: attest.CodeCertMissing},
		"a leaf alone":          {unsigned: func(q *dcaptest.Quote) { q.Chain = dcaptest.PEM(s.machine.PCK) }, want: attest.CodeCertMissing},
		"the leaf and a root":   {unsigned: func(q *dcaptest.Quote) { q.Chain = dcaptest.PEM(s.machine.PCK, w.Root) }, want: attest.CodeCertUntrusted},
		"an issuer of nought": {unsigned: func(q *dcaptest.Quote) {
			q.Chain = append(dcaptest.PEM(s.machine.PCK), strings.Replace(string(dcaptest.PEM(w.Platform)), "MII", "AII", 1)...)
		}, want: attest.CodeCertMalformed},
		"a root that is text": {unsigned: func(q *dcaptest.Quote) {
			q.Chain = append(dcaptest.PEM(s.machine.PCK, w.Platform), "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----"...)
		}, want: attest.CodeCertMalformed},
		"the chain backwards": {unsigned: func(q *dcaptest.Quote) { q.Chain = dcaptest.PEM(w.Root, w.Platform, s.machine.PCK) }, want: attest.CodeCertUntrusted},
		"five certificates": {unsigned: func(q *dcaptest.Quote) {
			q.Chain = dcaptest.PEM(s.machine.PCK, w.Platform, w.Root, w.Root, w.Root)
		}, want: attest.CodeTooLarge},
		"text before":           {unsigned: func(q *dcaptest.Quote) { q.Chain = append([]byte("hello\n"), q.Chain...) }, want: attest.CodeCertMalformed},
		"text after":            {unsigned: func(q *dcaptest.Quote) { q.Chain = append(bytes.TrimRight(q.Chain, "\x00"), "hello\n"...) }, want: attest.CodeCertMalformed},
		"a chain that is DER":   {unsigned: func(q *dcaptest.Quote) { q.Chain = s.machine.PCK.Raw }, want: attest.CodeCertMalformed},
		"a leaf that is nought": {unsigned: func(q *dcaptest.Quote) { q.Chain = bytes.Replace(q.Chain, []byte("MII"), []byte("AII"), 1) }, want: attest.CodeCertMalformed},

		"another world's chain": {unsigned: func(q *dcaptest.Quote) {
			q.Chain, q.PCK = dcaptest.PEM(otherMachine.PCK, other.Platform, other.Root), otherMachine.PCK.Key
		}, want: attest.CodeCertUntrusted},
		"another world's leaf": {unsigned: func(q *dcaptest.Quote) {
			q.Chain, q.PCK = dcaptest.PEM(otherMachine.PCK, w.Platform, w.Root), otherMachine.PCK.Key
		}, want: attest.CodeCertUntrusted},
		"the wrong authority": {unsigned: func(q *dcaptest.Quote) {
			q.Chain = dcaptest.PEM(byProcessor.PCK, w.Platform, w.Root)
		}, want: attest.CodeCertUntrusted},
		"the root for the authority": {unsigned: func(q *dcaptest.Quote) {
			leaf := w.Leaf(w.Root, "Intel SGX PCK Certificate", 5, nil)
			q.Chain, q.PCK = dcaptest.PEM(leaf, w.Root), leaf.Key
		}, want: attest.CodeCertUntrusted},
		"the signer of collateral": {unsigned: func(q *dcaptest.Quote) {
			q.Chain, q.PCK = dcaptest.PEM(w.Signer, w.Root), w.Signer.Key
		}, want: attest.CodeCertUntrusted},
		"an authority that is not one": {unsigned: func(q *dcaptest.Quote) {
			no := w.Leaf(w.Root, "Intel SGX PCK Platform CA", 5, nil)
			leaf := w.Leaf(no, "Intel SGX PCK Certificate", 6, nil)
			q.Chain, q.PCK = dcaptest.PEM(leaf, no, w.Root), leaf.Key
		}, want: attest.CodeCertUntrusted},
		"a PCK that issues PCKs": {unsigned: func(q *dcaptest.Quote) {
			leaf := w.Leaf(s.machine.PCK, "Intel SGX PCK Certificate", 6, nil)
			q.Chain, q.PCK = dcaptest.PEM(leaf, s.machine.PCK, w.Platform, w.Root), leaf.Key
		}, want: attest.CodeCertUntrusted},

		"signature":              {signed: flip(dcaptest.HeaderSize + 584 + 4), want: attest.CodeSignature},
		"signature all zero":     {signed: zero(dcaptest.HeaderSize+584+4, 64), want: attest.CodeSignature},
		"debug cleared":          {unsigned: at(dcaptest.TDAttributes, 1), signed: flip(dcaptest.HeaderSize + dcaptest.TDAttributes), want: attest.CodeSignature},
		"QE's signature":         {unsigned: func(q *dcaptest.Quote) { q.PCK = key }, want: attest.CodeSignature},
		"QE covers nothing":      {unsigned: func(q *dcaptest.Quote) { q.KeepReport = true }, want: attest.CodeKeyNotReported},
		"QE covers more":         {unsigned: func(q *dcaptest.Quote) { cover(q, 40) }, want: attest.CodeKeyNotReported},
		"key off the curve":      {unsigned: func(q *dcaptest.Quote) { q.RawKey = slices.Repeat([]byte{1}, 64) }, want: attest.CodeMalformed},
		"key of zeros":           {unsigned: func(q *dcaptest.Quote) { q.RawKey = make([]byte, 64) }, want: attest.CodeMalformed},
		"QE's signer":            {unsigned: func(q *dcaptest.Quote) { q.QE[dcaptest.EnclaveMRSigner]++ }, want: attest.CodeIdentity},
		"QE's product: SGX's QE": {unsigned: func(q *dcaptest.Quote) { q.QE[dcaptest.EnclaveProductID] = 1 }, want: attest.CodeIdentity},
		"QE in debug mode":       {unsigned: func(q *dcaptest.Quote) { q.QE[dcaptest.EnclaveFlags] |= 2 }, want: attest.CodeIdentity},
		"QE without provisioning": {unsigned: func(q *dcaptest.Quote) {
			q.QE[dcaptest.EnclaveFlags] &^= 0x10
		}, want: attest.CodeIdentity},
		"QE's MISCSELECT":       {unsigned: func(q *dcaptest.Quote) { q.QE[dcaptest.EnclaveMiscSelect] = 1 }, want: attest.CodeIdentity},
		"QE's reserved bytes":   {unsigned: func(q *dcaptest.Quote) { q.QE[20] = 1 }, want: attest.CodeMalformed},
		"module's signer":       {unsigned: at(dcaptest.TDMRSignerSEAM+47, 1), want: attest.CodeIdentity},
		"module's attributes":   {unsigned: at(dcaptest.TDSEAMAttributes+7, 0x80), want: attest.CodeIdentity},
		"module 3's signer":     {unsigned: func(q *dcaptest.Quote) { q.Body[1], q.Body[dcaptest.TDMRSignerSEAM] = 3, 1 }, want: attest.CodeIdentity},
		"bytes after it":        {signed: func(b []byte) []byte { return append(b, 1) }, want: attest.CodeMalformed},
		"bytes after the zeros": {signed: func(b []byte) []byte { return append(b, 0, 0, 0, 1) }, want: attest.CodeMalformed},
		"too large":             {signed: func(b []byte) []byte { return append(b, make([]byte, dcap.MaxQuote)...) }, want: attest.CodeTooLarge},
		"nothing":               {signed: func([]byte) []byte { return nil }, want: attest.CodeMalformed},
		"an event log":          {signed: func(b []byte) []byte { return kbs(b, `"AAAA"`) }, want: attest.CodeMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			q := s.quote(4, dcaptest.BodyTD10)
			if test.unsigned != nil {
				test.unsigned(q)
			}
			evidence := q.Bytes()
			if test.signed != nil {
				evidence = test.signed(evidence)
			}
			for range 2 {
				_, err := s.verify(t, evidence)
				dcaptest.WantCode(t, err, test.want)
			}
		})
	}
	if _, err := s.verify(t, s.quote(4, dcaptest.BodyTD10).Bytes()); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte { b[at] ^= 1; return b }
}

func zero(at, n int) func([]byte) []byte {
	return func(b []byte) []byte { clear(b[at : at+n]); return b }
}

// cover fills in what the quoting enclave covers, and a bit that it does not.
func cover(q *dcaptest.Quote, at int) {
	q.Bytes()
	q.KeepReport = true
	q.QE[dcaptest.EnclaveReportData+at] = 1
}

// TestVersion5 has what only that version has: the body's type and size.
func TestVersion5(t *testing.T) {
	s := goodSetup(t)
	for name, test := range map[string]struct {
		change func([]byte)
		want   attest.Code
	}{
		"type 0":            {func(b []byte) { b[48] = 0 }, attest.CodeVersionUnsupported},
		"type 1, enclave":   {func(b []byte) { b[48] = 1 }, attest.CodeVersionUnsupported},
		"type 2, with 648":  {func(b []byte) { b[48] = 2 }, attest.CodeMalformed},
		"type 4, extended":  {func(b []byte) { b[48] = 4 }, attest.CodeVersionUnsupported},
		"size 0":            {func(b []byte) { binary.LittleEndian.PutUint32(b[50:], 0) }, attest.CodeMalformed},
		"size of TDX 1.0":   {func(b []byte) { binary.LittleEndian.PutUint32(b[50:], 584) }, attest.CodeMalformed},
		"size 4 GiB":        {func(b []byte) { binary.LittleEndian.PutUint32(b[50:], 1<<32-1) }, attest.CodeMalformed},
		"TEE type of SGX":   {func(b []byte) { b[4] = 0 }, attest.CodeVersionUnsupported},
		"read as version 4": {func(b []byte) { b[0] = 4 }, attest.CodeMalformed},
	} {
		evidence := s.quote(5, dcaptest.BodyTD15).Bytes()
		test.change(evidence)
		_, err := s.verify(t, evidence)
		var refusal *attest.Refusal
		if name == "read as version 4" { // fields shift, so which check finds it is not the point
			if err == nil {
				t.Errorf("%s: accepted", name)
			}
			continue
		}
		if dcaptest.WantCode(t, err, test.want); t.Failed() {
			t.Fatalf("%s: %v", name, refusal)
		}
	}
}

// TestCertificates changes the platform's certificate.
func TestCertificates(t *testing.T) {
	w, s := dcaptest.Shared(), goodSetup(t)
	extension := func(edit func(*dcap.PCK)) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			p := dcaptest.DefaultPCK()
			edit(&p)
			c.ExtraExtensions[0].Value = dcaptest.Extension(p)
		}
	}
	value := func(change func([]byte) []byte) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtraExtensions[0].Value = change(c.ExtraExtensions[0].Value) }
	}
	replace := func(old, new []byte) func(*x509.Certificate) {
		return value(func(b []byte) []byte {
			if !bytes.Contains(b, old) {
				t.Fatalf("the extension has no %x", old)
			}
			return bytes.Replace(b, old, new, 1)
		})
	}
	id := func(members ...int) []byte {
		der, err := asn1.Marshal(append(asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}, members...))
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for name, test := range map[string]struct {
		edit func(*x509.Certificate)
		want attest.Code
	}{
		"as it is":          {func(*x509.Certificate) {}, ""},
		"name":              {func(c *x509.Certificate) { c.Subject.CommonName = "Intel SGX PCK" }, attest.CodeCertUntrusted},
		"an authority":      {func(c *x509.Certificate) { c.IsCA = true }, attest.CodeCertMalformed},
		"not for signing":   {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }, attest.CodeCertMalformed},
		"no extension":      {func(c *x509.Certificate) { c.ExtraExtensions = nil }, attest.CodeCertMalformed},
		"not valid yet":     {func(c *x509.Certificate) { c.NotBefore = dcaptest.Now.Add(time.Second) }, attest.CodeCertExpired},
		"no longer valid":   {func(c *x509.Certificate) { c.NotAfter = dcaptest.Now.Add(-time.Second) }, attest.CodeCertExpired},
		"SHA-384":           {func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA384 }, attest.CodeCertUntrusted},
		"critical":          {func(c *x509.Certificate) { c.ExtraExtensions[0].Critical = true }, attest.CodeCertUntrusted},
		"empty extension":   {value(func([]byte) []byte { return nil }), attest.CodeCertMalformed},
		"no sequence":       {value(func([]byte) []byte { return []byte{5, 0} }), attest.CodeCertMalformed},
		"trailing byte":     {value(func(b []byte) []byte { return append(slices.Clone(b), 0) }), attest.CodeCertMalformed},
		"cut off":           {value(func(b []byte) []byte { return b[:len(b)-1] }), attest.CodeCertMalformed},
		"PPID twice":        {replace(id(3), id(1)), attest.CodeCertMalformed},
		"no FMSPC":          {replace(id(4), id(9)), attest.CodeCertMalformed},
		"no TCB":            {replace(id(2), id(9)), attest.CodeCertMalformed},
		"no type":           {replace(id(5), id(9)), attest.CodeCertMalformed},
		"a component twice": {replace(id(2, 2), id(2, 1)), attest.CodeCertMalformed},
		"no component 16":   {replace(id(2, 16), id(2, 19)), attest.CodeCertMalformed},
		"no CPUSVN":         {replace(id(2, 18), id(2, 19)), attest.CodeCertMalformed},
		"another arc":       {replace([]byte{0xf8, 0x4d, 1, 13, 1, 3}, []byte{0xf8, 0x4d, 1, 13, 2, 3}), attest.CodeCertMalformed},
		"PPID not octets":   {replace([]byte{4, 16, 0xa0}, []byte{12, 16, 0xa0}), attest.CodeCertMalformed},
		"component negative": {replace(append(id(2, 3), 2, 1, 5), append(id(2, 3), 2, 1, 0x85)),
			attest.CodeCertMalformed},
		"component not a number": {replace(append(id(2, 3), 2, 1, 5), append(id(2, 3), 4, 1, 5)), attest.CodeCertMalformed},
		"PCESVN negative":        {replace(append(id(2, 17), 2, 1, 13), append(id(2, 17), 2, 1, 0x80)), attest.CodeCertMalformed},
		"FMSPC of another family": {extension(func(p *dcap.PCK) { p.FMSPC[0]++ }),
			""}, // the service has nothing on it
	} {
		t.Run(name, func(t *testing.T) {
			m := w.Machine(dcaptest.DefaultPCK(), test.edit)
			_, err := s.verify(t, w.Quote(m, 4, dcaptest.BodyTD10).Bytes())
			switch {
			case name == "FMSPC of another family":
				wantUnavailable(t, err)
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "":
				dcaptest.WantCode(t, err, test.want)
			}
		})
	}
}

// TestRevocation: the lists revoke, also when they are late, and also by other authorities' numbers not.
func TestRevocation(t *testing.T) {
	w := dcaptest.Shared()
	good := dcaptest.Now.AddDate(0, 0, 20)
	late := dcaptest.Now.AddDate(0, 0, -2)
	for name, test := range map[string]struct {
		list, root []byte
		want       attest.Code
	}{
		"nobody":                          {w.Platform.List(good), w.Root.List(good), ""},
		"another platform":                {w.Platform.List(good, big.NewInt(1001)), w.Root.List(good), ""},
		"the platform":                    {w.Platform.List(good, big.NewInt(7), big.NewInt(1000)), w.Root.List(good), attest.CodeCertRevoked},
		"the platform, by a late list":    {w.Platform.List(late, big.NewInt(1000)), w.Root.List(good), attest.CodeCertRevoked},
		"the authority":                   {w.Platform.List(good), w.Root.List(good, w.Platform.SerialNumber), attest.CodeCertRevoked},
		"the other authority":             {w.Platform.List(good), w.Root.List(good, w.Processor.SerialNumber), ""},
		"the platform's number, by root":  {w.Platform.List(good), w.Root.List(good, big.NewInt(1000)), ""},
		"the authority's number, by self": {w.Platform.List(good, w.Platform.SerialNumber), w.Root.List(good), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := goodSetup(t)
			s.service.Put("intel/crl/platform", test.list, dcaptest.PEM(w.Platform, w.Root))
			s.service.Put("intel/crl/root", test.root, nil)
			for range 2 {
				_, err := s.verify(t, s.quote(4, dcaptest.BodyTD10).Bytes())
				if test.want != "" {
					dcaptest.WantCode(t, err, test.want)
				} else if err != nil {
					t.Error(err)
				}
			}
		})
	}
	// A platform that was good a moment ago, and is held, is revoked by the next list.
	s := goodSetup(t)
	evidence := s.quote(4, dcaptest.BodyTD10).Bytes()
	if _, err := s.verify(t, evidence); err != nil {
		t.Fatal(err)
	}
	s.service.Put("intel/crl/platform", w.Platform.List(good, big.NewInt(1000)), nil)
	_, err := s.verify(t, evidence)
	dcaptest.WantCode(t, err, attest.CodeCertRevoked)
}
