package tpm

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

func asn1Signature(sig *Signature) []byte {
	der, err := asn1.Marshal([]*big.Int{new(big.Int).SetBytes(sig.r), new(big.Int).SetBytes(sig.s)})
	if err != nil {
		panic(err)
	}
	return der
}

// TestTruncation cuts every structure at every length.
func TestTruncation(t *testing.T) {
	for _, scheme := range []uint16{algECDSA, algRSASSA} {
		k := newKey(t, scheme, proper)
		e := k.evidence(t)
		for name, parse := range map[string]struct {
			data  []byte
			parse func([]byte) error
		}{
			"quote":     {e.Message, func(b []byte) error { _, err := ParseQuote(b); return err }},
			"signature": {e.Signature, func(b []byte) error { _, err := ParseSignature(b); return err }},
			"public":    {k.public, func(b []byte) error { _, err := ParsePublic(b); return err }},
		} {
			if err := parse.parse(parse.data); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for n := range parse.data {
				if parse.parse(parse.data[:n]) == nil {
					t.Errorf("%s cut to %d bytes parses", name, n)
				}
				// Every position as a length field of 0, 1 and the most it can say: no panic, whatever comes out.
				for _, value := range []byte{0, 1, 0xff} {
					damaged := bytes.Clone(parse.data)
					damaged[n] = value
					if n > 0 {
						damaged[n-1] = value
					}
					_ = parse.parse(damaged)
				}
			}
		}
	}
}

// TestParseAnyQuote reads what a quote selects as go-tpm does, in order, whatever it is.
func TestParseAnyQuote(t *testing.T) {
	for name, selections := range map[string][]tpm2.TPMSPCRSelection{
		"none": nil,
		"one":  {{Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{0xff, 0xff, 0xff}}},
		"several of one bank": {
			{Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{1, 0, 0}}, {Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{0, 0, 1}}, {Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{2, 0, 0}},
		},
		"another bank":        {{Hash: tpm2.TPMAlgSHA1, PCRSelect: []byte{0, 0x80, 0}}},
		"as many as are read": slices.Repeat([]tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA384, PCRSelect: []byte{1}}}, 16),
		"too many":            slices.Repeat([]tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA384, PCRSelect: []byte{1}}}, 17),
	} {
		message := tpm2.Marshal(tpm2.TPMSAttest{
			Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestQuote,
			Attested: tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &tpm2.TPMSQuoteInfo{
				PCRSelect: tpm2.TPMLPCRSelection{PCRSelections: selections}, PCRDigest: tpm2.TPM2BDigest{Buffer: make([]byte, 32)},
			}),
		})
		q, err := ParseAnyQuote(message)
		if len(selections) > maxSelections {
			if err == nil {
				t.Errorf("%s: it is read", name)
			}
			continue
		}
		if err != nil || len(q.Selections) != len(selections) || q.Bank != 0 || q.Selected != nil {
			t.Errorf("%s: %+v, %v", name, q, err)
			continue
		}
		for i, want := range selections {
			var pcrs []int
			for pcr := range 8 * len(want.PCRSelect) {
				if want.PCRSelect[pcr/8]>>(pcr%8)&1 == 1 {
					pcrs = append(pcrs, pcr)
				}
			}
			if got := q.Selections[i]; got.Algorithm != uint16(want.Hash) || !slices.Equal(got.PCRs, pcrs) || (got.Bank == 0) != (want.Hash == tpm2.TPMAlgSHA1) {
				t.Errorf("%s: selection %d is %+v", name, i, got)
			}
		}
		if _, err := ParseQuote(message); (err == nil) != (name == "one") {
			t.Errorf("%s: as a quote of one bank: %v", name, err)
		}
	}
}

// checkQuote holds the parsers of a quote against go-tpm's: what is accepted here must mean the same there.
func checkQuote(t *testing.T, data []byte) {
	q, err := ParseQuote(data)
	if err != nil {
		return
	}
	oracle, err := tpm2.Unmarshal[tpm2.TPMSAttest](data)
	if err != nil {
		t.Fatalf("accepted, but go-tpm says: %v", err)
	}
	info, err := oracle.Attested.Quote()
	if err != nil || !bytes.Equal(info.PCRDigest.Buffer, q.PCRDigest) || !bytes.Equal(oracle.ExtraData.Buffer, q.ExtraData) ||
		oracle.ClockInfo.Clock != q.Clock || oracle.FirmwareVersion != q.FirmwareVersion || len(info.PCRSelect.PCRSelections) != 1 {
		t.Fatalf("%+v, go-tpm: %+v, %v", q, oracle, err)
	}
}

func checkPublic(t *testing.T, data []byte) {
	p, err := ParsePublic(data)
	if err != nil {
		return
	}
	if _, err := p.SPKI(); err != nil {
		t.Fatalf("a key that has no SubjectPublicKeyInfo: %v", err)
	}
	_ = p.CheckAttestationKey()
	oracle, err := tpm2.Unmarshal[tpm2.TPMTPublic](data)
	if err != nil {
		return // go-tpm knows fewer schemes
	}
	name, err := tpm2.ObjectName(oracle)
	if err != nil || !bytes.Equal(name.Buffer, p.Name()) {
		t.Fatalf("name %x, go-tpm %x, %v", p.Name(), name, err)
	}
	if a := oracle.ObjectAttributes; a.Restricted != (p.Attributes&Restricted != 0) || a.FixedTPM != (p.Attributes&FixedTPM != 0) ||
		a.SignEncrypt != (p.Attributes&Sign != 0) || a.Decrypt != (p.Attributes&Decrypt != 0) {
		t.Fatalf("attributes %v, go-tpm %+v", p.Attributes, a)
	}
	key, err := tpm2.Pub(*oracle)
	if err == nil && !sameKey(key, p.Key) {
		t.Fatal("another key than go-tpm's")
	}
}

