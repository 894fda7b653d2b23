package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/cca"
	"github.com/vouchsafe/vouchsafe/attest/eventlog"
	"github.com/vouchsafe/vouchsafe/attest/nitro"
	"github.com/vouchsafe/vouchsafe/attest/nvidia"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/tdx"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
)

const (
	sevData  = "verify/testdata/"
	tdxData  = "testing/testdata/"
	rmmToken = "realm/testvectors/tf-rmm/"
)

// in2024 is when the quote of COS 113 was made.
var in2024 = time.Date(2024, 8, 1, 0, 0, 0, 0, time.UTC)

// in2025 is when NVIDIA made its OCSP response.
var in2025 = time.Date(2025, 8, 21, 12, 0, 0, 0, time.UTC)

// shippedJudges judge what modules ship, each under its name in the table; logs and others of which there are many are in [judgeOf].
var shippedJudges = map[string]func(t *testing.T){
	sevData + "attestation.bin": func(t *testing.T) {
		if c := accepted(t, newSNP(t), googleMilan(t, nil), in2026); !*c.Debug || c.HardwareRoot != attest.RootMilan {
			t.Errorf("%+v", c)
		}
	},
	sevData + "vcek.testcer": func(t *testing.T) {
		evidence := googleMilan(t, nil)
		evidence[len(evidence)-1] ^= 1 // the last byte of the certificate's signature
		refused(t, newSNP(t), evidence, in2026, attest.Unbound(), attest.CodeCertUntrusted)
	},
	sevData + "milan.testcer": func(t *testing.T) {
		ask, ark := pair(t, from(t, goSEVGuest, sevData+"milan.testcer"))
		vcek := must(x509.ParseCertificate(from(t, goSEVGuest, sevData+"vcek.testcer")))(t)
		if err := errors.Join(ask.CheckSignatureFrom(ark), vcek.CheckSignatureFrom(ask)); err != nil {
			t.Error(err)
		}
		accepted(t, newSNP(t), googleMilan(t, ask.Raw), in2026)
	},
	sevData + "milanvlek.testcer": func(t *testing.T) {
		asvk, ark := pair(t, from(t, goSEVGuest, sevData+"milanvlek.testcer"))
		_, same := pair(t, from(t, goSEVGuest, sevData+"milan.testcer"))
		if err := asvk.CheckSignatureFrom(ark); err != nil || !ark.Equal(same) {
			t.Errorf("%s by %s: %v", asvk.Subject, ark.Subject, err)
		}
		accepted(t, newSNP(t), googleMilan(t, asvk.Raw), in2026)
	},
	tdxData + "tdx_prod_quote_SPR_E4.dat": func(t *testing.T) {
		if c := accepted(t, newTDX(t), prototype(t), in2023); c.TCBStatus != attest.TCBRevoked || c.Intel.Platform.Listed {
			t.Errorf("%+v", c.Intel)
		}
	},
	tdxData + "pckcrl":                     intelItem("pckcrl", "intel/crl/platform"),
	tdxData + "rootcrl.der":                intelItem("rootcrl.der", "intel/crl/root"),
	tdxData + "sample_qeIdentity_response": intelItem("sample_qeIdentity_response", "intel/identity/tdqe"),
	tdxData + "sample_tcbInfo_response":    intelItem("sample_tcbInfo_response", "intel/tcb/tdx/50806f000000"),
	tdxData + "report.dat": func(t *testing.T) {
		refused(t, newTDX(t), from(t, goTDXGuest, tdxData+"report.dat"), in2023, attest.Unbound(), attest.CodeVersionUnsupported)
	},
	tdxData + "ccel/cos-113-tdx-quote.dat": func(t *testing.T) {
		missing(t, newTDX(t), from(t, goTDXGuest, tdxData+"ccel/cos-113-tdx-quote.dat"), in2024, "intel/tcb/tdx/")
	},
	tdxData + "ccel/ccel_data.dat": func(t *testing.T) {
		quote, log := from(t, goTDXGuest, tdxData+"ccel/cos-113-tdx-quote.dat"), from(t, goTDXGuest, tdxData+"ccel/ccel_data.dat")
		const rtmr0 = 48 + 328 // of a TD report in a quote
		var rtmrs [4][]byte
		for i := range rtmrs {
			rtmrs[i] = quote[rtmr0+48*i:][:48]
		}
		if boot, err := eventlog.BootRTMR(log, rtmrs); err != nil || len(boot.RTMRs) < 3 {
			t.Errorf("%+v, %v", boot, err)
		}
		rtmrs[0] = make([]byte, 48)
		if _, err := eventlog.BootRTMR(log, rtmrs); err == nil {
			t.Error("replays to another register")
		}
	},
	tdxData + "ccel/ccel_table.dat": noLog(goTDXGuest, tdxData+"ccel/ccel_table.dat", attest.CodeMalformed),
	tdxData + "ccel/nonce.dat": func(t *testing.T) {
		quote, nonce := from(t, goTDXGuest, tdxData+"ccel/cos-113-tdx-quote.dat"), from(t, goTDXGuest, tdxData+"ccel/nonce.dat")
		_, err := verify(t, newTDX(t), quote, in2024, attest.BoundTo(nonce))
		var unavailable *attest.Unavailable
		if !errors.As(err, &unavailable) {
			t.Errorf("bound to what it is bound to: %v", err)
		}
		nonce[0] ^= 1
		refused(t, newTDX(t), quote, in2024, attest.BoundTo(nonce), attest.CodeBinding)
	},
	"testdata/legacydata/linux_tpm12.json":               dump("linux_tpm12.json", attest.CodeMalformed),
	"testdata/legacydata/windows_gcp_shielded_vm.json":   dump("windows_gcp_shielded_vm.json", attest.CodeAlgorithm),
	"internal/test/attestations/gce-cos-85-no-nonce.pb":  instance("gce-cos-85-no-nonce.pb", nil),
	"internal/test/attestations/gce-cos-85-nonce9009.pb": instance("gce-cos-85-nonce9009.pb", []byte{0x90, 0x09}),
	"internal/test/tdx_test_files/tdxReportData.bin": func(t *testing.T) {
		refused(t, newTDX(t), from(t, goTPMTools, "internal/test/tdx_test_files/tdxReportData.bin"), in2023, attest.Unbound(), attest.CodeVersionUnsupported)
	},
	rmmToken + "cca_token.cbor": func(t *testing.T) {
		c := accepted(t, tfRMM(t, nil), from(t, ccaToken, rmmToken+"cca_token.cbor"), in2026)
		if c.HardwareRoot != attest.RootCCA || c.TCBStatus != attest.TCBNotPublished {
			t.Errorf("%+v", c)
		}
	},
	rmmToken + "cca_platform.pub": func(t *testing.T) {
		refused(t, tfRMM(t, func(a *cca.TrustAnchor) { a.InstanceID[32] ^= 1 }), from(t, ccaToken, rmmToken+"cca_token.cbor"), in2026, attest.Unbound(), attest.CodeKeyNotEnrolled)
	},
	rmmToken + "cca_platform.pem": func(t *testing.T) {
		block, _ := pem.Decode(from(t, ccaToken, rmmToken+"cca_platform.pem"))
		if block == nil {
			t.Fatal("not PEM")
		}
		key := must(x509.ParseECPrivateKey(block.Bytes))(t)
		accepted(t, tfRMM(t, func(a *cca.TrustAnchor) { a.Key = &key.PublicKey }), from(t, ccaToken, rmmToken+"cca_token.cbor"), in2026)
	},
	"attest/nitro/testdata/document.cbor":       enclave("document.cbor", "e72a46ca", false),
	"attest/nitro/testdata/document-debug.cbor": enclave("document-debug.cbor", "00000000", true),
	"attest/nvidia/testdata/ls10-chain.pem": func(t *testing.T) {
		pems := base64.StdEncoding.EncodeToString(from(t, ownData, "attest/nvidia/testdata/ls10-chain.pem"))
		report := strings.TrimSpace(string(file(t, "nvidia/hopperAttestationReport.txt")))
		v := must(nvidia.New(nvidia.Config{AllowUnmeasured: true}))(t)
		for arch, code := range map[string]attest.Code{"LS10": attest.CodeSignature, "HOPPER": attest.CodeCertMismatch} {
			evidence := fmt.Appendf(nil, `{"device_evidence_list":[{"arch":%q,"uuid":"x","evidence":%q,"certificate":%q}]}`, arch, report, pems)
			refused(t, v, evidence, in2026, attest.Unbound(), code)
		}
	},
	"attest/nvidia/testdata/gh100-provisioner.ocsp.b64": func(t *testing.T) {
		all := manifests(t)
		der := must(base64.StdEncoding.DecodeString(strings.TrimSpace(string(from(t, ownData, "attest/nvidia/testdata/gh100-provisioner.ocsp.b64")))))(t)
		const name = "nvidia/ocsp/b20040bdc80f6961a2b9c9493cb804b61f41f1008f14ba80010039f4dd467ee9"
		add(all, name, der)
		c, err := hopper(t, all)
		if err != nil || !c.Collateral.Current || !c.Collateral.Expires.Equal(time.Date(2025, 8, 22, 6, 47, 7, 0, time.UTC)) {
			t.Errorf("%+v, %v", c, err)
		}
		der[len(der)/2] ^= 1
		add(all, name, der)
		_, err = hopper(t, all)
		var unavailable *attest.Unavailable
		if !errors.As(err, &unavailable) {
			t.Errorf("with another response: %v", err)
		}
	},
	"attest/nvidia/rim/testdata/NV_GPU_DRIVER_GH100_550.90.07.xml":         manifest("NV_GPU_DRIVER_GH100_550.90.07"),
	"attest/nvidia/rim/testdata/NV_GPU_VBIOS_1010_0200_882_96009F0001.xml": manifest("NV_GPU_VBIOS_1010_0200_882_96009F0001"),
	"platform/testvectors/cbor/*.diag":                                     every(ccaToken, "platform/testvectors/cbor/*.diag", noToken),
	"platform/testvectors/json/*.json":                                     every(ccaToken, "platform/testvectors/json/*.json", noToken),
	"realm/testvectors/cbor/*.diag":                                        every(ccaToken, "realm/testvectors/cbor/*.diag", noToken),
	"realm/testvectors/json/*.json":                                        every(ccaToken, "realm/testvectors/json/*.json", noToken),
}

