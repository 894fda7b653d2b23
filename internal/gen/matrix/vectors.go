package main

// vector is one piece of real evidence, or of what goes with it, and what it must give.
type vector struct {
	name    string // its path below the folder of vectors, or in the module; a pattern of path.Match where all files of a kind are judged alike
	kind    string
	module  string // the module it is from, or ownData; "" for the folder of vectors
	verdict string
}

// Modules that ship real evidence.
const (
	goSEVGuest = "google/go-sev-guest"
	goTDXGuest = "google/go-tdx-guest"
	goEventlog = "google/go-eventlog"
	goTPMTools = "google/go-tpm-tools"
	ccaToken   = "veraison/ccatoken"
)

// ownData is what the project itself has of it, for which a README.md beside each says where it was published.
const ownData = "this project"

// shipped says where in each module its real evidence is. A file there is in the table below, or is a program or describes the others.
//
// Of what else these modules have, go-sev-guest/testing makes reports and certificates under keys of its own, and ccatoken's Go files have claims
// that are made up: neither is real evidence. The simulator of go-tpm-tools is a TPM, and makes evidence when it runs.
var shipped = map[string][]string{
	goSEVGuest: {"verify/testdata"},
	goTDXGuest: {"testing/testdata"},
	goEventlog: {"testdata"},
	goTPMTools: {"internal/test"},
	ccaToken:   {"platform/testvectors", "realm/testvectors"},
	ownData:    {"attest/nitro/testdata", "attest/nvidia/testdata", "attest/nvidia/rim/testdata"},
}

