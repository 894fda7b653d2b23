package azure

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
)

// PCRs that whoever can talk to the TPM may set back to zero at any time and fill anew (TCG PC Client Platform TPM Profile, table of PCR
// attributes): the one for debugging and the one for applications. 17 to 22 need a locality above that of ordinary software.
const (
	pcrDebug       = 16
	pcrApplication = 23
)

func resettable(pcr int) bool { return pcr == pcrDebug || pcr == pcrApplication }

// checkQuote parses the quote and holds it against the PCR values presented and the binding.
func (e *Evidence) checkQuote(binding attest.Binding) (*tpm.Quote, error) {
	quote, err := tpm.ParseAnyQuote(e.Message)
	if err != nil {
		return nil, err
	}
	if err := binding.Exact(quote.ExtraData); err != nil {
		return nil, err
	}
	if err := checkSelections(quote.Selections); err != nil {
		return nil, err
	}
	quote.Bank, quote.Selected = crypto.SHA256, quote.Selections[0].PCRs
	for i, value := range e.PCRs {
		if len(value) != sha256.Size {
			return nil, attest.Refuse(attest.CodePCRBank, "the value of PCR %d has %d bytes; one of bank sha256 has %d", i, len(value), sha256.Size)
		}
	}
	return quote, quote.CheckPCRs(crypto.SHA256, e.PCRs, crypto.SHA256)
}

// checkSelections demands one selection, of PCRs 0 to 23 in bank SHA-256. A TPM digests the values of several selections one after
// the other, so that one of a PCR that can be reset would stand where a verifier that only counts values looks for PCR 11.
func checkSelections(selections []tpm.Selection) error {
	var order []int
	for i, s := range selections {
		if s.Bank != crypto.SHA256 {
			return attest.Refuse(attest.CodePCRBank, "the quote is over bank %#x, not sha256", s.Algorithm)
		}
		if i == 0 {
			order = s.PCRs[:len(s.PCRs):len(s.PCRs)] // what is appended is appended elsewhere
			continue
		}
		order = append(order, s.PCRs...)
	}
	if len(order) == tpm.NumPCRs {
		for place, pcr := range order {
			if resettable(pcr) && !resettable(place) {
				return attest.Refuse(attest.CodePCRResettable, "the quote has PCR %d, which anyone may reset, in the place of PCR %d", pcr, place)
			}
		}
	}
	if len(selections) != 1 || len(order) != tpm.NumPCRs || order[tpm.NumPCRs-1] != tpm.NumPCRs-1 {
		return attest.Refuse(attest.CodePCRSelection, "the quote is over PCRs %v in %d selections; all of 0 to %d are expected, in one",
			order, len(selections), tpm.NumPCRs-1)
	}
	return nil
}

// checkSignature checks that the attestation key signed the quote, and that the key presented beside it, where there is one, is the same.
func (e *Evidence) checkSignature(ak *rsa.PublicKey, spki []byte) error {
	if e.AKPublic != nil && !bytes.Equal(spki, e.AKPublic) {
		return attest.Refuse(attest.CodeKeyNotReported, "the attestation key presented is not the one in the HCL report")
	}
	digest := sha256.Sum256(e.Message)
	if err := rsa.VerifyPKCS1v15(ak, crypto.SHA256, digest[:], e.Signature); err != nil {
		return attest.Refuse(attest.CodeSignature, "the quote's signature is not by the attestation key in the HCL report: %w", err)
	}
	return nil
}
