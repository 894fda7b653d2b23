package eventlog

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // linked for the digest sizes of old banks; never used to judge
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/fields"
)

// MaxLog bounds an event log, in bytes: the largest table firmware reserves is 256 KiB. An event takes at least 36 bytes, so this
// bounds the number of events and the memory too.
const MaxLog = 512 << 10

// maxBanks bounds the hash algorithms of a log. Real ones have up to four.
const maxBanks = 8

// EventType says what an event is about (PFP 10.4.1). No digest covers it.
type EventType uint32

// The types that are looked at here.
const (
	NoAction             EventType = 0x00000003 // not measured
	Separator            EventType = 0x00000004
	Tag                  EventType = 0x00000006 // of the kernel's own stub, among others
	IPL                  EventType = 0x0000000d // boot loaders' own
	EFIVariableConfig    EventType = 0x80000001
	EFIBootApplication   EventType = 0x80000003
	EFIVariableAuthority EventType = 0x800000e0
)

// Event is one measured event. Its slices alias the log.
type Event struct {
	PCR     int // in a CCEL table: 0 for MRTD, 1 to 4 for RTMR 0 to 3
	Type    EventType
	Data    []byte
	digests []byte // digest of each bank, in the log's order of banks
}

// bank is a hash algorithm of a log and where its digests are.
type bank struct {
	id     uint16
	size   int
	offset int // in Event.digests
}

// Log is a parsed event log. Only measured events are in it.
type Log struct {
	Events   []Event
	banks    []bank
	width    int  // of Event.digests
	locality byte // the locality the TPM was started from; PCR 0 starts at it
}

// newReader reads the log's structures, whose numbers are little-endian.
func newReader(data []byte) *fields.Reader { return fields.NewReader(data, binary.LittleEndian) }

var errTruncated = errors.New("it ends within an event")

// Parse parses a log, which it keeps. Its errors are *attest.Refusal with CodeTooLarge, CodeMalformed or CodeVersionUnsupported.
func Parse(data []byte) (*Log, error) {
	if len(data) > MaxLog {
		return nil, attest.Refuse(attest.CodeTooLarge, "an event log of %d bytes; the limit is %d", len(data), MaxLog)
	}
	log := &Log{}
	r := newReader(data)
	if err := log.header(r); err != nil {
		return nil, err
	}
	for number := 1; len(r.Rest()) > 0 && !padding(r.Rest()); number++ {
		if err := log.event(r); err != nil {
			return nil, attest.Refuse(attest.CodeMalformed, "event log, event %d: %w", number, err)
		}
	}
	return log, nil
}

// padding reports whether nothing but filler is left. An event cannot be mistaken for it: all zeros has no digests, and 0xffffffff is
// not the index of a PCR.
func padding(rest []byte) bool {
	filler := rest[0]
	return (filler == 0 || filler == 0xff) && !slices.ContainsFunc(rest, func(b byte) bool { return b != filler })
}

// header reads the first event: TCG_PCR_EVENT with a TCG_EfiSpecIDEvent (PFP 10.2.1, 10.4.5.1).
func (l *Log) header(r *fields.Reader) error {
	r.U32() // a register: 0 of a TPM, 1 in a CCEL table
	kind := EventType(r.U32())
	r.Bytes(20) // the SHA-1 digest of an event that is not measured
	spec := newReader(r.Bytes(r.U32()))
	if r.Failed() {
		return attest.Refuse(attest.CodeMalformed, "event log: %w", errTruncated)
	}
	if signature := spec.Bytes(16); kind != NoAction || string(signature) != "Spec ID Event03\x00" {
		return attest.Refuse(attest.CodeVersionUnsupported, "the event log is not in the crypto-agile format of TPM 2.0")
	}
	spec.U32() // platform class
	spec.U32() // versions and the size of a UINTN
	count := spec.U32()
	if spec.Failed() || count == 0 || count > maxBanks {
		return attest.Refuse(attest.CodeMalformed, "the event log's header names %d hash banks; 1 to %d are expected", count, maxBanks)
	}
	for range count {
		b := bank{id: spec.U16(), size: int(spec.U16()), offset: l.width}
		if hash, known := hashes[b.id]; (known && hash.Size() != b.size) || b.size == 0 || b.size > 64 || l.bank(b.id) != nil {
			return attest.Refuse(attest.CodeMalformed, "the event log's header names bank %#x twice or with %d bytes", b.id, b.size)
		}
		l.banks = append(l.banks, b)
		l.width += b.size
	}
	spec.Bytes(uint32(spec.U8())) // the vendor's own
	if !spec.Complete() {
		return attest.Refuse(attest.CodeMalformed, "the event log's header has the wrong length")
	}
	return nil
}