// judgeOf returns what judges a vector, or nil.
func judgeOf(v vector) func(t *testing.T) {
	if v.module == "" {
		return judges[v.name]
	}
	if judge := shippedJudges[v.name]; judge != nil {
		return judge
	}
	switch name := path.Base(v.name); {
	case strings.HasPrefix(v.verdict, string(attest.CodeVersionUnsupported)):
		return noLog(v.module, v.name, attest.CodeVersionUnsupported)
	case strings.HasPrefix(v.verdict, "an ACPI table"):
		return noLog(v.module, v.name, attest.CodeMalformed)
	case strings.Contains(v.name, "/ccel/"):
		return func(t *testing.T) { covered(t, from(t, v.module, v.name)) }
	case strings.Contains(v.name, "/eventlogs/"), strings.Contains(v.name, "/legacydata/"):
		return func(t *testing.T) { pcrs(t, from(t, v.module, v.name)) }
	case strings.HasSuffix(name, "_enc_cert.pem"):
		return certificate(v.name, attest.CodeCertMalformed)
	case strings.HasSuffix(name, "_sign_cert.pem"):
		return certificate(v.name, attest.CodeSignature)
	}
	return nil
}

// googleMilan is go-sev-guest's report with its certificate, and another that is said to have issued it.
func googleMilan(t *testing.T, issuer []byte) []byte {
	t.Helper()
	table := snp.Certificates{VCEK: from(t, goSEVGuest, sevData+"vcek.testcer"), ASK: issuer}.Table()
	return append(from(t, goSEVGuest, sevData+"attestation.bin"), table...)
}

