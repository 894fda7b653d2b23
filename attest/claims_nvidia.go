package attest

import "time"

// NVIDIAClaims are what NVIDIA GPUs and switches measured, and who signed it. All devices of one evidence are verified, or none is.
type NVIDIAClaims struct {
	MeasurementsMatch *bool          `json:"measurements_match,omitempty" doc:"whether every device measures what NVIDIA's signed manifests say; absent where one could not be held against its manifests"`
	ManifestsWanted   []string       `json:"manifests_wanted,omitempty" doc:"names of the reference manifests that are not at hand"`
	RevocationChecked bool           `json:"revocation_checked" doc:"whether the chain of every device, and of every manifest's signer, was held against OCSP responses of its issuers"`
	Devices           []NVIDIADevice `json:"devices" doc:"each GPU or switch, in the order presented"`
}

// NVIDIADevice is what one GPU or switch proves.
type NVIDIADevice struct {
	Architecture      string `json:"architecture" doc:"HOPPER, BLACKWELL or LS10, as the evidence says and the certificate confirms"`
	Chip              string `json:"chip" doc:"the chip as its certificates name it: GH100, GB100, LS_10"`
	Model             string `json:"model" doc:"common name of the device's identity certificate, such as GH100 A01 GSP BROM"`
	Switch            bool   `json:"switch" doc:"whether it is a switch, and no GPU"`
	ClaimedUUID       string `json:"claimed_uuid" doc:"identifier that the client gave; nothing signs it"`
	Identity          string `json:"identity" doc:"hex SHA-256 of the device's identity key (SubjectPublicKeyInfo), the same for the life of the device"`
	CertificateSerial string `json:"certificate_serial" doc:"hex serial number of the attestation certificate; NVIDIA's tools call it ueid and write it in decimal"`
	SerialNumber      string `json:"serial_number,omitempty" doc:"serial number in the device's name in its certificate, lower-case; absent where it has none"`

	FirmwareID         string `json:"firmware_id" doc:"hex SHA-384 of the firmware that has the attestation key, as the boot ROM certified it"`
	FirmwareIDReported bool   `json:"firmware_id_reported" doc:"whether the firmware reports the same identifier itself"`
	DriverVersion      string `json:"driver_version,omitempty" doc:"version of the driver; absent for a switch"`
	VBIOSVersion       string `json:"vbios_version" doc:"version of the VBIOS, or of a switch's BIOS, lower-case"`
	Project            string `json:"project,omitempty" doc:"project number of the board; absent for a switch"`
	ProjectSKU         string `json:"project_sku,omitempty" doc:"variant of the board; absent for a switch"`
	ChipSKU            string `json:"chip_sku,omitempty" doc:"variant of the chip; absent for a switch"`
	Mode               string `json:"mode,omitempty" doc:"how GPUs are passed through: spt (one), mpt (several, with encrypted links), ppcie (protected PCIe) or unknown; absent where the firmware does not say"`
	NVDEC0Disabled     *bool  `json:"nvdec0_disabled,omitempty" doc:"whether the decoder NVDEC0 is off, in which case its measurement, 36, is not compared; absent where the firmware does not say"`

	PDI           []string `json:"pdi,omitempty" doc:"hex identifier of the switch; absent for a GPU"`
	SwitchPDIs    []string `json:"switch_pdis,omitempty" doc:"hex identifiers of the switches that the GPU says it is connected to"`
	ConnectedGPUs []string `json:"connected_gpus,omitempty" doc:"hex identifiers of the GPUs that the switch says it is connected to"`

	Measurements map[int]string `json:"measurements" doc:"hex of each measurement that is not zero, by its number in the report, which is one more than in NVIDIA's manifests"`
	Fields       map[int]string `json:"fields,omitempty" doc:"hex of the fields of the report's opaque data that no other claim holds, by their numbers"`

	MeasurementsMatch *bool            `json:"measurements_match,omitempty" doc:"whether each measurement that the manifests name has one of their values; absent where a manifest is not at hand"`
	Mismatched        []int            `json:"mismatched,omitempty" doc:"numbers of the measurements that are missing or have another value than the manifests say"`
	Unreferenced      []int            `json:"unreferenced,omitempty" doc:"numbers of the measurements that are not zero and that no manifest names"`
	SecureBoot        *bool            `json:"secure_boot,omitempty" doc:"true where all measurements match: NVIDIA says that only firmware in secure boot measures so; otherwise absent"`
	Debug             *bool            `json:"debug,omitempty" doc:"whether the device can be debugged: true where its certificate says so, false where all measurements match, otherwise absent"`
	TCBStatus         string           `json:"tcb_status,omitempty" doc:"up-to-date where all measurements match, out-of-date where one does not; absent where a manifest is not at hand"`
	RevocationChecked bool             `json:"revocation_checked" doc:"whether each certificate that NVIDIA or the device's ROM key made was held against an OCSP response of its issuer"`
	Manifests         []NVIDIAManifest `json:"manifests,omitempty" doc:"the reference manifests that it was held against"`
	ManifestsWanted   []string         `json:"manifests_wanted,omitempty" doc:"names of its reference manifests that are not at hand"`
}

// NVIDIAManifest is a reference manifest whose signature was verified.
type NVIDIAManifest struct {
	ID                string    `json:"id" doc:"name of the manifest in NVIDIA's service"`
	Version           string    `json:"version" doc:"version of the driver or firmware, as the manifest spells it"`
	TagID             string    `json:"tag_id,omitempty" doc:"identifier in the manifest"`
	Digest            string    `json:"digest" doc:"hex SHA-256 of the manifest as it was published"`
	Signer            string    `json:"signer" doc:"common name of the signer's certificate"`
	Expires           time.Time `json:"expires" doc:"when the chain of its signer expires"`
	RevocationChecked bool      `json:"revocation_checked" doc:"whether the chain of its signer was held against OCSP responses of its issuers"`
}
