package attest

import "time"

// Claims is what a verifier proved from evidence. Bytes are lower-case hex, numbers are numbers, and the same thing has the same
// name in every kind. A field is absent when it is left out of the JSON; see the package documentation. The doc tags
// are the schema that [Schema] publishes and that policies are type-checked against; the kinds tag names the kinds of evidence that can
// prove a claim, all kinds when there is none.
type Claims struct {
	Kind         Kind   `json:"kind" doc:"kind of the primary evidence"`
	HardwareRoot string `json:"hardware_root,omitempty" doc:"name of the trust anchor that vouches for the evidence: amd-milan, amd-genoa, amd-turin, intel-sgx, aws-nitro, arm-cca, hygon-csv, ibm-se, nvidia-device, tpm-enrolled, google-ak, configured-verifier, or virtual-development"`
	Bound        *bool  `json:"bound,omitempty" doc:"whether the evidence covers the broker's nonce and the recipient key; false when recorded evidence is inspected, and of a token that is a passport"`

	Measurement    string            `json:"measurement,omitempty" kinds:"snp,tdx,sgx,az-snp-vtpm,az-tdx-vtpm,nitro,cca,csv,token,virtual" doc:"hex launch measurement of the guest or enclave: SNP's MEASUREMENT, MRTD, MRENCLAVE, PCR0 of Nitro, CCA's realm initial measurement"`
	ReportData     string            `json:"report_data,omitempty" doc:"hex of the field that binds the evidence, as the hardware signed it"`
	InitData       string            `json:"init_data,omitempty" kinds:"snp,tdx,sgx,az-snp-vtpm,az-tdx-vtpm,cca,csv,virtual,tpm,token" doc:"hex of the init-data digest that the hardware carries"`
	InitDataBound  *bool             `json:"init_data_bound,omitempty" doc:"whether the presented init-data document is the one the hardware carries; absent when none was presented"`
	InitDataClaims map[string]string `json:"init_data_claims,omitempty" doc:"entries of the bound init-data document, by file name"`

	Debug          *bool  `json:"debug,omitempty" kinds:"snp,tdx,sgx,az-snp-vtpm,az-tdx-vtpm,nitro,cca,csv,token,nvidia,virtual" doc:"whether the host can read the guest's memory for debugging"`
	MigrationAgent *bool  `json:"migration_agent,omitempty" kinds:"snp,tdx,az-snp-vtpm,az-tdx-vtpm,csv,token,virtual" doc:"whether the guest may be, or is, handled by a migration agent"`
	VMPL           *int   `json:"vmpl,omitempty" kinds:"snp,az-snp-vtpm,token,virtual" doc:"privilege level that asked for the report; 0 is the most privileged"`
	TCBStatus      string `json:"tcb_status,omitempty" kinds:"snp,tdx,sgx,az-snp-vtpm,az-tdx-vtpm,nitro,cca,csv,token,nvidia,virtual" doc:"state of the platform's trusted computing base: up-to-date, sw-hardening-needed, configuration-needed, configuration-and-sw-hardening-needed, td-relaunch-advised, td-relaunch-advised-configuration-needed, out-of-date, out-of-date-configuration-needed or revoked; not-published where the vendor publishes no status and no minimum is configured; judged-elsewhere where a token's verifier judged it and does not say"`

	Collateral *CollateralClaims `json:"collateral,omitempty" doc:"what the appraisal relied on besides the evidence"`
	SNP        *SNPClaims        `json:"snp,omitempty" kinds:"snp,az-snp-vtpm,virtual" doc:"fields of the SEV-SNP attestation report"`
	TDX        *TDXClaims        `json:"tdx,omitempty" kinds:"tdx,az-tdx-vtpm" doc:"fields of the TDX quote's TD report"`
	SGX        *SGXClaims        `json:"sgx,omitempty" kinds:"sgx" doc:"fields of the SGX quote's enclave report"`
	Intel      *IntelClaims      `json:"intel,omitempty" kinds:"tdx,sgx,az-tdx-vtpm" doc:"what Intel's collateral says of the platform, the TDX module and the quoting enclave"`
	Azure      *AzureClaims      `json:"azure,omitempty" kinds:"az-snp-vtpm,az-tdx-vtpm" doc:"what the paravisor of an Azure confidential VM reports"`
	Nitro      *NitroClaims      `json:"nitro,omitempty" kinds:"nitro" doc:"fields of the Nitro attestation document"`
	CCA        *CCAClaims        `json:"cca,omitempty" kinds:"cca" doc:"claims of the CCA platform and realm tokens"`
	CSV        *CSVClaims        `json:"csv,omitempty" kinds:"csv" doc:"fields of the CSV attestation report"`
	SE         *SEClaims         `json:"se,omitempty" kinds:"se" doc:"what an IBM Secure Execution attestation response says"`
	NVIDIA     *NVIDIAClaims     `json:"nvidia,omitempty" kinds:"nvidia" doc:"what a GPU or switch measured and who signed it"`
	Token      *TokenClaims      `json:"token,omitempty" kinds:"token,nvidia" doc:"another verifier's attestation result"`
	TPM        *TPMClaims        `json:"tpm,omitempty" kinds:"tpm,az-snp-vtpm,az-tdx-vtpm" doc:"the TPM quote"`
	Boot       *BootClaims       `json:"boot,omitempty" kinds:"tpm,tdx,az-snp-vtpm,az-tdx-vtpm" doc:"what a replayed event log says of the boot"`
	Sample     *SampleClaims     `json:"sample,omitempty" kinds:"sample,sampledevice" doc:"unsigned test evidence"`

	Devices []Claims `json:"devices,omitempty" doc:"claims of the additional devices, each bound to the same nonce and key"`
}

