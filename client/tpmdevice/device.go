// Package tpmdevice is the guest's side of evidence of kind "tpm": it has a TPM 2.0 make an attestation key (AK), quote all PCRs with it,
// and prove for an enrolment that the key is in the TPM whose maker certified the endorsement key (EK). What it makes is described and verified by
// package attest/tpm.
//
// # Where it finds things
//
// The device is the kernel's resource-managed one, /dev/tpmrm0, or a software TPM's socket. The AK is made once, as a restricted signing
// key below the storage root key, and kept in a file as the TPM wraps it: useless to another TPM, and no secret, yet written for its
// owner only. Losing the file costs an enrolment. The EK's certificate is read from the TPM (NV index 0x01c00002). The event log is
// read from securityfs where it can be, and left out where it cannot.
//
// # Limits
//
// RSA-2048 endorsement keys, by the TCG's default template, and hierarchies with empty authorisation, as operating systems leave
// them. One Device is one connection, safe for concurrent use, one command at a time.
package tpmdevice

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/tpm/swtpm"
	"github.com/vouchsafe/vouchsafe/internal/atomicfile"
)

// Defaults of [Config].
const (
	DefaultDevice   = "/dev/tpmrm0"
	DefaultStateDir = "/var/lib/vouchsafe-agent"
	DefaultEventLog = "/sys/kernel/security/tpm0/binary_bios_measurements"
)

// KeyFile is the file in the state folder that holds the attestation key.
const KeyFile = "tpm-ak.json"

// Algorithm of an attestation key.
type Algorithm string

// The algorithms of attestation keys. Every PC Client TPM has both; making an RSA key can take a discrete TPM many seconds.
const (
	ECDSAP256 Algorithm = "ecdsa-p256" // ECDSA with SHA-256
	RSA2048   Algorithm = "rsa-2048"   // RSASSA with SHA-256
)

// Config says which TPM and which key.
type Config struct {
	Device    string    // DefaultDevice when empty; "swtpm:unix:PATH" or "swtpm:HOST:PORT" for a software TPM
	StateDir  string    // DefaultStateDir when empty; made with mode 0700 when absent
	EventLog  string    // DefaultEventLog when empty, but "none" then for a software TPM, whose log this machine's is not; "none" for no log
	Bank      string    // hash bank to quote: "sha256" when empty, or "sha384"
	Algorithm Algorithm // of a key that is made; ECDSAP256 when empty. A key that is there is used as it is
}

// NoEventLog is the [Config].EventLog that presents none.
const NoEventLog = "none"

// Device is an open TPM with an attestation key.
type Device struct {
	config Config
	bank   tpm2.TPMAlgID

	mu  sync.Mutex
	tpm transport.TPMCloser
	ak  key
}

// Open opens the TPM, and loads the attestation key or makes one.
func Open(ctx context.Context, config Config) (*Device, error) {
	soft := strings.HasPrefix(config.Device, swtpm.Prefix)
	if config.Device == "" {
		config.Device = DefaultDevice
	}
	if config.StateDir == "" {
		config.StateDir = DefaultStateDir
	}
	if config.EventLog == "" {
		config.EventLog = DefaultEventLog
		if soft {
			config.EventLog = NoEventLog
		}
	}
	if config.Bank == "" {
		config.Bank = "sha256"
	}
	if config.Algorithm == "" {
		config.Algorithm = ECDSAP256
	}
	bank, known := map[string]tpm2.TPMAlgID{"sha256": tpm2.TPMAlgSHA256, "sha384": tpm2.TPMAlgSHA384}[config.Bank]
	if !known {
		return nil, fmt.Errorf("tpmdevice: bank %q is neither sha256 nor sha384", config.Bank)
	}
	if _, known := templates[config.Algorithm]; !known {
		return nil, fmt.Errorf("tpmdevice: algorithm %q is neither %s nor %s", config.Algorithm, ECDSAP256, RSA2048)
	}
	d := &Device{config: config, bank: bank}
	var err error
	if soft {
		d.tpm, err = swtpm.Dial(ctx, config.Device)
	} else {
		d.tpm, err = linuxtpm.Open(config.Device)
	}
	if err != nil {
		return nil, fmt.Errorf("tpmdevice: opening %s: %w", config.Device, err)
	}
	if err := d.loadKey(); err != nil {
		return nil, errors.Join(err, d.tpm.Close())
	}
	return d, nil
}

// Close removes the key from the TPM's memory, not from the state folder, and closes the connection.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flush(d.ak.handle)
	return d.tpm.Close()
}

// Kind returns [attest.TPM].
func (d *Device) Kind() attest.Kind { return attest.TPM }

// flush removes a transient object. What cannot be removed is cleaned up by the resource manager, or by the restart of a software TPM.
func (d *Device) flush(handle tpm2.TPMHandle) {
	_, _ = tpm2.FlushContext{FlushHandle: handle}.Execute(d.tpm)
}

// eventLog reads the firmware's log. A kernel without one, or a caller who may not read it, presents none, and the claims
// about the boot are absent then.
func (d *Device) eventLog() ([]byte, error) {
	if d.config.EventLog == NoEventLog {
		return nil, nil
	}
	log, err := os.ReadFile(d.config.EventLog)
	if d.config.EventLog == DefaultEventLog && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("tpmdevice: the event log: %w", err)
	}
	return log, nil
}

// writeState writes a file of the state folder for its owner only, whole or not at all.
func (d *Device) writeState(name string, content []byte) error {
	if err := os.MkdirAll(d.config.StateDir, 0o700); err != nil {
		return fmt.Errorf("tpmdevice: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(d.config.StateDir, name), content, 0o600); err != nil {
		return fmt.Errorf("tpmdevice: keeping the attestation key: %w", err)
	}
	return nil
}
