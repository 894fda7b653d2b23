// Package nvidia appraises measurement reports of NVIDIA GPUs and switches: the kind nvidia. A device's evidence never stands alone,
// and only says that a device is genuine, runs known firmware and answered the broker's nonce; that it is attached to the machine
// beside whose evidence it is presented follows from the guest's own checks, not from this evidence.
//
// # Evidence
//
// The JSON of KBS clients: {"device_evidence_list":[{"arch","uuid","evidence","certificate"},…]}, of 1 to 16 devices and at most 1 MiB.
// arch is HOPPER, BLACKWELL or LS10; uuid what the client calls the device; evidence in hex or base64 is a report of at most 8 KiB, and
// certificate the base64 of a chain in PEM of at most 8 KiB. A report is an SPDM 1.1 exchange (DMTF DSP0274), all little-endian:
//
//	request   0  4  version 0x11, code 0xe0, Param1 1: signed, Param2 0xff: all measurements
//	          4 32  nonce
//	         36  1  slot
//	response  0  4  version 0x11, code 0x60, two bytes that mean nothing here
//	          4  4  number of blocks, and length of the record in three bytes
//	          8  …  record: for each block index, specification 1, size, and in it type, size and value
//	          … 32  nonce of the device
//	          …  …  length of the opaque data in two bytes; for each field its number and length in two bytes, and value
//	          … 96  signature: r and s of ECDSA on P-384, big-endian
//
// # What is verified
//
// In this order, the cheap before the expensive. The first three steps are done for all devices before the rest is for any:
//
//   - the form of the JSON, the architectures, and that no identifier is there twice (CodeMalformed, CodeTooLarge, CodeVersionUnsupported,
//     CodeDeviceTwice);
//   - the form of each report: every length, no block and no field twice, and that all measurements were asked for, signed (CodeMalformed,
//     CodeVersionUnsupported);
//   - the nonce is the first 32 bytes of the expected digest, the same for all devices (CodeBinding);
//   - the certificates chain to NVIDIA's device root, which is pinned: exactly attestation key, device identity, two authorities and
//     the root, in order, with ECDSA on P-384 and SHA-384 throughout (CodeCertMissing, CodeCertMalformed, CodeCertUntrusted; package
//     pki). The names of all but the root agree on one chip; the attestation key's certificate identifies the firmware that has the
//     key, and the device, where it names one, is its issuer;
//   - all certificates are valid at the time of appraisal (CodeCertExpired);
//   - the chip is of the architecture that the evidence names (CodeCertMismatch);
//   - the signature, over request and response without it (CodeSignature);
//   - what the report says of its device has its form, and the firmware it names is the certificate's (CodeMalformed, CodeCertMismatch,
//     CodeVersionUnsupported);
//   - no OCSP response at hand says that a certificate of the chain is revoked (CodeCertRevoked). The attestation key's own is not
//     asked about: the device made it, and nobody publishes its state;
//   - no two devices have one identity key (CodeDeviceTwice);
//   - the measurements, held against NVIDIA's signed reference manifests (package rim) of the driver and the firmware that the report
//     names.
//
// A flipped bit anywhere in a report changes what is signed. Bytes that no check touches: white space and unknown members in the JSON,
// white space around certificates in PEM, and a copy of the root at the end of a chain that is not there.
//
// # Manifests
//
// A device whose manifests are not at hand cannot be judged: the answer is *attest.Unavailable, unless [Config].AllowUnmeasured says
// otherwise. Their names are NV_GPU_DRIVER_{chip}_{driver}, or NV_GPU_CC_DRIVER_{chip}_{driver} of Blackwell,
// NV_GPU_VBIOS_{project}_{project SKU}_{chip SKU}_{version without dots}, and NV_SWITCH_BIOS_5612_0002_890_{version} of LS10. One that
// does not verify, is of another version or product, contradicts the other or has a revoked signer is *attest.Unavailable too, whatever
// the configuration: it is not the evidence's fault, and not to be passed over.
//
// As in NVIDIA's verifiers, each block that a manifest names as active must have one of its values; block 36 is not compared where the
// report says that the unit it measures is off; blocks that no manifest names are not compared, and claimed as unreferenced.
//
// # What is not verified but claimed
//
// Whether measurements match: a mismatch is not a refusal here but measurements_match false and tcb_status out-of-date, which the
// policy baseline refuses. How old the OCSP responses and manifests are: a manifest counts as current until the chain of its signer
// ends. Whether revocation was checked at all: responses that are not at hand are no refusal, and revocation_checked is false then, as
// it is where a responder says that it does not know the certificate. Debug is true where the certificate says so and false where all
// measurements match, which is how NVIDIA's verifiers know. The client's name of a device, claimed_uuid, is proved by nothing.
//
// # What it does not do
//
// It does not verify which GPUs are connected to which switches: both sides' identifiers are claims. Evidence of the firmware's own
// security processor (CEC, FSP), reports in SPDM 1.2, opaque data with a header (NVDAOD), and manifests in CoRIM are not read. NVIDIA's
// remote service is a matter of kind token.
//
// # Cache
//
// Verified chains, manifests and responses are cached by digests of what they were verified from, so that a known device costs one
// signature. Only what cannot change is cached: dates and revocation are judged at every use.
package nvidia
