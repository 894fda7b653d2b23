package bolt

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"

	"github.com/vouchsafe/vouchsafe/store"
)

// This file reads bbolt's pages with bounds checks, through an io.ReaderAt and not through memory, for files that may be
// damaged. All numbers are in the byte order of the machine, as bbolt has them.
//
//	page     id (8), flags (2), count (2), overflow (4), then its elements; it takes 1+overflow pages of the file
//	meta     magic (4), version (4), page size (4), flags (4), root bucket (8+8), freelist's page (8), high water mark (8),
//	         transaction (8), FNV-1a of the 56 bytes before (8); in pages 0 and 1
//	leaf     flags (4), position (4), key's size (4), value's size (4); position is from the element's start
//	branch   position (4), key's size (4), page (8)
//	free     page (8); a count of 0xffff means that the first element is the count
const (
	pageHeaderSize = 16
	metaSize       = 64
	elementSize    = 16
	bucketSize     = 16 // root page (8) and a sequence (8); the root page 0 means that a page follows inline

	boltMagic   = 0xED0CDAED
	boltVersion = 2

	branchFlag, leafFlag, freeFlag = 0x01, 0x02, 0x10
	bucketFlag                     = 0x01

	minPageSize, maxPageSize = 1 << 10, 64 << 10

	// maxNode bounds a leaf or branch in bytes: one that is over a page is split, unless it has no more than 4 elements.
	maxNode = 4*(elementSize+store.MaxKey+versionSize+store.MaxValue) + pageHeaderSize + maxPageSize
)

var native = binary.NativeEndian

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", store.ErrCorrupt, fmt.Errorf(format, args...))
}

// meta is what the newest valid meta page says.
type meta struct {
	pageSize          uint32
	root, free, pages uint64 // pages is the high water mark: every page in use is below it
	transaction       uint64
	noFreelist        bool
}

func parseMeta(b []byte) (m meta, err error) {
	if len(b) < pageHeaderSize+metaSize {
		return m, damaged("meta page has %d bytes", len(b))
	}
	b = b[pageHeaderSize : pageHeaderSize+metaSize]
	if native.Uint32(b) != boltMagic || native.Uint32(b[4:]) != boltVersion {
		return m, damaged("meta page has another magic number or version")
	}
	sum := fnv.New64a()
	sum.Write(b[:56])
	if sum.Sum64() != native.Uint64(b[56:]) {
		return m, damaged("meta page has a wrong checksum")
	}
	m = meta{
		pageSize: native.Uint32(b[8:]), root: native.Uint64(b[16:]), free: native.Uint64(b[32:]),
		pages: native.Uint64(b[40:]), transaction: native.Uint64(b[48:]),
	}
	m.noFreelist = m.free == 1<<64-1
	switch {
	case m.pageSize < minPageSize || m.pageSize > maxPageSize || m.pageSize&(m.pageSize-1) != 0:
		return m, damaged("page size is %d", m.pageSize)
	case m.pages > 1<<48 || m.root < 2 || m.root >= m.pages || !m.noFreelist && (m.free < 2 || m.free >= m.pages):
		return m, damaged("meta page points outside the file")
	}
	return m, nil
}

// pages reads the pages of one state of the file.
type pages struct {
	file io.ReaderAt
	meta meta
}

// openPages finds the newest valid meta page and makes sure that the file has every page below its high water mark.
func openPages(file io.ReaderAt, size int64) (*pages, error) {
	first := make([]byte, pageHeaderSize+metaSize)
	best, firstErr := meta{}, damaged("no meta page is valid")
	found := false
	// Page 1 is where the page size puts it, which is unknown when page 0 is damaged.
	for at := int64(0); at <= maxPageSize; at = max(minPageSize, at*2) {
		if n, err := file.ReadAt(first, at); n < len(first) {
			if err != nil && err != io.EOF {
				return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
			}
			break
		}
		m, err := parseMeta(first)
		if err != nil || at != 0 && int64(m.pageSize) != at || found && best.pageSize != m.pageSize {
			continue
		}
		if !found || m.transaction > best.transaction {
			best, found = m, true
		}
	}
	if !found {
		return nil, firstErr
	}
	if need := int64(best.pages) * int64(best.pageSize); need > size || need < 0 {
		return nil, damaged("file has %d bytes and needs %d: it was cut off", size, need)
	}
	return &pages{file: file, meta: best}, nil
}

// page is a page with all of its overflow.
type page struct {
	id    uint64
	flags uint16
	count int
	data  []byte // from the header on
	span  uint64 // how many pages of the file it takes
}

