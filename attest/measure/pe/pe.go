// Package pe reads programs of UEFI: boot loaders, kernels with an EFI stub, and unified kernel images. It computes their
// Authenticode digest, which is what firmware measures when it loads one, and gives the content of their sections, which is what
// systemd-stub measures.
//
// # Format
//
// A PE/COFF image ("PE Format", Microsoft): "MZ", at 0x3c the offset of "PE\0\0", 20 bytes of COFF header, an optional header of
// which PE32 and PE32+ are read, and 40 bytes for each section. All numbers are little-endian.
//
// # The Authenticode digest
//
// As EDK II computes it (DxeTpm2MeasureBootLib, following "Windows Authenticode Portable Executable Signature Format"), in this order:
//
//  1. the headers, but the checksum and the entry of the certificate table in the data directory
//  2. the sections' data, by their place in the file
//  3. what is left of the file, but as many bytes at its end as the certificate table has
//
// So signing an image does not change its digest. Tools that sign pad an image to 8 bytes first, which does change it:
// measure what is installed.
//
// # Checks
//
// Every offset and size is held against the file before it is read, the headers are bounded, and sections that overlap each other or the
// headers, so that bytes would be hashed twice, are errors: EDK II does not load such an image. Nothing is read into memory but the headers.
package pe

import (
	"bytes"
	"cmp"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	maxHeaders  = 1 << 20 // SizeOfHeaders of real images is a few KiB
	maxSections = 1 << 10 // a unified kernel image has about ten, one of many profiles some more
	maxImage    = 1 << 32 // offsets have 32 bits
)

// ErrFormat says that a file is not a program of UEFI, or is damaged. Errors of this package wrap it, but those of reading.
var ErrFormat = errors.New("not a PE image")

// File is an image.
type File struct {
	Sections []Section // in the order of the section table

	r           io.ReaderAt
	size        int64
	headers     []byte // SizeOfHeaders bytes
	checksum    int    // offset in headers
	certificate int    // offset of the certificate table's entry in headers; 0 when the data directory has none
	certSize    int64
}

// Section is a part of an image.
type Section struct {
	Name        string
	VirtualSize uint32 // bytes that it has in memory, and that systemd-stub measures
	offset      uint32 // of its data in the file
	rawSize     uint32
	file        *File
}

// Parse reads the headers of an image of a number of bytes.
func Parse(r io.ReaderAt, size int64) (*File, error) {
	if size > maxImage {
		return nil, fmt.Errorf("%w: %d bytes; the limit is %d", ErrFormat, size, int64(maxImage))
	}
	f := &File{r: r, size: size}
	dos, err := f.read(0, 0x40)
	if err != nil {
		return nil, err
	}
	if dos[0] != 'M' || dos[1] != 'Z' {
		return nil, fmt.Errorf("%w: it does not begin with MZ", ErrFormat)
	}
	start := int64(binary.LittleEndian.Uint32(dos[0x3c:]))
	// The signature, the COFF header, and the optional header up to the number of data directories.
	fixed, err := f.read(start, 4+20+112)
	if err != nil {
		return nil, err
	}
	if string(fixed[:4]) != "PE\x00\x00" {
		return nil, fmt.Errorf("%w: it has no PE header", ErrFormat)
	}
	return f, f.parse(start, fixed)
}

// parse reads what follows the fixed part of the headers, which begins at start.
func (f *File) parse(start int64, fixed []byte) error {
	coff, optional := fixed[4:], fixed[24:]
	count, optionalSize := int(binary.LittleEndian.Uint16(coff[2:])), int64(binary.LittleEndian.Uint16(coff[16:]))
	var directories int // where their number is
	switch magic := binary.LittleEndian.Uint16(optional); magic {
	case 0x10b:
		directories = 92
	case 0x20b:
		directories = 108
	default:
		return fmt.Errorf("%w: an optional header of type %#x", ErrFormat, magic)
	}
	headerSize := int64(binary.LittleEndian.Uint32(optional[60:]))
	table := start + 24 + optionalSize
	if count > maxSections || headerSize > maxHeaders {
		return fmt.Errorf("%w: %d sections and headers of %d bytes; the limits are %d and %d", ErrFormat, count, headerSize, maxSections, maxHeaders)
	}
	var err error
	if f.headers, err = f.read(0, headerSize); err != nil {
		return err
	}
	if table+int64(count)*40 > headerSize || start+24+int64(directories)+4 > headerSize {
		return fmt.Errorf("%w: its headers end within one", ErrFormat)
	}
	f.checksum = int(start) + 24 + 64
	const certificates = 4
	if number := binary.LittleEndian.Uint32(optional[directories:]); number > certificates {
		entry := start + 24 + int64(directories) + 4 + certificates*8
		if entry+8 > table {
			return fmt.Errorf("%w: its data directory is longer than its header", ErrFormat)
		}
		f.certificate = int(entry)
		f.certSize = int64(binary.LittleEndian.Uint32(f.headers[entry+4:]))
	}
	for i := range count {
		header := f.headers[table+int64(i)*40:]
		name, _, _ := bytes.Cut(header[:8], []byte{0})
		f.Sections = append(f.Sections, Section{
			Name:        string(name),
			VirtualSize: binary.LittleEndian.Uint32(header[8:]),
			rawSize:     binary.LittleEndian.Uint32(header[16:]),
			offset:      binary.LittleEndian.Uint32(header[20:]),
			file:        f,
		})
	}
	return f.layout()
}