// hashes by TPM algorithm number. Other banks are carried along, not used.
var hashes = map[uint16]crypto.Hash{0x4: crypto.SHA1, 0xb: crypto.SHA256, 0xc: crypto.SHA384, 0xd: crypto.SHA512}

func (l *Log) bank(id uint16) *bank {
	for i := range l.banks {
		if l.banks[i].id == id {
			return &l.banks[i]
		}
	}
	return nil
}

// maxPCR is the highest register a log may name.
const maxPCR = 23

// event reads a TCG_PCR_EVENT2 (PFP 10.2.2).
func (l *Log) event(r *fields.Reader) error {
	pcr, kind, count := r.U32(), EventType(r.U32()), r.U32()
	if r.Failed() {
		return errTruncated
	}
	if int64(count) != int64(len(l.banks)) {
		return fmt.Errorf("%d digests; the header names %d banks", count, len(l.banks))
	}
	start := r.Rest()
	inOrder := true
	for i := range l.banks {
		id := r.U16()
		inOrder = inOrder && id == l.banks[i].id
		named := l.bank(id)
		if r.Failed() || named == nil {
			return fmt.Errorf("a digest of bank %#x, which the header does not name", id)
		}
		r.Bytes(uint32(named.size))
	}
	if r.Failed() {
		return errTruncated
	}
	digests, err := l.digests(start, inOrder)
	if err != nil {
		return err
	}
	data := r.Bytes(r.U32())
	if r.Failed() {
		return errTruncated
	}
	if kind == NoAction {
		return l.noAction(data)
	}
	if pcr > maxPCR {
		return fmt.Errorf("PCR %d does not exist", pcr)
	}
	l.Events = append(l.Events, Event{PCR: int(pcr), Type: kind, Data: data, digests: digests})
	return nil
}

// digests gathers the digests of an event, which lie in entries of a number and a digest, in the order of the log's banks.
func (l *Log) digests(entries []byte, inOrder bool) ([]byte, error) {
	r := newReader(entries)
	if inOrder && len(l.banks) == 1 {
		r.U16()
		return r.Bytes(uint32(l.width)), nil
	}
	all := make([]byte, l.width)
	var seen [maxBanks]bool
	for range l.banks {
		id := r.U16()
		for i, b := range l.banks {
			if b.id != id {
				continue
			}
			if seen[i] {
				return nil, fmt.Errorf("two digests of bank %#x", id)
			}
			seen[i] = true
			copy(all[b.offset:], r.Bytes(uint32(b.size)))
		}
	}
	return all, nil
}

// noAction reads what is not measured. Only the locality of the start matters: PCR 0 starts from it (PFP 10.4.5.3). It can be lied about, but
// then PCR 0 does not replay.
func (l *Log) noAction(data []byte) error {
	const signature = "StartupLocality\x00"
	if !bytes.HasPrefix(data, []byte(signature)) {
		return nil
	}
	if len(data) != len(signature)+1 || l.locality != 0 || len(l.Events) > 0 {
		return errors.New("the startup locality is malformed, there twice, or after measurements")
	}
	l.locality = data[len(signature)]
	return nil
}

// Digest returns the event's digest in a bank, or nil when the log has no such bank.
func (l *Log) Digest(e *Event, hash crypto.Hash) []byte {
	for _, b := range l.banks {
		if hashes[b.id] == hash {
			return e.digests[b.offset : b.offset+b.size : b.offset+b.size]
		}
	}
	return nil
}
