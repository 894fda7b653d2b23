package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Evidence is what a machine presents together.
type Evidence struct {
	Kind       attest.Kind
	Primary    []byte        // in the form of its kind
	Additional string        // of the devices, {"<kind>":<evidence>,…}; "" when there are none. Primary covers it as it is.
	Devices    []attest.Kind // of Additional, in order
}

// Collect has the devices make evidence, and then primary, all bound to the nonce and key of r. The devices come first, because the
// primary evidence covers what they prove: r.Additional is made here, and must be empty.
func Collect(ctx context.Context, primary Collector, devices []Collector, r attest.RuntimeData) (*Evidence, error) {
	if err := checkCollectors(primary, devices); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if r.Additional != "" {
		return nil, errors.New("client: additional evidence is collected, and not given")
	}
	e := &Evidence{Kind: primary.Kind()}
	if len(devices) > 0 {
		var err error
		if r.Additional, err = collectDevices(ctx, devices, r); err != nil {
			return nil, err
		}
		for _, device := range devices {
			e.Devices = append(e.Devices, device.Kind())
		}
	}
	e.Additional = r.Additional
	digest, err := r.Primary()
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if e.Primary, err = primary.Evidence(ctx, digest); err != nil {
		return nil, fmt.Errorf("client: collecting %s evidence: %w", e.Kind, err)
	}
	if size := len(e.Primary) + len(e.Additional); size > attest.MaxEvidenceSize {
		return nil, fmt.Errorf("client: evidence of %d bytes in all: brokers read at most %d", size, attest.MaxEvidenceSize)
	}
	return e, nil
}

// collectDevices returns the additional evidence.
func collectDevices(ctx context.Context, devices []Collector, r attest.RuntimeData) (string, error) {
	digest, err := r.Device()
	if err != nil {
		return "", fmt.Errorf("client: %w", err)
	}
	var text strings.Builder
	for i, device := range devices {
		kind := device.Kind()
		evidence, err := device.Evidence(ctx, digest)
		if err != nil {
			return "", fmt.Errorf("client: collecting %s evidence of a device: %w", kind, err)
		}
		if !json.Valid(evidence) {
			return "", fmt.Errorf("client: the %s evidence of a device is not JSON, as it must be beside other evidence", kind)
		}
		name, err := json.Marshal(kind)
		if err != nil {
			return "", fmt.Errorf("client: %w", err)
		}
		separator := ","
		if i == 0 {
			separator = "{"
		}
		text.WriteString(separator)
		text.Write(name)
		text.WriteByte(':')
		text.Write(evidence)
	}
	text.WriteByte('}')
	// It must read as it was meant, or the broker would refuse it for a reason that nobody finds.
	if parsed, err := attest.ParseAdditional(text.String()); err != nil || len(parsed) != len(devices) {
		return "", fmt.Errorf("client: additional evidence: %w", errors.Join(err, errOtherDevices))
	}
	return text.String(), nil
}

var errOtherDevices = errors.New("it does not read as evidence of these devices")

// checkCollectors refuses what no broker would accept.
func checkCollectors(primary Collector, devices []Collector) error {
	switch {
	case primary == nil:
		return errors.New("Collector is nil")
	case primary.Kind().Device():
		return fmt.Errorf("%s evidence proves a device only: give it as one of Devices, beside a Collector of the machine", primary.Kind())
	case len(devices) > attest.MaxDevices:
		return fmt.Errorf("%d Devices, at most %d", len(devices), attest.MaxDevices)
	}
	seen := []attest.Kind{primary.Kind()}
	for i, device := range devices {
		if device == nil {
			return fmt.Errorf("Devices[%d] is nil", i)
		}
		kind := device.Kind()
		if !kind.Accompanies() {
			return fmt.Errorf("%s evidence is a machine's own, and cannot be one of Devices", kind)
		}
		if slices.Contains(seen, kind) {
			return fmt.Errorf("evidence of kind %s twice: a kind is presented once, by one Collector for all devices of the kind", kind)
		}
		seen = append(seen, kind)
	}
	return nil
}
