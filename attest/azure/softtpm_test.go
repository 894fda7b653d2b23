package azure

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/eventlog"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/tpm/swtpm"
	"github.com/vouchsafe/vouchsafe/attest/tpm/tpmtest"
)

// softTPM is a software TPM with an attestation key as the paravisor's TPM has one.
type softTPM struct {
	t      *testing.T
	device transport.TPMCloser
	ak     tpm2.AuthHandle
	key    *rsa.PublicKey
}

func newSoftTPM(t *testing.T, process *tpmtest.TPM) *softTPM {
	t.Helper()
	device, err := swtpm.Dial(t.Context(), process.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close() })
	made, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(akTemplate)}.Execute(device)
	if err != nil {
		t.Fatal(err)
	}
	public, err := tpm.ParsePublic(made.OutPublic.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return &softTPM{
		t: t, device: device, key: public.Key.(*rsa.PublicKey),
		ak: tpm2.AuthHandle{Handle: made.ObjectHandle, Name: made.Name, Auth: tpm2.PasswordAuth(nil)},
	}
}

// akTemplate is of a restricted signing key, RSA-2048 with SHA-256.
var akTemplate = tpm2.TPMTPublic{
	Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
	ObjectAttributes: tpm2.TPMAObject{
		FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, Restricted: true, SignEncrypt: true,
	},
	Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
		Scheme: tpm2.TPMTRSAScheme{
			Scheme:  tpm2.TPMAlgRSASSA,
			Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
		},
		KeyBits: 2048,
	}),
}

// quote has the TPM quote selections, in order, of one bank.
func (s *softTPM) quote(extra []byte, bank tpm2.TPMAlgID, selections ...[]int) (message, signature []byte) {
	s.t.Helper()
	var list tpm2.TPMLPCRSelection
	for _, pcrs := range selections {
		var numbers []uint
		for _, pcr := range pcrs {
			numbers = append(numbers, uint(pcr))
		}
		list.PCRSelections = append(list.PCRSelections, tpm2.TPMSPCRSelection{Hash: bank, PCRSelect: tpm2.PCClientCompatible.PCRs(numbers...)})
	}
	quoted, err := tpm2.Quote{
		SignHandle: s.ak, QualifyingData: tpm2.TPM2BData{Buffer: extra}, InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}, PCRSelect: list,
	}.Execute(s.device)
	if err != nil {
		s.t.Fatal(err)
	}
	rsassa, err := quoted.Signature.Signature.RSASSA()
	if err != nil {
		s.t.Fatal(err)
	}
	return quoted.Quoted.Bytes(), rsassa.Sig.Buffer
}

func (s *softTPM) read() [][]byte {
	s.t.Helper()
	var values [][]byte
	for pcr := range uint(24) {
		read, err := tpm2.PCRRead{PCRSelectionIn: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
			{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(pcr)},
		}}}.Execute(s.device)
		if err != nil || len(read.PCRValues.Digests) != 1 {
			s.t.Fatal(err)
		}
		values = append(values, read.PCRValues.Digests[0].Buffer)
	}
	return values
}