// read returns the page with an id. limit bounds its size in bytes.
func (p *pages) read(id uint64, limit int64) (page, error) {
	if id < 2 || id >= p.meta.pages {
		return page{}, damaged("page %d is not below %d", id, p.meta.pages)
	}
	size, at := int64(p.meta.pageSize), int64(id)*int64(p.meta.pageSize)
	head := make([]byte, pageHeaderSize)
	if _, err := p.file.ReadAt(head, at); err != nil {
		return page{}, fmt.Errorf("%w: page %d: %w", store.ErrUnavailable, id, err)
	}
	span := uint64(native.Uint32(head[12:])) + 1
	if own := native.Uint64(head); own != id {
		return page{}, damaged("page %d says it is page %d", id, own)
	}
	if span > p.meta.pages-id || int64(span)*size > max(limit, size) {
		return page{}, damaged("page %d has %d pages of overflow", id, span-1)
	}
	data := make([]byte, int64(span)*size)
	if _, err := p.file.ReadAt(data, at); err != nil {
		return page{}, fmt.Errorf("%w: page %d: %w", store.ErrUnavailable, id, err)
	}
	return parsePage(data, span), nil
}

// parsePage reads the header of a page that has at least one.
func parsePage(data []byte, span uint64) page {
	return page{
		id: native.Uint64(data), flags: native.Uint16(data[8:]), count: int(native.Uint16(data[10:])), data: data, span: span,
	}
}

// element returns the element at index i with its bounds checked.
func (p page) element(i int) ([]byte, error) {
	at := pageHeaderSize + i*elementSize
	if at+elementSize > len(p.data) {
		return nil, damaged("page %d has no room for %d elements", p.id, p.count)
	}
	return p.data[at : at+elementSize], nil
}

// slice returns bytes that an element says are at position from its own start.
func (p page) slice(i int, position, size uint64) ([]byte, error) {
	start := uint64(pageHeaderSize+i*elementSize) + position
	if start+size > uint64(len(p.data)) {
		return nil, damaged("element %d of page %d is outside it", i, p.id)
	}
	return p.data[start : start+size : start+size], nil
}

// branch returns an element of a branch page.
func (p page) branch(i int) (key []byte, child uint64, err error) {
	e, err := p.element(i)
	if err != nil {
		return nil, 0, err
	}
	key, err = p.slice(i, uint64(native.Uint32(e)), uint64(native.Uint32(e[4:])))
	return key, native.Uint64(e[8:]), err
}

// leaf returns an element of a leaf page.
func (p page) leaf(i int) (key, value []byte, bucket bool, err error) {
	e, err := p.element(i)
	if err != nil {
		return nil, nil, false, err
	}
	flags, position := native.Uint32(e), uint64(native.Uint32(e[4:]))
	keySize, valueSize := uint64(native.Uint32(e[8:])), uint64(native.Uint32(e[12:]))
	if flags&^bucketFlag != 0 {
		return nil, nil, false, damaged("element %d of page %d has flags %#x", i, p.id, flags)
	}
	if key, err = p.slice(i, position, keySize); err != nil {
		return nil, nil, false, err
	}
	value, err = p.slice(i, position+keySize, valueSize)
	return key, value, flags&bucketFlag != 0, err
}

// freelist returns the free pages that the freelist names, and the pages that the list itself takes.
func (p *pages) freelist() (ids []uint64, list page, err error) {
	if p.meta.noFreelist {
		return nil, page{}, nil
	}
	list, err = p.read(p.meta.free, int64(p.meta.pages)*int64(p.meta.pageSize))
	if err != nil {
		return nil, page{}, err
	}
	if list.flags != freeFlag {
		return nil, page{}, damaged("page %d is not a freelist", list.id)
	}
	count, body := uint64(list.count), list.data[pageHeaderSize:]
	if count == 0xffff {
		if len(body) < 8 {
			return nil, page{}, damaged("freelist is cut off")
		}
		count, body = native.Uint64(body), body[8:]
	}
	if count > uint64(len(body)/8) {
		return nil, page{}, damaged("freelist has no room for %d pages", count)
	}
	ids = make([]uint64, count)
	for i := range ids {
		ids[i] = native.Uint64(body[8*i:])
		if ids[i] < 2 || ids[i] >= p.meta.pages {
			return nil, page{}, damaged("freelist names page %d, not below %d", ids[i], p.meta.pages)
		}
	}
	return ids, list, nil
}