// pair reads two certificates in PEM.
func pair(t *testing.T, text []byte) (first, second *x509.Certificate) {
	t.Helper()
	certs := must(tpm.ParsePEM(text))(t)
	if len(certs) != 2 {
		t.Fatalf("%d certificates", len(certs))
	}
	return certs[0], certs[1]
}

// prototype is go-tdx-guest's quote, without the line that its file ends with.
func prototype(t *testing.T) []byte {
	t.Helper()
	quote, _, _ := bytes.Cut(from(t, goTDXGuest, tdxData+"tdx_prod_quote_SPR_E4.dat"), []byte("\nextra bytes"))
	return quote
}

// intelItem judges a file that the quote is verified with as the item of that name.
func intelItem(file, name string) func(t *testing.T) {
	return func(t *testing.T) {
		with := func(data []byte) attest.Verifier {
			all := intel2023()
			all[name].Data, all[name].Digest = data, sha256.Sum256(data)
			return must(tdx.New(tdx.Config{Endorsements: all}))(t)
		}
		data := from(t, goTDXGuest, tdxData+file)
		accepted(t, with(data), prototype(t), in2023)
		data[len(data)/2] ^= 1
		missing(t, with(data), prototype(t), in2023, name)
	}
}

// noLog judges a file that is no event log which can be read.
func noLog(module, name string, code attest.Code) func(t *testing.T) {
	return func(t *testing.T) {
		_, err := eventlog.Parse(from(t, module, name))
		wantCode(t, err, code)
	}
}

