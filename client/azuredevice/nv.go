package azuredevice

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/vouchsafe/vouchsafe/attest/azure"
)

// Where the paravisor keeps things in its TPM.
const (
	hclReportIndex tpm2.TPMHandle = 0x01400001
	userDataIndex  tpm2.TPMHandle = 0x01400002
	akHandle       tpm2.TPMHandle = 0x81000003
)

// userDataSize is the size of the user data's index, in bytes.
const userDataSize = 64

// maxHCLReport bounds the HCL report's index, in bytes: what a broker reads.
const maxHCLReport = 8 << 10

// nvChunk is how much of an NV index is read at once, in bytes: less than every TPM's NV buffer.
const nvChunk = 512

// owner is the hierarchy that reads and writes here, with the empty authorisation it has.
func owner() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
}

// readNV reads the HCL report's index. Once it is known that there is one, an error is an ErrReport.
func (d *Device) readNV(index tpm2.TPMHandle, limit int) ([]byte, error) {
	area, err := tpm2.NVReadPublic{NVIndex: index}.Execute(d.tpm)
	if err != nil {
		return nil, fmt.Errorf("NV index %#x: %w", uint32(index), err)
	}
	public, err := area.NVPublic.Contents()
	if err != nil {
		return nil, fmt.Errorf("%w: NV index %#x: %w", ErrReport, uint32(index), err)
	}
	if int(public.DataSize) > limit {
		return nil, fmt.Errorf("%w: NV index %#x has %d bytes; the limit is %d", ErrReport, uint32(index), public.DataSize, limit)
	}
	content := make([]byte, 0, public.DataSize)
	for len(content) < int(public.DataSize) {
		read, err := tpm2.NVRead{
			AuthHandle: owner(),
			NVIndex:    tpm2.NamedHandle{Handle: index, Name: area.NVName},
			Size:       min(nvChunk, public.DataSize-uint16(len(content))),
			Offset:     uint16(len(content)),
		}.Execute(d.tpm)
		if err != nil {
			return nil, fmt.Errorf("%w: NV index %#x: %w", ErrReport, uint32(index), err)
		}
		if len(read.Data.Buffer) == 0 {
			return nil, fmt.Errorf("%w: NV index %#x: the TPM reads nothing from it", ErrReport, uint32(index))
		}
		content = append(content, read.Data.Buffer...)
	}
	return content, nil
}

// ErrReport is wrapped by errors that say there is an HCL report, so that this is a confidential VM of Azure's, and it cannot be used.
var ErrReport = errors.New("the HCL report cannot be used")

// hclReport is the HCL report and its bytes.
type hclReport struct {
	*azure.HCLReport
	raw []byte
}

// readsOfReport is how often the HCL report is read anew because what was read does not hang together: the paravisor may have written it meanwhile.
const readsOfReport = 3

func (d *Device) hclReport() (report hclReport, err error) {
	for range readsOfReport {
		report.raw, err = d.readNV(hclReportIndex, maxHCLReport)
		switch {
		case errors.Is(err, tpm2.TPMRCHandle) && !errors.Is(err, ErrReport):
			return report, fmt.Errorf("azuredevice: no HCL report: this is no confidential VM of Azure's, or this TPM is not its virtual one: %w", err)
		case err != nil:
			return report, fmt.Errorf("azuredevice: %w", err)
		}
		if report.HCLReport, err = azure.ParseHCLReport(report.raw); err == nil {
			return report, nil
		}
	}
	return report, fmt.Errorf("azuredevice: %w: %w", ErrReport, err)
}

// writeUserData writes data, with zeros after it, where the paravisor looks for what it is to have reported.
func (d *Device) writeUserData(data []byte) error {
	area, err := tpm2.NVReadPublic{NVIndex: userDataIndex}.Execute(d.tpm)
	if errors.Is(err, tpm2.TPMRCHandle) {
		// With other attributes the paravisor passes the index over.
		_, err = tpm2.NVDefineSpace{
			AuthHandle: owner(),
			PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
				NVIndex: userDataIndex, NameAlg: tpm2.TPMAlgSHA256, DataSize: userDataSize,
				Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true},
			}),
		}.Execute(d.tpm)
		if err == nil {
			area, err = tpm2.NVReadPublic{NVIndex: userDataIndex}.Execute(d.tpm)
		}
	}
	if err != nil {
		return fmt.Errorf("azuredevice: the index for user data: %w", err)
	}
	padded := make([]byte, userDataSize)
	copy(padded, data)
	_, err = tpm2.NVWrite{
		AuthHandle: owner(),
		NVIndex:    tpm2.NamedHandle{Handle: userDataIndex, Name: area.NVName},
		Data:       tpm2.TPM2BMaxNVBuffer{Buffer: padded},
	}.Execute(d.tpm)
	if err != nil {
		return fmt.Errorf("azuredevice: writing user data: %w", err)
	}
	return nil
}
