package dcap

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

// The names of the authorities that issue PCK certificates, by how their lists are called.
var authorityNames = map[string]string{"processor": "Intel SGX PCK Processor CA", "platform": "Intel SGX PCK Platform CA"}

// Check says whether an item of collateral is what its name says and was signed by whom roots certify, so that it may be kept: what anybody could have made
// never is. An authority's list needs the authority's certificate beside it. Neither dates nor revocation are judged: that is for each appraisal.
func Check(name string, e *attest.Endorsement, roots Roots) error {
	a := &Appraiser{roots: roots}
	kind, rest, _ := strings.Cut(strings.TrimPrefix(name, "intel/"), "/")
	switch {
	case name == "intel/identity/qe":
		_, err := a.verifyIdentity(e, SGX)
		return err
	case name == "intel/identity/tdqe":
		_, err := a.verifyIdentity(e, TDX)
		return err
	case name == "intel/crl/root":
		_, err := verifyList(e.Data, roots.Platform)
		return err
	case kind == "crl" && authorityNames[rest] != "":
		return checkListOf(authorityNames[rest], e, roots)
	case kind == "tcb":
		return a.checkTCBInfo(rest, e)
	}
	return fmt.Errorf("%.100q is no collateral of Intel's", name)
}

// checkTCBInfo verifies TCB info for a technology and FMSPC: sgx/00906ed50000.
func (a *Appraiser) checkTCBInfo(of string, e *attest.Endorsement) error {
	technology, fmspc, _ := strings.Cut(of, "/")
	tee := SGX
	switch technology {
	case SGX.path():
	case TDX.path():
		tee = TDX
	default:
		return fmt.Errorf("%.20q is no technology", technology)
	}
	p := new(PCK)
	if err := unhex(fmspc, p.FMSPC[:]); err != nil {
		return err
	}
	body, _, err := a.verifySigned(e, "tcbInfo")
	if err != nil {
		return err
	}
	// Which PCE it is for, its name does not say: every appraisal compares it with the platform's.
	var says struct {
		PCEID string `json:"pceId"`
	}
	if err := json.Unmarshal(body, &says); err != nil {
		return err
	}
	if err := unhex(says.PCEID, p.PCEID[:]); err != nil {
		return err
	}
	_, err = parseTCBInfo(body, tee, p)
	return err
}

// checkListOf verifies the list of an authority by the authority's certificate beside it, which the root must have issued.
func checkListOf(authority string, e *attest.Endorsement, roots Roots) error {
	if len(bytes.TrimSpace(e.Chain)) == 0 {
		return errors.New("the certificate of who signed the list is not beside it")
	}
	ders, err := splitChain(e.Chain)
	if err != nil {
		return fmt.Errorf("the signer's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(ders[0])
	if err != nil {
		return fmt.Errorf("the signer's certificate: %w", err)
	}
	if err := checkAuthority(cert, roots.Platform, authority); err != nil {
		return err
	}
	_, err = verifyList(e.Data, cert)
	return err
}
