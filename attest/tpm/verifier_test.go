package tpm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/ratio"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

func TestNewNeedsTrust(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a verifier that trusts no key")
	}
	if _, err := NewEnroller(EnrollerConfig{}); err == nil {
		t.Error("an enroller that trusts no TPM maker")
	}
}

func TestSchemes(t *testing.T) {
	for name, scheme := range map[string]uint16{"RSASSA": algRSASSA, "RSAPSS": algRSAPSS, "ECDSA": algECDSA} {
		t.Run(name, func(t *testing.T) {
			records := store{}
			k := newKey(t, scheme, proper)
			records.enrol(t, k)
			v := newVerifier(t, Config{Enrolments: records})
			claims, err := v.Verify(t.Context(), input(marshal(t, k.evidence(t))))
			if err != nil {
				t.Fatal(err)
			}
			if c := claims.TPM; c.Clock != 9 || !c.ClockSafe {
				t.Errorf("claims %+v", c)
			}
		})
	}
}

func TestCraftedEvidence(t *testing.T) {
	records := store{}
	k, other := newKey(t, algECDSA, proper), newKey(t, algRSASSA, proper)
	records.enrol(t, k)
	v := newVerifier(t, Config{Enrolments: records})
	resigned := func(change func(m []byte) []byte) func(*Evidence) {
		return func(e *Evidence) {
			e.Message = change(bytes.Clone(e.Message))
			e.Signature = k.sign(t, e.Message)
		}
	}
	set := func(at int, value byte) func(*Evidence) {
		return resigned(func(m []byte) []byte { m[at] = value; return m })
	}
	const selection = 6 + 36 + 34 + 25 // offset of TPML_PCR_SELECTION
	tests := []struct {
		name   string
		change func(*Evidence)
		code   attest.Code
	}{
		{"signed by the key, but no TPM made it", set(0, 0), attest.CodeMalformed},
		{"a certification, not a quote", set(5, 0x17), attest.CodeMalformed},
		{"bytes after the quote", resigned(func(m []byte) []byte { return append(m, 0) }), attest.CodeMalformed},
		{"extraData with the whole digest", func(e *Evidence) {
			e.Message = message(bound, values())
			e.Signature = k.sign(t, e.Message)
		}, attest.CodeBinding},
		{"no extraData", func(e *Evidence) {
			e.Message = message(nil, values())
			e.Signature = k.sign(t, e.Message)
		}, attest.CodeBinding},
		{"no bank selected", set(selection+3, 0), attest.CodePCRSelection},
		{"two banks announced", set(selection+3, 2), attest.CodePCRSelection},
		{"SHA-1 bank", set(selection+5, 4), attest.CodeAlgorithm},
		{"PCR 23 left out", set(selection+9, 0x7f), attest.CodePCRSelection},
		{"no PCR selected", resigned(func(m []byte) []byte { copy(m[selection+7:], []byte{0, 0, 0}); return m }), attest.CodePCRSelection},
		{"PCR 24 selected too", resigned(func(m []byte) []byte {
			return join(m[:selection+6], []byte{4}, m[selection+7:selection+10], []byte{1}, m[selection+10:])
		}), attest.CodePCRSelection},
		{"clock neither safe nor unsafe", set(selection-9, 2), attest.CodeMalformed},
		{"digest of nothing", resigned(func(m []byte) []byte { return join(m[:selection+10], buffer(nil)) }), attest.CodePCRDigest},
		{"values of another length", func(e *Evidence) {
			e.PCRs = append([][]byte{bytes.Join(e.PCRs[:2], nil), {}}, e.PCRs[2:]...)
		}, attest.CodePCRSelection},
		{"another bank named", func(e *Evidence) { e.Bank = "sha384" }, attest.CodePCRSelection},
		{"unknown bank named", func(e *Evidence) { e.Bank = "sha1" }, attest.CodeAlgorithm},
		{"SHA-1 signature", func(e *Evidence) { e.Signature[3] = 4 }, attest.CodeAlgorithm},
		{"HMAC signature", func(e *Evidence) { e.Signature[1] = 5 }, attest.CodeAlgorithm},
		{"RSA signature for an elliptic-curve key", func(e *Evidence) { e.Signature = other.sign(t, e.Message) }, attest.CodeSignature},
		{"bytes after the signature", func(e *Evidence) { e.Signature = append(e.Signature, 0) }, attest.CodeMalformed},
		{"zero signature", func(e *Evidence) {
			e.Signature = join(u16(algECDSA), u16(algSHA256), buffer(nil), buffer(nil))
		}, attest.CodeSignature},
		{"long signature", func(e *Evidence) { e.Signature = make([]byte, maxSignature+1) }, attest.CodeTooLarge},
		{"long quote", func(e *Evidence) { e.Message = make([]byte, maxMessage+1) }, attest.CodeTooLarge},
		{"public key with bytes after it", func(e *Evidence) { e.AKPublic = append(bytes.Clone(e.AKPublic), 0) }, attest.CodeKeyNotEnrolled},
		{"public area of another key", func(e *Evidence) { e.AKTPMPublic = other.public }, attest.CodeKeyAttributes},
		{"public area with other attributes", func(e *Evidence) {
			e.AKTPMPublic = bytes.Clone(e.AKTPMPublic)
			e.AKTPMPublic[5] &^= 1
		}, attest.CodeKeyAttributes},
		{"public area with another policy", func(e *Evidence) {
			e.AKTPMPublic = join(e.AKTPMPublic[:8], buffer(make([]byte, 32)), e.AKTPMPublic[10:])
		}, attest.CodeKeyAttributes},
		{"event log that is none", func(e *Evidence) { e.EventLog = []byte("log") }, attest.CodeMalformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := k.evidence(t)
			test.change(e)
			_, err := v.Verify(t.Context(), input(marshal(t, e)))
			refused(t, err, test.code)
		})
	}
	t.Run("the zero binding", func(t *testing.T) {
		in := input(marshal(t, k.evidence(t)))
		in.Binding = attest.Binding{}
		_, err := v.Verify(t.Context(), in)
		refused(t, err, attest.CodeBinding)
	})
	t.Run("a binding shorter than the field", func(t *testing.T) {
		in := input(marshal(t, k.evidence(t)))
		in.Binding = attest.BoundTo(bound[:31])
		_, err := v.Verify(t.Context(), in)
		refused(t, err, attest.CodeBinding)
	})
}

