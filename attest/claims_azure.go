package attest

// AzureClaims are what the paravisor of an Azure confidential VM reports besides the hardware's report and the quote: the variable data
// of its HCL report, whose digest the hardware signed. They are worth what the paravisor is worth, and so are the claims of the TPM and
// of the boot: measurement, or snp.id_key_digest, says which paravisor it is.
type AzureClaims struct {
	LayoutVersion int `json:"layout_version" doc:"layout of the evidence: 0, 1 or 2"`
	ReportType    int `json:"hcl_report_type" doc:"hardware whose report the paravisor wrapped: 2 for SEV-SNP, 4 for TDX"`

	UserData      string `json:"user_data,omitempty" doc:"hex, 64 bytes that the guest had the paravisor put into the hardware's report; absent when the paravisor reports none"`
	UserDataBound bool   `json:"user_data_bound" doc:"whether user_data begins with what the TPM quote covers and has zeros after it, so that the hardware's report is as fresh as the quote; always true in layout 2"`

	VMUniqueID            string `json:"vm_unique_id,omitempty" doc:"identifier that Azure gave the VM, as the paravisor writes it"`
	SecureBoot            *bool  `json:"secure_boot,omitempty" doc:"whether the paravisor started the firmware with UEFI Secure Boot on"`
	TPMEnabled            *bool  `json:"tpm_enabled,omitempty" doc:"whether the guest has a virtual TPM"`
	TPMPersisted          *bool  `json:"tpm_persisted,omitempty" doc:"whether the virtual TPM keeps its state over restarts"`
	ConsoleEnabled        *bool  `json:"console_enabled,omitempty" doc:"whether the guest has a serial console, which the host can read"`
	InteractiveConsole    *bool  `json:"interactive_console_enabled,omitempty" doc:"whether the host can type at that console"`
	FilteredDevices       *bool  `json:"filtered_vpci_devices_allowed,omitempty" doc:"whether certain devices of the host may be assigned to the guest"`
	RootCertThumbprint    string `json:"root_cert_thumbprint,omitempty" doc:"digest of the certificate the VM was provisioned with, as the paravisor writes it"`
	HardwareSealingPolicy string `json:"hardware_sealing_policy,omitempty" doc:"what keys that the hardware derives for the paravisor are bound to: none, hash or signer"`

	HostData string `json:"host_data,omitempty" doc:"hex of what the host gave the hardware at launch: HOST_DATA of SEV-SNP, MRCONFIGID of TDX; the guest's init-data is in PCR 8 instead"`
}
