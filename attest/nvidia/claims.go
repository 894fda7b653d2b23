package nvidia

import (
	"encoding/hex"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

// claims says what devices prove together: of the whole only what holds for each of them.
func claims(devices []*device, in attest.Input, f *attest.Freshness) *attest.Claims {
	n := &attest.NVIDIAClaims{RevocationChecked: true, Devices: make([]attest.NVIDIADevice, len(devices))}
	matched, judged, debug := true, true, false
	for i, d := range devices {
		n.Devices[i] = d.claims()
		matched = matched && d.matches()
		judged = judged && d.comparison != nil
		debug = debug || d.debuggable()
		n.RevocationChecked = n.RevocationChecked && n.Devices[i].RevocationChecked
		for _, m := range d.manifests {
			n.RevocationChecked = n.RevocationChecked && m.checked
		}
		for _, id := range d.wanted {
			if !slices.Contains(n.ManifestsWanted, id) {
				n.ManifestsWanted = append(n.ManifestsWanted, id)
			}
		}
	}
	c := &attest.Claims{
		Kind: attest.NVIDIA, HardwareRoot: attest.RootNVIDIA, Bound: attest.Ptr(in.Binding.IsBound()),
		ReportData: hex.EncodeToString(devices[0].report.Nonce[:]),
		Collateral: f.Claims("evidence", n.RevocationChecked),
		NVIDIA:     n,
	}
	if judged {
		n.MeasurementsMatch = attest.Ptr(matched)
	}
	c.TCBStatus = worstStatus(n.Devices)
	switch {
	case debug:
		c.Debug = attest.Ptr(true)
	case judged && matched:
		c.Debug = attest.Ptr(false)
	}
	return c
}

// worstStatus is out-of-date where one device is, up-to-date where all are, and absent where one was not judged and none is bad.
func worstStatus(devices []attest.NVIDIADevice) string {
	worst := attest.TCBUpToDate
	for _, d := range devices {
		if d.TCBStatus == attest.TCBOutOfDate {
			return attest.TCBOutOfDate
		}
		if d.TCBStatus == "" {
			worst = ""
		}
	}
	return worst
}

// matches reports whether d was held against its manifests and measures what they say.
func (d *device) matches() bool { return d.comparison != nil && len(d.comparison.mismatched) == 0 }

// debuggable reports whether the certificate says that d can be debugged.
func (d *device) debuggable() bool { return d.chain.layer.debug != nil && *d.chain.layer.debug }

// claimedFields are the fields of opaque data that have claims of their own, and the counts of measurements, which are long and say
// nothing.
var claimedFields = map[uint16]bool{
	fieldDriver: true, fieldVBIOS: true, fieldNVDEC0: true, fieldCounts: true, fieldChipSKU: true, fieldProject: true, fieldProjectSKU: true,
	fieldFWID: true, fieldPDI: true, fieldSwitchGPUs: true, fieldFeature: true,
}

// claims says what d proves.
func (d *device) claims() attest.NVIDIADevice {
	c := attest.NVIDIADevice{
		Architecture:      string(d.chain.architecture),
		Chip:              d.chain.chip,
		Model:             d.chain.Certificates[identityAt].Subject.CommonName,
		Switch:            !d.chain.architecture.gpu(),
		ClaimedUUID:       d.evidence.UUID,
		Identity:          hex.EncodeToString(d.chain.identity[:]),
		CertificateSerial: hex.EncodeToString(d.chain.Leaf().SerialNumber.Bytes()),

		FirmwareID:         hex.EncodeToString(d.chain.layer.fwid),
		FirmwareIDReported: d.description.fwid != nil,
		DriverVersion:      d.description.driver,
		VBIOSVersion:       d.description.vbios,
		Project:            d.description.project,
		ProjectSKU:         d.description.projectSKU,
		ChipSKU:            d.description.chipSKU,
		Mode:               d.description.mode,
		NVDEC0Disabled:     d.description.nvdecDisabled,

		PDI:           d.description.pdis,
		SwitchPDIs:    d.description.switchPDIs,
		ConnectedGPUs: d.description.connectedGPUIDs,

		Measurements:      make(map[int]string, len(d.report.Blocks)),
		Fields:            map[int]string{},
		RevocationChecked: d.revocation,
		ManifestsWanted:   d.wanted,
	}
	if d.chain.name != nil {
		c.SerialNumber = strings.ToLower(d.chain.name.serial)
	}
	for _, b := range d.report.Blocks {
		if !zero(b.Value) {
			c.Measurements[b.Index] = hex.EncodeToString(b.Value)
		}
	}
	for number, value := range d.report.Fields {
		if !claimedFields[number] {
			c.Fields[int(number)] = hex.EncodeToString(value)
		}
	}
	for _, m := range d.manifests {
		c.Manifests = append(c.Manifests, attest.NVIDIAManifest{
			ID: m.id, Version: m.Version, TagID: m.TagID, Digest: m.digest,
			Signer: m.Chain.Leaf().Subject.CommonName, Expires: m.Chain.NotAfter.UTC(), RevocationChecked: m.checked,
		})
	}
	d.judge(&c)
	return c
}

// judge fills in what follows from the comparison. Measurements that do not match are those of firmware that NVIDIA did not release in
// that version, or that was changed: the device must not pass for one that is in order, whatever its version says.
func (d *device) judge(c *attest.NVIDIADevice) {
	if d.comparison != nil {
		c.MeasurementsMatch = attest.Ptr(d.matches())
		c.Mismatched, c.Unreferenced = d.comparison.mismatched, d.comparison.unreferenced
		c.TCBStatus = attest.TCBOutOfDate
		if d.matches() {
			c.TCBStatus = attest.TCBUpToDate
			c.SecureBoot = attest.Ptr(true)
			c.Debug = attest.Ptr(false)
		}
	}
	if d.debuggable() {
		c.Debug = attest.Ptr(true)
	}
}