// layout checks that headers, sections and certificates follow each other.
func (f *File) layout() error {
	end := int64(len(f.headers))
	for _, s := range f.inOrder() {
		if int64(s.offset) < end {
			return fmt.Errorf("%w: section %q begins within what is before it", ErrFormat, s.Name)
		}
		if end = int64(s.offset) + int64(s.rawSize); end > f.size {
			return fmt.Errorf("%w: section %q ends at %d, after the file's %d bytes", ErrFormat, s.Name, end, f.size)
		}
	}
	return nil
}

// inOrder returns the sections that have data, by their place in the file.
func (f *File) inOrder() []Section {
	var list []Section
	for _, s := range f.Sections {
		if s.rawSize > 0 {
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, func(a, b Section) int { return cmp.Compare(a.offset, b.offset) })
	return list
}

// read returns bytes of the file. n is bounded by the caller.
func (f *File) read(offset, n int64) ([]byte, error) {
	if offset < 0 || n < 0 || offset+n > f.size {
		return nil, fmt.Errorf("%w: it ends within its headers", ErrFormat)
	}
	b := make([]byte, n)
	if _, err := f.r.ReadAt(b, offset); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// Authenticode returns the image's Authenticode digest by a hash.
func (f *File) Authenticode(hash crypto.Hash) ([]byte, error) {
	h := hash.New()
	rest := f.headers
	h.Write(rest[:f.checksum])
	if f.certificate == 0 {
		h.Write(rest[f.checksum+4:])
	} else {
		h.Write(rest[f.checksum+4 : f.certificate])
		h.Write(rest[f.certificate+8:])
	}
	hashed := int64(len(rest))
	for _, s := range f.inOrder() {
		if err := f.hash(h, int64(s.offset), int64(s.rawSize)); err != nil {
			return nil, err
		}
		hashed += int64(s.rawSize)
	}
	// EDK II takes the sum of what it hashed for an offset, so where there are gaps between sections, it hashes their tail again.
	if trailing := f.size - hashed; trailing > 0 {
		if f.certSize > trailing {
			return nil, fmt.Errorf("%w: its certificate table of %d bytes is longer than what follows its sections", ErrFormat, f.certSize)
		}
		if err := f.hash(h, hashed, trailing-f.certSize); err != nil {
			return nil, err
		}
	}
	return h.Sum(nil), nil
}

func (f *File) hash(w io.Writer, offset, n int64) error {
	copied, err := io.Copy(w, io.NewSectionReader(f.r, offset, n))
	if err == nil && copied != n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Section returns the first section of a name, and whether there is one.
func (f *File) Section(name string) (Section, bool) {
	i := slices.IndexFunc(f.Sections, func(s Section) bool { return s.Name == name })
	if i < 0 {
		return Section{}, false
	}
	return f.Sections[i], true
}

// Data returns the section's content as it is in memory: VirtualSize bytes, of which those that the file does not have are zero.
func (s Section) Data() io.Reader {
	inFile := min(int64(s.rawSize), int64(s.VirtualSize))
	data := io.NewSectionReader(s.file.r, int64(s.offset), inFile)
	return io.MultiReader(data, io.LimitReader(zeros{}, int64(s.VirtualSize)-inFile))
}

// Image returns the section's content as a file that was put into it: of a section .linux, the kernel.
func (s Section) Image() (io.ReaderAt, int64) {
	n := min(int64(s.rawSize), int64(s.VirtualSize))
	return io.NewSectionReader(s.file.r, int64(s.offset), n), n
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
