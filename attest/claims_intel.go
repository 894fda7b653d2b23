package attest

import "time"

// TDXClaims are the fields of a TD report in a TDX quote (Intel TDX DCAP Quoting Library API, "TD Quote Body").
type TDXClaims struct {
	QuoteVersion int    `json:"quote_version" doc:"layout of the quote: 4 or 5"`
	TDXVersion   string `json:"tdx_version" doc:"layout of the TD report: 1.0, or 1.5 with the fields that it added"`

	MRTD          string `json:"mr_td" doc:"hex measurement of the TD's initial contents, which is the claim measurement; 48 bytes"`
	MRConfigID    string `json:"mr_config_id" doc:"hex configuration that the host gave at launch, which is the claim init_data; 48 bytes"`
	MROwner       string `json:"mr_owner" doc:"hex owner that the host gave at launch; 48 bytes"`
	MROwnerConfig string `json:"mr_owner_config" doc:"hex owner's configuration that the host gave at launch; 48 bytes"`
	RTMR0         string `json:"rtmr0" doc:"hex register of what the firmware measured: its own configuration; 48 bytes"`
	RTMR1         string `json:"rtmr1" doc:"hex register of what the firmware loaded: boot loader or kernel; 48 bytes"`
	RTMR2         string `json:"rtmr2" doc:"hex register of what the boot loader loaded: kernel, command line, initrd; 48 bytes"`
	RTMR3         string `json:"rtmr3" doc:"hex register for use by the guest's software; 48 bytes"`
	MRServiceTD   string `json:"mr_service_td,omitempty" doc:"hex measurement of the service TDs that are bound, such as a migration agent; absent when none is"`

	TDAttributes   string `json:"td_attributes" doc:"hex TD attributes in the order of the report; 8 bytes"`
	XFAM           string `json:"xfam" doc:"hex processor features the TD may use, in the order of the report; 8 bytes"`
	SEPTVEDisable  bool   `json:"sept_ve_disable" doc:"whether the host cannot make memory accesses of the TD raise exceptions by taking pages away"`
	Migratable     bool   `json:"migratable" doc:"whether the TD can be moved to another platform"`
	ProtectionKeys bool   `json:"protection_keys" doc:"whether the TD may use supervisor protection keys"`
	KeyLocker      bool   `json:"key_locker" doc:"whether the TD may use Key Locker"`
	PerfMon        bool   `json:"perfmon" doc:"whether the TD may use performance monitoring"`

	TEETCBSVN      string `json:"tee_tcb_svn" doc:"hex security version numbers of the TDX module when the TD was launched: SVN, version, late microcode, and 13 more"`
	TEETCBSVN2     string `json:"tee_tcb_svn_2,omitempty" doc:"hex security version numbers of the TDX module now; TDX 1.5 only"`
	MRSEAM         string `json:"mr_seam" doc:"hex measurement of the TDX module; 48 bytes"`
	MRSignerSEAM   string `json:"mr_signer_seam" doc:"hex signer of the TDX module, zeros for Intel; 48 bytes"`
	SEAMAttributes string `json:"seam_attributes" doc:"hex attributes of the TDX module; 8 bytes"`
}

// SGXClaims are the fields of an enclave report in an SGX quote (Intel SDM, volume 3D, "REPORT").
type SGXClaims struct {
	QuoteVersion int    `json:"quote_version" doc:"layout of the quote: 3, 4 or 5"`
	MREnclave    string `json:"mr_enclave" doc:"hex measurement of the enclave, which is the claim measurement; 32 bytes"`
	MRSigner     string `json:"mr_signer" doc:"hex SHA-256 of the key that signed the enclave; 32 bytes"`
	ProductID    int    `json:"isv_prod_id" doc:"the signer's number of the product"`
	SVN          int    `json:"isv_svn" doc:"the signer's security version number of the enclave"`
	ConfigID     string `json:"config_id" doc:"hex configuration that the enclave was started with, which is the claim init_data; 64 bytes"`
	ConfigSVN    int    `json:"config_svn" doc:"security version number of the configuration"`
	ExtProductID string `json:"isv_ext_prod_id" doc:"hex extended number of the product; 16 bytes"`
	FamilyID     string `json:"isv_family_id" doc:"hex family of the product; 16 bytes"`

	Attributes   string `json:"attributes" doc:"hex attributes of the enclave, flags and XFRM, in the order of the report; 16 bytes"`
	MiscSelect   string `json:"misc_select" doc:"hex of what the processor saves on an exit, in the order of the report; 4 bytes"`
	CPUSVN       string `json:"cpu_svn" doc:"hex security version number of the processor that the enclave ran on; 16 bytes"`
	Mode64Bit    bool   `json:"mode_64_bit" doc:"whether the enclave runs in 64-bit mode"`
	ProvisionKey bool   `json:"provision_key" doc:"whether the enclave may derive provisioning keys, which identify the platform"`
	LaunchKey    bool   `json:"launch_key" doc:"whether the enclave may derive the launch key"`
	KSS          bool   `json:"kss" doc:"whether the enclave uses key separation, without which CONFIGID is zero"`
	CET          bool   `json:"cet" doc:"whether the enclave uses control-flow enforcement"`
	AEXNotify    bool   `json:"aex_notify" doc:"whether the enclave may ask to be told of interruptions"`
}

