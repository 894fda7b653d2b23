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

// guidImageSecurity is EFI_IMAGE_SECURITY_DATABASE_GUID, d719b2cb-3d3a-4596-a3bc-dad00e67656f, as it lies in memory.
var guidImageSecurity = [16]byte{0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f}

// owners are the variables that decide what may boot, and whose they are.
var owners = map[string][16]byte{"PK": guidGlobal, "KEK": guidGlobal, "db": guidImageSecurity, "dbx": guidImageSecurity}

// isSecureBoot reports whether an event is the variable SecureBoot, as measured.
func (c *Covered) isSecureBoot(e *Event) bool {
	v, ok := parseVariable(e.Data)
	return ok && v.name == "SecureBoot" && v.guid == guidGlobal && c.verbatim(e)
}

// secureBoot reads PCR 7.
func (c *Covered) secureBoot(claims *attest.BootClaims) error {
	events := c.Events(pcrSecureBoot)
	separator := slices.IndexFunc(events, c.isSeparator)
	if separator < 0 {
		return nil // nothing says where the firmware's part ends
	}
	start := 0
	for i, event := range events[:separator] {
		if event.Type != EFIVariableConfig {
			continue
		}
		v, ok := parseVariable(event.Data)
		if !ok || v.name != "SecureBoot" || v.guid != guidGlobal {
			continue
		}
		if !c.verbatim(event) {
			return attest.Refuse(attest.CodeEventLog, "the variable SecureBoot in the event log is not what was measured")
		}
		if claims.SecureBoot != nil || len(v.data) > 1 || (len(v.data) == 1 && v.data[0] > 1) {
			return attest.Refuse(attest.CodeEventLog, "the variable SecureBoot was measured twice or is neither 0 nor 1")
		}
		claims.SecureBoot = attest.Ptr(len(v.data) == 1 && v.data[0] == 1)
		if c.domain {
			start = i // before it are events whose content no log has
		}
	}
	if c.domain && claims.SecureBoot == nil {
		return nil
	}
	claims.Variables = c.variables(events[start:separator])
	claims.SecureBootDB = c.authorities(events[start:], separator-start)
	return nil
}

// variables returns the SHA-256 of the content of the variables that decide what may boot, as measured before the separator: the first of each
// name. It returns nil when an event there has other data than was measured, for it could be one of them, and when one but db is there twice: an
// entry of db is measured under its name again, when it admits a driver.
func (c *Covered) variables(events []*Event) map[string]string {
	found := make(map[string]string)
	for _, event := range events {
		if !c.verbatim(event) {
			return nil
		}
		v, ok := parseVariable(event.Data)
		if owner, is := owners[variableName(v)]; !ok || !is || v.guid != owner {
			continue
		}
		if _, twice := found[v.name]; twice {
			if v.name != "db" {
				return nil
			}
			continue
		}
		sum := sha256.Sum256(v.data)
		found[v.name] = hex.EncodeToString(sum[:])
	}
	return found
}

func variableName(v *variable) string {
	if v == nil {
		return ""
	}
	return v.name
}

// preimage returns what an event's digest is of, where the log has it. In a trust domain that may be the content alone of a variable that
// configures the boot (PFP 10.4.1, EV_EFI_VARIABLE_BOOT).
func (c *Covered) preimage(e *Event) ([]byte, bool) {
	if c.verbatim(e) {
		return e.Data, true
	}
	if v, ok := parseVariable(e.Data); c.domain && ok && c.Measured(e, v.data) {
		return v.data, true
	}
	return nil, false
}

// authorities returns the SHA-256 of what admitted an image, once each and in order; nil when an event could hide one more. In a
// trust domain the tables that follow the first separator cannot, for they are measured before any image is loaded.
func (c *Covered) authorities(events []*Event, separator int) []string {
	var found []string
	configured := false // the whole of db, which firmware measures once and before its separator, was seen
	tables := 0         // how many more events may be opaque
	for i, event := range events {
		if c.isSeparator(event) {
			tables = 0
			if c.domain && i == separator {
				tables = maxTables
			}
			continue
		}
		data, known := c.preimage(event)
		if !known {
			if tables == 0 {
				return nil
			}
			tables--
			continue
		}
		tables = 0
		v, ok := parseVariable(data)
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
