// Package ccadevice collects Arm CCA evidence in a realm: it asks the kernel's configfs-tsm interface
// (/sys/kernel/config/tsm/report, Linux 6.13 and later with the driver arm-cca-guest) for a token, which is the
// evidence as it is.
//
// The digest goes into the realm's challenge, 64 bytes, with zeros after it.
//
// Nothing is verified here but that the answer is about this digest: it is the broker that must not believe the guest.
// Needs the right to make directories below the interface: root, usually.
package ccadevice

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

// challengeSize is that of a realm's challenge, in bytes.
const challengeSize = 64

// maxToken bounds a token, in bytes, as the broker does.
const maxToken = 16 << 10

// provider is how the kernel names the driver behind the interface in a realm.
const provider = "arm_cca_guest"

// Config says how to ask. The zero Config asks the kernel.
type Config struct {
	// TSM is the interface; the kernel's when nil.
	TSM configfsi.Client
}

// Device collects evidence. It is safe for concurrent use: each token is asked for in a directory of its own.
type Device struct{ tsm configfsi.Client }

// New returns a Device, or an error that says what the machine lacks.
func New(c Config) (*Device, error) {
	if c.TSM == nil {
		tsm, err := linuxtsm.MakeClient()
		if err != nil {
			return nil, fmt.Errorf("ccadevice: no configfs-tsm: it needs a realm with Linux 6.13 or later, the module arm-cca-guest, "+
				"and configfs mounted: %w", err)
		}
		c.TSM = tsm
	}
	return &Device{c.TSM}, nil
}

// Kind returns [attest.CCA].
func (d *Device) Kind() attest.Kind { return attest.CCA }

// Evidence returns a token with digest in the realm's challenge. digest has at most 64 bytes.
func (d *Device) Evidence(ctx context.Context, digest []byte) ([]byte, error) {
	if len(digest) == 0 || len(digest) > challengeSize {
		return nil, fmt.Errorf("ccadevice: a digest of %d bytes, not 1 to %d", len(digest), challengeSize)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	challenge := make([]byte, challengeSize)
	copy(challenge, digest)
	answer, err := report.Get(d.tsm, &report.Request{InBlob: challenge})
	if err != nil {
		return nil, fmt.Errorf("ccadevice: asking for a token: %w", err)
	}
	switch got := strings.TrimSpace(answer.Provider); {
	case got != provider:
		return nil, fmt.Errorf("ccadevice: the machine's reports come from %.32q, not %s: it is no realm", got, provider)
	case len(answer.OutBlob) == 0 || len(answer.OutBlob) > maxToken:
		return nil, fmt.Errorf("ccadevice: a token of %d bytes, not 1 to %d", len(answer.OutBlob), maxToken)
	case !bytes.Contains(answer.OutBlob, challenge):
		return nil, errors.New("ccadevice: the token is about other data than it was asked for")
	}
	return answer.OutBlob, nil
}
