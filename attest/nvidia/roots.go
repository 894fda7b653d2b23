package nvidia

import (
	"crypto/sha256"
	"crypto/x509"
	_ "embed" // for the roots
	"encoding/hex"
	"fmt"

	"github.com/vouchsafe/vouchsafe/attest/nvidia/pki"
)

// NVIDIA's roots, of devices ("NVIDIA Device Identity CA") and of reference manifests ("NVIDIA CoRIM signing Root CA"). They are
// published in github.com/NVIDIA/nvtrust, guest_tools/gpu_verifiers/local_gpu_verifier/src/verifier/certs, as verifier_device_root.pem
// and verifier_RIM_root.pem; devices send the first with their chain, and manifests hold the second.
var (
	//go:embed roots/device.pem
	devicePEM []byte
	//go:embed roots/manifest.pem
	manifestPEM []byte
)

// The SHA-256 of the roots, so that a change to the files above is a change to the code too.
const (
	deviceRootDigest   = "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48"
	manifestRootDigest = "12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1"
)

// trustRoots are what verdicts rest on.
type trustRoots struct{ device, manifest *x509.Certificate }

// nvidiaRoots returns the roots that are built in.
func nvidiaRoots() (r trustRoots, err error) {
	for _, root := range []struct {
		into   **x509.Certificate
		text   []byte
		digest string
	}{{&r.device, devicePEM, deviceRootDigest}, {&r.manifest, manifestPEM, manifestRootDigest}} {
		if *root.into, err = pki.Root(root.text); err != nil {
			return r, fmt.Errorf("nvidia: a root that is built in: %w", err)
		}
		if digest := sha256.Sum256((*root.into).Raw); hex.EncodeToString(digest[:]) != root.digest {
			return r, fmt.Errorf("nvidia: the root %q that is built in is not the one that is pinned", (*root.into).Subject.CommonName)
		}
	}
	return r, nil
}
