package snpdevice

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"runtime"

	"github.com/google/go-sev-guest/client/linuxabi"
	"golang.org/x/sys/unix"
)

// DefaultDevice is where the kernel's driver sev-guest is.
const DefaultDevice = "/dev/sev-guest"

// Firmware is the device. Its one call takes a command and a *[linuxabi.SnpUserGuestRequest], and returns the result of the system call; it is
// what go-sev-guest calls a Device, so that its fakes fit.
type Firmware interface {
	Ioctl(command uintptr, request any) (uintptr, error)
}

// tableRoom is how much room for certificates a request offers, in bytes: all that the kernel takes (SEV_FW_BLOB_MAX_SIZE).
const tableRoom = 16 << 10

// invalidLength is the host's error that there is more to come than there is room (SNP_GUEST_VMM_ERR_INVALID_LEN, in the upper half).
const invalidLength = 1 << 32

// firmware asks by way of the device.
type firmware struct {
	calls Firmware
	vmpl  uint32
}

func (f *firmware) ask(ctx context.Context, data []byte) (report, table []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	plain := linuxabi.SnpReportReqABI{Vmpl: f.vmpl}
	copy(plain.ReportData[:], data)
	table = make([]byte, tableRoom)
	report, code, err := f.call(linuxabi.IocSnpGetExtendedReport,
		&linuxabi.SnpExtendedReportReq{Data: plain, Certs: table, CertsLength: tableRoom})
	if err != nil && code == invalidLength {
		// More certificates than the kernel passes on: the report is as good without.
		report, _, err = f.call(linuxabi.IocSnpGetReport, &plain)
		return report, nil, err
	}
	if err != nil {
		return nil, nil, err
	}
	return report, used(table), nil
}

// call makes one request. code is the firmware's error in the lower half, the host's in the upper.
func (f *firmware) call(command uintptr, request linuxabi.BinaryConvertible) (report []byte, code uint64, err error) {
	var response linuxabi.SnpReportRespABI
	message := linuxabi.SnpUserGuestRequest{ReqData: request, RespData: &response}
	result, err := f.calls.Ioctl(command, &message)
	switch {
	case errors.Is(err, unix.EIO):
		return nil, message.FwErr, fmt.Errorf("the firmware or the host failed with code %#x: %w", message.FwErr, err)
	case errors.Is(err, unix.ENOTTY):
		return nil, 0, fmt.Errorf("the kernel has given up its key to talk to the firmware, usually because the host refused a request as one too many. "+
			"Restart the guest, and use a newer kernel, which waits instead: %w", err)
	case err != nil:
		return nil, 0, err
	case result != 0:
		return nil, 0, fmt.Errorf("the hypervisor answered %#x", result)
	case response.Status != 0:
		return nil, 0, fmt.Errorf("the firmware answered with status %#x", response.Status)
	}
	return response.Data[:reportSize:reportSize], 0, nil
}

// Of the certificate table (AMD publication 56421, "struct cert_table_entry"): a GUID, where the certificate is, and how long, in bytes.
const tableEntry, tableGUID = 24, 16

// used returns the part of the room that the table takes: up to the end of the last certificate. It is nil when there are no certificates,
// and when entries point outside, which is the host's mistake and no reason to do without the report.
func used(room []byte) []byte {
	end := uint64(0)
	for at := 0; ; at += tableEntry {
		if at+tableEntry > len(room) {
			return nil
		}
		entry := room[at:][:tableEntry]
		if [tableEntry]byte(entry) == ([tableEntry]byte{}) {
			if at == 0 {
				return nil
			}
			return room[:max(end, uint64(at+tableEntry))]
		}
		offset, length := binary.LittleEndian.Uint32(entry[tableGUID:]), binary.LittleEndian.Uint32(entry[tableGUID+4:])
		if end = max(end, uint64(offset)+uint64(length)); end > uint64(len(room)) {
			return nil
		}
	}
}

// file is the kernel's device, opened for each call.
type file string

// check returns nil when the device can be opened.
func (f file) check() error {
	fd, err := f.open()
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

func (f file) open() (int, error) {
	fd, err := unix.Open(string(f), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: string(f), Err: err}
	}
	return fd, nil
}

// Ioctl makes the call.
func (f file) Ioctl(command uintptr, request any) (uintptr, error) {
	message, ok := request.(*linuxabi.SnpUserGuestRequest)
	if !ok {
		return 0, fmt.Errorf("a request of type %T", request)
	}
	fd, err := f.open()
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	call := message.ABI()
	result, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), command, uintptr(call.Pointer()))
	runtime.KeepAlive(call)
	finished := call.Finish(message) // also says what is wrong with the response, of which there is none after an error
	if errno != 0 {
		return 0, errno
	}
	return result, finished
}
