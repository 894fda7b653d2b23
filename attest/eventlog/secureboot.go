package eventlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"unicode/utf16"

	"github.com/vouchsafe/vouchsafe/attest"
)

// variable is a UEFI_VARIABLE_DATA (PFP 10.2.6).
type variable struct {
	guid [16]byte
	name string
	data []byte
}

// guidGlobal is EFI_GLOBAL_VARIABLE, 8be4df61-93ca-11d2-aa0d-00e098032b8c, as it lies in memory.
var guidGlobal = [16]byte{0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c}

// maxVariableName bounds a variable's name, in UTF-16 units; those in PCR 7 have up to 15.
const maxVariableName = 256

func parseVariable(data []byte) (*variable, bool) {
	r := newReader(data)
	v := &variable{}
	copy(v.guid[:], r.Bytes(16))
	units, size := r.U64(), r.U64()
	if r.Failed() || units > maxVariableName || size > uint64(len(data)) {
		return nil, false
	}
	name, ok := decodeUTF16(r.Bytes(uint32(2 * units)))
	v.name = name
	v.data = r.Bytes(uint32(size))
	return v, ok && r.Complete()
}

// decodeUTF16 decodes little-endian UTF-16. Text that is not well formed is refused, for two texts must not look the same.
func decodeUTF16(b []byte) (string, bool) {
	if len(b)%2 != 0 {
		return "", false
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	text := utf16.Decode(units)
	return string(text), slices.Equal(utf16.Encode(text), units)
}

// secureBoot reads PCR 7.
func (c *Covered) secureBoot() (on *bool, authorities []string, err error) {
	events := c.Events(pcrSecureBoot)
	separator := slices.IndexFunc(events, c.isSeparator)
	if separator < 0 {
		return nil, nil, nil // nothing says where the firmware's part ends
	}
	for _, event := range events[:separator] {
		if event.Type != EFIVariableConfig {
			continue
		}
		v, ok := parseVariable(event.Data)
		if !ok || v.name != "SecureBoot" || v.guid != guidGlobal {
			continue
		}
		if !c.Measured(event, event.Data) {
			return nil, nil, attest.Refuse(attest.CodeEventLog, "the variable SecureBoot in the event log is not what was measured into PCR 7")
		}
		if on != nil || len(v.data) > 1 || (len(v.data) == 1 && v.data[0] > 1) {
			return nil, nil, attest.Refuse(attest.CodeEventLog, "the variable SecureBoot was measured twice or is neither 0 nor 1")
		}
		on = attest.Ptr(len(v.data) == 1 && v.data[0] == 1)
	}
	return on, c.authorities(events, separator), nil
}

// authorities returns the SHA-256 of what admitted an image, once each and in order; nil when an event could hide one more.
func (c *Covered) authorities(events []*Event, separator int) []string {
	var found []string
	configured := false // the whole of db, which firmware measures once and before its separator, was seen
	for i, event := range events {
		if c.isSeparator(event) {
			continue
		}
		if !c.Measured(event, event.Data) {
			return nil
		}
		v, ok := parseVariable(event.Data)
		if !ok {
			continue
		}
		if v.name == "db" && i < separator && !configured {
			configured = true
			continue
		}
		if admitted, is := authority(v); is {
			sum := sha256.Sum256(admitted)
			if name := hex.EncodeToString(sum[:]); !slices.Contains(found, name) {
				found = append(found, name)
			}
		}
	}
	return found
}

// authority returns the certificate or hash that a variable's measurement names: firmware measures an EFI_SIGNATURE_DATA, which is
// its owner's GUID and the certificate; shim measures its own certificate bare.
func authority(v *variable) ([]byte, bool) {
	switch v.name {
	case "db", "MokList", "MokListRT", "Shim", "vendor_db":
	default:
		return nil, false // settings such as SbatLevel, MokListTrusted, AuditMode
	}
	const owner = 16
	if bytes.HasPrefix(v.data, []byte{0x30, 0x82}) || len(v.data) <= owner {
		return v.data, true
	}
	return v.data[owner:], true
}
