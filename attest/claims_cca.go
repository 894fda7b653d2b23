package attest

// CCAClaims are what the platform and realm tokens of Arm CCA say (draft-ffm-rats-cca-token). The realm's initial measurement is the claim
// measurement, its challenge report_data, and its personalisation value init_data.
type CCAClaims struct {
	PlatformProfile     string         `json:"platform_profile" doc:"profile of the platform token"`
	ImplementationID    string         `json:"implementation_id" doc:"hex, 32 bytes: the make of the platform"`
	InstanceID          string         `json:"instance_id" doc:"hex, 33 bytes: the platform, whose key the operator configured"`
	Config              string         `json:"config" doc:"hex of how the platform is configured, by its make"`
	Lifecycle           int            `json:"lifecycle" doc:"security lifecycle of the platform as a number; 12288 to 12543 are secured"`
	LifecycleState      string         `json:"lifecycle_state" doc:"the same in a word: unknown, assembly-and-test, rot-provisioning, secured, non-cca-debug, recoverable-debug or decommissioned"`
	VerificationService string         `json:"verification_service,omitempty" doc:"where the platform says it can be verified; nothing is fetched from there"`
	PlatformHash        string         `json:"platform_hash" doc:"hash algorithm of the platform's measurements that name none: sha-256, sha-384 or sha-512"`
	Components          []CCAComponent `json:"components" doc:"firmware of the platform, in the order of the token"`

	RealmProfile           string   `json:"realm_profile,omitempty" doc:"profile of the realm token; absent in tokens of the first drafts"`
	RealmHash              string   `json:"realm_hash" doc:"hash algorithm of the realm's measurements: sha-256, sha-384 or sha-512"`
	ExtensibleMeasurements []string `json:"extensible_measurements" doc:"hex of the realm's four registers that it extends while it runs"`
	RealmKey               string   `json:"realm_key" doc:"hex digest of the key that signed the realm token, as the platform token vouches for it"`
}

// CCAComponent is a piece of a CCA platform's firmware.
type CCAComponent struct {
	Type        string `json:"type,omitempty" doc:"what it is, such as BL or RMM"`
	Measurement string `json:"measurement" doc:"hex digest of it"`
	Signer      string `json:"signer" doc:"hex digest of the key that signed it"`
	Version     string `json:"version,omitempty" doc:"version as its maker writes it"`
	Hash        string `json:"hash,omitempty" doc:"hash algorithm of its measurement"`
}
