// Package virtualdevice collects evidence of the development TEE, which proves nothing about hardware: see package virtual.
package virtualdevice

import (
	"context"
	"crypto/rand"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
)

// Device collects evidence from a virtual device. It is safe for concurrent use.
type Device struct{ device *virtual.Device }

// New returns a collector of device's evidence.
func New(device *virtual.Device) *Device { return &Device{device} }

// Load returns a collector for the device saved in dir, as `vouchsafe dev` leaves one.
func Load(dir string) (*Device, error) {
	device, err := virtual.LoadDevice(dir)
	if err != nil {
		return nil, err
	}
	return New(device), nil
}

// Kind returns [attest.Virtual].
func (d *Device) Kind() attest.Kind { return attest.Virtual }

// Evidence returns an extended report with digest, of at most 64 bytes, in its report data.
func (d *Device) Evidence(ctx context.Context, digest []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return d.device.Evidence(rand.Reader, digest)
}