// TestAttributes has one key for each way in which a key is not an attestation key.
func TestAttributes(t *testing.T) {
	for name, attributes := range map[string]uint32{
		"not restricted":       proper &^ uint32(Restricted),
		"does not sign":        proper &^ uint32(Sign),
		"not fixed to the TPM": proper &^ uint32(FixedTPM),
		"not fixed to parent":  proper &^ uint32(FixedParent),
		"made elsewhere":       proper &^ uint32(SensitiveDataOrigin),
		"decrypts":             proper | uint32(Decrypt),
	} {
		t.Run(name, func(t *testing.T) {
			k, records := newKey(t, algECDSA, attributes), store{}
			records.enrol(t, k) // as if somebody had written the record by hand
			e := k.evidence(t)
			v := newVerifier(t, Config{Enrolments: records})
			_, err := v.Verify(t.Context(), input(marshal(t, e)))
			refused(t, err, attest.CodeKeyAttributes)
			e.AKTPMPublic = nil
			_, err = v.Verify(t.Context(), input(marshal(t, e)))
			refused(t, err, attest.CodeKeyAttributes)
		})
	}
}

func TestJSON(t *testing.T) {
	k := newKey(t, algECDSA, proper)
	good := string(marshal(t, k.evidence(t)))
	for name, test := range map[string]struct {
		text string
		code attest.Code // empty: parses
	}{
		"good":                    {good, ""},
		"unknown member":          {`{"later":[1,{"a":2}],` + good[1:], ""},
		"null optional members":   {`{"event_log":null,"ak_certificates":null,"bank":null,` + good[1:], ""},
		"escaped solidus":         {strings.ReplaceAll(good, "/", `\/`), ""},
		"key twice":               {`{"ak_public":"AAAA",` + good[1:], attest.CodeMalformed},
		"key twice, other case":   {`{"AK_Public":"AAAA",` + good[1:], attest.CodeMalformed},
		"quote twice":             {`{"tpm_quote":{"message":"AAAA"},` + good[1:], attest.CodeMalformed},
		"quote in two parts":      {strings.Replace(good, `,"message":`, `},"tpm_quote":{"message":`, 1), attest.CodeMalformed},
		"quote and null":          {`{"tpm_quote":null,` + good[1:], attest.CodeMalformed},
		"key and null":            {`{"ak_public":null,` + good[1:], attest.CodeMalformed},
		"empty bank and another":  {`{"bank":"","bank":"sha256",` + good[1:], attest.CodeMalformed},
		"message twice":           {strings.Replace(good, `"message":`, `"message":"AAAA","message":`, 1), attest.CodeMalformed},
		"PCRs twice":              {strings.Replace(good, `"pcrs":`, `"pcrs":["00"],"pcrs":`, 1), attest.CodeMalformed},
		"bank twice":              {`{"bank":"sha384","bank":"sha256",` + good[1:], attest.CodeMalformed},
		"empty":                   {"", attest.CodeMalformed},
		"null":                    {"null", attest.CodeMalformed},
		"an array":                {"[]", attest.CodeMalformed},
		"no members":              {"{}", attest.CodeMalformed},
		"trailing data":           {good + "{}", attest.CodeMalformed},
		"a number for the key":    {`{"ak_public":1}`, attest.CodeMalformed},
		"URL base64":              {strings.Replace(good, `"message":"`, `"message":"-_`, 1), attest.CodeMalformed},
		"line break in base64":    {strings.Replace(good, `"message":"`, `"message":"\n`, 1), attest.CodeMalformed},
		"23 PCRs":                 {strings.Replace(good, `"pcrs":["`+fmt.Sprintf("%x", values()[0])+`",`, `"pcrs":[`, 1), attest.CodePCRSelection},
		"a PCR that is not hex":   {strings.Replace(good, `"pcrs":["`, `"pcrs":["g`, 1), attest.CodeMalformed},
		"certificates not base64": {`{"ak_certificates":["*"],` + good[1:], attest.CodeMalformed},
		"many certificates":       {`{"ak_certificates":["AA==","AA==","AA==","AA==","AA=="],` + good[1:], attest.CodeTooLarge},
		"too large":               {strings.Repeat(" ", MaxEvidence) + good, attest.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseEvidence([]byte(test.text))
			if test.code != "" {
				refused(t, err, test.code)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOlderClient has evidence of a KBS client that put 64 bytes into extraData: it is whole, but matches no binding here.
func TestOlderClient(t *testing.T) {
	data := vectors.Read(t, "tpm/evidence-64byte-nonce.json")
	e, err := ParseEvidence(data)
	if err != nil {
		t.Fatal(err)
	}
	q, err := ParseQuote(e.Message)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := ParseSignature(e.Signature)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKIXPublicKey(e.AKPublic)
	if err != nil {
		t.Fatal(err)
	}
	if err := signature.Verify(key, e.Message); err != nil {
		t.Error(err)
	}
	if err := q.CheckPCRs(crypto.SHA256, e.PCRs, signature.Hash); err != nil {
		t.Error(err)
	}
	if len(q.ExtraData) != 64 {
		t.Errorf("extraData of %d bytes", len(q.ExtraData))
	}
	v := newVerifier(t, Config{Enrolments: store{}})
	for _, digest := range [][]byte{q.ExtraData, q.ExtraData[:48], q.ExtraData[:32]} {
		in := input(data)
		in.Binding = attest.BoundTo(digest)
		_, err := v.Verify(t.Context(), in)
		refused(t, err, attest.CodeBinding)
	}
	in := input(data)
	in.Binding = attest.Unbound()
	_, err = v.Verify(t.Context(), in)
	refused(t, err, attest.CodeKeyNotEnrolled)
}

// BenchmarkVerify is the whole verification of an enrolled key's evidence against its one signature check.
func BenchmarkVerify(b *testing.B) {
	for name, scheme := range map[string]uint16{"RSA-2048": algRSASSA, "ECDSA-P256": algECDSA} {
		b.Run("warm/"+name, func(b *testing.B) {
			records := store{}
			k := newKey(b, scheme, proper)
			records.enrol(b, k)
			v, e := newVerifier(b, Config{Enrolments: records}), k.evidence(b)
			in := input(marshal(b, e))
			signature, err := ParseSignature(e.Signature)
			if err != nil {
				b.Fatal(err)
			}
			ratio.Measure(b, ratio.Work{
				Run: func() {
					if _, err := v.Verify(b.Context(), in); err != nil {
						b.Fatal(err)
					}
				},
				Floor: func() {
					h := sha256.New() // of what the quote's own digest is over
					for _, value := range e.PCRs {
						h.Write(value)
					}
					h.Sum(nil)
					digest := sha256.Sum256(e.Message)
					switch key := k.signer.Public().(type) {
					case *rsa.PublicKey:
						err = rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature.rsa)
					case *ecdsa.PublicKey:
						if !ecdsa.VerifyASN1(key, digest[:], asn1Signature(signature)) {
							err = errors.New("the signature does not verify")
						}
					}
					if err != nil {
						b.Fatal(err)
					}
				},
				Budget: 1.3,
			})
		})
	}
}
