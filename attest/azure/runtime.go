package azure

import (
	"crypto/rsa"
	"encoding/hex"
	"math/big"
	"slices"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
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

// maxKeys and maxText bound what the variable data has: two keys, and identifiers of up to 43 characters.
const (
	maxKeys = 8
	maxText = 128
)

// Runtime is what the variable data of an HCL report says.
type Runtime struct {
	AK       *rsa.PublicKey // the virtual TPM's attestation key, RSA-2048
	UserData []byte         // 64 bytes that the guest chose, nil where the paravisor reports none

	config vmConfiguration
}

// The JSON form. Paravisors add members, so those not known here are passed over; the hardware vouches for all of it.
type (
	runtimeData struct {
		Keys     []jwk            `json:"keys"`
		Config   *vmConfiguration `json:"vm-configuration"`
		UserData string           `json:"user-data"`
	}
	jwk struct {
		ID         string   `json:"kid"`
		Operations []string `json:"key_ops"`
		Type       string   `json:"kty"`
		Exponent   string   `json:"e"`
		Modulus    string   `json:"n"`
	}
	vmConfiguration struct {
		VMUniqueID            string `json:"vmUniqueId"`
		SecureBoot            *bool  `json:"secure-boot"`
		TPMEnabled            *bool  `json:"tpm-enabled"`
		TPMPersisted          *bool  `json:"tpm-persisted"`
		ConsoleEnabled        *bool  `json:"console-enabled"`
		InteractiveConsole    *bool  `json:"interactive-console-enabled"`
		FilteredDevices       *bool  `json:"filtered-vpci-devices-allowed"`
		RootCertThumbprint    string `json:"root-cert-thumbprint"`
		HardwareSealingPolicy string `json:"hardware-sealing-policy"`
	}
)

func parseRuntime(variable []byte) (runtime Runtime, err error) {
	var data runtimeData
	if err := strictjson.UnmarshalNewer(variable, &data); err != nil {
		return runtime, attest.Refuse(attest.CodeMalformed, "the variable data of the HCL report: %w", err)
	}
	if len(data.Keys) > maxKeys {
		return runtime, attest.Refuse(attest.CodeTooLarge, "the HCL report has %d keys; at most %d are read", len(data.Keys), maxKeys)
	}
	if data.Config != nil {
		runtime.config = *data.Config
	}
	for _, text := range []string{
		runtime.config.VMUniqueID, runtime.config.RootCertThumbprint, runtime.config.HardwareSealingPolicy,
	} {
		if len(text) > maxText {
			return runtime, attest.Refuse(attest.CodeTooLarge, "the VM's configuration in the HCL report has a text of %d bytes", len(text))
		}
	}
	if data.UserData != "" {
		// Paravisors have written upper-case letters, and lower-case ones.
		runtime.UserData, err = hex.DecodeString(data.UserData)
		if err != nil || len(runtime.UserData) != userDataSize {
			return runtime, attest.Refuse(attest.CodeMalformed, "user-data in the HCL report is not %d bytes in hex", userDataSize)
		}
	}
	runtime.AK, err = attestationKey(data.Keys)
	return runtime, err
}

// attestationKey returns the one key that is the virtual TPM's attestation key.
func attestationKey(keys []jwk) (*rsa.PublicKey, error) {
	var found []jwk
	for _, key := range keys {
		if key.ID == akID {
			found = append(found, key)
		}
	}
	if len(found) != 1 {
		return nil, attest.Refuse(attest.CodeKeyNotReported, "the HCL report has %d keys named %s, not one", len(found), akID)
	}
	key := found[0]
	if key.Type != "RSA" {
		return nil, attest.Refuse(attest.CodeAlgorithm, "the attestation key is of type %.20q, not RSA", key.Type)
	}
	if !slices.Equal(key.Operations, []string{"sign"}) {
		return nil, attest.Refuse(attest.CodeKeyAttributes, "the attestation key is for %.60q, not for signing alone", key.Operations)
	}
	modulus, err := decodeBase64URL([]byte(key.Modulus), akBits/8)
	if err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "the attestation key's modulus: %w", err)
	}
	exponent, err := decodeBase64URL([]byte(key.Exponent), 4)
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

// Carries reports whether the user data begins with data and has zeros after it.
func (runtime *Runtime) Carries(data []byte) bool {
	return len(data) > 0 && runtime.UserData != nil && attest.BoundTo(data).Padded(runtime.UserData) == nil
}
