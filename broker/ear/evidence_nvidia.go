package ear

import (
	"math/big"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

// split returns the parts of a device's evidence that are submodules of their own: each GPU or switch for itself, with what is said of it alone
// where the evidence speaks of all.
func split(c *attest.Claims) []*attest.Claims {
	var parts []*attest.Claims
	switch {
	case c.Kind == attest.NVIDIA && c.NVIDIA != nil:
		for _, d := range c.NVIDIA.Devices {
			part, n := *c, *c.NVIDIA
			n.Devices, n.MeasurementsMatch = []attest.NVIDIADevice{d}, d.MeasurementsMatch
			n.ManifestsWanted = d.ManifestsWanted
			part.NVIDIA, part.Debug, part.TCBStatus = &n, d.Debug, d.TCBStatus
			parts = append(parts, &part)
		}
	case c.Kind == attest.NVIDIA && c.Token != nil:
		for _, d := range c.Token.GPUs {
			part, t := *c, *c.Token
			t.GPUs = []attest.TokenDevice{d}
			part.Token, part.Debug = &t, d.Debug
			parts = append(parts, &part)
		}
	}
	if parts == nil {
		return []*attest.Claims{c}
	}
	return parts
}

// deviceClass is the name of a device's submodule but for its number.
func deviceClass(c *attest.Claims) string {
	switch {
	case c.Kind != attest.NVIDIA:
		return string(c.Kind)
	case c.NVIDIA != nil && len(c.NVIDIA.Devices) == 1 && c.NVIDIA.Devices[0].Switch,
		c.NVIDIA == nil && c.Token != nil && len(c.Token.GPUs) == 1 && c.Token.GPUs[0].Architecture == architectureSwitch:
		return "switch"
	default:
		return "gpu"
	}
}

// architectureSwitch is the only architecture of switches.
const architectureSwitch = "LS10"

// deviceClaims are what a GPU or switch proves, under the names of the claims of NVIDIA's service that policies read. A check which is true is one
// that this broker made itself; manifests are not held against their schema, so that there is no claim of that.
func deviceClaims(c *attest.Claims, d *attest.NVIDIADevice) members {
	m := members{
		"arch": d.Architecture, "hwmodel": d.Model, "identity": d.Identity,
		"firmware_id": d.FirmwareID,
	}
	if serial, ok := new(big.Int).SetString(d.CertificateSerial, 16); ok && len(d.CertificateSerial) <= maxSerial {
		m["ueid"] = serial.String()
	}
	m.set("mode", d.Mode)
	add(m, "secboot", d.SecureBoot)
	debugStatus(m, d.Debug)
	if d.MeasurementsMatch != nil {
		m["measres"] = "fail"
		if *d.MeasurementsMatch {
			m["measres"] = "success"
		}
	}
	prefix := versions(m, d.Switch, d.DriverVersion, strings.ToUpper(d.VBIOSVersion))
	m[prefix+"arch-check"] = true
	m[prefix+"attestation-report-parsed"] = true
	m[prefix+"attestation-report-signature-verified"] = true
	m[prefix+"attestation-report-nonce-match"] = c.Bound != nil && *c.Bound
	m[prefix+"attestation-report-cert-chain-fwid-match"] = d.FirmwareIDReported
	current := c.Collateral != nil && c.Collateral.Current
	m[prefix+"attestation-report-cert-chain"] = chain(true, current && d.RevocationChecked)
	for _, manifest := range d.Manifests {
		rim := prefix + rimOf(manifest.ID)
		m[rim+"-fetched"] = true
		m[rim+"-signature-verified"] = true
		m[rim+"-version-match"] = true
		m[rim+"-measurements-available"] = true
		m[rim+"-cert-chain"] = chain(current, current && manifest.RevocationChecked)
	}
	for _, id := range d.ManifestsWanted {
		m[prefix+rimOf(id)+"-fetched"] = false
	}
	return m
}

// maxSerial bounds the hex digits of a certificate's serial number, which has up to 20 bytes (RFC 5280, section 4.1.2.2).
const maxSerial = 40

// chain is what is known of a certificate chain that was verified.
func chain(valid, good bool) members {
	m := members{"x-nvidia-cert-status": "expired", "x-nvidia-cert-ocsp-status": "unknown"}
	if valid {
		m["x-nvidia-cert-status"] = "valid"
	}
	if good {
		m["x-nvidia-cert-ocsp-status"] = "good"
	}
	return m
}

// rimOf says which of a device's reference manifests an identifier names: driver, vbios, or bios of a switch.
func rimOf(id string) string {
	switch {
	case strings.HasPrefix(id, "NV_SWITCH_BIOS_"):
		return "bios-rim"
	case strings.HasPrefix(id, "NV_GPU_VBIOS_"):
		return "vbios-rim"
	default:
		return "driver-rim"
	}
}

// remoteDeviceClaims are what NVIDIA's service says of a device. The checks are those without which a token of it is refused.
func remoteDeviceClaims(d *attest.TokenDevice) members {
	m := members{"arch": d.Architecture, "hwmodel": d.HardwareModel, "measres": "success"}
	m.set("ueid", d.ID)
	m.set("x-nvidia-attestation-warning", d.Warning)
	add(m, "secboot", d.SecureBoot)
	debugStatus(m, d.Debug)
	prefix := versions(m, d.Architecture == architectureSwitch, d.Driver, d.Firmware)
	m[prefix+"attestation-report-signature-verified"] = true
	m[prefix+"attestation-report-nonce-match"] = true
	return m
}

// versions adds those of driver and firmware, and returns how names of the device's claims begin.
func versions(m members, isSwitch bool, driver, firmware string) (prefix string) {
	if isSwitch {
		prefix = "x-nvidia-switch-"
		m.set(prefix+"bios-version", firmware)
		return prefix
	}
	prefix = "x-nvidia-gpu-"
	m.set(prefix+"driver-version", driver)
	m.set(prefix+"vbios-version", firmware)
	return prefix
}

func debugStatus(m members, debug *bool) {
	switch {
	case debug == nil:
	case *debug:
		m["dbgstat"] = "enabled"
	default:
		m["dbgstat"] = "disabled"
	}
}
