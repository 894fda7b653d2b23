package azure

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/eventlog"
	"github.com/vouchsafe/vouchsafe/attest/internal/hextext"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
)

// initDataPCR is extended with the init-data digest.
const initDataPCR = 8

// Config says what vouches for the paravisor.
type Config struct {
	// Hardware verifies the report that the paravisor had its processor make: a verifier of kind snp, which makes this one of kind az-snp-vtpm, or
	// of kind tdx, which makes it one of kind az-tdx-vtpm. It is asked with an SEV-SNP report, extended by the certificate where
	// the guest presented it, or with a TD quote. Required.
	Hardware attest.Verifier
}

// Verifier verifies evidence of one of the two kinds. The package documentation says what it checks.
type Verifier struct {
	kind     attest.Kind
	report   ReportType
	hardware attest.Verifier
	spaces   sync.Pool // of *[spaceSize]byte
}

// New returns a Verifier.
func New(config Config) (*Verifier, error) {
	if config.Hardware == nil {
		return nil, errors.New("azure: no verifier of the hardware's report is configured")
	}
	v := &Verifier{hardware: config.Hardware, spaces: sync.Pool{New: func() any { return new([spaceSize]byte) }}}
	switch kind := config.Hardware.Kind(); kind {
	case attest.SNP:
		v.kind, v.report = attest.AzSNPvTPM, TypeSNP
	case attest.TDX:
		v.kind, v.report = attest.AzTDXvTPM, TypeTDX
	default:
		return nil, fmt.Errorf("azure: a verifier of kind %q cannot verify a confidential VM's hardware: snp and tdx can", kind)
	}
	return v, nil
}

// Kind returns [attest.AzSNPvTPM] or [attest.AzTDXvTPM].
func (v *Verifier) Kind() attest.Kind { return v.kind }

// Verify implements [attest.Verifier]. What costs little is checked first; the hardware's report, which costs most and may need collateral, last.
func (v *Verifier) Verify(ctx context.Context, in attest.Input) (*attest.Claims, error) {
	// Memory that nobody touched lately is what costs most of decoding ten kilobytes, so it is used again. Claims are texts and numbers of their own, and
	// verifiers of hardware do not keep what they are given.
	memory := v.spaces.Get().(*[spaceSize]byte)
	defer v.spaces.Put(memory)
	evidence, err := parseInto(memory[:], v.kind, in.Evidence)
	if err != nil {
		return nil, err
	}
	return v.judge(ctx, in, evidence)
}