func (s *softTPM) extend(pcr int, digest []byte) {
	s.t.Helper()
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: digest}}},
	}.Execute(s.device)
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestSoftTPM is the attack of someone who has taken over a guest after it booted and wants the values of before, on a TPM that
// does everything it is asked to.
func TestSoftTPM(t *testing.T) {
	soft := newSoftTPM(t, tpmtest.Start(t))
	m := newMachine(t, attest.AzSNPvTPM)
	m.ak = &rsa.PrivateKey{PublicKey: *soft.key}
	good, bad := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	soft.extend(11, good)
	wanted := soft.read()

	honest := func(p *parts) {
		p.pcrs = soft.read()
		p.quote = func(extra []byte) ([]byte, []byte) { return soft.quote(extra, tpm2.TPMAlgSHA256, between(0, 23)) }
	}
	claims, err := m.verify(m.evidence(honest))
	if err != nil {
		t.Fatal(err)
	}
	measured := claims.TPM.PCRs[11]
	old := m.evidence(honest)

	soft.extend(11, bad)
	if claims, err = m.verify(m.evidence(honest)); err != nil || claims.TPM.PCRs[11] == measured {
		t.Fatalf("after the attack the machine is as before: %v", err)
	}
	// The debugging PCR is reset, where it was used, and filled as PCR 11 was.
	if _, err := (tpm2.PCRReset{PCRHandle: tpm2.AuthHandle{Handle: 16, Auth: tpm2.PasswordAuth(nil)}}).Execute(soft.device); err != nil {
		t.Fatal(err)
	}
	soft.extend(16, good)
	wanted[16] = soft.read()[16] // the attacker may as well leave what is there
	if _, err := (tpm2.PCRReset{PCRHandle: tpm2.AuthHandle{Handle: 11, Auth: tpm2.PasswordAuth(nil)}}).Execute(soft.device); err == nil {
		t.Fatal("this TPM resets PCR 11")
	}
	for name, test := range map[string]struct {
		code       attest.Code
		bank       tpm2.TPMAlgID
		selections [][]int
		pcrs       [][]byte
	}{
		"the values of before":      {attest.CodePCRDigest, tpm2.TPMAlgSHA256, [][]int{between(0, 23)}, wanted},
		"PCR 16 in the place of 11": {attest.CodePCRResettable, tpm2.TPMAlgSHA256, [][]int{between(0, 10), {16}, between(12, 23)}, wanted},
		"without PCR 11":            {attest.CodePCRSelection, tpm2.TPMAlgSHA256, [][]int{append(between(0, 10), between(12, 23)...)}, wanted},
		"another bank":              {attest.CodePCRBank, tpm2.TPMAlgSHA384, [][]int{between(0, 23)}, wanted},
		"no PCR":                    {attest.CodePCRSelection, tpm2.TPMAlgSHA256, [][]int{nil}, wanted},
	} {
		_, err := m.verify(m.evidence(func(p *parts) {
			p.pcrs = test.pcrs
			p.quote = func(extra []byte) ([]byte, []byte) {
				message, signature := soft.quote(extra, test.bank, test.selections...)
				if test.code == attest.CodePCRResettable { // what the TPM signed is indeed the digest of the values wanted
					quote, err := tpm.ParseAnyQuote(message)
					sum := sha256.Sum256(bytes.Join(wanted, nil))
					if err != nil || !bytes.Equal(quote.PCRDigest, sum[:]) {
						t.Errorf("the attack does not work on this TPM: %v", err)
					}
				}
				return message, signature
			}
		}))
		t.Run(name, func(t *testing.T) { wantCode(t, err, test.code) })
	}
	// Another thing than a quote, about anything.
	_, err = m.verify(m.evidence(func(p *parts) {
		p.pcrs = wanted
		p.quote = func(extra []byte) ([]byte, []byte) {
			made, err := tpm2.GetTime{
				PrivacyAdminHandle: tpm2.TPMRHEndorsement, SignHandle: soft.ak, QualifyingData: tpm2.TPM2BData{Buffer: extra},
				InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
			}.Execute(soft.device)
			if err != nil {
				t.Fatal(err)
			}
			rsassa, err := made.Signature.Signature.RSASSA()
			if err != nil {
				t.Fatal(err)
			}
			return made.TimeInfo.Bytes(), rsassa.Sig.Buffer
		}
	}))
	wantCode(t, err, attest.CodeMalformed)
	// And the evidence of before, for a nonce of now.
	_, err = m.verifier.Verify(t.Context(), attest.Input{Evidence: old, Binding: attest.BoundTo(append([]byte{0}, digest[1:]...)), Time: m.now})
	wantCode(t, err, attest.CodeBinding)
}

// TestBootClaims replays the log of a real machine, of another cloud, to a TPM that was extended as the log says.
func TestBootClaims(t *testing.T) {
	soft := newSoftTPM(t, tpmtest.Start(t))
	m := newMachine(t, attest.AzSNPvTPM)
	m.ak = &rsa.PrivateKey{PublicKey: *soft.key}
	log := testdata.Cos101AmdSevEventLog
	parsed, err := eventlog.Parse(log)
	if err != nil {
		t.Fatal(err)
	}
	for i := range parsed.Events {
		soft.extend(parsed.Events[i].PCR, parsed.Digest(&parsed.Events[i], crypto.SHA256))
	}
	with := func(log []byte) func(*parts) {
		return func(p *parts) {
			p.pcrs, p.eventLog = soft.read(), log
			p.quote = func(extra []byte) ([]byte, []byte) { return soft.quote(extra, tpm2.TPMAlgSHA256, between(0, 23)) }
		}
	}
	claims, err := m.verify(m.evidence(with(log)))
	if err != nil || claims.Boot == nil || !*claims.Boot.SecureBoot || claims.Boot.CommandLine != "" ||
		claims.Boot.LoaderSays == nil || claims.Boot.LoaderSays.CommandLine != strings.TrimSuffix(testdata.Cos101AmdSevCmdline, "\x00") {
		t.Errorf("%+v, %v", claims, err)
	}
	_, err = m.verify(m.evidence(with(testdata.Ubuntu2404AmdSevSnpEventLog)))
	wantCode(t, err, attest.CodeEventLog)
}
