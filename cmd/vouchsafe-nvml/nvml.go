package main

import (
	"bytes"
	"fmt"

	"github.com/ebitengine/purego"
)

// device is an nvmlDevice_t, a pointer into the library.
type device uintptr

// report is an nvmlConfComputeGpuAttestationReport_t and certificate an nvmlConfComputeGpuCertificate_t, as nvml.h of the driver 550
// and later has them (and github.com/NVIDIA/go-nvml, types_gen.go).
type report struct {
	CECPresent, Size, CECSize uint32
	Nonce                     [nonceSize]byte
	Report                    [0x2000]byte
	CECReport                 [0x1000]byte
}

type certificate struct {
	ChainSize, AttestationChainSize uint32
	Chain                           [0x1000]byte
	AttestationChain                [0x1400]byte
}

// uuidSize is NVML_DEVICE_UUID_V2_BUFFER_SIZE.
const uuidSize = 96

// architectures are those whose reports are verified, by nvmlDeviceArchitecture_t.
var architectures = map[uint32]string{9: "HOPPER", 10: "BLACKWELL"}

// nvml is the library, loaded and initialised.
type nvml struct {
	shutdown       func() int32
	errorString    func(int32) string
	getCount       func(*uint32) int32
	getHandle      func(uint32, *device) int32
	getUUID        func(device, *byte, uint32) int32
	getArch        func(device, *uint32) int32
	getReport      func(device, *report) int32
	getCertificate func(device, *certificate) int32
}

// libraries are where the driver's library may be: the name that the dynamic linker knows it by, and paths in containers of Kubernetes on Google
// Cloud, of NVIDIA's GPU operator, and on NixOS.
func libraries() []string {
	const name = "libnvidia-ml.so.1"
	return []string{
		name, "/usr/local/nvidia/lib64/" + name, "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/" + name,
		"/run/nvidia/driver/usr/lib/aarch64-linux-gnu/" + name, "/run/opengl-driver/lib/" + name,
	}
}

// load loads and initialises the first library that there is, of names or paths.
func load(names ...string) (*nvml, error) {
	var (
		handle uintptr
		errs   []error
	)
	for _, name := range names {
		var err error
		if handle, err = purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL); err == nil {
			break
		}
		errs = append(errs, err)
	}
	if handle == 0 {
		return nil, fmt.Errorf("the driver's library cannot be loaded: %w", errs[0])
	}
	lib := new(nvml)
	var initialise func() int32
	for symbol, function := range map[string]any{
		"nvmlInit_v2": &initialise, "nvmlShutdown": &lib.shutdown, "nvmlErrorString": &lib.errorString,
		"nvmlDeviceGetCount_v2": &lib.getCount, "nvmlDeviceGetHandleByIndex_v2": &lib.getHandle,
		"nvmlDeviceGetUUID": &lib.getUUID, "nvmlDeviceGetArchitecture": &lib.getArch,
		"nvmlDeviceGetConfComputeGpuAttestationReport": &lib.getReport, "nvmlDeviceGetConfComputeGpuCertificate": &lib.getCertificate,
	} {
		address, err := purego.Dlsym(handle, symbol)
		if err != nil {
			return nil, fmt.Errorf("the driver's library is too old: %w", err)
		}
		purego.RegisterFunc(function, address)
	}
	return lib, lib.failed("initialising the driver's library", initialise())
}

// failed returns an error unless code is NVML_SUCCESS.
func (n *nvml) failed(what string, code int32) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s (%d)", what, n.errorString(code), code)
}

func (n *nvml) close() error { return n.failed("closing the driver's library", n.shutdown()) }

func (n *nvml) count() (uint32, error) {
	var count uint32
	code := n.getCount(&count)
	return count, n.failed("counting GPUs", code)
}

// evidence asks the GPU of that index for a report on nonce. What the library says of sizes is held against its buffers.
func (n *nvml) evidence(index uint32, nonce [nonceSize]byte) (e evidence, err error) {
	var d device
	if err := n.failed("finding it", n.getHandle(index, &d)); err != nil {
		return e, err
	}
	var arch uint32
	if err := n.failed("asking for its architecture", n.getArch(d, &arch)); err != nil {
		return e, err
	}
	if e.Architecture = architectures[arch]; e.Architecture == "" {
		return e, fmt.Errorf("its architecture, %d, is neither Hopper nor Blackwell", arch)
	}
	var uuid [uuidSize]byte
	if err := n.failed("asking for its UUID", n.getUUID(d, &uuid[0], uuidSize)); err != nil {
		return e, err
	}
	text, _, ended := bytes.Cut(uuid[:], []byte{0})
	if !ended {
		return e, fmt.Errorf("its UUID has no end")
	}
	e.UUID = string(text)
	r := &report{Nonce: nonce}
	if err := n.failed("asking for a report", n.getReport(d, r)); err != nil {
		return e, err
	}
	c := new(certificate)
	if err := n.failed("asking for its certificates", n.getCertificate(d, c)); err != nil {
		return e, err
	}
	if r.Size == 0 || int(r.Size) > len(r.Report) || c.AttestationChainSize == 0 || int(c.AttestationChainSize) > len(c.AttestationChain) {
		return e, fmt.Errorf("a report of %d and certificates of %d bytes", r.Size, c.AttestationChainSize)
	}
	// Some drivers count the zero at the end of the text.
	e.Report, e.Certificate = encode(r.Report[:r.Size]), encode(bytes.TrimRight(c.AttestationChain[:c.AttestationChainSize], "\x00"))
	return e, nil
}
