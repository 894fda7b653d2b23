// Package snpdevice collects SEV-SNP evidence on a guest: it asks the kernel's configfs-tsm interface
// (/sys/kernel/config/tsm/report, Linux 6.7 and later) for a report, and puts the certificate table that the host
// supplied after it, which makes an extended report, as package snp reads it. Where the host supplied none, the evidence is the
// bare report, and the broker must know the certificate.
//
// The digest goes into REPORT_DATA, 64 bytes, with zeros after it.
//
// Nothing is verified here but that the answer is a report about this digest: it is the broker that must not believe the guest.
// Needs the right to make directories below the interface: root, usually.
package snpdevice

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/linuxtsm"
	"github.com/google/go-configfs-tsm/report"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Of the report (AMD publication 56860, table "ATTESTATION_REPORT"), in bytes.
const (
	reportSize       = 1184
	reportDataOffset = 0x50
	reportDataSize   = 64
)

// maxTable bounds the certificate table, in bytes. The kernel allocates 16 KiB for it.
const maxTable = 64 << 10

// provider is how the kernel names the driver behind the interface on an SNP guest.
const provider = "sev_guest"

// Config says how to ask. The zero Config asks the kernel.
type Config struct {
	// TSM is the interface; the kernel's when nil.
	TSM configfsi.Client
	// VMPL is the privilege level to have reported, 0 to 3; the kernel's default when nil. A guest below a paravisor or SVSM
	// cannot ask for a level above its own.
	VMPL *uint
}

// Device collects evidence. It is safe for concurrent use: each report is asked for in a directory of its own.
type Device struct{ c Config }

// New returns a Device, or an error that says what the machine lacks.
func New(c Config) (*Device, error) {
	if c.VMPL != nil && *c.VMPL > 3 {
		return nil, fmt.Errorf("snpdevice: VMPL %d is not 0 to 3", *c.VMPL)
	}
	if c.TSM == nil {
		tsm, err := linuxtsm.MakeClient()
		if err != nil {
			return nil, fmt.Errorf("snpdevice: no configfs-tsm: it needs a confidential guest with Linux 6.7 or later, the module sev-guest, "+
				"and configfs mounted: %w", err)
		}
		c.TSM = tsm
	}
	return &Device{c}, nil
}

// Kind returns [attest.SNP].
func (d *Device) Kind() attest.Kind { return attest.SNP }

// Detect returns nil when the machine's reports come from SEV-SNP's firmware, and else an error that says what it is instead. It asks
// for no report: hosts ration them.
func (d *Device) Detect() error {
	r, err := report.CreateOpenReport(d.c.TSM)
	if err != nil {
		return fmt.Errorf("snpdevice: %w", err)
	}
	// The request is only begun: the firmware is asked when its answer is read.
	err = r.WriteOption("inblob", make([]byte, reportDataSize))
	var got []byte
	if err == nil {
		got, err = r.ReadOption("provider")
	}
	if err = errors.Join(err, r.Destroy()); err != nil {
		return fmt.Errorf("snpdevice: %w", err)
	}
	return checkProvider(string(got))
}

func checkProvider(got string) error {
	if got = strings.TrimSpace(got); got != provider {
		return fmt.Errorf("snpdevice: the machine's reports come from %.32q, not %s: it is no SEV-SNP guest", got, provider)
	}
	return nil
}

// Evidence returns an extended report, or a bare one, with digest in REPORT_DATA. digest has at most 64 bytes.
func (d *Device) Evidence(ctx context.Context, digest []byte) ([]byte, error) {
	if len(digest) == 0 || len(digest) > reportDataSize {
		return nil, fmt.Errorf("snpdevice: a digest of %d bytes, not 1 to %d", len(digest), reportDataSize)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	request := &report.Request{InBlob: make([]byte, reportDataSize), GetAuxBlob: true}
	copy(request.InBlob, digest)
	if d.c.VMPL != nil {
		request.Privilege = &report.Privilege{Level: *d.c.VMPL}
	}
	answer, err := report.Get(d.c.TSM, request)
	if err != nil {
		return nil, fmt.Errorf("snpdevice: asking for a report: %w", err)
	}
	if err := checkProvider(answer.Provider); err != nil {
		return nil, err
	}
	switch {
	case len(answer.OutBlob) != reportSize:
		return nil, fmt.Errorf("snpdevice: a report of %d bytes, not %d", len(answer.OutBlob), reportSize)
	case len(answer.AuxBlob) > maxTable:
		return nil, fmt.Errorf("snpdevice: a certificate table of %d bytes, at most %d are passed on", len(answer.AuxBlob), maxTable)
	case !bytes.Equal(answer.OutBlob[reportDataOffset:][:reportDataSize], request.InBlob):
		return nil, errors.New("snpdevice: the report is about other data than it was asked for")
	}
	return append(answer.OutBlob, answer.AuxBlob...), nil
}