// The trust anchors that the claim hardware_root names. Policies compare with them, so none is ever renamed.
const (
	RootMilan       = "amd-milan"
	RootGenoa       = "amd-genoa"
	RootTurin       = "amd-turin"
	RootTPMEnrolled = "tpm-enrolled"        // none but the broker's own: the key was enrolled by credential activation
	RootGoogleAK    = "google-ak"           // the authority that certifies attestation keys of a cloud's instances
	RootIntel       = "intel-sgx"           // Intel SGX Root CA, of SGX and TDX
	RootNitro       = "aws-nitro"           // AWS Nitro Enclaves root
	RootCCA         = "arm-cca"             // a CCA platform key that the operator configured
	RootCSV         = "hygon-csv"           // Hygon Root Key
	RootSE          = "ibm-se"              // a host key that the operator configured
	RootNVIDIA      = "nvidia-device"       // NVIDIA Device Identity CA
	RootVerifier    = "configured-verifier" // another verifier that the operator trusts; claims.token says which
	RootVirtual     = "virtual-development" // of no hardware
)

// The states that the claim tcb_status can have. Those of Intel's collateral are Intel's words in lower case with hyphens.
const (
	TCBUpToDate               = "up-to-date"
	TCBSWHardening            = "sw-hardening-needed"
	TCBConfiguration          = "configuration-needed"
	TCBConfigurationHardening = "configuration-and-sw-hardening-needed"
	TCBRelaunch               = "td-relaunch-advised" // up to date now, but not when the guest was launched
	TCBRelaunchConfiguration  = "td-relaunch-advised-configuration-needed"
	TCBOutOfDate              = "out-of-date"
	TCBOutOfDateConfiguration = "out-of-date-configuration-needed"
	TCBRevoked                = "revoked"
	TCBNotPublished           = "not-published"    // the vendor publishes no status, and no minimum is configured
	TCBElsewhere              = "judged-elsewhere" // a token's verifier judged it and does not say; of kind token only
)

// CollateralClaims says how good the certificates and lists were that an appraisal relied on.
type CollateralClaims struct {
	Current           bool      `json:"current" doc:"whether nothing relied on was past its validity, or past its next update by more than the configured grace, at the time of appraisal"`
	Stale             bool      `json:"stale" doc:"whether a list relied on was past its next update, be it within the grace or beyond"`
	Expires           time.Time `json:"expires,omitzero" doc:"when the first certificate or list relied on expires"`
	Age               *int      `json:"age_seconds,omitempty" doc:"seconds since the oldest fetched item that was relied on was fetched; absent when nothing was"`
	RevocationChecked bool      `json:"revocation_checked" doc:"whether the chain was held against its issuer's revocation list"`
	Source            string    `json:"source,omitempty" doc:"where the signing certificate came from: evidence, local (a file, or fetched before) or built-in"`
}

// TCBVersion is AMD's trusted computing base: security version numbers of the parts of the platform firmware.
type TCBVersion struct {
	FMC        *int `json:"fmc,omitempty" doc:"firmware management controller, Turin and later only"`
	Bootloader int  `json:"bootloader" doc:"secure processor boot loader"`
	TEE        int  `json:"tee" doc:"secure processor operating system"`
	SNP        int  `json:"snp" doc:"SNP firmware"`
	Microcode  int  `json:"microcode" doc:"lowest microcode patch level of all cores"`
}

