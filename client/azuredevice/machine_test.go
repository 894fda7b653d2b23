package azuredevice

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/azure"
	"github.com/vouchsafe/vouchsafe/attest/azure/azuretest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/tpm/swtpm"
	"github.com/vouchsafe/vouchsafe/attest/tpm/tpmtest"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
)

var digest = bytes.Repeat([]byte{0xd1}, 48)

// indexSize is as large an index as a software TPM makes. Azure's has 2600 bytes.
const indexSize = 2048

// A machine is a confidential VM: a software TPM with what the paravisor has in it, the development TEE for a processor, and a listener for the host.
type machine struct {
	t        *testing.T
	kind     attest.Kind
	soft     *tpmtest.TPM
	device   *virtual.Device
	verifier *azure.Verifier
	vcek     []byte
	ak       *rsa.PublicKey
	now      time.Time

	host     *httptest.Server
	requests atomic.Int32
}

func newMachine(t *testing.T, kind attest.Kind) *machine {
	t.Helper()
	m := &machine{t: t, kind: kind, soft: tpmtest.Start(t), now: time.Now()}
	root, err := virtual.NewRoot(rand.Reader, m.now)
	if err != nil {
		t.Fatal(err)
	}
	if m.device, err = root.NewDevice(rand.Reader, m.now, virtual.Config{}); err != nil {
		t.Fatal(err)
	}
	hardware := azuretest.VerifyTDX()
	if kind == attest.AzSNPvTPM {
		if hardware, err = azuretest.VerifySNP(root.Certificate()); err != nil {
			t.Fatal(err)
		}
	}
	if m.verifier, err = azure.New(azure.Config{Hardware: hardware}); err != nil {
		t.Fatal(err)
	}
	m.host = httptest.NewServer(http.HandlerFunc(m.serve))
	t.Cleanup(m.host.Close)
	m.with(func(tpm transport.TPM) {
		m.makeKey(tpm)
		m.define(tpm)
		m.report(tpm, nil)
	})
	return m
}

// with connects to the TPM for one function: it has one client at a time.
func (m *machine) with(do func(transport.TPM)) {
	m.t.Helper()
	device, err := swtpm.Dial(m.t.Context(), m.soft.Addr())
	if err != nil {
		m.t.Fatal(err)
	}
	defer device.Close()
	do(device)
}

// makeKey makes the attestation key where the paravisor has it.
func (m *machine) makeKey(device transport.TPM) {
	m.t.Helper()
	made, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.TPMTPublic{
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
	})}.Execute(device)
	if err != nil {
		m.t.Fatal(err)
	}
	_, err = tpm2.EvictControl{
		Auth:             owner(),
		ObjectHandle:     &tpm2.NamedHandle{Handle: made.ObjectHandle, Name: made.Name},
		PersistentHandle: akHandle,
	}.Execute(device)
	if err != nil {
		m.t.Fatal(err)
	}
	public, err := tpm.ParsePublic(made.OutPublic.Bytes())
	if err != nil {
		m.t.Fatal(err)
	}
	m.ak = public.Key.(*rsa.PublicKey)
	if _, err := (tpm2.FlushContext{FlushHandle: made.ObjectHandle}).Execute(device); err != nil {
		m.t.Fatal(err)
	}
}

// define defines the index of the HCL report.
func (m *machine) define(device transport.TPM) {
	m.t.Helper()
	_, err := tpm2.NVDefineSpace{AuthHandle: owner(), PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
		NVIndex: hclReportIndex, NameAlg: tpm2.TPMAlgSHA256, DataSize: indexSize,
		Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true},
	})}.Execute(device)
	if err != nil {
		m.t.Fatal(err)
	}
}

// report writes an HCL report about user data into the TPM.
func (m *machine) report(device transport.TPM, userData []byte) {
	m.t.Helper()
	m.write(device, m.hclReport(m.ak, userData))
}

func (m *machine) hclReport(ak *rsa.PublicKey, userData []byte) []byte {
	m.t.Helper()
	variable := azuretest.VariableData(azuretest.Key("HCLAkPub", "sign", ak), userData)
	sum := sha256.Sum256([]byte(variable))
	hardware, reportType := azuretest.TDReport(sum[:]), uint32(azuretest.TDX)
	if m.kind == attest.AzSNPvTPM {
		extended, err := m.device.Evidence(rand.Reader, sum[:])
		if err != nil {
			m.t.Fatal(err)
		}
		parsed, err := snp.Parse(extended)
		if err != nil {
			m.t.Fatal(err)
		}
		m.vcek = parsed.Certificates.VCEK
		hardware, reportType = extended[:snp.ReportSize], azuretest.SNP
	}
	return azuretest.Envelope(variable, hardware, reportType, indexSize)
}

