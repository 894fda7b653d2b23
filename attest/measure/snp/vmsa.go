package snp

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// resetAddress is where the first processor starts.
const resetAddress = 0xfffffff0

// Offsets in the save area (APM volume 2, table B-4). Segments have a selector and attributes of 2 bytes, a limit of 4 and a base of 8.
const (
	offES, offCS, offSS, offDS, offFS, offGS = 0x00, 0x10, 0x20, 0x30, 0x40, 0x50
	offGDTR, offLDTR, offIDTR, offTR         = 0x60, 0x70, 0x80, 0x90

	offEFER     = 0x0d0
	offCR4      = 0x148
	offCR0      = 0x158
	offDR7      = 0x160
	offDR6      = 0x168
	offRFLAGS   = 0x170
	offRIP      = 0x178
	offPAT      = 0x268
	offRDX      = 0x310
	offFeatures = 0x3b0
	offXCR0     = 0x3e8
	offMXCSR    = 0x408
	offFCW      = 0x410
)

// registers are those in whose first values hypervisors differ.
type registers struct {
	csAttributes, ssAttributes, trAttributes uint16
	pat, rdx                                 uint64
	mxcsr                                    uint32
	fcw                                      uint16
}

// first returns how a hypervisor starts a processor, by where it starts.
func first(cfg *Config, start uint32) registers {
	r := registers{csAttributes: 0x9b, ssAttributes: 0x93, trAttributes: 0x8b, pat: 0x0007040600070406}
	switch cfg.VMM {
	case EC2:
		if start == resetAddress {
			r.csAttributes = 0x9a
		}
		r.ssAttributes, r.trAttributes, r.rdx = 0x92, 0x83, 0x600
	case GCE:
		r.pat, r.rdx = 0x00070106, 0x600
	default:
		r.rdx, r.mxcsr, r.fcw = uint64(cfg.VCPUSignature), 0x1f80, 0x37f
	}
	return r
}

// saveArea returns the page that a processor which starts at an address is launched with: in real mode, as after a reset (APM volume 2, 14.1.3).
func saveArea(start uint32, cfg *Config) (area [pageSize]byte) {
	put16 := func(offset int, v uint16) { binary.LittleEndian.PutUint16(area[offset:], v) }
	put32 := func(offset int, v uint32) { binary.LittleEndian.PutUint32(area[offset:], v) }
	put64 := func(offset int, v uint64) { binary.LittleEndian.PutUint64(area[offset:], v) }
	segment := func(offset int, selector, attributes uint16, base uint64) {
		put16(offset, selector)
		put16(offset+2, attributes)
		put32(offset+4, 0xffff)
		put64(offset+8, base)
	}
	r := first(cfg, start)
	for _, data := range []int{offES, offDS, offFS, offGS} {
		segment(data, 0, 0x93, 0)
	}
	segment(offCS, 0xf000, r.csAttributes, uint64(start&0xffff0000))
	segment(offSS, 0, r.ssAttributes, 0)
	segment(offGDTR, 0, 0, 0)
	segment(offIDTR, 0, 0, 0)
	segment(offLDTR, 0, 0x82, 0)
	segment(offTR, 0, r.trAttributes, 0)

	put64(offEFER, 0x1000) // SVME, which the host needs
	put64(offCR4, 0x40)    // MCE
	put64(offCR0, 0x10)
	put64(offDR7, 0x400)
	put64(offDR6, 0xffff0ff0)
	put64(offRFLAGS, 2)
	put64(offRIP, uint64(start&0xffff))
	put64(offPAT, r.pat)
	put64(offRDX, r.rdx)
	put64(offFeatures, cfg.GuestFeatures)
	put64(offXCR0, 1)
	put32(offMXCSR, r.mxcsr)
	put16(offFCW, r.fcw)
	return area
}

// models are the types of processors of QEMU 10 (target/i386/cpu.c) that SNP guests are given, with the number of versions of each, which differ in
// features only: EPYC-Milan, EPYC-Milan-v1 and so on.
var models = []struct {
	name                    string
	versions                int
	family, model, stepping uint32
}{
	{"EPYC", 5, 23, 1, 2},
	{"EPYC-IBPB", 0, 23, 1, 2},
	{"EPYC-Rome", 5, 23, 49, 0},
	{"EPYC-Milan", 3, 25, 1, 1},
	{"EPYC-Genoa", 2, 25, 17, 0},
	{"EPYC-Turin", 1, 26, 0, 0},
}

// Signature returns what CPUID function 1 returns in EAX on a type of processor of QEMU's (AMD publication 25481), and whether the type is known.
func Signature(name string) (uint32, bool) {
	for _, m := range models {
		version, isVersion := strings.CutPrefix(name, m.name+"-v")
		number, err := strconv.Atoi(version)
		if name == m.name || isVersion && err == nil && number >= 1 && number <= m.versions && strconv.Itoa(number) == version {
			return (m.family-0xf)<<20 | m.model>>4<<16 | 0xf<<8 | m.model&0xf<<4 | m.stepping, true
		}
	}
	return 0, false
}

// VCPUTypes returns the types of processors that [Signature] knows, without their versions.
func VCPUTypes() []string {
	names := make([]string, len(models))
	for i, m := range models {
		names[i] = m.name
	}
	return names
}