// judge verifies what was parsed.
func (v *Verifier) judge(ctx context.Context, in attest.Input, evidence *Evidence) (*attest.Claims, error) {
	quote, err := evidence.checkQuote(in.Binding)
	if err != nil {
		return nil, err
	}
	if in.Init != nil && len(in.Init.Digest) != sha256.Size {
		return nil, attest.Refuse(attest.CodeInitData, "init-data with a digest of %d bytes: PCR 8 binds digests of %d",
			len(in.Init.Digest), sha256.Size)
	}
	report, err := ParseHCLReport(evidence.HCLReport)
	if err != nil {
		return nil, err
	}
	if report.Type != v.report {
		return nil, attest.Refuse(attest.CodeMalformed, "the HCL report is of type %d; evidence of kind %s has type %d", report.Type, v.kind, v.report)
	}
	fresh := report.Runtime.Carries(quote.ExtraData)
	if evidence.Version >= 2 && !fresh {
		return nil, attest.Refuse(attest.CodeBinding, "user-data in the HCL report is not what the quote covers, as layout %d has it", evidence.Version)
	}
	spki := report.Runtime.spki()
	if err := evidence.checkSignature(report.Runtime.AK, spki); err != nil {
		return nil, err
	}
	claims, err := v.verifyHardware(ctx, in, evidence, report)
	if err != nil {
		return nil, err
	}
	hostData := claims.InitData
	claims.Kind = v.kind
	claims.Bound = attest.Ptr(in.Binding.IsBound())
	claims.ReportData = hextext.String(quote.ExtraData)
	claims.Azure = azureClaims(evidence, report, fresh, hostData)
	claims.TPM = tpmClaims(quote, evidence.PCRs, spki)
	bindInitData(claims, in.Init, evidence.PCRs[initDataPCR])
	if len(evidence.EventLog) > 0 {
		if claims.Boot, err = eventlog.BootGuest(evidence.EventLog, quote.Bank, evidence.PCRs); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

// verifyHardware has the hardware's report verified and returns what it proves.
func (v *Verifier) verifyHardware(ctx context.Context, in attest.Input, evidence *Evidence, report *HCLReport) (*attest.Claims, error) {
	ask := attest.Input{Namespace: in.Namespace, Binding: attest.BoundTo(report.Digest[:]), Time: in.Time}
	if v.report == TypeSNP {
		ask.Evidence = append(report.Hardware[:len(report.Hardware):len(report.Hardware)], snp.Certificates{VCEK: evidence.VCEK}.Table()...)
	} else {
		// The verifier of tdx also takes a quote in JSON, with the event log of its trust domain. That is the paravisor's: of the guest, which is
		// what claims.boot is about, the TPM's log tells.
		if bytes.HasPrefix(bytes.TrimLeft(evidence.TDQuote, " \t\r\n"), []byte("{")) {
			return nil, attest.Refuse(attest.CodeMalformed, "td_quote is JSON and not a quote")
		}
		ask.Evidence = evidence.TDQuote
	}
	proved, err := v.hardware.Verify(ctx, ask)
	if err != nil {
		var refusal *attest.Refusal
		if errors.As(err, &refusal) && refusal.Code == attest.CodeBinding {
			return nil, attest.Refuse(attest.CodeKeyNotReported,
				"the hardware's report is not about the HCL report, and so not about its attestation key: %w", err)
		}
		return nil, err
	}
	if proved == nil || proved.Kind != v.hardware.Kind() || proved.Bound == nil || !*proved.Bound {
		return nil, &attest.Unavailable{What: "a verdict on the hardware's report", Err: errors.New("azure: its verifier broke its contract")}
	}
	// The paravisor runs at VMPL 0. Whatever runs below it, the guest among that, can have a report made about any data, a key of its own
	// included: but the report then says so.
	if v.report == TypeSNP && (proved.VMPL == nil || *proved.VMPL != 0) {
		return nil, attest.Refuse(attest.CodeKeyNotReported, "the report is not by the paravisor at VMPL 0, so its key need not be a TPM's")
	}
	claims := *proved
	claims.InitDataBound, claims.InitDataClaims, claims.Boot = nil, nil, nil
	return &claims, nil
}

// bindInitData holds PCR 8 against the init-data presented, whose digest has 32 bytes.
func bindInitData(claims *attest.Claims, init *attest.InitData, pcr []byte) {
	claims.InitData = ""
	if init == nil {
		return
	}
	want := sha256.Sum256(append(make([]byte, sha256.Size), init.Digest...))
	bound := subtle.ConstantTimeCompare(pcr, want[:]) == 1
	claims.InitDataBound = &bound
	if bound {
		claims.InitData = hex.EncodeToString(init.Digest)
		claims.InitDataClaims = init.Data
	}
}

func tpmClaims(quote *tpm.Quote, pcrs [][]byte, spki []byte) *attest.TPMClaims {
	digest := tpm.SPKIDigest(spki)
	return &attest.TPMClaims{
		AKName: digest, AKDigest: digest, Bank: "sha256", PCRs: tpm.PCRClaims(pcrs),
		Clock: int64(quote.Clock), ClockSafe: quote.ClockSafe,
	}
}

func azureClaims(evidence *Evidence, report *HCLReport, fresh bool, hostData string) *attest.AzureClaims {
	config := report.Runtime.config
	return &attest.AzureClaims{
		LayoutVersion: evidence.Version, ReportType: int(report.Type),
		UserData: hextext.String(report.Runtime.UserData), UserDataBound: fresh,
		VMUniqueID: config.VMUniqueID, RootCertThumbprint: config.RootCertThumbprint, HardwareSealingPolicy: config.HardwareSealingPolicy,
		SecureBoot: config.SecureBoot, TPMEnabled: config.TPMEnabled, TPMPersisted: config.TPMPersisted,
		ConsoleEnabled: config.ConsoleEnabled, InteractiveConsole: config.InteractiveConsole, FilteredDevices: config.FilteredDevices,
		HostData: hostData,
	}
}
