package tpmdevice

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-tpm/tpm2"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
)

// templates of attestation keys: restricted signing keys, fixed to this TPM, used without authorisation.
var templates = map[Algorithm]tpm2.TPMTPublic{
	ECDSAP256: {
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: akAttributes,
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			CurveID: tpm2.TPMECCNistP256,
		}),
	},
	RSA2048: {
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: akAttributes,
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{
				Scheme:  tpm2.TPMAlgRSASSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			KeyBits: 2048,
		}),
	},
}

var akAttributes = tpm2.TPMAObject{
	FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true,
	Restricted: true, SignEncrypt: true,
}

// savedKey is the content of KeyFile.
type savedKey struct {
	Public  []byte `json:"public"`  // TPMT_PUBLIC
	Private []byte `json:"private"` // content of a TPM2B_PRIVATE, wrapped by the storage root key
}

// key is a loaded attestation key.
type key struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public *tpm.Public
	spki   []byte
}

// loadKey loads the kept attestation key, or makes and keeps one.
func (d *Device) loadKey() error {
	parent, release, err := d.storageRoot()
	if err != nil {
		return err
	}
	defer release()
	path := filepath.Join(d.config.StateDir, KeyFile)
	content, err := os.ReadFile(path)
	var saved savedKey
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if saved, err = d.makeKey(parent); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("tpmdevice: the attestation key: %w", err)
	default:
		if err := json.Unmarshal(content, &saved); err != nil {
			return fmt.Errorf("tpmdevice: %s is damaged: remove it and enrol this host again: %w", path, err)
		}
	}
	loaded, err := tpm2.Load{
		ParentHandle: parent,
		InPrivate:    tpm2.TPM2BPrivate{Buffer: saved.Private},
		InPublic:     tpm2.BytesAs2B[tpm2.TPMTPublic](saved.Public),
	}.Execute(d.tpm)
	if err != nil {
		return fmt.Errorf("tpmdevice: the TPM does not load the key in %s: if the TPM was cleared or replaced, remove the file and enrol this host again: %w",
			path, err)
	}
	d.ak = key{handle: loaded.ObjectHandle, name: loaded.Name}
	if d.ak.public, err = tpm.ParsePublic(saved.Public); err == nil {
		d.ak.spki, err = d.ak.public.SPKI()
	}
	if err != nil {
		d.flush(d.ak.handle)
		return fmt.Errorf("tpmdevice: the attestation key: %w", err)
	}
	return nil
}

// storageRoot returns the storage root key: the persistent one where an operating system left it, else made from its template, which
// always gives the same key.
func (d *Device) storageRoot() (_ tpm2.NamedHandle, release func(), err error) {
	const persistent tpm2.TPMHandle = 0x81000001 // TCG TPM v2.0 Provisioning Guidance, 7.8
	if public, err := (tpm2.ReadPublic{ObjectHandle: persistent}).Execute(d.tpm); err == nil {
		return tpm2.NamedHandle{Handle: persistent, Name: public.Name}, func() {}, nil
	}
	root, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHOwner,
		InPublic:      tpm2.New2B(tpm2.ECCSRKTemplate),
	}.Execute(d.tpm)
	if err != nil {
		return tpm2.NamedHandle{}, nil, fmt.Errorf("tpmdevice: the storage root key: %w", err)
	}
	return tpm2.NamedHandle{Handle: root.ObjectHandle, Name: root.Name}, func() { d.flush(root.ObjectHandle) }, nil
}

func (d *Device) makeKey(parent tpm2.NamedHandle) (savedKey, error) {
	made, err := tpm2.Create{ParentHandle: parent, InPublic: tpm2.New2B(templates[d.config.Algorithm])}.Execute(d.tpm)
	if err != nil {
		return savedKey{}, fmt.Errorf("tpmdevice: making an attestation key: %w", err)
	}
	saved := savedKey{Public: made.OutPublic.Bytes(), Private: made.OutPrivate.Buffer}
	content, err := json.Marshal(saved)
	if err != nil {
		return savedKey{}, err
	}
	return saved, d.writeState(KeyFile, content)
}
