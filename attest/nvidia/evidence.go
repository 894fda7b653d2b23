package nvidia

import (
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

// MaxEvidence bounds evidence, in bytes. A device's is 17 KiB in hex; 16 of them have 280 KiB.
const MaxEvidence = 1 << 20

// MaxDevices bounds the devices of one evidence. A host has 8 GPUs and 4 switches.
const MaxDevices = 16

// Bounds of one device's evidence, in bytes. NVML's buffers have 8 KiB for the report and 5 KiB for the chain.
const (
	maxReport = 8 << 10
	maxChain  = 8 << 10
	maxUUID   = 80 // NVML_DEVICE_UUID_BUFFER_SIZE
)

// DeviceEvidence is what a client presents of one device.
type DeviceEvidence struct {
	Architecture Architecture
	UUID         string // as the client wrote it: nothing signs it
	Report       []byte // SPDM GET_MEASUREMENTS request and MEASUREMENTS response
	Chain        []byte // certificates in PEM
}

// wireDevice is a device in the member device_evidence_list of evidence, as KBS clients write it.
type wireDevice struct {
	Architecture string `json:"arch"`
	UUID         string `json:"uuid"`
	Evidence     string `json:"evidence"`
	Certificate  string `json:"certificate"`
}

// Parse reads evidence as KBS clients write it. Members that are not known are passed over, where they have at most 64 KiB. It refuses
// with CodeMalformed, CodeTooLarge, CodeVersionUnsupported for an architecture that is not verified here, and CodeDeviceTwice for an
// identifier that is there twice.
func Parse(data []byte) ([]DeviceEvidence, error) {
	if len(data) > MaxEvidence {
		return nil, attest.Refuse(attest.CodeTooLarge, "evidence of %d bytes: at most %d are read", len(data), MaxEvidence)
	}
	wire, more, err := scanEvidence(data, MaxDevices)
	if more {
		return nil, attest.Refuse(attest.CodeTooLarge, "evidence of more than %d devices, which is what is verified together", MaxDevices)
	}
	if err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "the evidence: %w", err)
	}
	if len(wire) == 0 {
		return nil, attest.Refuse(attest.CodeMalformed, "the evidence is of no device")
	}
	out := make([]DeviceEvidence, len(wire))
	for i := range wire {
		if out[i], err = wire[i].decode(i); err != nil {
			return nil, err
		}
		for j := range i {
			if out[j].UUID == out[i].UUID {
				return nil, attest.Refuse(attest.CodeDeviceTwice, "devices %d and %d have the same identifier", j, i)
			}
		}
	}
	return out, nil
}

// decode reads the device i of evidence.
func (w *wireDevice) decode(i int) (DeviceEvidence, error) {
	malformed := func(format string, args ...any) (DeviceEvidence, error) {
		return DeviceEvidence{}, attest.Refuse(attest.CodeMalformed, "device %d: "+format, append([]any{i}, args...)...)
	}
	d := DeviceEvidence{UUID: w.UUID, Architecture: Architecture(strings.ToUpper(w.Architecture))}
	if !d.Architecture.known() {
		return DeviceEvidence{}, attest.Refuse(attest.CodeVersionUnsupported, "device %d: the architecture %.32q is none of %v",
			i, w.Architecture, Architectures())
	}
	if !printable(w.UUID, maxUUID) {
		return malformed("its identifier is not 1 to %d printable characters", maxUUID)
	}
	// Clients wrote hex once and write base64 now. Text that is both begins with 0x11 as hex, which is right, or with 'E' as base64.
	if len(w.Evidence) > 2*maxReport || len(w.Certificate) > base64.StdEncoding.EncodedLen(maxChain) {
		return DeviceEvidence{}, attest.Refuse(attest.CodeTooLarge, "device %d: a report or chain over %d bytes", i, max(maxReport, maxChain))
	}
	var err error
	if d.Report, err = hex.DecodeString(w.Evidence); err != nil {
		if d.Report, err = base64.StdEncoding.Strict().DecodeString(w.Evidence); err != nil {
			return malformed("its report is neither hex nor base64")
		}
	}
	if len(d.Report) > maxReport {
		return DeviceEvidence{}, attest.Refuse(attest.CodeTooLarge, "device %d: a report over %d bytes", i, maxReport)
	}
	if d.Chain, err = base64.StdEncoding.Strict().DecodeString(w.Certificate); err != nil {
		return malformed("its certificate chain is not base64")
	}
	if len(d.Chain) == 0 {
		return DeviceEvidence{}, attest.Refuse(attest.CodeCertMissing, "device %d: it has no certificate", i)
	}
	return d, nil
}

// printable reports whether text is 1 to most printable characters of ASCII.
func printable(text string, most int) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return text != "" && len(text) <= most
}
