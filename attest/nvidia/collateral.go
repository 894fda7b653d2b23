package nvidia

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/rim"
)

// ErrOCSP says that an OCSP response cannot be checked by itself: which certificate it is of, and who issued that, only the evidence and the manifests say.
var ErrOCSP = errors.New("nvidia: an OCSP response can be checked only beside the certificate it is about")

// CheckCollateral says whether an item of NVIDIA's collateral is the reference manifest that its name says, nvidia/rim/{id}, and signed under NVIDIA's root, so
// that it may be kept. It judges no dates: NVIDIA does not sign manifests again when their signer's certificate ends, so one that is late is still what it
// publishes, and each appraisal says so. The error is [ErrOCSP] for nvidia/ocsp/{sha256}.
func CheckCollateral(name string, e *attest.Endorsement) error {
	roots, err := nvidiaRoots()
	if err != nil {
		return err
	}
	return checkCollateral(name, e, roots)
}

func checkCollateral(name string, e *attest.Endorsement, roots trustRoots) error {
	if strings.HasPrefix(name, "nvidia/ocsp/") {
		return ErrOCSP
	}
	id, ok := strings.CutPrefix(name, "nvidia/rim/")
	if !ok {
		return fmt.Errorf("nvidia: %.100q is no collateral of NVIDIA's", name)
	}
	m, err := rim.Open(e.Data, roots.manifest)
	if err != nil {
		return err
	}
	// Identifiers end with the version: of drivers as it is, of firmware without dots.
	version := strings.ToUpper(m.Version)
	if upper := strings.ToUpper(id); version == "" ||
		!strings.HasSuffix(upper, "_"+version) && !strings.HasSuffix(upper, "_"+strings.ReplaceAll(version, ".", "")) {
		return fmt.Errorf("nvidia: %s is a manifest of version %.40q", name, m.Version)
	}
	return nil
}
