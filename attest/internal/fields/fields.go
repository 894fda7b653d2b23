// Package fields reads the fields of a binary structure one after the other: event logs of firmware, which are little-endian, and structures of a
// TPM, which are big-endian. Every length is held against what is left before a byte of it is taken. The first read past the end makes the reader fail
// for good, and all reads after it return zero, so that a parser asks once, at the end or before it relies on what it read.
//
// What it returns aliases the input, and cannot be appended to in place.
package fields

import "encoding/binary"

// Reader walks a structure.
type Reader struct {
	rest   []byte
	order  binary.ByteOrder
	failed bool
}

// NewReader returns a Reader of data whose numbers are in the given order.
func NewReader(data []byte, order binary.ByteOrder) *Reader { return &Reader{rest: data, order: order} }

// Bytes reads n bytes. It returns nil when there are fewer.
func (r *Reader) Bytes(n uint32) []byte {
	if r.failed || uint64(n) > uint64(len(r.rest)) {
		r.failed = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// U8 reads a byte.
func (r *Reader) U8() uint8 {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// U16 reads a number of two bytes.
func (r *Reader) U16() uint16 {
	if b := r.Bytes(2); b != nil {
		return r.order.Uint16(b)
	}
	return 0
}

// U32 reads a number of four bytes.
func (r *Reader) U32() uint32 {
	if b := r.Bytes(4); b != nil {
		return r.order.Uint32(b)
	}
	return 0
}

// U64 reads a number of eight bytes.
func (r *Reader) U64() uint64 {
	if b := r.Bytes(8); b != nil {
		return r.order.Uint64(b)
	}
	return 0
}

// Failed reports whether a read went past the end.
func (r *Reader) Failed() bool { return r.failed }

// Rest returns what was not read yet.
func (r *Reader) Rest() []byte { return r.rest }

// Complete reports whether exactly the whole structure was read.
func (r *Reader) Complete() bool { return !r.failed && len(r.rest) == 0 }