// SNPClaims are the fields of an attestation report (AMD publication 56860, table "ATTESTATION_REPORT").
type SNPClaims struct {
	ReportVersion int    `json:"report_version" doc:"layout of the report: 2 to 5"`
	Product       string `json:"product" doc:"processor family whose root vouches: Milan, Genoa or Turin"`
	SigningKey    string `json:"signing_key" doc:"vcek (the chip's own key) or vlek (a key loaded by the cloud)"`
	ChipID        string `json:"chip_id,omitempty" doc:"hex identifier of the chip; absent when the platform masks it"`
	GuestSVN      int    `json:"guest_svn" doc:"security version number of the guest, from its identity block"`
	FamilyID      string `json:"family_id" doc:"hex, 16 bytes, from the identity block"`
	ImageID       string `json:"image_id" doc:"hex, 16 bytes, from the identity block"`
	ReportID      string `json:"report_id" doc:"hex identifier of this guest instance"`
	ReportIDMA    string `json:"report_id_ma,omitempty" doc:"hex identifier of the migration agent; absent when there is none"`

	Policy           int64 `json:"policy" doc:"guest policy as a number"`
	PolicyABIMajor   int   `json:"policy_abi_major" doc:"lowest firmware ABI major version the guest accepts"`
	PolicyABIMinor   int   `json:"policy_abi_minor" doc:"lowest firmware ABI minor version the guest accepts"`
	SMTAllowed       bool  `json:"smt_allowed" doc:"whether the policy accepts a host with simultaneous multithreading"`
	SingleSocket     bool  `json:"single_socket" doc:"whether the policy demands a single socket"`
	CXLAllowed       bool  `json:"cxl_allowed" doc:"whether the policy accepts CXL memory"`
	AES256XTS        bool  `json:"aes_256_xts" doc:"whether the policy demands AES-256-XTS memory encryption"`
	RAPLDisabled     bool  `json:"rapl_disabled" doc:"whether the policy demands that power reporting is off"`
	CiphertextHiding bool  `json:"ciphertext_hiding" doc:"whether the policy demands ciphertext hiding"`

	PlatformSMT              bool  `json:"platform_smt" doc:"whether simultaneous multithreading is on"`
	PlatformTSME             bool  `json:"platform_tsme" doc:"whether transparent memory encryption is on"`
	PlatformECC              bool  `json:"platform_ecc" doc:"whether the memory corrects errors"`
	PlatformRAPLDisabled     bool  `json:"platform_rapl_disabled" doc:"whether power reporting is off"`
	PlatformCiphertextHiding bool  `json:"platform_ciphertext_hiding" doc:"whether ciphertext hiding is on"`
	PlatformAliasChecked     bool  `json:"platform_alias_checked" doc:"whether the memory was checked for aliased addresses"`
	PlatformInfo             int64 `json:"platform_info" doc:"platform information as a number"`

	IDKeyDigest     string `json:"id_key_digest,omitempty" doc:"hex SHA-384 of the key that signed the identity block; absent when there is none"`
	AuthorKeyDigest string `json:"author_key_digest,omitempty" doc:"hex SHA-384 of the key that certified the identity key; absent when there is none"`
	ChipKeyMasked   bool   `json:"chip_key_masked" doc:"whether the platform forbids signing with the chip's key"`

	CurrentTCB   TCBVersion `json:"current_tcb" doc:"what runs now"`
	ReportedTCB  TCBVersion `json:"reported_tcb" doc:"what the signing key was derived from"`
	CommittedTCB TCBVersion `json:"committed_tcb" doc:"what the platform cannot be rolled back below"`
	LaunchTCB    TCBVersion `json:"launch_tcb" doc:"what ran when the guest was launched"`

	CurrentFirmware   string `json:"current_firmware" doc:"firmware that runs: major.minor.build"`
	CommittedFirmware string `json:"committed_firmware" doc:"committed firmware: major.minor.build"`

	CPUIDFamily   *int `json:"cpuid_family,omitempty" doc:"processor family, report version 3 and later"`
	CPUIDModel    *int `json:"cpuid_model,omitempty" doc:"processor model, report version 3 and later"`
	CPUIDStepping *int `json:"cpuid_stepping,omitempty" doc:"processor stepping, report version 3 and later"`
}

