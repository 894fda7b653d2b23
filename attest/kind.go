package attest

import "slices"

// Kind names a kind of evidence, in the spelling that KBS clients use for their "tee".
type Kind string

// The kinds this version can verify.
const (
	SNP       Kind = "snp"         // AMD SEV-SNP attestation report
	TDX       Kind = "tdx"         // Intel TDX quote
	SGX       Kind = "sgx"         // Intel SGX quote of an enclave
	AzSNPvTPM Kind = "az-snp-vtpm" // Azure confidential VM on SEV-SNP: a quote of the paravisor's TPM
	AzTDXvTPM Kind = "az-tdx-vtpm" // Azure confidential VM on TDX: a quote of the paravisor's TPM
	Nitro     Kind = "nitro"       // AWS Nitro Enclaves attestation document
	CCA       Kind = "cca"         // Arm Confidential Compute Architecture token
	CSV       Kind = "csv"         // Hygon CSV attestation report
	SE        Kind = "se"          // IBM Secure Execution attestation response
	TPM       Kind = "tpm"         // TPM 2.0 quote by an enrolled or vendor-certified attestation key
	Token     Kind = "token"       // another verifier's attestation result, as a JWT
	NVIDIA    Kind = "nvidia"      // NVIDIA GPU or switch, SPDM measurements; a device
	Virtual   Kind = "virtual"     // the project's development TEE: SNP layout, development root

	// Sample and SampleDevice are the unsigned test evidence of KBS clients. They prove nothing.
	Sample       Kind = "sample"
	SampleDevice Kind = "sampledevice"
)

// known lists every kind, in the order documents print them.
var known = []Kind{
	SNP, TDX, SGX, AzSNPvTPM, AzTDXvTPM, Nitro, CCA, CSV, SE, TPM, Token, NVIDIA, Virtual, Sample, SampleDevice,
}

// Kinds returns every kind this version can verify.
func Kinds() []Kind { return slices.Clone(known) }

// Development reports whether k proves nothing about hardware and may be accepted by a development server only.
func (k Kind) Development() bool { return k == Virtual || k == Sample || k == SampleDevice }

// Device reports whether k can only ever accompany primary evidence.
func (k Kind) Device() bool { return k == NVIDIA || k == SampleDevice }

// Accompanies reports whether k can accompany primary evidence: devices, and the TPM of a machine whose processor attests it too.
func (k Kind) Accompanies() bool { return k.Device() || k == TPM }

// CPU reports whether k attests a whole confidential virtual machine or enclave by its processor.
func (k Kind) CPU() bool {
	switch k {
	case SNP, TDX, SGX, AzSNPvTPM, AzTDXvTPM, Nitro, CCA, CSV, SE, Virtual, Sample:
		return true
	}
	return false
}

// HasPrivilegeLevels reports whether evidence of k says at which privilege level (VMPL) it was asked for. A kind is taken to have
// levels unless it is known not to, so that one which is added later must say, or is refused.
func (k Kind) HasPrivilegeLevels() bool {
	switch k {
	case TDX, SGX, AzTDXvTPM, Nitro, CCA, CSV, SE, Token:
		return false
	}
	return k.isMachine()
}

// Migratable reports whether guests of k can be taken to another machine, so that their evidence must say whether they may. A kind is taken
// to have such guests unless it is known not to.
func (k Kind) Migratable() bool {
	switch k {
	case SGX, Nitro, CCA, SE, Token:
		return false
	}
	return k.isMachine()
}

// HasTCB reports whether evidence of k speaks of debugging and of the state of a platform's trusted computing base.
func (k Kind) HasTCB() bool { return k.isMachine() }

// isMachine reports whether k is that of a whole machine, or might be.
func (k Kind) isMachine() bool { return k != TPM && !k.Device() }
