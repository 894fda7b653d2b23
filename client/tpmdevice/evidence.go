package tpmdevice

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
)

// digestBytes of the runtime-data digest go into the quote.
const digestBytes = 32

// quoteTries is how often a quote is made anew because a PCR changed between reading and quoting.
const quoteTries = 3

// Evidence has the TPM quote all PCRs over the first 32 bytes of digest, the runtime-data digest, and returns the evidence as
// JSON. Values and quote agree, or it fails: a PCR that keeps changing cannot be attested.
func (d *Device) Evidence(ctx context.Context, digest []byte) ([]byte, error) {
	if len(digest) < digestBytes {
		return nil, fmt.Errorf("tpmdevice: a runtime-data digest of %d bytes; at least %d are needed", len(digest), digestBytes)
	}
	log, err := d.eventLog()
	if err != nil {
		return nil, err
	}
	evidence := &tpm.Evidence{Bank: d.config.Bank, EventLog: log}
	d.mu.Lock()
	defer d.mu.Unlock()
	evidence.AKPublic, evidence.AKTPMPublic = d.ak.spki, d.ak.public.Raw
	for range quoteTries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if evidence.PCRs, err = d.readPCRs(); err != nil {
			return nil, err
		}
		if evidence.Message, evidence.Signature, err = d.quote(digest[:digestBytes]); err != nil {
			return nil, err
		}
		if err = agree(evidence); err == nil {
			return json.Marshal(evidence)
		}
	}
	return nil, fmt.Errorf("tpmdevice: quoting: %w", err)
}

// agree checks that values and quote fit, as the verifier will.
func agree(evidence *tpm.Evidence) error {
	quote, err := tpm.ParseQuote(evidence.Message)
	if err != nil {
		return err
	}
	signature, err := tpm.ParseSignature(evidence.Signature)
	if err != nil {
		return err
	}
	bank := map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384}[evidence.Bank]
	return quote.CheckPCRs(bank, evidence.PCRs, signature.Hash)
}

func (d *Device) selection(pcrs ...uint) tpm2.TPMLPCRSelection {
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
		{Hash: d.bank, PCRSelect: tpm2.PCClientCompatible.PCRs(pcrs...)},
	}}
}

// readPCRs reads all PCRs, as many at a time as the TPM gives.
func (d *Device) readPCRs() ([][]byte, error) {
	values := make([][]byte, 0, tpm.NumPCRs)
	for len(values) < tpm.NumPCRs {
		var wanted []uint
		for pcr := len(values); pcr < tpm.NumPCRs; pcr++ {
			wanted = append(wanted, uint(pcr))
		}
		read, err := tpm2.PCRRead{PCRSelectionIn: d.selection(wanted...)}.Execute(d.tpm)
		if err != nil {
			return nil, fmt.Errorf("tpmdevice: reading PCRs: %w", err)
		}
		if len(read.PCRValues.Digests) == 0 {
			return nil, fmt.Errorf("tpmdevice: the TPM has no bank %s", d.config.Bank)
		}
		for _, value := range read.PCRValues.Digests {
			values = append(values, value.Buffer)
		}
	}
	if len(values) != tpm.NumPCRs {
		return nil, errors.New("tpmdevice: the TPM gives more PCRs than were asked for")
	}
	return values, nil
}

func (d *Device) quote(extra []byte) (message, signature []byte, err error) {
	all := make([]uint, tpm.NumPCRs)
	for i := range all {
		all[i] = uint(i)
	}
	quoted, err := tpm2.Quote{
		SignHandle:     tpm2.AuthHandle{Handle: d.ak.handle, Name: d.ak.name, Auth: tpm2.PasswordAuth(nil)},
		QualifyingData: tpm2.TPM2BData{Buffer: extra},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}, // the key's own
		PCRSelect:      d.selection(all...),
	}.Execute(d.tpm)
	if err != nil {
		return nil, nil, fmt.Errorf("tpmdevice: quoting: %w", err)
	}
	return quoted.Quoted.Bytes(), tpm2.Marshal(quoted.Signature), nil
}
