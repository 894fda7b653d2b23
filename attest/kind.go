package attest

import "slices"

// Kind names a kind of evidence, in the spelling that KBS clients use for their "tee".
type Kind string

// The kinds this version can verify.
const (
	SNP     Kind = "snp"     // AMD SEV-SNP attestation report
	TPM     Kind = "tpm"     // TPM 2.0 quote by an enrolled or vendor-certified attestation key
	Virtual Kind = "virtual" // the project's development TEE: SNP layout, development root

	// Sample and SampleDevice are the unsigned test evidence of KBS clients. They prove nothing.
	Sample       Kind = "sample"
	SampleDevice Kind = "sampledevice"
)

// known lists every kind, in the order documents print them.
var known = []Kind{SNP, TPM, Virtual, Sample, SampleDevice}

// Kinds returns every kind this version can verify.
func Kinds() []Kind { return slices.Clone(known) }

// Development reports whether k proves nothing about hardware and may be accepted by a development server only.
func (k Kind) Development() bool { return k == Virtual || k == Sample || k == SampleDevice }

// Device reports whether k can only ever accompany primary evidence.
func (k Kind) Device() bool { return k == SampleDevice }

// CPU reports whether k attests a whole confidential virtual machine or enclave by its processor.
func (k Kind) CPU() bool { return k == SNP || k == Virtual || k == Sample }
