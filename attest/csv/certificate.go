package csv

import (
	"fmt"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
)

// Sizes and offsets of certificates, in bytes.
const (
	hskSize      = 832
	hskSigned    = 576
	offHSKUsage  = 36
	offHSKKey    = 64
	offHSKSig    = 576
	certSize     = 2084
	certSigned   = 1044
	offFirmware  = 4
	offKeyUsage  = 8
	offKeyAlgo   = 12
	offKey       = 16
	offSigs      = 1044
	sigEntrySize = 520
	sigEntries   = 2
)

// hskCEKSize is the size of the endorsement: a HSK's and a CEK's certificate, one after the other.
const hskCEKSize = hskSize + certSize

// platformKey is what a PEK's certificate says.
type platformKey struct {
	key      *publicKey
	firmware string     // the version of the firmware's interface
	issuer   *publicKey // the CEK that is known to have signed it, nil when none is
}

// parsePEK reads a PEK's certificate of certSize bytes.
func parsePEK(cert []byte) (*platformKey, error) {
	key, err := keyOf(cert, usagePEK)
	if err != nil {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the PEK's certificate: %w", err)
	}
	return &platformKey{key: key, firmware: fmt.Sprintf("%d.%d", cert[offFirmware], cert[offFirmware+1])}, nil
}

// keyOf reads the key of a CEK's or PEK's certificate.
func keyOf(cert []byte, usage uint32) (*publicKey, error) {
	if got := le.Uint32(cert[offKeyUsage:]); got != usage {
		return nil, fmt.Errorf("a key of the usage %#x, not %#x", got, usage)
	}
	if got := le.Uint32(cert[offKeyAlgo:]); got != algorithmSM2 {
		return nil, fmt.Errorf("a key of the algorithm %#x, not SM2", got)
	}
	return parseKey(cert[offKey:][:keySize])
}

// signedBy reports whether one of the signatures of a CEK's or PEK's certificate is by issuer, whose usage is given.
func signedBy(cert []byte, issuer *publicKey, usage uint32) bool {
	for i := range sigEntries {
		entry := cert[offSigs+i*sigEntrySize:][:sigEntrySize]
		if le.Uint32(entry) == usage && le.Uint32(entry[4:]) == algorithmSM2 && issuer.signed(cert[:certSigned], entry[8:][:sigSize]) {
			return true
		}
	}
	return false
}

// verifyAuthorities verifies a HSK and the CEK that it signed, and returns the CEK's key.
func verifyAuthorities(hskCEK []byte, root *publicKey) (*publicKey, error) {
	if len(hskCEK) != hskCEKSize {
		return nil, attest.Refuse(attest.CodeCertMalformed, "certificates of HSK and CEK of %d bytes, not %d", len(hskCEK), hskCEKSize)
	}
	hsk, cek := hskCEK[:hskSize], hskCEK[hskSize:]
	if got := le.Uint32(hsk[offHSKUsage:]); got != usageHSK {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the HSK's certificate has a key of the usage %#x, not %#x", got, usageHSK)
	}
	hskKey, err := parseKey(hsk[offHSKKey:][:keySize])
	if err != nil {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the HSK's certificate: %w", err)
	}
	cekKey, err := keyOf(cek, usageCEK)
	if err != nil {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the CEK's certificate: %w", err)
	}
	if !root.signed(hsk[:hskSigned], hsk[offHSKSig:][:sigSize]) {
		return nil, attest.Refuse(attest.CodeCertUntrusted, "the pinned Hygon root key did not sign the HSK's certificate")
	}
	if !signedBy(cek, hskKey, usageHSK) {
		return nil, attest.Refuse(attest.CodeCertUntrusted, "the HSK did not sign the CEK's certificate")
	}
	return cekKey, nil
}

// authorities returns the CEK's key of verified certificates, from the cache where it is there.
func (v *Verifier) authorities(hskCEK []byte) (*publicKey, error) {
	key := verified.KeyOf(hskCEK)
	if cek, ok := v.ceks.Get(key); ok {
		return cek, nil
	}
	cek, err := verifyAuthorities(hskCEK, v.root)
	if err == nil {
		v.ceks.Put(key, cek)
	}
	return cek, err
}
