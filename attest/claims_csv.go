package attest

// CSVClaims are the fields of a Hygon CSV attestation report. The report's measure is the claim measurement.
type CSVClaims struct {
	ReportVersion int    `json:"report_version" doc:"layout of the report: 1, whose fields are masked by a number that its signature does not cover, so that a policy must name the measurement, or 2"`
	Firmware      string `json:"firmware" doc:"firmware interface that the platform's key was made under: major.minor"`
	Build         *int   `json:"build,omitempty" doc:"build of the firmware; absent in reports of version 1"`
	ChipKey       string `json:"chip_key" doc:"hex SHA-256 of the chip's public key (CEK): x and y, big-endian, 32 bytes each"`

	VMID          string   `json:"vm_id" doc:"hex, 16 bytes: identifier that the owner gave the guest"`
	VMVersion     string   `json:"vm_version" doc:"hex, 16 bytes: version that the owner gave the guest"`
	UserKeyDigest string   `json:"user_key_digest,omitempty" doc:"hex digest of the key of the owner's session at launch; absent when there was none"`
	Nonce         string   `json:"nonce" doc:"hex, 16 bytes, that the guest chose when it asked for the report"`
	RTMRs         []string `json:"rtmrs,omitempty" doc:"hex of the guest's five measurement registers, of which 0 is the measurement; absent in reports of version 1"`

	Policy       int64 `json:"policy" doc:"guest policy as a number"`
	KeySharing   bool  `json:"key_sharing" doc:"whether the policy lets other guests share the guest's key"`
	CSV2Required bool  `json:"csv2_required" doc:"whether the policy demands CSV2: encrypted registers"`
	SendAllowed  bool  `json:"send_allowed" doc:"whether the policy lets the guest be sent to another platform"`
	DomainOnly   bool  `json:"domain_only" doc:"whether the policy keeps the guest to platforms of its owner's domain"`
	CSVRequired  bool  `json:"csv_required" doc:"whether the policy keeps the guest to platforms with CSV"`
	CSV3Required bool  `json:"csv3_required" doc:"whether the policy keeps the guest to platforms with CSV3"`
	ASIDReuse    bool  `json:"asid_reuse" doc:"whether the policy lets guests of the same owner share an address space identifier"`
	HSKVersion   int   `json:"hsk_version" doc:"lowest version of Hygon's signing key that the policy takes on another platform"`
	CEKVersion   int   `json:"cek_version" doc:"lowest version of the chip's key that the policy takes on another platform"`
	APIMajor     int   `json:"api_major" doc:"lowest major version of the firmware interface that the policy takes"`
	APIMinor     int   `json:"api_minor" doc:"lowest minor version of the firmware interface that the policy takes"`
}

// SEClaims are what an IBM Secure Execution attestation response says. No response is verified by this version, so that they appear in
// no claims; see package attest/se.
type SEClaims struct {
	UserData string `json:"user_data,omitempty" doc:"hex user data of the guest that the response covers"`
}
