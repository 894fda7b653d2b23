package tdx

import (
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"

	"github.com/vouchsafe/vouchsafe/attest/internal/fields"
	"github.com/vouchsafe/vouchsafe/attest/measure/ovmf"
)

// tdxMetadata is the entry of OVMF's table with the distance of the TDX metadata from the end.
const tdxMetadata = "e47a6535-984a-4798-865e-4685a7bf8ec2"

const (
	pageSize    = 4096
	chunkSize   = 256
	maxSections = 64        // a build has about six
	maxPages    = 256 << 20 // of all sections, in bytes: builds have a few MiB
)

// Attributes of sections.
const (
	attributeExtend  = 1
	attributeAugment = 2 // the guest accepts the pages later, so that they are not added before it runs
)

// sectionCFV is the type of the section with the volume of variables.
const sectionCFV = 1

// section is a part of the guest's memory that the hypervisor prepares.
type section struct {
	address, size    uint64
	data             []byte // what the image has for it, shorter than size or as long
	kind, attributes uint32
}

// Order is how a hypervisor adds and extends pages.
type Order string

// The two orders.
const (
	PageByPage       Order = "page-by-page"       // Linux's KVM since 6.16, and QEMU with it; the default
	SectionBySection Order = "section-by-section" // all pages of a section are added, then all are extended: early versions of KVM for TDX
)

// Firmware is a firmware image for TDX guests.
type Firmware struct {
	sections []section
}

// ParseFirmware reads a firmware image and its TDX metadata. Its errors wrap [ovmf.ErrImage].
func ParseFirmware(data []byte) (*Firmware, error) {
	image, err := ovmf.Parse(data)
	if err != nil {
		return nil, err
	}
	if _, has := image.Entry(tdxMetadata); !has {
		return nil, fmt.Errorf("%w: it was not built for TDX: its table has no TDX metadata", ovmf.ErrImage)
	}
	start, err := image.FromEnd(tdxMetadata)
	if err != nil {
		return nil, err
	}
	r := fields.NewReader(start, binary.LittleEndian)
	signature, _, version, count := string(r.Bytes(4)), r.U32(), r.U32(), r.U32()
	if r.Failed() || signature != "TDVF" || version != 1 || count > maxSections {
		return nil, fmt.Errorf("%w: its TDX metadata is not of version 1, or lists more than %d sections", ovmf.ErrImage, maxSections)
	}
	f := &Firmware{sections: make([]section, count)}
	total := uint64(0)
	for i := range f.sections {
		offset, length := r.U32(), r.U32()
		s := section{address: r.U64(), size: r.U64(), kind: r.U32(), attributes: r.U32()}
		if r.Failed() {
			return nil, fmt.Errorf("%w: its TDX metadata ends within a section", ovmf.ErrImage)
		}
		if total += s.size; s.size > maxPages || total > maxPages {
			return nil, fmt.Errorf("%w: its TDX metadata lists more than %d bytes", ovmf.ErrImage, maxPages)
		}
		if err := s.take(data, offset, length); err != nil {
			return nil, fmt.Errorf("%w: section %d of its TDX metadata %w", ovmf.ErrImage, i, err)
		}
		f.sections[i] = s
	}
	return f, nil
}

// take checks a section, and takes its content from the image.
func (s *section) take(image []byte, offset, length uint32) error {
	switch {
	case s.address%pageSize != 0 || s.size%pageSize != 0 || s.address+s.size < s.address:
		return errors.New("is not of whole pages")
	case uint64(length) > s.size || uint64(offset)+uint64(length) > uint64(len(image)):
		return errors.New("has more content than it or the image has room for")
	case s.attributes&attributeExtend != 0 && uint64(length) != s.size:
		return errors.New("is to be measured, and is in the image in part only")
	case s.attributes&^(attributeExtend|attributeAugment) != 0 || s.attributes == attributeExtend|attributeAugment:
		return fmt.Errorf("has attributes %#x, which are not known here", s.attributes)
	}
	s.data = image[offset : uint64(offset)+uint64(length)]
	return nil
}

// MRTD returns the launch measurement of a guest that starts with the firmware, in hex. The zero Order is [PageByPage].
func (f *Firmware) MRTD(order Order) (string, error) {
	if order != "" && order != PageByPage && order != SectionBySection {
		return "", fmt.Errorf("unknown order %q: it is %s or %s", order, PageByPage, SectionBySection)
	}
	h := sha512.New384()
	for _, s := range f.sections {
		if order == SectionBySection {
			for page := uint64(0); page < s.size; page += pageSize {
				s.add(h, page)
			}
		}
		for page := uint64(0); page < s.size; page += pageSize {
			if order != SectionBySection {
				s.add(h, page)
			}
			s.extend(h, page)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// block writes what the TDX module hashes of an operation at an address.
func block(h hash.Hash, operation string, address uint64) {
	var b [128]byte
	copy(b[:], operation)
	binary.LittleEndian.PutUint64(b[16:], address)
	h.Write(b[:])
}

func (s *section) add(h hash.Hash, page uint64) {
	if s.attributes&attributeAugment == 0 {
		block(h, "MEM.PAGE.ADD", s.address+page)
	}
}

func (s *section) extend(h hash.Hash, page uint64) {
	if s.attributes&attributeExtend == 0 {
		return
	}
	for chunk := page; chunk < page+pageSize; chunk += chunkSize {
		block(h, "MR.EXTEND", s.address+chunk)
		h.Write(s.data[chunk : chunk+chunkSize])
	}
}

// Volume returns the content of the firmware's volume of variables (CFV), whose SHA-384 is the second event of RTMR 0, and whether it has one.
func (f *Firmware) Volume() ([]byte, bool) {
	for _, s := range f.sections {
		if s.kind == sectionCFV {
			return s.data, true
		}
	}
	return nil, false
}