func wantCode(t *testing.T, err error, code attest.Code) {
	t.Helper()
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("%v, want a refusal with %s", err, code)
	}
}

// pcrs replays a machine's log, quotes what it gives, and holds that this is then covered, and another value not.
func pcrs(t *testing.T, text []byte) {
	t.Helper()
	values := must(must(eventlog.Parse(text))(t).Replay(crypto.SHA256))(t)
	quoted := make([][]byte, 24)
	for i := range quoted {
		if quoted[i] = values[i]; quoted[i] == nil {
			quoted[i] = make([]byte, sha256.Size)
		}
	}
	if boot, err := eventlog.Boot(text, crypto.SHA256, quoted); err != nil || len(boot.PCRs) != len(values) {
		t.Errorf("%+v, %v", boot, err)
	}
	quoted[0] = make([]byte, sha256.Size)
	_, err := eventlog.Boot(text, crypto.SHA256, quoted)
	wantCode(t, err, attest.CodeEventLog)
}

// dump judges what go-attestation wrote down of a machine's TPM.
func dump(name string, code attest.Code) func(t *testing.T) {
	return func(t *testing.T) {
		var d struct {
			AK    struct{ Public []byte }
			Quote struct{ Quote, Signature []byte }
			Log   struct {
				PCRs []struct {
					Index  int
					Digest []byte
				}
				Raw []byte
			}
		}
		if err := json.Unmarshal(from(t, goEventlog, "testdata/legacydata/"+name), &d); err != nil {
			t.Fatal(err)
		}
		evidence := &tpm.Evidence{AKPublic: d.AK.Public, Signature: d.Quote.Signature, Message: d.Quote.Quote, PCRs: make([][]byte, tpm.NumPCRs)}
		for _, pcr := range d.Log.PCRs {
			evidence.PCRs[pcr.Index] = pcr.Digest
		}
		v := must(tpm.New(tpm.Config{AKRoots: tpm.GoogleAKRoots()}))(t)
		refused(t, v, must(json.Marshal(evidence))(t), in2026, attest.Unbound(), code)
		_, err := eventlog.Parse(d.Log.Raw)
		wantCode(t, err, attest.CodeVersionUnsupported)
	}
}

// message reads the members of a protocol buffer that are numbers or have a length.
func message(t *testing.T, b []byte) map[uint64][][]byte {
	t.Helper()
	members := map[uint64][][]byte{}
	number := func() uint64 {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			t.Fatal("not a protocol buffer")
		}
		b = b[size:]
		return n
	}
	for len(b) > 0 {
		tag, value := number(), number()
		content := []byte{byte(value)}
		switch tag & 7 {
		case 0:
		case 2:
			content, b = b[:value], b[value:]
		default:
			t.Fatalf("a member of wire type %d", tag&7)
		}
		members[tag>>3] = append(members[tag>>3], content)
	}
	return members
}

// quotes are a machine's evidence by PCR bank, of go-tpm-tools' message Attestation (proto/attest.proto).
func quotes(t *testing.T, text []byte) map[string]*tpm.Evidence {
	t.Helper()
	attestation := message(t, text)
	public := attestation[1][0]
	spki := must(must(tpm.ParsePublic(public))(t).SPKI())(t)
	all := map[string]*tpm.Evidence{}
	for _, q := range attestation[2] {
		quote := message(t, q)
		banked := message(t, quote[3][0])
		e := &tpm.Evidence{
			AKPublic: spki, AKTPMPublic: public, AKCertificates: attestation[6], EventLog: attestation[3][0],
			Bank: map[byte]string{4: "sha1", 11: "sha256", 12: "sha384"}[banked[1][0][0]], Message: quote[1][0], Signature: quote[2][0],
			PCRs: make([][]byte, tpm.NumPCRs),
		}
		for _, entry := range banked[2] {
			pcr, index := message(t, entry), 0
			if len(pcr[1]) > 0 {
				index = int(pcr[1][0][0])
			}
			e.PCRs[index] = pcr[2][0]
		}
		all[e.Bank] = e
	}
	if len(all) != 3 {
		t.Fatalf("quotes of %d banks", len(all))
	}
	return all
}

