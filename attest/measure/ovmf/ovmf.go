// Package ovmf reads what OVMF, the firmware of virtual machines that EDK II's OvmfPkg builds, says of itself to whoever launches it.
//
// # Format
//
// An image is mapped so that it ends at 4 GiB, where the processor starts. 32 bytes before its end, a table ends (OvmfPkg/ResetVector,
// "GUIDed structures"). It is read backwards, from entries of
//
//	data    size - 18 bytes
//	size    u16, of the whole entry
//	GUID    16 bytes, the first three groups little-endian
//
// whose last, the footer, has no data: its size is the whole table's. What the entries hold is for the packages that measure: they take offsets
// back from the end of the image, and addresses.
//
// # Checks
//
// Every size is held against what is left before it is used. An entry that is there twice is an error, for two readers could take different
// ones. Nothing here is trusted: an image is what a build made, and its measurement is what a guest that starts with it will report.
package ovmf

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// MaxImage bounds an image, in bytes. OVMF's are up to 4 MiB; what is mapped below 4 GiB in other builds stays below this.
const MaxImage = 16 << 20

// top is the address at which an image ends.
const top = 1 << 32

const (
	footerGUID  = "96b582de-1fb2-45f7-baea-a366c55a082d"
	resetVector = 32 // bytes behind the table
	entryHeader = 2 + 16
)

// ErrImage says that an image is not one of OVMF, or is damaged. Errors of this package wrap it.
var ErrImage = errors.New("not a firmware image that can be measured")

// Image is a firmware image and its table.
type Image struct {
	Data  []byte
	table map[string][]byte // by GUID, in lower case
}

// Parse reads an image's table, and keeps the image. An image without a table is an error: it could not be launched as a confidential guest.
func Parse(data []byte) (*Image, error) {
	switch {
	case len(data) > MaxImage:
		return nil, fmt.Errorf("%w: %d bytes; the limit is %d", ErrImage, len(data), MaxImage)
	case len(data) < resetVector+entryHeader || len(data)%4096 != 0:
		return nil, fmt.Errorf("%w: %d bytes is not a whole number of pages", ErrImage, len(data))
	}
	image := &Image{Data: data, table: make(map[string][]byte)}
	rest := data[:len(data)-resetVector]
	footer, _, size, err := lastEntry(rest)
	if err != nil || footer != footerGUID {
		return nil, fmt.Errorf("%w: it does not end with OVMF's table", ErrImage)
	}
	for rest = rest[len(rest)-size : len(rest)-entryHeader]; len(rest) > 0; {
		guid, content, size, err := lastEntry(rest)
		if err != nil {
			return nil, fmt.Errorf("%w: table: %w", ErrImage, err)
		}
		if _, twice := image.table[guid]; twice {
			return nil, fmt.Errorf("%w: table: entry %s is there twice", ErrImage, guid)
		}
		image.table[guid] = content
		rest = rest[:len(rest)-size]
	}
	return image, nil
}

// lastEntry reads the entry that b ends with.
func lastEntry(b []byte) (guid string, content []byte, size int, err error) {
	if len(b) < entryHeader {
		return "", nil, 0, errors.New("it ends within an entry")
	}
	header := b[len(b)-entryHeader:]
	size = int(binary.LittleEndian.Uint16(header))
	if size < entryHeader || size > len(b) {
		return "", nil, 0, fmt.Errorf("an entry of %d bytes", size)
	}
	return formatGUID(header[2:]), b[len(b)-size : len(b)-entryHeader], size, nil
}

// formatGUID writes the 16 bytes of a GUID as it lies in memory.
func formatGUID(b []byte) string {
	mixed := []byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]}
	text := hex.EncodeToString(append(mixed, b[8:16]...))
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}

// Base returns the address of the image's first byte.
func (i *Image) Base() uint64 { return top - uint64(len(i.Data)) }

// Entry returns the data of the entry with a GUID, in lower case, and whether there is one.
func (i *Image) Entry(guid string) ([]byte, bool) {
	content, found := i.table[guid]
	return content, found
}

// Number returns the first 32-bit number of an entry.
func (i *Image) Number(guid string) (uint32, error) {
	content, found := i.Entry(guid)
	if !found {
		return 0, fmt.Errorf("%w: its table has no entry %s", ErrImage, guid)
	}
	if len(content) < 4 {
		return 0, fmt.Errorf("%w: entry %s has %d bytes", ErrImage, guid, len(content))
	}
	return binary.LittleEndian.Uint32(content), nil
}

// FromEnd returns what follows the place that an entry names by its distance from the end of the image.
func (i *Image) FromEnd(guid string) ([]byte, error) {
	distance, err := i.Number(guid)
	if err != nil {
		return nil, err
	}
	if uint64(distance) > uint64(len(i.Data)) {
		return nil, fmt.Errorf("%w: entry %s points before its start", ErrImage, guid)
	}
	return i.Data[len(i.Data)-int(distance):], nil
}
