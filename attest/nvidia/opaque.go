package nvidia

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/fields"
)

// Numbers of the fields of opaque data (NVIDIA's attestation SDK, GpuOpaqueDataType and SwitchOpaqueDataType).
const (
	fieldDriver        = 3
	fieldVBIOS         = 6
	fieldNVDEC0        = 11
	fieldCounts        = 12
	fieldChipSKU       = 15
	fieldProject       = 17
	fieldProjectSKU    = 18
	fieldFWID          = 20
	fieldPDI           = 22 // of a switch itself; of a GPU: of the switches it is connected to
	fieldSwitchGPUs    = 26 // of a switch: the GPUs connected to it, 8, then its ports
	fieldOpaqueVersion = 34
	fieldChip          = 35
	fieldFeature       = 36
)

// Values of fields.
const (
	nvdecEnabled   = 0xaa
	nvdecDisabled  = 0x55
	pdiSize        = 8
	switchGPUs     = 8
	opaqueVersion  = 1  // the newest that is read
	maxFieldString = 32 // of text fields, in bytes
)

// headerMagic begins opaque data of a later format, with a header and typed fields.
var headerMagic = []byte("NVDAOD")

// Fields are the fields of opaque data, by number.
type Fields map[uint16][]byte

// parseFields reads opaque data: for each field two bytes of number, two of length, and its value. A field twice and anything after the
// last are refused with CodeMalformed, a later format with CodeVersionUnsupported.
func parseFields(opaque []byte) (Fields, error) {
	if bytes.HasPrefix(opaque, headerMagic) {
		return nil, attest.Refuse(attest.CodeVersionUnsupported, "the report's opaque data has the header %s, a format that is not read", headerMagic)
	}
	f := Fields{}
	for reader := fields.NewReader(opaque, binary.LittleEndian); !reader.Complete(); {
		number := reader.U16()
		value := reader.Bytes(uint32(reader.U16()))
		if reader.Failed() {
			return nil, attest.Refuse(attest.CodeMalformed, "the report's opaque data ends within a field")
		}
		if _, twice := f[number]; twice {
			return nil, attest.Refuse(attest.CodeMalformed, "the report's opaque data has field %d twice", number)
		}
		f[number] = value
	}
	return f, nil
}

// text returns a field of text, without zeros at its end, "" where there is none. Only letters, digits and ._- are text: what a device
// reports becomes part of the names of manifests.
func (f Fields) text(number uint16) (string, error) {
	value, ok := f[number]
	if !ok {
		return "", nil
	}
	text := strings.TrimRight(string(value), "\x00")
	if text == "" || len(text) > maxFieldString || strings.ContainsFunc(text, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_'
	}) {
		return "", attest.Refuse(attest.CodeMalformed, "the report's opaque data: field %d is not 1 to %d letters and digits", number, maxFieldString)
	}
	return text, nil
}

// number returns a field that is a number of 1 to 8 bytes, little-endian.
func (f Fields) number(number uint16) (value uint64, ok bool, err error) {
	raw, ok := f[number]
	if !ok {
		return 0, false, nil
	}
	if len(raw) == 0 || len(raw) > 8 {
		return 0, false, attest.Refuse(attest.CodeMalformed, "the report's opaque data: field %d is not a number of 1 to 8 bytes", number)
	}
	var full [8]byte
	copy(full[:], raw)
	return binary.LittleEndian.Uint64(full[:]), true, nil
}

// description is what a report's opaque data says of its device.
type description struct {
	driver, vbios                     string
	project, projectSKU, chipSKU      string
	chip                              string // of Blackwell, "" where the firmware does not say
	fwid                              []byte // SHA-384, nil where the firmware does not say
	nvdecDisabled                     *bool
	version                           uint64
	mode                              string // spt, mpt, ppcie or unknown; "" where the firmware does not say
	pdis, switchPDIs, connectedGPUIDs []string
}