// enrolled has one key.
type enrolled tpm.Enrolment

func (e *enrolled) Lookup(_ context.Context, _, digest string) (*tpm.Enrolment, error) {
	if digest != e.AKSPKIDigest {
		return nil, tpm.ErrNotEnrolled
	}
	return (*tpm.Enrolment)(e), nil
}

// instance judges the attestation of a virtual machine of Google's.
func instance(name string, nonce []byte) func(t *testing.T) {
	return func(t *testing.T) {
		all := quotes(t, from(t, goTPMTools, "internal/test/attestations/"+name))
		google := must(tpm.New(tpm.Config{AKRoots: tpm.GoogleAKRoots(), AKIntermediates: tpm.GoogleAKIntermediates()}))(t)
		other := must(tpm.New(tpm.Config{Enrolments: &enrolled{}}))(t)
		refused(t, google, must(json.Marshal(all["sha1"]))(t), in2026, attest.Unbound(), attest.CodeAlgorithm)
		for _, bank := range []string{"sha256", "sha384"} {
			e := all[bank]
			public := must(tpm.ParsePublic(e.AKTPMPublic))(t)
			one := must(tpm.New(tpm.Config{Enrolments: &enrolled{
				AKName: hex.EncodeToString(public.Name()), AKPublic: e.AKTPMPublic, AKSPKIDigest: tpm.SPKIDigest(e.AKPublic), EKExpires: in2026.Add(time.Hour),
			}}))(t)
			evidence := must(json.Marshal(e))(t)
			for root, v := range map[string]attest.Verifier{attest.RootTPMEnrolled: one, attest.RootGoogleAK: google} {
				c, err := verify(t, v, evidence, in2026, attest.Unbound())
				if err != nil || c.HardwareRoot != root || c.ReportData != hex.EncodeToString(nonce) || c.TPM.Bank != bank || len(c.Boot.PCRs) < 8 {
					t.Errorf("%s, %s: %+v, %v", bank, root, c, err)
				}
				refused(t, v, evidence, in2026, attest.BoundTo(append(nonce, make([]byte, 48)...)), attest.CodeBinding)
			}
			refused(t, other, evidence, in2026, attest.Unbound(), attest.CodeKeyNotEnrolled)
			e.PCRs[0][0] ^= 1
			refused(t, one, must(json.Marshal(e))(t), in2026, attest.Unbound(), attest.CodePCRDigest)
		}
	}
}

// certificate judges a certificate, with its key, by a quote of another key: once with Google's roots and once with another.
func certificate(name string, code attest.Code) func(t *testing.T) {
	return func(t *testing.T) {
		certs := must(tpm.ParsePEM(from(t, goTPMTools, name)))(t)
		e := quotes(t, from(t, goTPMTools, "internal/test/attestations/gce-cos-85-no-nonce.pb"))["sha256"]
		e.AKPublic, e.AKTPMPublic, e.AKCertificates = certs[0].RawSubjectPublicKeyInfo, nil, [][]byte{certs[0].Raw}
		evidence := must(json.Marshal(e))(t)
		_, ark := pair(t, from(t, goSEVGuest, sevData+"milan.testcer"))
		judge := func(roots []*x509.Certificate, code attest.Code) {
			v := must(tpm.New(tpm.Config{AKRoots: roots, AKIntermediates: tpm.GoogleAKIntermediates()}))(t)
			refused(t, v, evidence, in2026, attest.Unbound(), code)
		}
		judge(tpm.GoogleAKRoots(), code)
		judge([]*x509.Certificate{ark}, attest.CodeCertUntrusted)
	}
}

