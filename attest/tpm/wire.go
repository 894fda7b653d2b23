package tpm

import (
	"encoding/binary"
	"errors"
)

// errShort is every structure that ends before its own fields do, or goes on after them.
var errShort = errors.New("wrong length")

// reader walks a TPM structure (TCG TPM 2.0 Library, part 2): big-endian numbers and TPM2B buffers, a 16-bit size before
// their bytes. The first read past the end makes it fail for good, so that a parser checks once, with done.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) bytes(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) u8() uint8 {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// sized reads a TPM2B buffer. It aliases the input.
func (r *reader) sized() []byte { return r.bytes(int(r.u16())) }

// done reports errShort unless exactly the whole input was read.
func (r *reader) done() error {
	if r.failed || len(r.rest) != 0 {
		return errShort
	}
	return nil
}