func (m *machine) write(device transport.TPM, content []byte) {
	m.t.Helper()
	area, err := tpm2.NVReadPublic{NVIndex: hclReportIndex}.Execute(device)
	if err != nil {
		m.t.Fatal(err)
	}
	for at := 0; at < len(content); at += nvChunk {
		_, err := tpm2.NVWrite{
			AuthHandle: owner(), NVIndex: tpm2.NamedHandle{Handle: hclReportIndex, Name: area.NVName}, Offset: uint16(at),
			Data: tpm2.TPM2BMaxNVBuffer{Buffer: content[at:min(len(content), at+nvChunk)]},
		}.Execute(device)
		if err != nil {
			m.t.Fatal(err)
		}
	}
}

// paravisor stands between the guest and its TPM, as it does, and sees what the guest writes. After as many readings of the report's
// index as it is told to wait for, it writes a new report.
type paravisor struct {
	transport.TPMCloser
	m       *machine
	delay   int
	pending []byte
	// tamper, where it is set, is what is done to the report it writes.
	tamper func([]byte) []byte
}

// Commands of TPMs, and where the numbers that are looked for are in them: the index is the second handle, the data follows the authorisation.
const (
	ccNVWrite      = 0x137
	ccNVReadPublic = 0x169
)

func (p *paravisor) Send(command []byte) ([]byte, error) {
	code := binary.BigEndian.Uint32(command[6:])
	if code == ccNVReadPublic && binary.BigEndian.Uint32(command[10:]) == uint32(hclReportIndex) && p.pending != nil {
		if p.delay--; p.delay < 0 {
			report := p.m.hclReport(p.m.ak, p.pending)
			p.pending = nil
			if p.tamper != nil {
				report = p.tamper(report)
			}
			p.m.write(p.TPMCloser, report)
		}
	}
	response, err := p.TPMCloser.Send(command)
	if err == nil && code == ccNVWrite && binary.BigEndian.Uint32(command[14:]) == uint32(userDataIndex) && binary.BigEndian.Uint32(response[6:]) == 0 {
		p.pending = bytes.Clone(command[len(command)-2-userDataSize : len(command)-2]) // before the offset
	}
	return response, err
}

// open opens the machine's TPM through a paravisor that makes a new report after some readings; never when delay is negative.
func (m *machine) open(config Config, delay int) (*Device, *paravisor, error) {
	m.t.Helper()
	device, err := swtpm.Dial(m.t.Context(), m.soft.Addr())
	if err != nil {
		m.t.Fatal(err)
	}
	if delay < 0 {
		delay = 1 << 30
	}
	p := &paravisor{TPMCloser: device, m: m, delay: delay}
	config.EventLog = NoEventLog
	d, err := open(config, p)
	if err == nil {
		m.t.Cleanup(func() { _ = d.Close() })
	}
	return d, p, err
}

// serve is the host's metadata service.
func (m *machine) serve(w http.ResponseWriter, r *http.Request) {
	m.requests.Add(1)
	answer := map[string]string{}
	switch {
	case r.Header.Get("Metadata") != "true":
		http.Error(w, "no", http.StatusBadRequest)
		return
	case r.Method == http.MethodGet && r.URL.Path == pathVCEK:
		answer["vcekCert"] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.vcek}))
		answer["certificateChain"], answer["tcbm"] = "-----BEGIN…", "1234"
	case r.Method == http.MethodPost && r.URL.Path == pathTDQuote && r.Header.Get("Content-Type") == "application/json":
		var request struct {
			Report string `json:"report"`
		}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &request)
		}
		report, err2 := base64.RawURLEncoding.DecodeString(request.Report)
		if err != nil || err2 != nil || len(report) != 1024 {
			http.Error(w, "no report", http.StatusBadRequest)
			return
		}
		answer["quote"] = base64.RawURLEncoding.EncodeToString(azuretest.TDQuote(report))
	default:
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (m *machine) imds() *IMDS {
	m.t.Helper()
	imds, err := NewIMDS(IMDSConfig{Address: m.host.URL})
	if err != nil {
		m.t.Fatal(err)
	}
	return imds
}

// verify judges evidence as a broker does.
func (m *machine) verify(evidence, digest []byte) (*attest.Claims, error) {
	return m.verifier.Verify(context.Background(), attest.Input{Evidence: evidence, Binding: attest.BoundTo(digest), Time: m.now})
}
