package tpm

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/vouchsafe/vouchsafe/attest"
)

// secretBytes is the length of an activation secret: as long as a credential may be for a SHA-256 EK, and beyond guessing.
const secretBytes = 32

// pendingFor is how long a host has to answer. An operator carries the challenge over by hand in the worst case.
const pendingFor = 15 * time.Minute

// maxHost bounds a host's name, in bytes: that of a DNS name.
const maxHost = 253

// EnrollerConfig says whose endorsement keys count.
type EnrollerConfig struct {
	// EKRoots are the roots of the TPM makers whose endorsement certificates count. Required: with none, enrolment would mean
	// nothing.
	EKRoots         []*x509.Certificate
	EKIntermediates []*x509.Certificate    // used besides those a host presents
	RevocationLists []*x509.RevocationList // of EKRoots and the authorities below; each counts when its issuer signed it
	Random          io.Reader              // crypto/rand.Reader when nil
}

// AddPEM adds the certificates of a PEM file: what signed itself is a root, and everything else an authority below one.
func (c *EnrollerConfig) AddPEM(file []byte) error {
	certificates, err := ParsePEM(file)
	for _, cert := range certificates {
		if bytes.Equal(cert.RawIssuer, cert.RawSubject) {
			c.EKRoots = append(c.EKRoots, cert)
		} else {
			c.EKIntermediates = append(c.EKIntermediates, cert)
		}
	}
	return err
}

// Enroller enrols attestation keys by credential activation (part 1, 24): it encrypts a secret so that only a TPM that holds
// both the certified endorsement key (EK) and the attestation key can recover it. It keeps no state: the caller stores the
// [Pending] between the two steps, once, and deletes it before the second.
type Enroller struct {
	anchors *anchors
	random  io.Reader
}

// NewEnroller returns an Enroller, or an error when no root is configured.
func NewEnroller(config EnrollerConfig) (*Enroller, error) {
	if len(config.EKRoots) == 0 {
		return nil, errors.New("tpm: no roots of endorsement key certificates are configured: name the TPM makers' to enrol keys")
	}
	random := config.Random
	if random == nil {
		random = rand.Reader
	}
	return &Enroller{
		anchors: newAnchors(config.EKRoots, config.EKIntermediates, config.RevocationLists),
		random:  random,
	}, nil
}

// Request is what a host presents to have its attestation key enrolled. Bytes are standard base64 in its JSON.
type Request struct {
	EKCertificate []byte   `json:"ek_certificate"`     // DER, from the TPM
	EKChain       [][]byte `json:"ek_chain,omitempty"` // DER intermediates, if the TPM has them
	EKPublic      []byte   `json:"ek_public"`          // TPMT_PUBLIC
	AKPublic      []byte   `json:"ak_public"`          // TPMT_PUBLIC
}

// Challenge is what the host's TPM must open with TPM2_ActivateCredential.
type Challenge struct {
	CredentialBlob  []byte `json:"credential_blob"`  // content of a TPM2B_ID_OBJECT
	EncryptedSecret []byte `json:"encrypted_secret"` // content of a TPM2B_ENCRYPTED_SECRET
}

// Pending is an enrolment that waits for the host's answer. It holds the secret's digest only, so it is not secret itself.
type Pending struct {
	Enrolment    Enrolment `json:"enrolment"` // without its time
	SecretDigest string    `json:"secret_sha256"`
	Expires      time.Time `json:"expires"`
}

// Challenge checks the EK's certificate at a time, that the EK is the certified one, and the AK's attributes, and makes a challenge
// for them. host is the name that claims will carry for this key; the operator who enrols it vouches for the name. Its errors are
// *attest.Refusal but for a failing source of randomness.
func (e *Enroller) Challenge(request Request, host string, at time.Time) (*Challenge, *Pending, error) {
	if host == "" || len(host) > maxHost {
		return nil, nil, attest.Refuse(attest.CodeMalformed, "a host's name has 1 to %d bytes", maxHost)
	}
	if len(request.EKChain) > maxCertificates {
		return nil, nil, attest.Refuse(attest.CodeTooLarge, "%d certificates in ek_chain; the limit is %d", len(request.EKChain), maxCertificates)
	}
	leaf, err := parseLeaf(request.EKCertificate)
	if err != nil {
		return nil, nil, err
	}
	ek, err := endorsementKey(request.EKPublic, leaf)
	if err != nil {
		return nil, nil, err
	}
	verified, err := e.anchors.verify(leaf, request.EKChain, at)
	if err != nil {
		return nil, nil, err
	}
	ak, err := ParsePublic(request.AKPublic)
	if err != nil {
		return nil, nil, attest.Refuse(attest.CodeMalformed, "ak_public: %w", err)
	}
	if err := ak.CheckAttestationKey(); err != nil {
		return nil, nil, err
	}
	akSPKI, err := ak.SPKI()
	if err != nil {
		return nil, nil, attest.Refuse(attest.CodeMalformed, "ak_public: %w", err)
	}
	ekSPKI, err := ek.SPKI()
	if err != nil {
		return nil, nil, attest.Refuse(attest.CodeMalformed, "ek_public: %w", err)
	}
	challenge, secret, err := e.credential(ek, ak.Name())
	if err != nil {
		return nil, nil, err
	}
	digest := sha256.Sum256(secret)
	return challenge, &Pending{
		Enrolment: Enrolment{
			AKName:       hex.EncodeToString(ak.Name()),
			AKPublic:     bytes.Clone(ak.Raw),
			AKSPKIDigest: SPKIDigest(akSPKI),
			EKDigest:     SPKIDigest(ekSPKI),
			EKSerial:     leaf.SerialNumber.String(), EKIssuer: leaf.Issuer.String(),
			EKExpires: verified.expires, RevocationChecked: verified.checked && verified.current,
			Host: host,
		},
		SecretDigest: hex.EncodeToString(digest[:]),
		Expires:      at.Add(pendingFor),
	}, nil
}