func checkEvidence(t *testing.T, data []byte) {
	e, err := ParseEvidence(data)
	if err != nil {
		return
	}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseEvidence(text)
	if err != nil {
		t.Fatalf("what was written does not parse: %v", err)
	}
	if second, _ := json.Marshal(again); !bytes.Equal(text, second) {
		t.Fatal("writing and parsing again gives something else")
	}
}

// seeds are one of each kind of structure.
func seeds(tb testing.TB) (evidence, quotes, signatures, publics [][]byte) {
	for _, scheme := range []uint16{algECDSA, algRSASSA, algRSAPSS} {
		k := newKey(tb, scheme, proper)
		e := k.evidence(tb)
		evidence = append(evidence, marshal(tb, e))
		quotes = append(quotes, e.Message)
		signatures = append(signatures, e.Signature)
		publics = append(publics, k.public)
	}
	publics = append(publics, tpm2.Marshal(tpm2.RSAEKTemplate), tpm2.Marshal(tpm2.ECCEKTemplate))
	return
}

func checkSignature(t *testing.T, data []byte) {
	if sig, err := ParseSignature(data); err == nil && sig.Hash.Size() < 32 {
		t.Fatal("a hash under 256 bits is accepted")
	}
}

func TestMutations(t *testing.T) {
	evidence, quotes, signatures, publics := seeds(t)
	t.Run("evidence", func(t *testing.T) { mutate.Run(t, evidence, checkEvidence) })
	t.Run("quote", func(t *testing.T) { mutate.Run(t, quotes, checkQuote) })
	t.Run("signature", func(t *testing.T) { mutate.Run(t, signatures, checkSignature) })
	t.Run("public", func(t *testing.T) { mutate.Run(t, publics, checkPublic) })
}

// TestVerifyMutations holds the whole verifier to it: damaged evidence may pass only where it says the same as the good one.
func TestVerifyMutations(t *testing.T) {
	records := store{}
	k := newKey(t, algECDSA, proper)
	records.enrol(t, k)
	good := k.evidence(t)
	v := newVerifier(t, Config{Enrolments: records})
	mutate.Run(t, [][]byte{marshal(t, good)}, func(t *testing.T, data []byte) {
		if _, err := v.Verify(t.Context(), input(data)); err != nil {
			return
		}
		e, err := ParseEvidence(data)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(e.Message, good.Message) || !bytes.Equal(e.AKPublic, good.AKPublic) || !bytes.Equal(bytes.Join(e.PCRs, nil), bytes.Join(good.PCRs, nil)) {
			t.Fatalf("accepted: %s", data)
		}
	})
}

func FuzzParseEvidence(f *testing.F) {
	evidence, _, _, _ := seeds(f)
	fuzz(f, evidence, checkEvidence)
}

func FuzzParseQuote(f *testing.F) {
	_, quotes, _, _ := seeds(f)
	fuzz(f, quotes, checkQuote)
}

func FuzzParseSignature(f *testing.F) {
	_, _, signatures, _ := seeds(f)
	fuzz(f, signatures, checkSignature)
}

func FuzzParsePublic(f *testing.F) {
	_, _, _, publics := seeds(f)
	fuzz(f, publics, checkPublic)
}

// checkInstance: an instance is named whole, or not at all.
func checkInstance(t *testing.T, extension []byte) {
	t.Helper()
	host, err := checkAKCertificate(&x509.Certificate{
		KeyUsage: x509.KeyUsageDigitalSignature, Extensions: []pkix.Extension{{Id: oidInstance, Value: extension}},
	})
	if err != nil {
		if host != "" {
			t.Errorf("%q, and %v", host, err)
		}
		return
	}
	if parts := strings.Split(host, "/"); len(parts) != 6 || parts[0] != "projects" || parts[1] == "" || parts[2] != "zones" || parts[3] == "" || parts[4] != "instances" || parts[5] == "0" {
		t.Errorf("%q is no instance", host)
	}
}

// instances are the extension of a real certificate, and of none.
func instances(t testing.TB) [][]byte {
	t.Helper()
	leaf, err := parseLeaf(googleCertificate(t, "pca_tpm_ecc_sign_cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidInstance) })
	return [][]byte{leaf.Extensions[at].Value, {0x30, 0}}
}

func TestMutationsInstance(t *testing.T) { mutate.Run(t, instances(t), checkInstance) }

func FuzzInstance(f *testing.F) {
	for _, seed := range instances(f) {
		f.Add(seed)
	}
	f.Fuzz(checkInstance)
}

func fuzz(f *testing.F, seeds [][]byte, check func(*testing.T, []byte)) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(check)
}