// IntelTCB is what Intel's collateral says of one part of a platform's trusted computing base.
type IntelTCB struct {
	Status     string    `json:"status" doc:"state of the part, in the words of tcb_status"`
	Listed     bool      `json:"listed" doc:"whether the part reaches any level that Intel lists; where it does not, its status is revoked"`
	Date       time.Time `json:"date,omitzero" doc:"day of the level: what Intel published before it is dealt with; absent when the part is not listed"`
	Advisories []string  `json:"advisories,omitempty" doc:"identifiers of the Intel security advisories that apply at the level, in order"`
}

// IntelClaims are what Intel's collateral says of a platform that made an SGX or TDX quote.
type IntelClaims struct {
	FMSPC              string `json:"fmspc" doc:"hex identifier of the processor's family, model, stepping, platform type and custom SKU; 6 bytes"`
	PCEID              string `json:"pce_id" doc:"hex identifier of the provisioning certification enclave; 2 bytes"`
	PPID               string `json:"ppid" doc:"hex identifier of the platform in its certificate; 16 bytes"`
	PlatformInstanceID string `json:"platform_instance_id,omitempty" doc:"hex identifier of the platform instance, 16 bytes; platforms of several packages only"`
	Authority          string `json:"authority" doc:"which of Intel's authorities certified the platform: processor or platform"`
	CPUSVN             string `json:"cpu_svn" doc:"hex security version number of the processor that the platform's key was derived from; 16 bytes"`
	SGXComponents      string `json:"sgx_tcb_components" doc:"hex security version numbers of the sixteen components of the platform's TCB, a byte each"`
	PCESVN             int    `json:"pce_svn" doc:"security version number of the provisioning certification enclave"`
	SGXType            int    `json:"sgx_type" doc:"memory protection: 0 standard, 1 scalable, 2 scalable with integrity"`
	DynamicPlatform    *bool  `json:"dynamic_platform,omitempty" doc:"whether packages can be added to the platform; platforms of several packages only"`
	CachedKeys         *bool  `json:"cached_keys,omitempty" doc:"whether Intel keeps the platform's root keys; platforms of several packages only"`
	SMTEnabled         *bool  `json:"smt_enabled,omitempty" doc:"whether simultaneous multithreading is on; platforms of several packages only"`

	TCBEvaluationNumber int       `json:"tcb_evaluation_number" doc:"edition of Intel's assessments that the TCB info is from; it grows with every recovery"`
	TCBIssued           time.Time `json:"tcb_issued,omitzero" doc:"when Intel issued the TCB info"`
	QEEvaluationNumber  int       `json:"qe_evaluation_number" doc:"edition of Intel's assessments that the quoting enclave's identity is from"`
	QEIssued            time.Time `json:"qe_issued,omitzero" doc:"when Intel issued the quoting enclave's identity"`
	QESVN               int       `json:"qe_svn" doc:"security version number of the quoting enclave"`
	QEMREnclave         string    `json:"qe_mr_enclave" doc:"hex measurement of the quoting enclave; 32 bytes"`

	Platform IntelTCB  `json:"platform" doc:"state of processor, microcode and firmware, for TDX when the TD was launched"`
	QE       IntelTCB  `json:"qe" doc:"state of the quoting enclave"`
	Module   *IntelTCB `json:"module,omitempty" doc:"state of the TDX module when the TD was launched; absent when the platform's state covers it"`
	ModuleID string    `json:"module_id,omitempty" doc:"Intel's identifier of the TDX module's line when the TD was launched, such as TDX_03"`

	CurrentPlatform *IntelTCB `json:"current_platform,omitempty" doc:"state of processor, microcode and firmware now; TDX 1.5 only"`
	CurrentModule   *IntelTCB `json:"current_module,omitempty" doc:"state of the TDX module now; TDX 1.5 only, absent when the platform's state covers it"`
	CurrentModuleID string    `json:"current_module_id,omitempty" doc:"Intel's identifier of the TDX module's line now; TDX 1.5 only"`

	LaunchTCBStatus  string    `json:"launch_tcb_status" doc:"state of all parts together, for TDX when the TD was launched"`
	CurrentTCBStatus string    `json:"current_tcb_status,omitempty" doc:"state of all parts together now; TDX 1.5 only"`
	TCBDate          time.Time `json:"tcb_date,omitzero" doc:"earliest day of the levels of all parts: what Intel published before it is dealt with"`
	Advisories       []string  `json:"advisories,omitempty" doc:"identifiers of all Intel security advisories that apply, in order"`
}
