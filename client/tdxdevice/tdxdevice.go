// Package tdxdevice collects TDX evidence in the guest it runs in: a quote, and the event log of the firmware. It asks for the quote through
// configfs-tsm with the driver tdx_guest behind it (package tsm; Linux 6.7 or later), and for the log it reads the data of the ACPI table CCEL.
//
// # What it makes
//
// The JSON that Confidential Containers guests send, so that the broker has one form to read:
//
//	{"quote":"<base64>","cc_eventlog":"<base64>"|null}
//
// The log is the table's data as the kernel gives it, with the filler after its last event. Where there is no table, or
// the caller may not read it, cc_eventlog is null, and claims about the boot are absent from what the broker proves.
//
// The digest goes into REPORTDATA, 64 bytes, with zeros after it.
//
// # What it checks
//
// That the answer is a quote of TDX, version 4 or 5, about this digest, so that a mistake shows here and not as a refusal. It verifies
// nothing: it is the broker that must not believe the guest. Needs root, usually.
//
// # Not done
//
// The older way, the device /dev/tdx_guest of Linux 6.2 and later, gives a report that only the host can make a quote of, over a connection
// that each hypervisor has its own way to. Nor does it extend RTMRs.
package tdxdevice

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/google/go-configfs-tsm/configfs/configfsi"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/eventlog"
	"github.com/vouchsafe/vouchsafe/client/tsm"
)

// DefaultEventLog is where the kernel has the data of the ACPI table CCEL. Only root may read it.
const DefaultEventLog = "/sys/firmware/acpi/tables/data/CCEL"

// NoEventLog is the [Config].EventLog that presents none.
const NoEventLog = "none"

// Of a quote (Intel TDX DCAP Quoting Library API, appendix A.3), in bytes unless said otherwise.
const (
	headerSize       = 48
	bodySize         = 584 // of a report of TDX 1.0; later ones only add to its end
	bodyHeaderSize   = 6   // before the body in version 5: its type and size
	reportDataOffset = 520 // in the body
	reportDataSize   = 64
	teeTypeTDX       = 0x00000081 // a number in the header, at 4
)

// maxQuote bounds a quote. Real ones have some 5 KB, and the kernel gives 16 KiB less a header at most.
const maxQuote = 64 << 10

// Config says how to ask. The zero Config asks the kernel.
type Config struct {
	TSM      configfsi.Client // configfs-tsm; the kernel's when nil
	EventLog string           // DefaultEventLog when empty; NoEventLog for none. A log that is named must be readable.
}

// Device collects evidence. It is safe for concurrent use.
type Device struct {
	client   *tsm.Client
	eventLog string
}

// Open returns a Device, or an error that says what the machine lacks. It asks for no quote.
func Open(ctx context.Context, c Config) (*Device, error) {
	client, err := tsm.New(tsm.Config{FS: c.TSM})
	if err == nil {
		err = client.Expect(ctx, tsm.ProviderTDX)
	}
	if err != nil {
		return nil, fmt.Errorf("tdxdevice: %w", err)
	}
	return &Device{client, c.EventLog}, nil
}

// Kind returns [attest.TDX].
func (d *Device) Kind() attest.Kind { return attest.TDX }

// Evidence returns a quote with digest in REPORTDATA, and the event log, as JSON. digest has at most 64 bytes.
func (d *Device) Evidence(ctx context.Context, digest []byte) ([]byte, error) {
	if len(digest) == 0 || len(digest) > reportDataSize {
		return nil, fmt.Errorf("tdxdevice: a digest of %d bytes, not 1 to %d", len(digest), reportDataSize)
	}
	log, err := d.log()
	if err != nil {
		return nil, err
	}
	data := make([]byte, reportDataSize) // the kernel takes no less
	copy(data, digest)
	answer, err := d.client.Get(ctx, tsm.Request{Provider: tsm.ProviderTDX, Data: data})
	if err != nil {
		return nil, fmt.Errorf("tdxdevice: asking for a quote: %w", err)
	}
	if err := check(answer.Out, data); err != nil {
		return nil, fmt.Errorf("tdxdevice: %w", err)
	}
	return json.Marshal(struct {
		Quote    []byte `json:"quote"`
		EventLog []byte `json:"cc_eventlog"` // null when there is none
	}{answer.Out, log})
}

// check holds a quote against what was asked for.
func check(quote, data []byte) error {
	if len(quote) == 0 {
		return errors.New("an empty quote: the host's quote generation service failed; its own log says why")
	}
	if len(quote) < headerSize+bodyHeaderSize+bodySize || len(quote) > maxQuote {
		return fmt.Errorf("a quote of %d bytes, not %d to %d", len(quote), headerSize+bodyHeaderSize+bodySize, maxQuote)
	}
	body := quote[headerSize:]
	switch version, tee := binary.LittleEndian.Uint16(quote), binary.LittleEndian.Uint32(quote[4:]); {
	case tee != teeTypeTDX:
		return fmt.Errorf("a quote of the TEE type %#x, not of TDX", tee)
	case version == 5:
		body = body[bodyHeaderSize:]
	case version != 4:
		return fmt.Errorf("a quote of version %d, not 4 or 5", version)
	}
	if !bytes.Equal(body[reportDataOffset:][:reportDataSize], data) {
		return errors.New("the quote is about other data than it was asked for")
	}
	return nil
}

// log reads the event log.
func (d *Device) log() ([]byte, error) {
	path := d.eventLog
	switch path {
	case NoEventLog:
		return nil, nil
	case "":
		path = DefaultEventLog
	}
	file, err := os.Open(path)
	if d.eventLog == "" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("tdxdevice: the event log: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, eventlog.MaxLog+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("tdxdevice: the event log: %w", err)
	case len(content) > eventlog.MaxLog:
		return nil, fmt.Errorf("tdxdevice: the event log %s has over %d bytes, the most that brokers read", path, eventlog.MaxLog)
	}
	return content, nil
}
