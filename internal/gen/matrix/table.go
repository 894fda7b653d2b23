package main

import "github.com/vouchsafe/vouchsafe/attest"

// row is what is said of one kind.
type row struct {
	kind     attest.Kind
	page     string // below docs/evidence, or ""
	hardware string
	forms    string
	verified string
	not      string
	tests    []string // "package Test", from the project's root
	proof    []string // names of vectors of this kind; none where no real evidence was to be had
}

var rows = []row{
	{
		kind: attest.SNP, page: "../policy-author.md#an-snp-image", hardware: "AMD SEV-SNP: Milan, Genoa with Bergamo and Siena, Turin",
		forms:    "report of version 2 to 5, raw or extended; JSON of KBS clients",
		verified: "form, binding, chain to AMD's pinned root by VCEK or VLEK, dates, revocation lists where there are any, that certificate and report are of one chip and TCB, signature",
		not:      "whether the TCB is recent, beyond a minimum that is configured: AMD publishes no list; SVSM; Turin and VLEK on real evidence",
		tests: []string{
			"attest/snp TestGenoaVector", "attest/snp TestMilanVector", "attest/snp TestDebugMilan", "attest/snp TestEveryByte", "attest/snp TestOracle",
			"attest/snp TestCollateralCheckReal",
		},
		proof: []string{"snp/genoa-v3-evidence.json", "snp/milan-v2-report.bin", "verify/testdata/attestation.bin"},
	},
	{
		kind: attest.TDX, page: "tdx.md", hardware: "Intel TDX",
		forms: "quote of version 4, and 5 with the body of TDX 1.0 or 1.5, raw; JSON of KBS clients, with or without the event log",
		verified: "form, binding, chain to Intel's pinned root by Processor or Platform CA, PCK, quoting enclave and its identity, attestation key, signature, both revocation lists, " +
			"TCB info, TDX module and its identity, converged TCB status with dates and advisories, event log against RTMR 0 to 3",
		not:   "quotes of version 5 and TDX 1.5 on real evidence; keys on P-384; certification data but certificates",
		tests: []string{"attest/tdx TestVector", "attest/tdx TestRealQuoteAndCollateral", "attest/tdx TestRealEventLog", "attest/tdx TestConverged", "attest/tdx TestFlipsReal", "attest/tdx TestOracle"},
		proof: []string{"tdx/quote-v4.dat", "testing/testdata/tdx_prod_quote_SPR_E4.dat", "testing/testdata/ccel/cos-113-tdx-quote.dat"},
	},
	{
		kind: attest.SGX, page: "sgx.md", hardware: "Intel SGX by DCAP", forms: "quote of version 3, and 4 or 5 with an enclave's body, raw; JSON of KBS clients",
		verified: "as tdx, without the module", not: "EPID; TCB info for SGX that Intel signed, of which none was at hand",
		tests: []string{"attest/sgx TestVector", "attest/sgx TestConverged", "attest/sgx TestRefusals"},
		proof: []string{"sgx/quote-v3.dat"},
	},
	{
		kind: attest.AzSNPvTPM, page: "azure.md", hardware: "Azure confidential VM on SEV-SNP, with paravisor", forms: "JSON of KBS clients, layouts 0, 1 and 2",
		verified: "form, nonce, exactly PCRs 0 to 23 of SHA-256 and their values, the attestation key in the paravisor's report, its signature, that report by the hardware as snp, VMPL 0, user data in layout 2, init-data in PCR 8, event log",
		not:      "which paravisor it is, which a policy must name; Microsoft's certificate of the attestation key",
		tests:    []string{"attest/azure TestVectors", "attest/azure TestSoftTPM", "attest/azure TestRefusals"},
		proof:    []string{"az-snp-vtpm/evidence-v0.json", "az-snp-vtpm/evidence-v1.json", "az-snp-vtpm/evidence-v2.json"},
	},
	{
		kind: attest.AzTDXvTPM, page: "azure.md", hardware: "Azure confidential VM on TDX, with paravisor", forms: "JSON of KBS clients, layouts 0, 1 and 2",
		verified: "as az-snp-vtpm, with the TD quote as tdx", not: "as az-snp-vtpm; layouts 0 and 2 on real evidence",
		tests: []string{"attest/azure TestVectors", "attest/tdx TestAzureVector"},
		proof: []string{"az-tdx-vtpm/evidence-v1.json"},
	},
	{
		kind: attest.Nitro, page: "nitro.md", hardware: "AWS Nitro Enclaves", forms: "COSE_Sign1 document; the same in JSON",
		verified: "form, binding in user_data, chain to AWS's pinned root, dates, time of the document, signature; debug mode by the PCRs", not: "revocation and TCB, of which AWS publishes nothing",
		tests: []string{"attest/nitro TestRealDocuments", "attest/nitro TestEveryByte"},
		proof: []string{"attest/nitro/testdata/document.cbor", "attest/nitro/testdata/document-debug.cbor"},
	},
	{
		kind: attest.CCA, page: "cca.md", hardware: "Arm CCA", forms: "token collection of tag 399 or 907, raw; JSON of KBS clients",
		verified: "challenge, the realm's key in the platform token, platform key by an anchor that the operator gave, both signatures, lifecycle, components against given reference values",
		not:      "profiles 2.0.0, which are refused; revocation, which is removing the anchor", tests: []string{"attest/cca TestRealToken", "attest/cca TestEveryByte"},
		proof: []string{"cca/cca-example-token.cbor", "realm/testvectors/tf-rmm/cca_token.cbor"},
	},
	{
		kind: attest.CSV, page: "csv.md", hardware: "Hygon CSV", forms: "JSON of KBS clients, reports of version 1 and 2",
		verified: "binding, signature by the PEK, certificates PEK, CEK, HSK up to Hygon's pinned key", not: "a chain of real certificates, of which none was at hand; dates, revocation and TCB, of which Hygon publishes nothing; the event log",
		tests: []string{"attest/csv TestRealEvidence", "attest/csv TestVerify", "attest/csv TestMask"},
		proof: []string{"csv/evidence.json"},
	},
	{
		kind: attest.SE, page: "csv.md#ibm-secure-execution", hardware: "IBM Secure Execution", forms: "JSON of KBS clients",
		verified: "nothing: always refused, with the reason", not: "everything: a response proves something only to who made the request", tests: []string{"attest/se TestRefused"},
	},
	{
		kind: attest.TPM, page: "../policy-author.md#tpm-hosts", hardware: "TPM 2.0", forms: "JSON of KBS clients, and with the project's own members",
		verified: "quote over all 24 PCRs, by a key that was enrolled against its maker's certificate or that Google certified; event log against the PCRs",
		not:      "that memory is closed to the host: a TPM proves a boot chain and no more", tests: []string{"attest/tpm TestSchemes", "attest/tpm TestGoogleCertificates", "attest/tpm TestVerifyMutations"},
		proof: []string{"internal/test/attestations/gce-cos-85-no-nonce.pb", "internal/test/attestations/gce-cos-85-nonce9009.pb"},
	},
	{
		kind: attest.Token, page: "token.md", hardware: "what the other verifier judged",
		forms:    "JWT: EAR, Google Confidential Space, Microsoft Azure Attestation, Intel Trust Authority",
		verified: "issuer, algorithm, key by a key set or chain that the operator configured, signature, times, audience, verdict, that evidence covers nonce and key",
		not:      "the hardware, for which the other verifier stands; revocation of certificates in tokens; tokens of a live service, of which none was at hand",
		tests:    []string{"attest/token TestVectorEAR", "attest/token TestVerify", "attest/token TestRefusals", "attest/token TestBindingPlaces"},
		proof:    []string{"ear/example-claims.json"},
	},
	{
		kind: attest.NVIDIA, page: "nvidia.md", hardware: "NVIDIA Hopper and Blackwell GPUs, LS10 switches", forms: "JSON of KBS clients, several devices; token set of NVIDIA's service",
		verified: "nonce, chain to NVIDIA's pinned root, signature, firmware id, measurements against manifests that NVIDIA signed, OCSP responses that are at hand",
		not:      "that the GPU is attached to this machine; Blackwell on real evidence; a report of a real switch",
		tests:    []string{"attest/nvidia TestRealHopper", "attest/nvidia TestRealChains", "attest/nvidia TestARealSwitch", "attest/nvidia TestEveryArchitecture", "attest/token TestDevice"},
		proof:    []string{"nvidia/hopperAttestationReport.txt", "attest/nvidia/testdata/ls10-chain.pem"},
	},
	{
		kind: attest.Virtual, hardware: "none: the development TEE", forms: "extended report of the layout of snp", verified: "signature under a root made at first start", not: "hardware; only `vouchsafe dev` takes it",
		tests: []string{"attest/virtual TestDevice", "attest/virtual TestRefusals"},
	},
	{
		kind: attest.Sample, hardware: "none", forms: "JSON of KBS clients' test attester", verified: "binding", not: "everything else; only `vouchsafe dev` takes it", tests: []string{"attest/sample TestVerify"},
	},
	{
		kind: attest.SampleDevice, hardware: "none", forms: "JSON of KBS clients' test attester", verified: "binding", not: "everything else; only `vouchsafe dev` takes it", tests: []string{"attest/sample TestVerify"},
	},
}