var vectors = []vector{
	{"snp/genoa-v3-evidence.json", "snp", "", "verified; measurement 6a6519d7…, TCB 10, 0, 23, 25, policy 0x30000"},
	{"snp/milan-v2-report.bin", "snp", "", "verified with the certificate beside it; measurement a1f39304…"},
	{"snp/milan-v2-vcek.der", "snp", "", "the certificate of the report beside it"},
	{"az-snp-vtpm/evidence-v0.json", "az-snp-vtpm", "", "verified, bound to “challenge”; PCR 0 e15c4479…"},
	{"az-snp-vtpm/evidence-v1.json", "az-snp-vtpm", "", "verified, bound to “challenge”; PCR 0 e15c4479…"},
	{"az-snp-vtpm/evidence-v2.json", "az-snp-vtpm", "", "verified, bound to the 48 bytes that user-data has too; PCR 0 84275b2f…"},
	{"az-tdx-vtpm/evidence-v1.json", "az-tdx-vtpm", "", "all signatures of TPM and TD verified; cannot be judged without Intel's TCB info for 00806f050000, which is not at hand"},
	{"tdx/quote-v4.dat", "tdx", "", "verified with Intel's collateral of June 2023; MRTD 705ee938…, report data 7c71fe2c…, up-to-date, under debug"},
	{"tdx/tcbInfo.json", "tdx", "", "parsed"},
	{"tdx/enclaveIdentity.json", "tdx", "", "parsed"},
	{"sgx/quote-v3.dat", "sgx", "", "chain and signatures verified; MRENCLAVE 8f173e46…; cannot be judged without Intel's TCB info for its family, which is not at hand"},
	{"nvidia/hopperAttestationReport.txt", "nvidia", "", "verified with the chain of case 1; nonce 931d8dd0…"},
	{"nvidia/hopperAttestationReport-claims.txt", "nvidia", "", "NVIDIA's own parse of the report: the same driver and VBIOS versions"},
	{"nvidia/hopper_cert_chain_case1.txt", "nvidia", "", "verified"},
	{"nvidia/hopper_cert_chain_case2.txt", "nvidia", "", "certificate_missing: only the root"},
	{"nvidia/hopper_cert_chain_case3.txt", "nvidia", "", "certificate_untrusted: an authority is missing"},
	{"nvidia/hopper_cert_chain_case4.txt", "nvidia", "", "certificate_untrusted: the attestation key's certificate is missing"},
	{"nvidia/hopper_signing_cert.pem", "nvidia", "", "certificate_untrusted: the attestation key's certificate alone"},
	{"cca/cca-example-token.cbor", "cca", "", "verified with its anchor; with its reference values up-to-date"},
	{"cca/tastore.json", "cca", "", "the anchor of the token"},
	{"cca/rvstore.json", "cca", "", "the reference values of the token's platform"},
	{"cca/cpak-pub.json", "cca", "", "the platform key in the anchor"},
	{"cca/cca-claims.json", "cca", "", "claims of another token of the same platform"},
	{"csv/evidence.json", "csv", "", "parsed; cannot be judged without Hygon's certificates of its chip"},
	{"ear/example-claims.json", "token", "", "signed here by a test key: verdict_negative, for the verifier says contraindicated; verified where it says warning"},
	{"eventlog/CCEL_data_gcp", "tdx", "", "replays to RTMRs that are then covered"},
	{"eventlog/CCEL_data_grub", "tdx", "", "replays to RTMRs that are then covered; as many events as the golden parse"},
	{"eventlog/CCEL_data_grub_out.json", "tdx", "", "the golden parse"},
	{"eventlog/CCEL_data_ovmf", "tdx", "", "replays to RTMRs that are then covered; as many events as the golden parse"},
	{"eventlog/CCEL_data_ovmf_out.json", "tdx", "", "the golden parse"},
	{"tpm/evidence-64byte-nonce.json", "tpm", "", "parsed; its 64 bytes of nonce bind to nothing (binding_mismatch)"},
	{"kbs-known-answers.json", "", "", "reproduced byte for byte: `broker/envelope TestKnownAnswers`"},
	{"README.md", "", "", "says what each file is"},

	{"verify/testdata/attestation.bin", "snp", goSEVGuest, "verified with the certificate beside it; Milan, debugging allowed"},
	{"verify/testdata/vcek.testcer", "snp", goSEVGuest, "the certificate of the report beside it"},
	{"verify/testdata/milan.testcer", "snp", goSEVGuest, "AMD's ASK and ARK of Milan: the ASK issued the certificate beside it"},
	{"verify/testdata/milanvlek.testcer", "snp", goSEVGuest, "AMD's ASVK and ARK of Milan: presented as the issuer of a VCEK, which it is not, it is passed over for the ASK that is built in"},
	{"testing/testdata/tdx_prod_quote_SPR_E4.dat", "tdx", goTDXGuest, "verified with Intel's collateral of June 2023; a prototype below every level, so revoked"},
	{"testing/testdata/pckcrl", "tdx", goTDXGuest, "taken as `intel/crl/platform` of June 2023; with a byte of it changed, nothing can be judged"},
	{"testing/testdata/rootcrl.der", "tdx", goTDXGuest, "taken as `intel/crl/root` of June 2023; with a byte of it changed, nothing can be judged"},
	{"testing/testdata/sample_qeIdentity_response", "tdx", goTDXGuest, "taken as `intel/identity/tdqe` of June 2023; with a byte of it changed, nothing can be judged"},
	{"testing/testdata/sample_tcbInfo_response", "tdx", goTDXGuest, "taken as `intel/tcb/tdx/50806f000000` of June 2023; with a byte of it changed, nothing can be judged"},
	{"testing/testdata/report.dat", "tdx", goTDXGuest, "a TD report, which only its own machine can check: version_unsupported as a quote"},
	{"testing/testdata/ccel/cos-113-tdx-quote.dat", "tdx", goTDXGuest, "the log beside it replays to its RTMRs; cannot be judged without Intel's TCB info for its family, which is not at hand"},
	{"testing/testdata/ccel/ccel_data.dat", "tdx", goTDXGuest, "replays to the RTMRs of the quote beside it"},
	{"testing/testdata/ccel/ccel_table.dat", "tdx", goTDXGuest, "an ACPI table, which says where a log is: evidence_malformed as a log"},
	{"testing/testdata/ccel/nonce.dat", "tdx", goTDXGuest, "what the quote beside it is bound to; to another, binding_mismatch"},
	{"testdata/eventlogs/ccel/CCEL_unpadded.data.bin", "tdx", goEventlog, "replays to RTMRs that are then covered"},
	{"testdata/eventlogs/ccel/cos-113-intel-tdx-dupe-separator-unpadded.bin", "tdx", goEventlog, "replays to RTMRs that are then covered"},
	{"testdata/eventlogs/ccel/cos-113-intel-tdx-dupe-separator.bin", "tdx", goEventlog, "replays to RTMRs that are then covered"},
	{"testdata/eventlogs/ccel/cos-113-intel-tdx.bin", "tdx", goEventlog, "replays to RTMRs that are then covered"},
	{"testdata/eventlogs/ccel/cs251200CCEL", "tdx", goEventlog, "replays to RTMRs that are then covered"},
	{"testdata/eventlogs/ccel/event_log.bin", "tdx", goEventlog, "replays to RTMRs that are then covered"},
	{"testdata/eventlogs/ccel/gdc-tdx.bin", "tdx", goEventlog, "replays to RTMRs that are then covered"},
	{"testdata/eventlogs/ccel/ubuntu-2404-intel-tdx.bin", "tdx", goEventlog, "replays to RTMRs that are then covered"},
	{"testdata/eventlogs/ccel/CCEL.bin", "tdx", goEventlog, "an ACPI table, which says where a log is: evidence_malformed as a log"},
	{"testdata/eventlogs/ccel/cos-113-intel-tdx.table.bin", "tdx", goEventlog, "an ACPI table, which says where a log is: evidence_malformed as a log"},
	{"testdata/eventlogs/tpm/arch-linux-workstation.bin", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/eventlogs/tpm/cos-101-amd-sev.bin", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/eventlogs/tpm/cos-121-amd-sev.bin", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/eventlogs/tpm/cos-125-intel-tdx-secure-boot.bin", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/eventlogs/tpm/cos-85-amd-sev.bin", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/eventlogs/tpm/cos-93-amd-sev.bin", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/eventlogs/tpm/cs251200tpm", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/eventlogs/tpm/debian-10.bin", "tpm", goEventlog, "version_unsupported: a log of SHA-1 alone, in the format of TPM 1.2"},
	{"testdata/eventlogs/tpm/gdc-host.bin", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/eventlogs/tpm/glinux-alex.bin", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/eventlogs/tpm/host-gmes.bin", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/eventlogs/tpm/rhel8-uefi.bin", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/eventlogs/tpm/ubuntu-1804-amd-sev.bin", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/eventlogs/tpm/ubuntu-2104-no-dbx.bin", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/eventlogs/tpm/ubuntu-2104-no-secure-boot.bin", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/eventlogs/tpm/ubuntu-2404-amd-sevsnp.bin", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/eventlogs/tpm/ubuntu-2404-intel-tdx.bin", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/legacydata/coreos_36_shielded_vm_no_secure_boot_eventlog", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/legacydata/crypto_agile_eventlog", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/legacydata/sb_cert_eventlog", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/legacydata/ubuntu_2104_shielded_vm_no_secure_boot_eventlog", "tpm", goEventlog, "replays to PCRs that are then covered"},
	{"testdata/legacydata/ebs_event_missing_eventlog", "tpm", goEventlog, "version_unsupported: a log of SHA-1 alone, in the format of TPM 1.2"},
	{"testdata/legacydata/option_rom_eventlog", "tpm", goEventlog, "version_unsupported: a log of SHA-1 alone, in the format of TPM 1.2"},
	{"testdata/legacydata/short_no_action_eventlog", "tpm", goEventlog, "version_unsupported: a log of SHA-1 alone, in the format of TPM 1.2"},
	{"testdata/legacydata/linux_tpm12.json", "tpm", goEventlog, "a dump of a TPM 1.2: evidence_malformed, for its quote is no TPMS_ATTEST; its log is version_unsupported"},
	{"testdata/legacydata/windows_gcp_shielded_vm.json", "tpm", goEventlog, "a dump of a TPM 2.0: algorithm_unsupported, for its quote is of the bank SHA-1; its log is version_unsupported"},
	{"internal/test/attestations/gce-cos-85-no-nonce.pb", "tpm", goTPMTools, "verified in SHA-256 and SHA-384, PCRs and log, by its certificate from Google and where its key is enrolled; binding_mismatch, for its nonce is not of 32 bytes; algorithm_unsupported in SHA-1"},
	{"internal/test/attestations/gce-cos-85-nonce9009.pb", "tpm", goTPMTools, "verified in SHA-256 and SHA-384, PCRs and log, by its certificate from Google and where its key is enrolled; binding_mismatch, for its nonce is not of 32 bytes; algorithm_unsupported in SHA-1"},
	{"internal/test/certificates/pca_tpm_ecc_enc_cert.pem", "tpm", goTPMTools, "Google's certificate of an endorsement key: certificate_malformed as that of an attestation key; certificate_untrusted without Google's root"},
	{"internal/test/certificates/pca_tpm_ecc_sign_cert.pem", "tpm", goTPMTools, "Google's certificate of an attestation key: trusted, so another key's quote under it is signature_invalid; certificate_untrusted without Google's root"},
	{"internal/test/certificates/pca_tpm_rsa_enc_cert.pem", "tpm", goTPMTools, "Google's certificate of an endorsement key: certificate_malformed as that of an attestation key; certificate_untrusted without Google's root"},
	{"internal/test/certificates/pca_tpm_rsa_sign_cert.pem", "tpm", goTPMTools, "Google's certificate of an attestation key: trusted, so another key's quote under it is signature_invalid; certificate_untrusted without Google's root"},
	{"internal/test/certificates/uca_tpm_ecc_enc_cert.pem", "tpm", goTPMTools, "Google's certificate of an endorsement key: certificate_malformed as that of an attestation key; certificate_untrusted without Google's root"},
	{"internal/test/certificates/uca_tpm_ecc_sign_cert.pem", "tpm", goTPMTools, "Google's certificate of an attestation key: trusted, so another key's quote under it is signature_invalid; certificate_untrusted without Google's root"},
	{"internal/test/certificates/uca_tpm_rsa_enc_cert.pem", "tpm", goTPMTools, "Google's certificate of an endorsement key: certificate_malformed as that of an attestation key; certificate_untrusted without Google's root"},
	{"internal/test/certificates/uca_tpm_rsa_sign_cert.pem", "tpm", goTPMTools, "Google's certificate of an attestation key: trusted, so another key's quote under it is signature_invalid; certificate_untrusted without Google's root"},
	{"internal/test/eventlogs/arch-linux-workstation.bin", "tpm", goTPMTools, "replays to PCRs that are then covered"},
	{"internal/test/eventlogs/cos-101-amd-sev.bin", "tpm", goTPMTools, "replays to PCRs that are then covered"},
	{"internal/test/eventlogs/cos-85-amd-sev.bin", "tpm", goTPMTools, "replays to PCRs that are then covered"},
	{"internal/test/eventlogs/cos-93-amd-sev.bin", "tpm", goTPMTools, "replays to PCRs that are then covered"},
	{"internal/test/eventlogs/debian-10.bin", "tpm", goTPMTools, "version_unsupported: a log of SHA-1 alone, in the format of TPM 1.2"},
	{"internal/test/eventlogs/gdc-host.bin", "tpm", goTPMTools, "replays to PCRs that are then covered"},
	{"internal/test/eventlogs/glinux-alex.bin", "tpm", goTPMTools, "replays to PCRs that are then covered"},
	{"internal/test/eventlogs/rhel8-uefi.bin", "tpm", goTPMTools, "replays to PCRs that are then covered"},
	{"internal/test/eventlogs/ubuntu-1804-amd-sev.bin", "tpm", goTPMTools, "replays to PCRs that are then covered"},
	{"internal/test/eventlogs/ubuntu-2104-no-dbx.bin", "tpm", goTPMTools, "replays to PCRs that are then covered"},
	{"internal/test/eventlogs/ubuntu-2104-no-secure-boot.bin", "tpm", goTPMTools, "replays to PCRs that are then covered"},
	{"internal/test/eventlogs/ubuntu-2404-amd-sevsnp.bin", "tpm", goTPMTools, "replays to PCRs that are then covered"},
	{"internal/test/eventlogs/confidential-gke-debug-251000_eventlog.bin", "tpm", goTPMTools, "replays to PCRs that are then covered"},
	{"internal/test/eventlogs/eventlogwithsp800155.bin", "tpm", goTPMTools, "replays to PCRs that are then covered"},
	{"internal/test/tdx_test_files/tdxReportData.bin", "tdx", goTPMTools, "64 bytes to be quoted: version_unsupported as a quote"},
	{"realm/testvectors/tf-rmm/cca_token.cbor", "cca", ccaToken, "verified with the key beside it"},
	{"realm/testvectors/tf-rmm/cca_platform.pub", "cca", ccaToken, "the key of the platform of the token beside it"},
	{"realm/testvectors/tf-rmm/cca_platform.pem", "cca", ccaToken, "the private half of that key"},
	{"platform/testvectors/cbor/*.diag", "cca", ccaToken, "made-up claims as text, unsigned: evidence_malformed"},
	{"platform/testvectors/json/*.json", "cca", ccaToken, "made-up claims in JSON, unsigned: evidence_malformed"},
	{"realm/testvectors/cbor/*.diag", "cca", ccaToken, "made-up claims as text, unsigned: evidence_malformed"},
	{"realm/testvectors/json/*.json", "cca", ccaToken, "made-up claims in JSON, unsigned: evidence_malformed"},

	{"attest/nitro/testdata/document.cbor", "nitro", ownData, "verified, bound to its 1024 bytes of user data; PCR 0 e72a46ca…; certificate_expired three hours later"},
	{"attest/nitro/testdata/document-debug.cbor", "nitro", ownData, "verified, bound to its 1024 bytes of user data; debugging; certificate_expired three hours later"},
	{"attest/nvidia/testdata/ls10-chain.pem", "nvidia", ownData, "a switch's chain to NVIDIA's root: a GPU's report under it is signature_invalid as a switch's, and certificate_mismatch as a GPU's"},
	{"attest/nvidia/testdata/gh100-provisioner.ocsp.b64", "nvidia", ownData, "says until 22 August 2025 that the provisioner in the chain of case 1 is good; with a byte of it changed, nothing can be judged"},
	{"attest/nvidia/rim/testdata/NV_GPU_DRIVER_GH100_550.90.07.xml", "nvidia", ownData, "signed by NVIDIA; the report's driver has its measurements"},
	{"attest/nvidia/rim/testdata/NV_GPU_VBIOS_1010_0200_882_96009F0001.xml", "nvidia", ownData, "signed by NVIDIA; the report's VBIOS has its measurements"},
}