// TPMClaims are what a quote proves (TCG TPM 2.0 Library, part 2, TPMS_ATTEST) and how its key is known.
type TPMClaims struct {
	AKName    string         `json:"ak_name" doc:"hex name of the attestation key as the TPM computes it, or hex SHA-256 of its public key where only that was presented"`
	AKDigest  string         `json:"ak_digest" doc:"hex SHA-256 of the attestation key's public key, a DER SubjectPublicKeyInfo"`
	EKDigest  string         `json:"ek_digest,omitempty" doc:"hex SHA-256 of the endorsement key the attestation key was enrolled against"`
	Host      string         `json:"host,omitempty" doc:"name given to the host when its key was enrolled, or the instance a cloud certified"`
	Enrolled  bool           `json:"enrolled" doc:"whether the key was enrolled by credential activation"`
	Bank      string         `json:"bank" doc:"hash bank of the quoted PCRs: sha256 or sha384"`
	PCRs      map[int]string `json:"pcrs,omitempty" doc:"hex value of each quoted PCR, by index"`
	Clock     int64          `json:"clock" doc:"milliseconds the TPM has been powered since it was cleared"`
	ClockSafe bool           `json:"clock_safe" doc:"whether the clock cannot have gone back"`
}

// BootClaims are what a TCG event log says, once it was replayed to the PCRs or RTMRs that the quote covers. Only events of covered
// registers count.
type BootClaims struct {
	SecureBoot   *bool    `json:"secure_boot,omitempty" doc:"whether UEFI Secure Boot was on; needs PCR 7 or RTMR 0"`
	CommandLine  string   `json:"command_line,omitempty" doc:"kernel command line; needs PCR 8, 9 or 12, or RTMR 2"`
	LineDigest   string   `json:"command_line_digest,omitempty" doc:"hex digest, by the quoted bank's hash, of the command line as the kernel's EFI stub took it: UTF-16 with a final zero; needs PCR 9 or RTMR 2, with no boot loader's events before it but systemd-stub's"`
	Kernel       string   `json:"kernel,omitempty" doc:"hex digest of the kernel image by the quoted bank's hash; needs PCR 4, 8, 9 or 11, or RTMR 2"`
	Initrd       string   `json:"initrd,omitempty" doc:"hex digest of the initial RAM disk; needs PCR 9 or 11, or RTMR 2"`
	BootLoaders  []string `json:"boot_loaders,omitempty" doc:"hex Authenticode digests of the boot applications loaded, in order, the kernel among them where the firmware loads it; needs PCR 4 or RTMR 1, which has drivers of devices too"`
	Firmware     []string `json:"firmware,omitempty" doc:"hex digests of the firmware's version and volumes, in order, from PCR 0; in a trust domain of the hand-off list and the configuration volume, from RTMR 0"`
	SecureBootDB []string `json:"secure_boot_authorities,omitempty" doc:"hex SHA-256 of each certificate or hash that authorised a boot application; needs PCR 7 or RTMR 0"`

	Variables map[string]string `json:"secure_boot_variables,omitempty" doc:"hex SHA-256 of the content of each variable that decides what may boot: PK, KEK, db, dbx; needs PCR 7 or RTMR 0"`

	PCRs  []int `json:"pcrs,omitempty" doc:"PCRs whose events were replayed to the quoted value"`
	RTMRs []int `json:"rtmrs,omitempty" doc:"RTMRs of a trust domain whose events were replayed to the quoted value"`

	LoaderSays *LoaderClaims `json:"loader_says,omitempty" doc:"what a boot loader other than systemd-stub says in the log of a confidential virtual machine; whoever controls its configuration, as the host does, can have it say anything"`
}

// LoaderClaims are what a boot loader's log says and nothing proves: its labels are not covered by what it measures, and its configuration is on a disk.
type LoaderClaims struct {
	CommandLine string `json:"command_line,omitempty" doc:"kernel command line"`
	LineDigest  string `json:"command_line_digest,omitempty" doc:"hex digest of the command line as the kernel's EFI stub took it, by the quoted bank's hash"`
	Kernel      string `json:"kernel,omitempty" doc:"hex digest of the kernel image, by the quoted bank's hash"`
	Initrd      string `json:"initrd,omitempty" doc:"hex digest of the initial RAM disk, by the quoted bank's hash"`
}

// SampleClaims are the members of unsigned test evidence.
type SampleClaims struct {
	SVN string `json:"svn,omitempty" doc:"security version number as the client wrote it"`
}

// Ptr returns a pointer to v, for the claims whose absence differs from their zero value.
func Ptr[T any](v T) *T { return &v }
