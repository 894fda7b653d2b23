package snp

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vouchsafe/vouchsafe/attest/internal/fields"
	"github.com/vouchsafe/vouchsafe/attest/measure/ovmf"
)

// Entries of OVMF's table.
const (
	hashTable  = "7255371f-3a3b-4b04-927b-1da6efa8d454" // address and size of the table of hashes
	resetBlock = "00f771de-1a7e-4fcb-890e-68c77e2fb44e" // where processors after the first start
	metadata   = "dc886566-984a-4798-a75e-5585a7bf67cc" // distance of the metadata from the end
)

// Types of sections (OvmfSevMetadata).
const (
	sectionMemory  = 1
	sectionSecrets = 2
	sectionCPUID   = 3
	sectionCAA     = 4
	sectionHashes  = 0x10
)

const (
	maxSections = 64        // a build has about six
	maxBlank    = 256 << 20 // of pages that metadata lists, in bytes: builds have less than 1 MiB, and each page takes half a microsecond
)

// section is a part of the guest's memory that the hypervisor prepares.
type section struct {
	address, size uint64
	kind          uint32
}

// sections reads the metadata: "ASEV", its length, version 1 and a count, then address, size and type of each section, all of 4 bytes.
func sections(image *ovmf.Image) ([]section, error) {
	if _, has := image.Entry(metadata); !has {
		return nil, fmt.Errorf("%w: it was not built for SEV-SNP: its table has no SEV metadata", ovmf.ErrImage)
	}
	start, err := image.FromEnd(metadata)
	if err != nil {
		return nil, err
	}
	r := fields.NewReader(start, binary.LittleEndian)
	signature, _, version, count := string(r.Bytes(4)), r.U32(), r.U32(), r.U32()
	if r.Failed() || signature != "ASEV" || version != 1 || count > maxSections {
		return nil, fmt.Errorf("%w: its SEV metadata is not of version 1, or lists more than %d sections", ovmf.ErrImage, maxSections)
	}
	list := make([]section, count)
	total := uint64(0)
	for i := range list {
		list[i] = section{uint64(r.U32()), uint64(r.U32()), r.U32()}
		total += list[i].size
		if list[i].address%pageSize != 0 || list[i].size%pageSize != 0 {
			return nil, fmt.Errorf("%w: section %d of its SEV metadata is not of whole pages", ovmf.ErrImage, i)
		}
	}
	if r.Failed() {
		return nil, fmt.Errorf("%w: its SEV metadata ends within a section", ovmf.ErrImage)
	}
	if total > maxBlank {
		return nil, fmt.Errorf("%w: its SEV metadata lists %d bytes; the limit is %d", ovmf.ErrImage, total, maxBlank)
	}
	return list, nil
}

// metadata takes in the pages that the metadata lists.
func (c *launchContext) metadata(image *ovmf.Image, cfg *Config) error {
	list, err := sections(image)
	if err != nil {
		return err
	}
	hashed := false
	for _, s := range list {
		switch s.kind {
		case sectionMemory:
			if cfg.VMM == GCE {
				c.blank(pageUnmeasured, s.address, s.size)
			} else {
				c.blank(pageZero, s.address, s.size)
			}
		case sectionSecrets:
			c.update(pageSecrets, s.address, [Size]byte{})
		case sectionCPUID:
			if cfg.VMM != EC2 {
				c.update(pageCPUID, s.address, [Size]byte{})
			}
		case sectionCAA:
			c.blank(pageZero, s.address, s.size)
		case sectionHashes:
			if hashed {
				return fmt.Errorf("%w: its SEV metadata lists two pages of hashes", ovmf.ErrImage)
			}
			hashed = true
			if err := c.hashes(image, s, cfg.Kernel); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: its SEV metadata lists a section of type %#x, which is not known here", ovmf.ErrImage, s.kind)
		}
	}
	if cfg.VMM == EC2 { // which loads it last
		for _, s := range list {
			if s.kind == sectionCPUID {
				c.update(pageCPUID, s.address, [Size]byte{})
			}
		}
	}
	if cfg.Kernel != nil && !hashed {
		return fmt.Errorf("%w: it has no page for a kernel's hashes, so a kernel that it is given would not be measured: use the build AmdSev", ovmf.ErrImage)
	}
	return nil
}

// hashes takes in the page with the table of hashes: of zeros where no kernel is given.
func (c *launchContext) hashes(image *ovmf.Image, s section, boot *DirectBoot) error {
	if boot == nil {
		c.blank(pageZero, s.address, s.size)
		return nil
	}
	address, err := image.Number(hashTable)
	if err != nil {
		return err
	}
	offset := int(uint64(address) - s.address)
	if s.size != pageSize || uint64(address) < s.address || uint64(address) >= s.address+pageSize-tableLength+1 {
		return fmt.Errorf("%w: its table of hashes is not in the page for it", ovmf.ErrImage)
	}
	table, err := boot.table()
	if err != nil {
		return err
	}
	var page [pageSize]byte
	copy(page[offset:], table)
	c.normal(s.address, page[:])
	return nil
}

// GUIDs of the table of hashes, as they lie in memory. They are QEMU's and OVMF's: 9438d606-4f22-4cc9-b479-a793d411fd21,
// 97d02dd8-bd20-4c94-aa78-e7714d36ab2a, 44baf731-3a2f-4bd7-9af1-41e29169781d and 4de79437-abd2-427f-b835-d5b172d2045b.
const (
	guidTable       = "\x06\xd6\x38\x94\x22\x4f\xc9\x4c\xb4\x79\xa7\x93\xd4\x11\xfd\x21"
	guidCommandLine = "\xd8\x2d\xd0\x97\x20\xbd\x94\x4c\xaa\x78\xe7\x71\x4d\x36\xab\x2a"
	guidInitrd      = "\x31\xf7\xba\x44\x2f\x3a\xd7\x4b\x9a\xf1\x41\xe2\x91\x69\x78\x1d"
	guidKernel      = "\x37\x94\xe7\x4d\xd2\xab\x7f\x42\xb8\x35\xd5\xb1\x72\xd2\x04\x5b"
)

const (
	hashLength  = 16 + 2 + sha256.Size
	hashesOnly  = 16 + 2 + 3*hashLength
	tableLength = (hashesOnly + 15) &^ 15 // QEMU pads it
)

// table returns the table of hashes as QEMU writes it: its GUID and length, then command line, initrd, kernel, each a GUID, a length and a SHA-256.
func (b *DirectBoot) table() ([]byte, error) {
	kernel, err := digest(b.Kernel)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel: %w", err)
	}
	initrd, err := digest(b.Initrd)
	if err != nil {
		return nil, fmt.Errorf("reading the initrd: %w", err)
	}
	for i := range len(b.CommandLine) {
		if b.CommandLine[i] == 0 {
			return nil, errors.New("the command line has a zero byte in it")
		}
	}
	line := sha256.Sum256(append([]byte(b.CommandLine), 0))
	table := binary.LittleEndian.AppendUint16([]byte(guidTable), hashesOnly)
	for _, entry := range []struct {
		guid string
		hash [sha256.Size]byte
	}{{guidCommandLine, line}, {guidInitrd, initrd}, {guidKernel, kernel}} {
		table = binary.LittleEndian.AppendUint16(append(table, entry.guid...), hashLength)
		table = append(table, entry.hash[:]...)
	}
	return append(table, make([]byte, tableLength-hashesOnly)...), nil
}
