// Package nitro computes what AWS Nitro Enclaves will measure of an enclave image file (EIF), so that a policy can name
// the values before anything runs.
//
// # Format
//
// "Enclave Image File (EIF) Specification" of aws-nitro-enclaves-image-format, of 2024-06-21; versions 2 to 4. Numbers
// are big-endian. A header of 548 bytes: magic ".eif"; version, flags (bit 0: aarch64), each 2 bytes; default memory
// and processors, each 8; 2 reserved; the number of sections, 2; 32 offsets and 32 sizes, each 8; 4 reserved; CRC-32
// (IEEE) of the whole file but these four bytes. Then the sections, each with a header of 12 bytes: type, flags, each
// 2, and the size of its data, 8. Types: 1 kernel, 2 command line, 3 RAM disk, 4 signature, 5 metadata.
//
// # Measurements
//
// A register is SHA-384(48 zero bytes ‖ SHA-384(content)), and the content is data of sections, without their headers,
// in the order of the file:
//
//	PCR0   kernel, command line and all RAM disks
//	PCR1   kernel, command line and the first RAM disk
//	PCR2   all RAM disks but the first
//	PCR8   the certificate that signed the image, in DER; there is none in an image that is not signed
//
// Two more are not of the image: PCR3 is SHA-384(48 zero bytes ‖ ARN of the instance's IAM role), and PCR4 the same of the
// instance's identifier; [RolePCR] and [InstancePCR] compute them. Metadata is not measured, so nothing of it is
// returned.
//
// # What is checked
//
// All that makes the file one that the hypervisor would start, because measurements of another are good for nothing:
// the checksum, exactly one kernel and one command line, RAM disks after the kernel, metadata in version 4, sections
// that are as the header says and fill the file without gaps, and that the signature is over PCR0 by the key of its
// certificate. The certificate is not held against an authority: PCR8 names it, and it is for the policy to know it.
// Its dates are not judged, as the measurement does not depend on them.
//
// # Limits
//
// At most 16 GiB and 32 sections. The file is read once, in order, in pieces; only a signature section, of at most 32
// KiB, is held in memory.
package nitro

import (
	"context"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// Sizes, in bytes, and counts.
const (
	headerSize        = 548
	crcOffset         = headerSize - 4
	offsetsOffset     = 28
	maxSections       = 32
	sizesOffset       = offsetsOffset + 8*maxSections
	sectionHeaderSize = 12
	maxSignature      = 32 << 10 // SIGNATURE_MAX_SIZE of the specification
	maxImage          = 16 << 30 // RAM disks are memory of the enclave; the largest seen are some GiB
)

// Versions of the format.
const (
	minVersion      = 2
	maxVersion      = 4
	metadataVersion = 4 // the first that must have metadata
)

// flagARM64 is the header's flag for aarch64. All others are reserved and ignored by the hypervisor.
const flagARM64 = 1

// Types of sections.
const (
	sectionKernel    = 1
	sectionCmdline   = 2
	sectionRamdisk   = 3
	sectionSignature = 4
	sectionMetadata  = 5
)

// ErrImage is wrapped by all errors that say the file is no enclave image which can be started. Others are of reading it.
var ErrImage = errors.New("not an enclave image that can be started")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrImage}, args...)...)
}

// Result is what an enclave image measures to. Registers are lower-case hex, 48 bytes, as in the claim nitro.pcrs.
type Result struct {
	PCR0 string `json:"pcr0"` // also the claim measurement
	PCR1 string `json:"pcr1"`
	PCR2 string `json:"pcr2"`
	PCR8 string `json:"pcr8,omitempty"` // absent in an image that is not signed, whose enclaves have zeros there

	Version  int    `json:"version"`      // of the format
	Arch     string `json:"architecture"` // x86_64 or aarch64
	Ramdisks int    `json:"ramdisks"`
}

// header is what the rest relies on of an image's header.
type header struct {
	version  uint16
	flags    uint16
	sections int
	offsets  [maxSections]uint64
	sizes    [maxSections]uint64
	crc      uint32
}

func parseHeader(b *[headerSize]byte) (*header, error) {
	be := binary.BigEndian
	if string(b[:4]) != ".eif" {
		return nil, malformed("it does not begin with %q", ".eif")
	}
	h := &header{version: be.Uint16(b[4:]), flags: be.Uint16(b[6:]), sections: int(be.Uint16(b[26:])), crc: be.Uint32(b[crcOffset:])}
	if h.version < minVersion || h.version > maxVersion {
		return nil, malformed("format version %d: %d to %d are measured", h.version, minVersion, maxVersion)
	}
	if h.sections < 2 || h.sections > maxSections {
		return nil, malformed("%d sections: 2 to %d are possible", h.sections, maxSections)
	}
	for i := range h.sections {
		h.offsets[i] = be.Uint64(b[offsetsOffset+8*i:])
		h.sizes[i] = be.Uint64(b[sizesOffset+8*i:])
	}
	return h, nil
}

// measurer follows an image through its sections.
type measurer struct {
	image, boot, app hash.Hash // contents of PCR0, PCR1, PCR2
	crc              hash.Hash32
	count            [sectionMetadata + 1]int // sections of each type so far
	signature        []byte
	buffer           []byte // that sections are read through
}

// maxPiece is how much of an image is held in memory at once, in bytes.
const maxPiece = 256 << 10

