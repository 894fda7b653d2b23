package attest

import "time"

// NitroClaims are the fields of a Nitro Enclaves attestation document ("Nitro Enclaves Attestation Process", section 2.2). The
// document's user_data is the claim report_data, and its PCR0 the claim measurement.
type NitroClaims struct {
	ModuleID   string         `json:"module_id" doc:"identifier of the enclave: instance and enclave"`
	InstanceID string         `json:"instance_id,omitempty" doc:"EC2 instance that the enclave is on; absent when the identifier of the enclave does not say"`
	Region     string         `json:"region,omitempty" doc:"AWS region that the signing certificate names, such as eu-central-1; absent when it names none"`
	Timestamp  time.Time      `json:"timestamp" doc:"when the hypervisor made the document, by its clock"`
	PCRs       map[int]string `json:"pcrs" doc:"hex value of each register in the document, 48 bytes, by index: 0 image, 1 kernel and boot RAM disk, 2 application, 3 role of the instance, 4 instance, 8 certificate that signed the image; zeros where the enclave has none"`
	Signed     bool           `json:"signed" doc:"whether the image was signed, so that PCR8 names the certificate"`
	PublicKey  string         `json:"public_key,omitempty" doc:"hex public_key that the enclave had put into the document; the broker does not use it"`
	Nonce      string         `json:"nonce,omitempty" doc:"hex nonce that the enclave had put into the document; the broker does not use it"`
}
