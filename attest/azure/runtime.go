package azure

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"math/big"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/jsonscan"
)

// akID is the kid of the virtual TPM's attestation key in the variable data.
const akID = "HCLAkPub"

// Of the attestation key: the paravisor makes no other.
const (
	akBits     = 2048
	akExponent = 65537
)

// userDataSize is how much a guest can have put into the variable data, in bytes.
const userDataSize = 64

// Bounds of what the variable data has: two keys for one operation each, and identifiers of up to 43 characters.
const (
	maxKeys       = 8
	maxOperations = 8
	maxText       = 128
)

// Runtime is what the variable data of an HCL report says.
type Runtime struct {
	AK       *rsa.PublicKey // the virtual TPM's attestation key, RSA-2048
	UserData []byte         // 64 bytes that the guest chose, nil where the paravisor reports none

	config vmConfiguration
}

// What is read of the JSON. Paravisors add members, so those not known here are passed over; the hardware vouches for all of it.
type (
	jwk struct {
		id, kind          []byte // these are parts of the text
		exponent, modulus []byte
		operations        int  // how many
		signs             bool // whether one of them is to sign
	}
	vmConfiguration struct {
		VMUniqueID            string
		SecureBoot            *bool
		TPMEnabled            *bool
		TPMPersisted          *bool
		ConsoleEnabled        *bool
		InteractiveConsole    *bool
		FilteredDevices       *bool
		RootCertThumbprint    string
		HardwareSealingPolicy string
	}
)

// runtimeReader reads the variable data.
type runtimeReader struct {
	*jsonscan.Scanner
	keys   int // how many
	aks    int // of them that are named as the attestation key is
	ak     jwk // the last of these
	config vmConfiguration
}

func (r *runtimeReader) data(userData *[]byte) {
	r.Members([]string{"keys", "vm-configuration", "user-data"}, func(i int) {
		switch i {
		case 0:
			r.Array(r.key)
		case 1:
			r.configuration()
		case 2:
			// Paravisors have written upper-case letters, and lower-case ones.
			*userData = r.AppendHex(nil, userDataSize)
		}
	})
}

func (r *runtimeReader) key() {
	if r.keys++; r.keys > maxKeys {
		r.Refuse(attest.Refuse(attest.CodeTooLarge, "the HCL report has over %d keys", maxKeys))
		return
	}
	var key jwk
	r.Members([]string{"kid", "key_ops", "kty", "e", "n"}, func(i int) {
		switch i {
		case 0:
			key.id = r.text()
		case 1:
			r.Array(func() {
				if key.operations++; key.operations > maxOperations {
					r.Fail("a key for over %d operations", maxOperations)
				}
				key.signs = string(r.text()) == "sign" || key.signs
			})
		case 2:
			key.kind = r.text()
		case 3:
			key.exponent = r.Text()
		case 4:
			key.modulus = r.Text()
		}
	})
	if string(key.id) == akID {
		r.aks++
		r.ak = key
	}
}

func (r *runtimeReader) configuration() {
	c := &r.config
	texts := [...]*string{&c.VMUniqueID, &c.RootCertThumbprint, &c.HardwareSealingPolicy}
	flags := [...]**bool{
		&c.SecureBoot, &c.TPMEnabled, &c.TPMPersisted, &c.ConsoleEnabled, &c.InteractiveConsole, &c.FilteredDevices,
	}
	r.Members([]string{
		"vmUniqueId", "root-cert-thumbprint", "hardware-sealing-policy",
		"secure-boot", "tpm-enabled", "tpm-persisted", "console-enabled", "interactive-console-enabled", "filtered-vpci-devices-allowed",
	}, func(i int) {
		if i < len(texts) {
			*texts[i] = string(r.text())
		} else {
			*flags[i-len(texts)] = attest.Ptr(r.Bool())
		}
	})
}

// text reads a string that is short. What it returns is part of the HCL report.
func (r *runtimeReader) text() []byte {
	text := r.String()
	if len(text) > maxText {
		r.Refuse(attest.Refuse(attest.CodeTooLarge, "a text of %d bytes in the HCL report", len(text)))
	}
	return text
}

func parseRuntime(variable []byte) (runtime Runtime, err error) {
	r := runtimeReader{Scanner: jsonscan.New(variable)}
	r.data(&runtime.UserData)
	r.End()
	if err := r.Err(); err != nil {
		code := attest.CodeMalformed
		var refusal *attest.Refusal
		if errors.As(err, &refusal) {
			code = refusal.Code
		}
		return runtime, attest.Refuse(code, "the variable data of the HCL report: %w", err)
	}
	if n := len(runtime.UserData); n != 0 && n != userDataSize {
		return runtime, attest.Refuse(attest.CodeMalformed, "user-data in the HCL report is of %d bytes, not %d", n, userDataSize)
	}
	runtime.config = r.config
	if r.aks != 1 {
		return runtime, attest.Refuse(attest.CodeKeyNotReported, "the HCL report has %d keys named %s, not one", r.aks, akID)
	}
	runtime.AK, err = r.ak.attestationKey()
	return runtime, err
}

// attestationKey returns the key as the virtual TPM's attestation key.
func (key *jwk) attestationKey() (*rsa.PublicKey, error) {
	if string(key.kind) != "RSA" {
		return nil, attest.Refuse(attest.CodeAlgorithm, "the attestation key is of type %.20q, not RSA", key.kind)
	}
	if key.operations != 1 || !key.signs {
		return nil, attest.Refuse(attest.CodeKeyAttributes, "the attestation key is for %d operations, signing among them: %t; it must be for signing alone",
			key.operations, key.signs)
	}
	decoded := make(space, akBits/8+4)
	modulus, err := decoded.decodeBase64URL(key.modulus, akBits/8)
	if err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "the attestation key's modulus: %w", err)
	}
	exponent, err := decoded.decodeBase64URL(key.exponent, 4)
	if err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "the attestation key's exponent: %w", err)
	}
	n, e := new(big.Int).SetBytes(modulus), new(big.Int).SetBytes(exponent)
	if n.BitLen() != akBits || e.Cmp(big.NewInt(akExponent)) != 0 {
		return nil, attest.Refuse(attest.CodeAlgorithm, "an attestation key of %d bits with exponent %v; %d bits and %d are expected",
			n.BitLen(), e, akBits, akExponent)
	}
	return &rsa.PublicKey{N: n, E: akExponent}, nil
}

// spkiHead and spkiTail are what the DER of a SubjectPublicKeyInfo has around the modulus of every key that can be an attestation key here: of
// 2048 bits, with the exponent 65537. To have encoding/asn1 write it takes as long as reading the evidence does.
const (
	spkiHead = "\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00\x30\x82\x01\x0a\x02\x82\x01\x01\x00"
	spkiTail = "\x02\x03\x01\x00\x01"
)

// spki returns the attestation key as DER SubjectPublicKeyInfo.
func (runtime *Runtime) spki() []byte {
	out := make([]byte, len(spkiHead)+akBits/8, len(spkiHead)+akBits/8+len(spkiTail))
	copy(out, spkiHead)
	runtime.AK.N.FillBytes(out[len(spkiHead):])
	return append(out, spkiTail...)
}

// Carries reports whether the user data begins with data and has zeros after it.
func (runtime *Runtime) Carries(data []byte) bool {
	rest, begins := bytes.CutPrefix(runtime.UserData, data)
	return len(data) > 0 && begins && allZero(rest)
}