// tfRMM trusts the platform of ccatoken's token, or what change makes of that.
func tfRMM(t *testing.T, change func(*cca.TrustAnchor)) attest.Verifier {
	t.Helper()
	token := must(cca.Parse(from(t, ccaToken, rmmToken+"cca_token.cbor")))(t)
	block, _ := pem.Decode(from(t, ccaToken, rmmToken+"cca_platform.pub"))
	if block == nil {
		t.Fatal("not PEM")
	}
	anchor := cca.TrustAnchor{
		InstanceID: token.Platform.InstanceID, ImplementationID: token.Platform.ImplementationID,
		Key: must(x509.ParsePKIXPublicKey(block.Bytes))(t).(*ecdsa.PublicKey),
	}
	if change != nil {
		change(&anchor)
	}
	return must(cca.New(cca.Config{TrustAnchors: []cca.TrustAnchor{anchor}}))(t)
}

// noToken judges claims that nobody signed, as they are and as the token in a client's JSON.
func noToken(t *testing.T, text []byte) {
	t.Helper()
	refused(t, tfRMM(t, nil), text, in2026, attest.Unbound(), attest.CodeMalformed)
	wrapped := must(json.Marshal(map[string]string{"token": base64.StdEncoding.EncodeToString(text)}))(t)
	refused(t, tfRMM(t, nil), wrapped, in2026, attest.Unbound(), attest.CodeMalformed)
}

// enclave judges a document of a Nitro enclave.
func enclave(name, pcr0 string, debug bool) func(t *testing.T) {
	return func(t *testing.T) {
		document := from(t, ownData, "attest/nitro/testdata/"+name)
		v := must(nitro.New(nitro.Config{}))(t)
		at, data := time.Date(2024, 9, 7, 15, 0, 0, 0, time.UTC), bytes.Repeat([]byte{1}, 1024)
		c, err := verify(t, v, document, at, attest.BoundTo(data))
		if err != nil || !strings.HasPrefix(c.Measurement, pcr0) || *c.Debug != debug || !*c.Bound || c.HardwareRoot != attest.RootNitro {
			t.Errorf("%+v, %v", c, err)
		}
		refused(t, v, document, at, attest.BoundTo(data[1:]), attest.CodeBinding)
		refused(t, v, document, at.Add(3*time.Hour), attest.BoundTo(data), attest.CodeCertExpired)
	}
}

// manifests are NVIDIA's, as endorsements.
func manifests(t *testing.T) items {
	t.Helper()
	all := items{}
	for _, id := range []string{"NV_GPU_DRIVER_GH100_550.90.07", "NV_GPU_VBIOS_1010_0200_882_96009F0001"} {
		add(all, "nvidia/rim/"+id, from(t, ownData, "attest/nvidia/rim/testdata/"+id+".xml"))
	}
	return all
}

func add(all items, name string, data []byte) {
	all[name] = &attest.Endorsement{Name: name, Data: data, Digest: sha256.Sum256(data), Fetched: in2025.Add(-time.Hour)}
}

// hopper appraises the real report with such endorsements.
func hopper(t *testing.T, e attest.Endorsements) (*attest.Claims, error) {
	t.Helper()
	return verify(t, must(nvidia.New(nvidia.Config{Endorsements: e}))(t), gpuEvidence(t, "hopper_cert_chain_case1.txt"), in2025, attest.Unbound())
}

// manifest judges a manifest: that NVIDIA signed it, and what the real report says beside it.
func manifest(id string) func(t *testing.T) {
	return func(t *testing.T) {
		all := manifests(t)
		name := "nvidia/rim/" + id
		if err := nvidia.CheckCollateral(name, all[name]); err != nil {
			t.Error(err)
		}
		changed := bytes.Replace(all[name].Data, []byte("Hash0=\"0"), []byte("Hash0=\"1"), 1)
		if bytes.Equal(changed, all[name].Data) || nvidia.CheckCollateral(name, &attest.Endorsement{Name: name, Data: changed}) == nil {
			t.Error("taken with another measurement")
		}
		c, err := hopper(t, all)
		if err != nil || !*c.NVIDIA.Devices[0].MeasurementsMatch || c.TCBStatus != attest.TCBUpToDate {
			t.Errorf("%+v, %v", c, err)
		}
		delete(all, name)
		if _, err := hopper(t, all); err == nil {
			t.Error("without it")
		}
	}
}
