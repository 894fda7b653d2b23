package tpm

import (
	"encoding/binary"
	"errors"

	"github.com/vouchsafe/vouchsafe/attest/internal/fields"
)

// errShort is every structure that ends before its own fields do, or goes on after them.
var errShort = errors.New("wrong length")

// reader walks a TPM structure (TCG TPM 2.0 Library, part 2): big-endian numbers and TPM2B buffers, a 16-bit size before
// their bytes.
type reader struct{ *fields.Reader }

func newReader(data []byte) reader { return reader{fields.NewReader(data, binary.BigEndian)} }

// sized reads a TPM2B buffer. It aliases the input.
func (r reader) sized() []byte { return r.Bytes(uint32(r.U16())) }

// done reports errShort unless exactly the whole input was read.
func (r reader) done() error {
	if !r.Complete() {
		return errShort
	}
	return nil
}
