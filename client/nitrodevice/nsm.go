package nitrodevice

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// devicePath is where the driver nsm has the module.
const devicePath = "/dev/nsm"

// Of the driver (Linux, include/uapi/linux/nsm.h), sizes in bytes.
const (
	maxRequest  = 0x1000
	maxResponse = 0x3000
	ioctlRaw    = 3<<30 | 32<<16 | 0x0a<<8 // _IOWR(0x0A, 0, struct nsm_raw)
)

// iovec and raw are struct nsm_iovec and struct nsm_raw.
type (
	iovec struct{ addr, size uint64 }
	raw   struct{ request, response iovec }
)

// module is the kernel's device.
type module struct{ path string }

// openModule checks that the device can be opened.
func openModule() (module, error) {
	m := module{devicePath}
	f, err := m.open()
	if err != nil {
		return m, err
	}
	return m, f.Close()
}

func (m module) open() (*os.File, error) { return os.OpenFile(m.path, os.O_RDWR, 0) }

// Exchange asks the device. The driver keeps requests in order among all that have it open.
func (m module) Exchange(_ context.Context, request []byte) ([]byte, error) {
	if len(request) == 0 || len(request) > maxRequest {
		return nil, fmt.Errorf("a request of %d bytes, not 1 to %d", len(request), maxRequest)
	}
	f, err := m.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	response := make([]byte, maxResponse)
	// The kernel follows addresses that the collector of garbage does not know as such.
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&request[0])
	pin.Pin(&response[0])
	arg := &raw{
		request:  iovec{uint64(uintptr(unsafe.Pointer(&request[0]))), uint64(len(request))},
		response: iovec{uint64(uintptr(unsafe.Pointer(&response[0]))), uint64(len(response))},
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ioctlRaw, uintptr(unsafe.Pointer(arg))); errno != 0 {
		return nil, os.NewSyscallError("ioctl", errno)
	}
	if arg.response.size > maxResponse {
		return nil, fmt.Errorf("an answer of %d bytes, at most %d are possible", arg.response.size, maxResponse)
	}
	return response[:arg.response.size], nil
}
