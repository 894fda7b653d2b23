package virtual

import (
	"context"
	"crypto/x509"
	"errors"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
)

// MaxEvidence is how large evidence may be, in bytes: as for SNP.
const MaxEvidence = snp.MaxEvidence

// Verifier appraises evidence of kind virtual by one root.
type Verifier struct{ root *x509.Certificate }

// NewVerifier returns a Verifier of devices that root certified.
func NewVerifier(root *x509.Certificate) (*Verifier, error) {
	if root == nil {
		return nil, errors.New("virtual: no root")
	}
	if err := checkRoot(root); err != nil {
		return nil, err
	}
	return &Verifier{root: root}, nil
}

// Kind returns attest.Virtual.
func (v *Verifier) Kind() attest.Kind { return attest.Virtual }

// Verify appraises an extended report. It refuses with the codes of the snp package, certificates of other roots, AMD's
// among them, with CodeCertUntrusted. There is no revocation and no published TCB; tcb_status is not-published.
func (v *Verifier) Verify(_ context.Context, in attest.Input) (*attest.Claims, error) {
	ev, err := snp.Parse(in.Evidence)
	if err != nil {
		return nil, err
	}
	r := &ev.Report
	if err := in.Binding.Padded(r.ReportData[:]); err != nil {
		return nil, err
	}
	if ev.Certificates.VCEK == nil {
		return nil, attest.Refuse(attest.CodeCertMissing, "the evidence has no certificate, which a virtual device always has")
	}
	cert, endorsement, err := v.chain(ev.Certificates.VCEK, in)
	if err != nil {
		return nil, err
	}
	if p, known := r.CPU.Product(); r.Version < 3 || !known || p != product {
		return nil, attest.Refuse(attest.CodeVersionUnsupported, "the report is not one that a virtual device makes")
	}
	if err := endorsement.Matches(r, product); err != nil {
		return nil, err
	}
	if err := r.VerifySignature(endorsement.Key, ev.Raw[:snp.SignedSize]); err != nil {
		return nil, err
	}
	claims, err := r.Claims(product)
	if err != nil {
		return nil, err
	}
	expires := cert.NotAfter
	if v.root.NotAfter.Before(expires) {
		expires = v.root.NotAfter
	}
	claims.Kind = attest.Virtual
	claims.HardwareRoot = attest.RootVirtual
	claims.Bound = attest.Ptr(in.Binding.IsBound())
	claims.TCBStatus = attest.TCBNotPublished
	claims.Collateral = &attest.CollateralClaims{Current: true, Expires: expires.UTC(), Source: "evidence"}
	snp.BindInitData(claims, r.HostData, in.Init)
	return claims, nil
}

// chain verifies the device's certificate.
func (v *Verifier) chain(der []byte, in attest.Input) (*x509.Certificate, *snp.Endorsement, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, attest.Refuse(attest.CodeCertMalformed, "the device's certificate: %w", err)
	}
	endorsement, err := snp.ParseEndorsement(cert)
	if err != nil {
		return nil, nil, err
	}
	if string(cert.RawIssuer) != string(v.root.RawSubject) {
		return nil, nil, attest.Refuse(attest.CodeCertUntrusted,
			"the certificate was issued by %.60q, not by the development root", cert.Issuer.CommonName)
	}
	if cert.SignatureAlgorithm != x509.ECDSAWithSHA384 {
		return nil, nil, attest.Refuse(attest.CodeCertUntrusted, "the certificate is signed with %v", cert.SignatureAlgorithm)
	}
	if err := cert.CheckSignatureFrom(v.root); err != nil {
		return nil, nil, attest.Refuse(attest.CodeCertUntrusted, "the certificate is not by this development root: %w", err)
	}
	for _, link := range []*x509.Certificate{cert, v.root} {
		if in.Time.Before(link.NotBefore) || in.Time.After(link.NotAfter) {
			return nil, nil, attest.Refuse(attest.CodeCertExpired, "the certificate of %q is not valid at %s",
				link.Subject.CommonName, in.Time.UTC())
		}
	}
	return cert, endorsement, nil
}