// credential makes a secret and encrypts it to ek for the key of the given name (TPM2_MakeCredential in software).
func (e *Enroller) credential(ek *Public, akName []byte) (*Challenge, []byte, error) {
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](ek.Raw)
	if err != nil {
		return nil, nil, attest.Refuse(attest.CodeMalformed, "ek_public: %w", err)
	}
	encapsulation, err := tpm2.ImportEncapsulationKey(public)
	if err != nil {
		return nil, nil, attest.Refuse(attest.CodeAlgorithm, "ek_public: %w", err)
	}
	secret := make([]byte, secretBytes)
	if _, err := io.ReadFull(e.random, secret); err != nil {
		return nil, nil, fmt.Errorf("tpm: an activation secret: %w", err)
	}
	blob, encrypted, err := tpm2.CreateCredential(e.random, encapsulation, akName, secret)
	if err != nil {
		return nil, nil, fmt.Errorf("tpm: a credential for the endorsement key: %w", err)
	}
	return &Challenge{CredentialBlob: blob, EncryptedSecret: encrypted}, secret, nil
}

// Complete compares the secret that the host's TPM recovered, in constant time, and returns the enrolment to store. Its errors
// are *attest.Refusal with CodeKeyNotEnrolled.
func (p *Pending) Complete(secret []byte, at time.Time) (*Enrolment, error) {
	if !at.Before(p.Expires) {
		return nil, attest.Refuse(attest.CodeKeyNotEnrolled, "the enrolment was to be completed before %s: begin again",
			p.Expires.UTC().Format(time.RFC3339))
	}
	digest := sha256.Sum256(secret)
	if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(digest[:])), []byte(p.SecretDigest)) != 1 {
		return nil, attest.Refuse(attest.CodeKeyNotEnrolled,
			"the secret is not the one of the challenge: the attestation key is not in the TPM of that endorsement key")
	}
	enrolment := p.Enrolment
	enrolment.EnrolledAt = at.UTC()
	return &enrolment, nil
}

// Object identifiers of endorsement certificates (TCG EK Credential Profile).
var (
	oidEKCertificate = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	oidAKCertificate = asn1.ObjectIdentifier{2, 23, 133, 8, 3}
)

// endorsementKey checks that a public area is of the key in an EK's certificate, and that both are for decryption under
// restrictions, which is what makes activation prove anything.
func endorsementKey(data []byte, cert *x509.Certificate) (*Public, error) {
	ek, err := ParsePublic(data)
	if err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "ek_public: %w", err)
	}
	if !sameKey(ek.Key, cert.PublicKey) {
		return nil, attest.Refuse(attest.CodeCertMismatch, "the endorsement certificate is of another key than ek_public")
	}
	if err := checkKey(ek.Key); err != nil {
		return nil, err
	}
	const must = FixedTPM | FixedParent | SensitiveDataOrigin | Restricted | Decrypt
	if missing := must &^ ek.Attributes; missing != 0 || ek.Attributes&Sign != 0 {
		return nil, attest.Refuse(attest.CodeKeyAttributes, "an endorsement key is %v and does not sign; this one is %v", must, ek.Attributes)
	}
	if !ek.wrapsWithAES {
		return nil, attest.Refuse(attest.CodeAlgorithm, "the endorsement key does not protect credentials with AES in CFB mode")
	}
	if cert.KeyUsage&(x509.KeyUsageKeyEncipherment|x509.KeyUsageKeyAgreement) == 0 {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the endorsement certificate is not for encryption")
	}
	purposes := cert.UnknownExtKeyUsage
	if slices.ContainsFunc(purposes, oidAKCertificate.Equal) ||
		(len(purposes)+len(cert.ExtKeyUsage) > 0 && !slices.ContainsFunc(purposes, oidEKCertificate.Equal)) {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the certificate is not for an endorsement key")
	}
	return ek, nil
}
