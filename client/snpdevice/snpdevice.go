// Package snpdevice collects SEV-SNP evidence in the guest it runs in. It asks the kernel for a report, and puts the certificate table
// that the host supplied after it, which makes an extended report, as package snp reads it. Where the host supplied none, the evidence is the
// bare report, and the broker must know the certificate.
//
// There are two ways to ask, and [Open] takes the first that this machine has:
//
//   - configfs-tsm with the driver sev_guest behind it, Linux 6.7 or later: see package tsm.
//   - the device /dev/sev-guest (SNP_GET_EXT_REPORT of linux/sev-guest.h), Linux 5.19 or later: for older kernels, and for
//     containers that were given the device and not configfs. One call asks for report and certificates, with room for the 16 KiB
//     that the kernel takes: a call to learn their size would be a second one of those that the host rations.
//
// The digest goes into REPORT_DATA, 64 bytes, with zeros after it.
//
// A guest below a paravisor or SVSM has another VMPL than 0 and says which ([Config].VMPL); it cannot ask for a level above its own.
//
// Nothing is verified here but that the answer is a report about this digest: it is the broker that must not believe the guest.
// Needs root, usually.
package snpdevice

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/google/go-configfs-tsm/configfs/configfsi"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/client/tsm"
)

// Of the report (AMD publication 56860, table "ATTESTATION_REPORT"), in bytes.
const (
	reportSize       = 1184
	reportDataOffset = 0x50
	reportDataSize   = 64
)

// maxTable bounds the certificate table, in bytes. The kernel allocates 16 KiB for it.
const maxTable = 64 << 10

// maxVMPL is the privilege level with the fewest rights.
const maxVMPL = 3

// Config says how to ask. The zero Config asks the kernel, in the ways it has.
type Config struct {
	// TSM is configfs-tsm, and Firmware the device. When both are nil, they are the kernel's; when one is given, the other is not looked for.
	TSM      configfsi.Client
	Firmware Firmware
	// VMPL is the privilege level to have reported, 0 to 3. When nil, the kernel's default by way of configfs-tsm, and 0 by way of the device.
	VMPL *uint
}

// source is a way to ask.
type source interface {
	// ask returns a report about 64 bytes of data, and the certificate table, if any.
	ask(ctx context.Context, data []byte) (report, table []byte, err error)
}

// Device collects evidence. It is safe for concurrent use.
type Device struct{ source source }

// Open returns a Device, or an error that says what the machine lacks. It asks for no report: hosts ration them.
func Open(ctx context.Context, c Config) (*Device, error) {
	if c.VMPL != nil && *c.VMPL > maxVMPL {
		return nil, fmt.Errorf("snpdevice: VMPL %d is not 0 to %d", *c.VMPL, maxVMPL)
	}
	var noTSM, noFirmware error
	if c.TSM != nil || c.Firmware == nil {
		var client *tsm.Client
		if client, noTSM = tsm.New(tsm.Config{FS: c.TSM}); noTSM == nil {
			noTSM = client.Expect(ctx, tsm.ProviderSNP)
		}
		if noTSM == nil {
			return &Device{&reports{client, c.VMPL}}, nil
		}
	}
	if c.Firmware != nil || c.TSM == nil {
		device := &firmware{calls: c.Firmware}
		if c.VMPL != nil {
			device.vmpl = uint32(*c.VMPL)
		}
		if c.Firmware == nil {
			device.calls = file(DefaultDevice)
			noFirmware = file(DefaultDevice).check()
		}
		if noFirmware == nil {
			return &Device{device}, nil
		}
	}
	return nil, fmt.Errorf("snpdevice: %w; and without it: %w", noTSM, noFirmware)
}

// Kind returns [attest.SNP].
func (d *Device) Kind() attest.Kind { return attest.SNP }

// Evidence returns an extended report, or a bare one, with digest in REPORT_DATA. digest has at most 64 bytes.
func (d *Device) Evidence(ctx context.Context, digest []byte) ([]byte, error) {
	if len(digest) == 0 || len(digest) > reportDataSize {
		return nil, fmt.Errorf("snpdevice: a digest of %d bytes, not 1 to %d", len(digest), reportDataSize)
	}
	data := make([]byte, reportDataSize)
	copy(data, digest)
	report, table, err := d.source.ask(ctx, data)
	switch {
	case err != nil:
		return nil, fmt.Errorf("snpdevice: asking for a report: %w", err)
	case len(report) != reportSize:
		return nil, fmt.Errorf("snpdevice: a report of %d bytes, not %d", len(report), reportSize)
	case len(table) > maxTable:
		return nil, fmt.Errorf("snpdevice: a certificate table of %d bytes, at most %d are passed on", len(table), maxTable)
	case !bytes.Equal(report[reportDataOffset:][:reportDataSize], data):
		return nil, errors.New("snpdevice: the report is about other data than it was asked for")
	}
	return append(report, table...), nil
}

// reports asks by way of configfs-tsm.
type reports struct {
	client *tsm.Client
	vmpl   *uint
}

func (r *reports) ask(ctx context.Context, data []byte) (report, table []byte, err error) {
	answer, err := r.client.Get(ctx, tsm.Request{Provider: tsm.ProviderSNP, Data: data, Privilege: r.vmpl, Aux: true})
	if err != nil {
		return nil, nil, err
	}
	return answer.Out, answer.Aux, nil
}
