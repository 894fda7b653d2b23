package attest

// NitroClaims are the fields of a Nitro Enclaves attestation document.
type NitroClaims struct {
	ModuleID string `json:"module_id" doc:"identifier of the enclave: instance and enclave"`
}
