// Package petest writes small programs of UEFI for tests: PE32+ images with the headers that firmware reads, and no code.
package petest

import (
	"bytes"
	"encoding/binary"
)

// Part is a section.
type Part struct {
	Name        string
	Data        []byte
	VirtualSize int
}

// Parts returns sections, each with content of its own size in memory.
func Parts(namesAndContents ...string) []Part {
	var parts []Part
	for i := 0; i+1 < len(namesAndContents); i += 2 {
		content := []byte(namesAndContents[i+1])
		parts = append(parts, Part{namesAndContents[i], content, len(content)})
	}
	return parts
}

// Places in the images that Write makes.
const (
	Start         = 0x80  // of the PE header
	Headers       = 0x400 // bytes
	Optional      = Start + 24
	Directories   = Optional + 112 // entries of 8 bytes, the fifth for certificates
	Table         = Optional + optionalSize
	optionalSize  = 112 + 16*8
	certificateAt = Directories + 4*8
)

// Write makes an image: headers, sections, trailing bytes, and certificates where they are not nil.
func Write(parts []Part, trailing, certificates []byte) []byte {
	image := make([]byte, Headers)
	copy(image, "MZ")
	put16 := func(at, v int) { binary.LittleEndian.PutUint16(image[at:], uint16(v)) }
	put32 := func(at, v int) { binary.LittleEndian.PutUint32(image[at:], uint32(v)) }
	put32(0x3c, Start)
	copy(image[Start:], "PE\x00\x00")
	put16(Start+4+2, len(parts))
	put16(Start+4+16, optionalSize)
	put16(Optional, 0x20b)
	put32(Optional+60, Headers)
	put32(Optional+64, 0x12345678)
	put32(Optional+108, 16)
	offset := Headers
	var body []byte
	for i, p := range parts {
		header := Table + i*40
		copy(image[header:header+8], p.Name)
		put32(header+8, p.VirtualSize)
		put32(header+16, len(p.Data))
		put32(header+20, offset)
		offset += len(p.Data)
		body = append(body, p.Data...)
	}
	if certificates != nil {
		put32(certificateAt, offset+len(trailing))
		put32(certificateAt+4, len(certificates))
	}
	return bytes.Join([][]byte{image, body, trailing, certificates}, nil)
}
