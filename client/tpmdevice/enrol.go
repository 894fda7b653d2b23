package tpmdevice

import (
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
)

// Where the RSA-2048 endorsement key and its certificate are (TCG EK Credential Profile 2.5, 2.2.1.4; Provisioning Guidance, 7.8).
const (
	ekCertificateIndex tpm2.TPMHandle = 0x01c00002
	ekPersistent       tpm2.TPMHandle = 0x81010001
)

// maxEKCertificate bounds what is read from the TPM, in bytes: NV indexes for certificates have up to 4 KiB.
const maxEKCertificate = 8 << 10

// nvChunk is how much is read from NV memory at once: every TPM gives 512 bytes or more.
const nvChunk = 512

// EnrolRequest returns what an operator presents to the broker to have this host's attestation key enrolled.
func (d *Device) EnrolRequest() (*tpm.Request, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	certificate, err := d.readCertificate(ekCertificateIndex)
	if err != nil {
		return nil, fmt.Errorf("tpmdevice: the endorsement key's certificate: %w", err)
	}
	_, public, release, err := d.endorsementKey()
	if err != nil {
		return nil, err
	}
	release()
	return &tpm.Request{EKCertificate: certificate, EKPublic: public, AKPublic: d.ak.public.Raw}, nil
}

// Activate opens a challenge and returns its secret, which proves to the broker that this TPM holds both keys.
func (d *Device) Activate(challenge *tpm.Challenge) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ek, _, release, err := d.endorsementKey()
	if err != nil {
		return nil, err
	}
	defer release()
	opened, err := tpm2.ActivateCredential{
		ActivateHandle: tpm2.AuthHandle{Handle: d.ak.handle, Name: d.ak.name, Auth: tpm2.PasswordAuth(nil)},
		KeyHandle: tpm2.AuthHandle{
			Handle: ek.Handle, Name: ek.Name,
			Auth: tpm2.Policy(tpm2.TPMAlgSHA256, 16, endorsementPolicy),
		},
		CredentialBlob: tpm2.TPM2BIDObject{Buffer: challenge.CredentialBlob},
		Secret:         tpm2.TPM2BEncryptedSecret{Buffer: challenge.EncryptedSecret},
	}.Execute(d.tpm)
	if err != nil {
		return nil, fmt.Errorf("tpmdevice: the TPM does not open the challenge: it was made for another endorsement or attestation key: %w", err)
	}
	return opened.CertInfo.Buffer, nil
}

// endorsementKey returns the RSA-2048 endorsement key and its TPMT_PUBLIC: the persistent one, else made from the TCG's template.
func (d *Device) endorsementKey() (_ tpm2.NamedHandle, public []byte, release func(), err error) {
	if read, err := (tpm2.ReadPublic{ObjectHandle: ekPersistent}).Execute(d.tpm); err == nil {
		return tpm2.NamedHandle{Handle: ekPersistent, Name: read.Name}, read.OutPublic.Bytes(), func() {}, nil
	}
	made, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHEndorsement,
		InPublic:      tpm2.New2B(tpm2.RSAEKTemplate),
	}.Execute(d.tpm)
	if err != nil {
		return tpm2.NamedHandle{}, nil, nil, fmt.Errorf("tpmdevice: the endorsement key: %w", err)
	}
	return tpm2.NamedHandle{Handle: made.ObjectHandle, Name: made.Name}, made.OutPublic.Bytes(),
		func() { d.flush(made.ObjectHandle) }, nil
}

// readCertificate reads a DER certificate from an NV index that anyone may read. What pads it is left off.
func (d *Device) readCertificate(index tpm2.TPMHandle) ([]byte, error) {
	area, err := tpm2.NVReadPublic{NVIndex: index}.Execute(d.tpm)
	if err != nil {
		return nil, fmt.Errorf("NV index %#x: %w", uint32(index), err)
	}
	public, err := area.NVPublic.Contents()
	if err != nil {
		return nil, err
	}
	if public.DataSize > maxEKCertificate {
		return nil, fmt.Errorf("NV index %#x has %d bytes; the limit is %d", uint32(index), public.DataSize, maxEKCertificate)
	}
	var content []byte
	for len(content) < int(public.DataSize) {
		read, err := tpm2.NVRead{
			AuthHandle: tpm2.AuthHandle{Handle: index, Name: area.NVName, Auth: tpm2.PasswordAuth(nil)},
			NVIndex:    tpm2.NamedHandle{Handle: index, Name: area.NVName},
			Size:       min(nvChunk, public.DataSize-uint16(len(content))),
			Offset:     uint16(len(content)),
		}.Execute(d.tpm)
		if err != nil {
			return nil, fmt.Errorf("NV index %#x: %w", uint32(index), err)
		}
		if len(read.Data.Buffer) == 0 {
			return nil, errors.New("the TPM reads nothing from it")
		}
		content = append(content, read.Data.Buffer...)
	}
	certificate, err := unpadded(content)
	if err != nil {
		return nil, fmt.Errorf("NV index %#x holds no certificate: %w", uint32(index), err)
	}
	return certificate, nil
}

// unpadded returns the DER value that content begins with.
func unpadded(content []byte) ([]byte, error) {
	var der asn1.RawValue
	if _, err := asn1.Unmarshal(content, &der); err != nil {
		return nil, err
	}
	return der.FullBytes, nil
}

// endorsementPolicy satisfies the policy of the TCG's EK template: the endorsement hierarchy's authorisation, which is empty.
func endorsementPolicy(device transport.TPM, session tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
	_, err := tpm2.PolicySecret{
		AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		PolicySession: session,
	}.Execute(device)
	return err
}