// Measure computes the registers of the image in r, which has size bytes. It reads it once from the start to the end,
// and stops when ctx ends. Errors wrap [ErrImage], or are those of ctx and r.
func Measure(ctx context.Context, r io.ReaderAt, size int64) (*Result, error) {
	if size < headerSize || size > maxImage {
		return nil, malformed("%d bytes: %d to %d are possible", size, headerSize, int64(maxImage))
	}
	var raw [headerSize]byte
	if err := readFull(r, raw[:], 0); err != nil {
		return nil, err
	}
	h, err := parseHeader(&raw)
	if err != nil {
		return nil, err
	}
	m := &measurer{image: sha512.New384(), boot: sha512.New384(), app: sha512.New384(), crc: crc32.NewIEEE()}
	m.buffer = make([]byte, min(size, maxPiece))
	m.crc.Write(raw[:crcOffset])
	at := int64(headerSize)
	for i := range h.sections {
		if h.offsets[i] != uint64(at) {
			return nil, malformed("section %d is at %d and not at %d, where the one before it ends", i, h.offsets[i], at)
		}
		// What is left is compared with unsigned, so that no size can wrap around.
		if left := size - at; left < sectionHeaderSize || h.sizes[i] > uint64(left-sectionHeaderSize) {
			return nil, malformed("section %d has %d bytes, more than are left", i, h.sizes[i])
		}
		n := int64(h.sizes[i])
		if err := m.section(ctx, r, i, at, n); err != nil {
			return nil, err
		}
		at += sectionHeaderSize + n
	}
	if at != size {
		return nil, malformed("%d bytes follow its last section", size-at)
	}
	return m.result(h)
}

// section takes in section i, whose header is at the offset at and whose data, by the image's header, has n bytes.
func (m *measurer) section(ctx context.Context, r io.ReaderAt, i int, at, n int64) error {
	var raw [sectionHeaderSize]byte
	if err := readFull(r, raw[:], at); err != nil {
		return err
	}
	m.crc.Write(raw[:])
	kind := binary.BigEndian.Uint16(raw[:])
	if stated := binary.BigEndian.Uint64(raw[4:]); stated != uint64(n) {
		return malformed("section %d has %d bytes by its own header and %d by the image's", i, stated, n)
	}
	if kind < sectionKernel || kind > sectionMetadata {
		return malformed("section %d is of type %d, which is not known", i, kind)
	}
	to := []io.Writer{m.crc}
	switch kind {
	case sectionKernel, sectionCmdline:
		to = append(to, m.image, m.boot)
	case sectionRamdisk:
		if m.count[sectionKernel] == 0 {
			return malformed("section %d is a RAM disk before the kernel", i)
		}
		if to = append(to, m.image); m.count[sectionRamdisk] == 0 {
			to = append(to, m.boot)
		} else {
			to = append(to, m.app)
		}
	case sectionSignature:
		if n > maxSignature {
			return malformed("section %d is a signature of %d bytes: at most %d are possible", i, n, maxSignature)
		}
		m.signature = make([]byte, n)
		if err := readFull(r, m.signature, at+sectionHeaderSize); err != nil {
			return err
		}
	}
	if m.count[kind]++; m.count[kind] > 1 && kind != sectionRamdisk {
		return malformed("section %d is a second one of type %d", i, kind)
	}
	data := io.NewSectionReader(r, at+sectionHeaderSize, n)
	copied, err := io.CopyBuffer(io.MultiWriter(to...), stopping{ctx, data}, m.buffer)
	if err == nil && copied != n {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("reading section %d: %w", i, err)
	}
	return nil
}

// result judges the image as a whole.
func (m *measurer) result(h *header) (*Result, error) {
	switch {
	case m.crc.Sum32() != h.crc:
		return nil, malformed("its checksum is %08x and its header says %08x", m.crc.Sum32(), h.crc)
	case m.count[sectionKernel] == 0:
		return nil, malformed("it has no kernel")
	case m.count[sectionCmdline] == 0:
		return nil, malformed("it has no command line")
	case h.version >= metadataVersion && m.count[sectionMetadata] == 0:
		return nil, malformed("it is of version %d and has no metadata", h.version)
	}
	pcr0 := register(m.image.Sum(nil))
	out := &Result{
		PCR0:    hex.EncodeToString(pcr0),
		PCR1:    hex.EncodeToString(register(m.boot.Sum(nil))),
		PCR2:    hex.EncodeToString(register(m.app.Sum(nil))),
		Version: int(h.version), Arch: "x86_64", Ramdisks: m.count[sectionRamdisk],
	}
	if h.flags&flagARM64 != 0 {
		out.Arch = "aarch64"
	}
	if m.count[sectionSignature] > 0 {
		cert, err := verifySignature(m.signature, pcr0)
		if err != nil {
			return nil, malformed("its signature: %w", err)
		}
		out.PCR8 = CertificatePCR(cert.Raw)
	}
	return out, nil
}

// register extends a register of zeros with content.
func register(content []byte) []byte {
	h := sha512.New384()
	h.Write(make([]byte, sha512.Size384))
	h.Write(content)
	return h.Sum(nil)
}

// RolePCR returns PCR3 of enclaves on an instance with an IAM role, by the role's ARN, such as
// arn:aws:iam::123456789012:role/payments.
func RolePCR(arn string) string { return hex.EncodeToString(register([]byte(arn))) }

// InstancePCR returns PCR4 of enclaves on an instance, by its identifier, such as i-1234567890abcdef0.
func InstancePCR(id string) string { return hex.EncodeToString(register([]byte(id))) }

// CertificatePCR returns PCR8 of images that are signed with a certificate, given in DER.
func CertificatePCR(der []byte) string {
	content := sha512.Sum384(der)
	return hex.EncodeToString(register(content[:]))
}

// readFull fills b from the offset at.
func readFull(r io.ReaderAt, b []byte, at int64) error {
	if n, err := r.ReadAt(b, at); n < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("reading the image: %w", err)
	}
	return nil
}

// stopping is a reader that ends when its context does.
type stopping struct {
	ctx context.Context
	r   io.Reader
}

func (s stopping) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(b)
}
