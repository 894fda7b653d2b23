package azuredevice

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/azure"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
)

// Sizes of the runtime-data digest that can be attested, in bytes: SHA-256's and SHA-384's. The TPM takes up to 50.
const (
	minDigest = 32
	maxDigest = 48
)

// quoteTries is how often a quote is made anew because a PCR changed between reading and quoting.
const quoteTries = 3

// pollEvery is how often the paravisor's new report is looked for.
const pollEvery = 200 * time.Millisecond

// errNotReissued says that the paravisor did not put the user data into its report.
var errNotReissued = errors.New("azuredevice: the paravisor did not make a new report for the user data written")

// Evidence has the TPM quote all PCRs over digest, the runtime-data digest of 32 or 48 bytes, and returns the evidence as JSON, of the
// layout that [Config] says. Values, quote, key and report agree, or it fails.
func (d *Device) Evidence(ctx context.Context, digest []byte) ([]byte, error) {
	if len(digest) < minDigest || len(digest) > maxDigest {
		return nil, fmt.Errorf("azuredevice: a runtime-data digest of %d bytes; %d to %d can be quoted over", len(digest), minDigest, maxDigest)
	}
	log, err := d.eventLog()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	evidence := &azure.Evidence{EventLog: log}
	report, err := d.report(ctx, digest, evidence)
	if err != nil {
		return nil, err
	}
	evidence.HCLReport = report.raw
	if err := d.quoteInto(ctx, evidence, digest, report); err != nil {
		return nil, err
	}
	if err := d.vouch(ctx, evidence, report); err != nil {
		return nil, err
	}
	return evidence.Marshal(d.kind)
}

// report returns the HCL report to present, and sets the layout that it makes.
func (d *Device) report(ctx context.Context, digest []byte, evidence *azure.Evidence) (hclReport, error) {
	if evidence.Version = 2; d.config.Layout != 1 && !d.ignored {
		report, err := d.freshReport(ctx, digest)
		d.ignored = d.config.Layout == 0 && errors.Is(err, errNotReissued)
		if err == nil || d.config.Layout == 2 || ctx.Err() != nil {
			return report, err
		}
	}
	evidence.Version = 1
	return d.hclReport()
}

// freshReport has the paravisor make a report about digest.
func (d *Device) freshReport(ctx context.Context, digest []byte) (hclReport, error) {
	if err := d.writeUserData(digest); err != nil {
		return hclReport{}, err
	}
	timeout := time.NewTimer(d.config.Wait)
	defer timeout.Stop()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		report, err := d.hclReport()
		if err != nil {
			return hclReport{}, err
		}
		if report.Runtime.Carries(digest) {
			return report, nil
		}
		select {
		case <-ctx.Done():
			return hclReport{}, ctx.Err()
		case <-timeout.C:
			if err := ctx.Err(); err != nil { // both are so, and whose context ended is not the paravisor's fault
				return hclReport{}, err
			}
			return hclReport{}, fmt.Errorf("%w within %v", errNotReissued, d.config.Wait)
		case <-poll.C:
		}
	}
}

// quoteInto adds the PCRs and a quote of them by the key in the report.
func (d *Device) quoteInto(ctx context.Context, evidence *azure.Evidence, digest []byte, report hclReport) error {
	key, err := tpm2.ReadPublic{ObjectHandle: akHandle}.Execute(d.tpm)
	if err != nil {
		return fmt.Errorf("azuredevice: the attestation key %#x: %w", uint32(akHandle), err)
	}
	public, err := tpm.ParsePublic(key.OutPublic.Bytes())
	if err != nil {
		return fmt.Errorf("azuredevice: the attestation key: %w", err)
	}
	if rsaKey, is := public.Key.(*rsa.PublicKey); !is || !rsaKey.Equal(report.Runtime.AK) {
		return errors.New("azuredevice: the TPM's attestation key is not the one in the HCL report")
	}
	if evidence.AKPublic, err = x509.MarshalPKIXPublicKey(public.Key); err != nil {
		return fmt.Errorf("azuredevice: the attestation key: %w", err)
	}
	ak := tpm2.AuthHandle{Handle: akHandle, Name: key.Name, Auth: tpm2.PasswordAuth(nil)}
	for range quoteTries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if evidence.PCRs, err = d.readPCRs(); err != nil {
			return err
		}
		if evidence.Message, evidence.Signature, err = d.quote(ak, digest); err != nil {
			return err
		}
		var quote *tpm.Quote
		if quote, err = tpm.ParseQuote(evidence.Message); err == nil {
			err = quote.CheckPCRs(crypto.SHA256, evidence.PCRs, crypto.SHA256)
		}
		if err == nil && !bytes.Equal(quote.ExtraData, digest) {
			err = errors.New("the quote is about other data than it was asked for")
		}
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("azuredevice: quoting: %w", err)
}

// vouch adds what says that the hardware's report is genuine.
func (d *Device) vouch(ctx context.Context, evidence *azure.Evidence, report hclReport) (err error) {
	switch {
	case d.kind == attest.AzTDXvTPM:
		evidence.TDQuote, err = d.config.Metadata.TDQuote(ctx, report.Hardware)
	case d.config.Metadata != nil:
		evidence.VCEK, err = d.config.Metadata.VCEK(ctx)
	}
	return err
}

func selection(pcrs ...uint) tpm2.TPMLPCRSelection {
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
		{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(pcrs...)},
	}}
}

// pcrsFrom returns the numbers of a PCR and all after it.
func pcrsFrom(first int) (pcrs []uint) {
	for pcr := first; pcr < tpm.NumPCRs; pcr++ {
		pcrs = append(pcrs, uint(pcr))
	}
	return pcrs
}

// readPCRs reads all PCRs, as many at a time as the TPM gives.
func (d *Device) readPCRs() ([][]byte, error) {
	values := make([][]byte, 0, tpm.NumPCRs)
	for len(values) < tpm.NumPCRs {
		read, err := tpm2.PCRRead{PCRSelectionIn: selection(pcrsFrom(len(values))...)}.Execute(d.tpm)
		if err != nil {
			return nil, fmt.Errorf("azuredevice: reading PCRs: %w", err)
		}
		if len(read.PCRValues.Digests) == 0 {
			return nil, errors.New("azuredevice: the TPM has no bank sha256")
		}
		for _, value := range read.PCRValues.Digests {
			values = append(values, value.Buffer)
		}
	}
	if len(values) != tpm.NumPCRs {
		return nil, errors.New("azuredevice: the TPM gives more PCRs than were asked for")
	}
	return values, nil
}

// quote returns a TPMS_ATTEST over all PCRs, and the bare signature.
func (d *Device) quote(ak tpm2.AuthHandle, extra []byte) (message, signature []byte, err error) {
	quoted, err := tpm2.Quote{
		SignHandle:     ak,
		QualifyingData: tpm2.TPM2BData{Buffer: extra},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}, // the key's own
		PCRSelect:      selection(pcrsFrom(0)...),
	}.Execute(d.tpm)
	if err != nil {
		return nil, nil, fmt.Errorf("azuredevice: quoting: %w", err)
	}
	rsassa, err := quoted.Signature.Signature.RSASSA()
	if err != nil || rsassa.Hash != tpm2.TPMAlgSHA256 {
		return nil, nil, errors.New("azuredevice: the attestation key does not sign by RSASSA with SHA-256")
	}
	return quoted.Quoted.Bytes(), rsassa.Sig.Buffer, nil
}
