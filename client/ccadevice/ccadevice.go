// Package ccadevice collects Arm CCA evidence in a realm: it asks the kernel's configfs-tsm interface (package tsm; Linux 6.13 and later with the
// driver arm-cca-guest) for a token, which is the evidence as it is.
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

	"github.com/google/go-configfs-tsm/configfs/configfsi"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/client/tsm"
)

// challengeSize is that of a realm's challenge, in bytes.
const challengeSize = 64

// maxToken bounds a token, in bytes, as the broker does.
const maxToken = 16 << 10

// Config says how to ask. The zero Config asks the kernel.
type Config struct {
	// TSM is the interface; the kernel's when nil.
	TSM configfsi.Client
}

// Device collects evidence. It is safe for concurrent use: each token is asked for in a directory of its own.
type Device struct{ client *tsm.Client }

// Open returns a Device, or an error that says what the machine lacks. It asks for no token.
func Open(ctx context.Context, c Config) (*Device, error) {
	client, err := tsm.New(tsm.Config{FS: c.TSM})
	if err == nil {
		err = client.Expect(ctx, tsm.ProviderCCA)
	}
	if err != nil {
		return nil, fmt.Errorf("ccadevice: %w", err)
	}
	return &Device{client}, nil
}

// Kind returns [attest.CCA].
func (d *Device) Kind() attest.Kind { return attest.CCA }

// Evidence returns a token with digest in the realm's challenge. digest has at most 64 bytes.
func (d *Device) Evidence(ctx context.Context, digest []byte) ([]byte, error) {
	if len(digest) == 0 || len(digest) > challengeSize {
		return nil, fmt.Errorf("ccadevice: a digest of %d bytes, not 1 to %d", len(digest), challengeSize)
	}
	challenge := make([]byte, challengeSize)
	copy(challenge, digest)
	answer, err := d.client.Get(ctx, tsm.Request{Provider: tsm.ProviderCCA, Data: challenge})
	if err != nil {
		return nil, fmt.Errorf("ccadevice: asking for a token: %w", err)
	}
	switch token := answer.Out; {
	case len(token) == 0 || len(token) > maxToken:
		return nil, fmt.Errorf("ccadevice: a token of %d bytes, not 1 to %d", len(token), maxToken)
	case !bytes.Contains(token, challenge):
		return nil, errors.New("ccadevice: the token is about other data than it was asked for")
	}
	return answer.Out, nil
}
