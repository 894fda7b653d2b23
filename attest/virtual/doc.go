// Package virtual is the development TEE: a signer of SEV-SNP reports in software, and the verifier of the kind virtual that
// accepts them. It lets the whole of a broker run, and be tested, where there is no hardware.
//
// A [Root] is an ECDSA P-384 authority made at first start. A [Device] is a pretended guest on a pretended Genoa processor: it holds a
// key certified by a Root as a chip's VCEK is, and signs version 3 reports with the measurement, policy, host data, VMPL and TCB it
// was configured with. Everything that [snp] checks of a report and its certificate is checked here too: fields, binding, TCB, chip,
// dates, signature.
//
// # Evidence
//
// The extended report of SNP: 1184 bytes of report, then the certificate table with the device's certificate as VCEK. The JSON form of
// KBS clients is read as well, since the parser is the same. [MaxEvidence] bytes at most.
//
// # Why this cannot pass for hardware
//
// Its kind is virtual and its claims say hardware_root virtual-development; a policy that asks for snp never matches. The
// [snp] verifier trusts AMD's roots only and cannot be given this one, and the verifier here trusts its Root only, by the
// key itself and not by a name. A production server has no Verifier of this package. What a Device claims is whatever its owner wrote
// into its Config: the kind proves possession of a file.
//
// # Files
//
// [Root.Marshal] is PEM, a PKCS #8 private key and the certificate; [Device.Save] writes the same of a device in device.pem
// and what it attests in device.json. All are secrets of a development set-up, written with mode 0600.
//
// [snp]: https://pkg.go.dev/github.com/vouchsafe/vouchsafe/attest/snp
package virtual
