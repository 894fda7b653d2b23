package attest

import "time"

// TokenClaims are what another verifier's attestation result says. What is here is that verifier's word; what this broker verified itself is that the word is
// the verifier's, for this broker, and how old it is.
type TokenClaims struct {
	Verifier   string    `json:"verifier" doc:"name that the operator gave the verifier whose token it is"`
	Format     string    `json:"format" doc:"format of the token: ear, google-confidential-space, azure-attestation, intel-trust-authority or nvidia-ras"`
	Issuer     string    `json:"issuer,omitempty" doc:"iss, exactly as configured; absent for a verifier whose tokens have none"`
	Audience   []string  `json:"audience,omitempty" doc:"aud: for whom the token was made, one of them being configured"`
	Subject    string    `json:"subject,omitempty" doc:"sub: about whom the token is, such as the address of a cloud instance"`
	ID         string    `json:"id,omitempty" doc:"jti: identifier of the token"`
	Issued     time.Time `json:"issued" doc:"iat: when the verifier issued the token"`
	Expires    time.Time `json:"expires" doc:"exp: when the token is no longer good"`
	Age        int       `json:"age_seconds" doc:"seconds between the token's issue and its appraisal here"`
	Profile    string    `json:"profile,omitempty" doc:"eat_profile of the token"`
	KeyID      string    `json:"key_id,omitempty" doc:"identifier of the verifier's signing key in its key set; absent when a certificate chain vouches for the key"`
	SigningKey string    `json:"signing_key" doc:"hex SHA-256 of the verifier's signing key (SubjectPublicKeyInfo)"`
	Passport   bool      `json:"passport" doc:"whether the token was presented without a nonce of this broker: the claim bound is false then, and the token is as good as new until it expires"`
	Recipient  string    `json:"recipient,omitempty" doc:"hex SHA-256 of the canonical JSON of the workload's public key that the token names as the one its evidence covers"`

	TEE             string            `json:"tee,omitempty" doc:"technology that the verifier's evidence was of: snp, tdx, sgx, az-snp-vtpm, az-tdx-vtpm, another kind's name, sev, sev-es, or none for a machine whose memory is not encrypted"`
	HardwareModel   string            `json:"hardware_model,omitempty" doc:"hwmodel, in the issuer's words: GCP_INTEL_TDX"`
	Software        string            `json:"software,omitempty" doc:"swname: CONFIDENTIAL_SPACE or GCE"`
	SoftwareVersion []string          `json:"software_version,omitempty" doc:"swversion"`
	SecureBoot      *bool             `json:"secure_boot,omitempty" doc:"whether the verifier saw Secure Boot on"`
	Status          string            `json:"status,omitempty" doc:"ear.status of the machine: none, affirming or warning; contraindicated is refused"`
	Submodules      map[string]string `json:"submodules,omitempty" doc:"ear.status of each submodule, by its name: cpu0, gpu0"`
	TrustVector     map[string]int    `json:"trust_vector,omitempty" doc:"trustworthiness vector of the machine (AR4SI): -1 to 1 none, 2 to 31 affirming, 32 to 95 warning, by the names of its claims: hardware, executables"`
	AppraisedBy     string            `json:"appraisal_policy,omitempty" doc:"identifier or hash of the policy that the verifier appraised by"`
	Matched         []string          `json:"policies_matched,omitempty" doc:"identifiers of the verifier's policies that the evidence met"`
	Unmatched       []string          `json:"policies_unmatched,omitempty" doc:"identifiers of the verifier's policies that the evidence did not meet"`
	Advisories      []string          `json:"advisories,omitempty" doc:"identifiers of the security advisories that apply to the platform, as the verifier lists them"`
	Compliance      string            `json:"compliance,omitempty" doc:"x-ms-compliance-status: azure-compliant-cvm or azure-compliant-uvm"`
	Attestation     string            `json:"attestation_type,omitempty" doc:"the issuer's name of what it attested: azurevm, sevsnpvm, tdxvm, sgx, TDX, SGX"`
	Signer          string            `json:"signer,omitempty" doc:"hex identity of who signed the enclave: MRSIGNER"`
	Registers       map[string]string `json:"registers,omitempty" doc:"hex of measurement registers, by their names: rtmr0 to rtmr3, mrseam"`

	Container       *TokenContainer `json:"container,omitempty" doc:"the container that Confidential Space runs"`
	ServiceAccounts []string        `json:"service_accounts,omitempty" doc:"google_service_accounts that the workload runs as"`
	Support         []string        `json:"support_attributes,omitempty" doc:"support attributes of the Confidential Space image: LATEST, STABLE, USABLE or EXPERIMENTAL"`
	Project         string          `json:"project,omitempty" doc:"cloud project of the instance"`
	Zone            string          `json:"zone,omitempty" doc:"cloud zone of the instance"`
	Instance        string          `json:"instance,omitempty" doc:"identifier of the virtual machine at its cloud"`

	GPUs   []TokenDevice     `json:"devices,omitempty" doc:"devices that NVIDIA's service attested, by the names it gave them in order"`
	Stated map[string]string `json:"stated,omitempty" doc:"every other string, number and boolean of the token's outermost object and of that of the hardware in it, by its own name, as text of at most 512 bytes"`
}

// TokenContainer is the container that a Confidential Space workload is.
type TokenContainer struct {
	ImageReference  string            `json:"image_reference,omitempty" doc:"reference by which the image was pulled"`
	ImageDigest     string            `json:"image_digest,omitempty" doc:"digest of the image manifest: sha256: and hex"`
	ImageID         string            `json:"image_id,omitempty" doc:"digest of the image's configuration: sha256: and hex"`
	Signatures      []string          `json:"image_signature_keys,omitempty" doc:"identifiers of the keys whose signatures over the image verified"`
	RestartPolicy   string            `json:"restart_policy,omitempty" doc:"Never, Always or OnFailure"`
	Arguments       []string          `json:"args,omitempty" doc:"arguments that the container was started with"`
	CommandOverride []string          `json:"cmd_override,omitempty" doc:"arguments that replaced the image's; absent when none did"`
	Environment     map[string]string `json:"env,omitempty" doc:"environment of the container"`
	EnvOverride     map[string]string `json:"env_override,omitempty" doc:"environment that the operator of the instance added or replaced; absent when none was"`
}

// TokenDevice is a device in a set of tokens of NVIDIA's service.
type TokenDevice struct {
	Name          string `json:"name" doc:"name of the device in the set: GPU-0"`
	ID            string `json:"id,omitempty" doc:"ueid of the device"`
	HardwareModel string `json:"hardware_model" doc:"hwmodel: GH100 A01 GSP BROM"`
	Architecture  string `json:"architecture" doc:"HOPPER, BLACKWELL or LS10, by the model"`
	Driver        string `json:"driver_version,omitempty" doc:"version of the driver"`
	Firmware      string `json:"firmware_version,omitempty" doc:"version of the VBIOS or switch BIOS"`
	SecureBoot    *bool  `json:"secure_boot,omitempty" doc:"whether the device booted securely"`
	Debug         *bool  `json:"debug,omitempty" doc:"whether the device can be debugged"`
	Warning       string `json:"warning,omitempty" doc:"warning of the service about the device"`
}