// describe reads the fields that mean something. It refuses with CodeMalformed what must be there and is not, or is not of its form.
func describe(f Fields, a Architecture) (*description, error) {
	d := new(description)
	var err error
	for _, field := range []struct {
		number uint16
		into   *string
	}{
		{fieldDriver, &d.driver}, {fieldProject, &d.project}, {fieldProjectSKU, &d.projectSKU}, {fieldChipSKU, &d.chipSKU}, {fieldChip, &d.chip},
	} {
		if *field.into, err = f.text(field.number); err != nil {
			return nil, err
		}
	}
	if d.vbios, err = firmwareVersion(f, a); err != nil {
		return nil, err
	}
	missing := func(what string) (*description, error) {
		return nil, attest.Refuse(attest.CodeMalformed, "the report's opaque data does not have %s", what)
	}
	if d.vbios == "" {
		return missing("the firmware's version")
	}
	if a.gpu() && (d.driver == "" || d.project == "" || d.projectSKU == "" || d.chipSKU == "") {
		return missing("the driver's version, the project, its SKU and the chip's")
	}
	if fwid, ok := f[fieldFWID]; ok {
		if len(fwid) != fwidSize {
			return missing("a firmware identifier of 48 bytes in its field")
		}
		d.fwid = fwid
	}
	return d, d.readModes(f, a)
}

func (d *description) readModes(f Fields, a Architecture) error {
	version, _, err := f.number(fieldOpaqueVersion)
	if err != nil {
		return err
	}
	if version > opaqueVersion {
		return attest.Refuse(attest.CodeVersionUnsupported, "the report's opaque data is of version %d, and %d is the newest that is read",
			version, opaqueVersion)
	}
	d.version = version
	feature, ok, err := f.number(fieldFeature)
	if err != nil {
		return err
	}
	if ok {
		d.mode = "unknown"
		if modes := []string{"spt", "mpt", "ppcie"}; feature < uint64(len(modes)) {
			d.mode = modes[feature]
		}
	}
	if nvdec, ok := f[fieldNVDEC0]; ok && a.gpu() {
		if len(nvdec) != 1 || nvdec[0] != nvdecEnabled && nvdec[0] != nvdecDisabled {
			return attest.Refuse(attest.CodeMalformed, "the report's opaque data: the state %x of NVDEC0 is neither on nor off", nvdec)
		}
		d.nvdecDisabled = attest.Ptr(nvdec[0] == nvdecDisabled)
	}
	if d.pdis, err = identifiers(f[fieldPDI]); err != nil {
		return err
	}
	if a.gpu() {
		d.switchPDIs, d.pdis = d.pdis, nil
		return nil
	}
	if gpus, ok := f[fieldSwitchGPUs]; ok {
		if len(gpus) < switchGPUs*pdiSize {
			return attest.Refuse(attest.CodeMalformed, "the report's opaque data: %d bytes of connected GPUs", len(gpus))
		}
		d.connectedGPUIDs, err = identifiers(gpus[:switchGPUs*pdiSize])
	}
	return err
}

// identifiers reads per-device identifiers of 8 bytes as hex, each once; those that are all zero are places where no device is.
func identifiers(raw []byte) ([]string, error) {
	if len(raw)%pdiSize != 0 {
		return nil, attest.Refuse(attest.CodeMalformed, "the report's opaque data: %d bytes of device identifiers", len(raw))
	}
	var out []string
	for id := range slices.Chunk(raw, pdiSize) {
		text := hex.EncodeToString(id)
		if text != strings.Repeat("0", 2*pdiSize) && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out, nil
}

// firmwareVersion returns the version of the VBIOS, which is 8 bytes on GPUs, and of a switch's BIOS, which is text.
func firmwareVersion(f Fields, a Architecture) (string, error) {
	if !a.gpu() {
		text, err := f.text(fieldVBIOS)
		return strings.ToLower(text), err
	}
	v, ok := f[fieldVBIOS]
	if !ok {
		return "", nil
	}
	if len(v) != 8 {
		return "", attest.Refuse(attest.CodeMalformed, "the report's opaque data: a VBIOS version of %d bytes, not 8", len(v))
	}
	return fmt.Sprintf("%02x.%02x.%02x.%02x.%02x", v[3], v[2], v[1], v[0], v[4]), nil
}
