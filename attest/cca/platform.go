package cca

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/cose"
)

// Profiles of platform tokens.
const (
	profilePlatformLegacy = "http://arm.com/CCA-SSD/1.0.0"
	profilePlatform2023   = "tag:arm.com,2023:cca_platform#1.0.0"
)

// Claims of platform tokens.
const (
	claimChallenge    = 10
	claimInstance     = 256
	claimProfile      = 265
	claimLifecycle    = 2395
	claimImplement    = 2396
	claimComponents   = 2399
	claimService      = 2400
	claimConfig       = 2401
	claimPlatformHash = 2402
)

// Members of a component.
const (
	componentType        = 1
	componentMeasurement = 2
	componentVersion     = 4
	componentSigner      = 5
	componentHash        = 6
)

// Limits that the drafts do not set.
const (
	maxText       = 1024
	maxConfig     = 1024
	maxComponents = 64
)

// Sizes in bytes.
const (
	implementationSize = 32
	instanceSize       = 33
)

// Security lifecycles: the upper byte says which, the lower is the implementation's. 0x30 is "secured".
var lifecycles = [...]string{
	0: "unknown", 1: "assembly-and-test", 2: "rot-provisioning", lifecycleSecured: "secured",
	4: "non-cca-debug", 5: "recoverable-debug", 6: "decommissioned",
}

const lifecycleSecured = 3

// Platform is what a platform token says.
type Platform struct {
	Profile          string
	Challenge        []byte // digest of the realm's key
	ImplementationID [implementationSize]byte
	InstanceID       [instanceSize]byte
	Config           []byte
	Lifecycle        int // 0x0000 to 0x60ff
	Components       []Component
	Service          string // "" when there is none
	Hash             string
}

// Component is a piece of a platform's firmware. Texts are empty when they are not stated.
type Component struct {
	Type        string
	Measurement []byte
	Signer      []byte
	Version     string
	Hash        string
}

func (p *Platform) parse(payload []byte) error {
	c, err := claimsOf(payload)
	if err != nil {
		return err
	}
	// The profile first: what another one says need not be understood.
	p.Profile = c.text(claimProfile, "profile", true)
	if c.err == nil && p.Profile != profilePlatformLegacy && p.Profile != profilePlatform2023 {
		return attest.Refuse(attest.CodeVersionUnsupported, "a platform token of the profile %.80q is not verified", p.Profile)
	}
	p.Challenge = c.digest(claimChallenge, "challenge")
	copy(p.ImplementationID[:], c.sized(claimImplement, "implementation id", implementationSize, implementationSize))
	copy(p.InstanceID[:], c.sized(claimInstance, "instance id", instanceSize, instanceSize))
	if c.err == nil && p.InstanceID[0] != 1 {
		c.fail("its instance id is of type %d, not 1", p.InstanceID[0])
	}
	p.Config = c.sized(claimConfig, "config", 1, maxConfig)
	p.Lifecycle = c.lifecycle()
	p.Service = c.text(claimService, "verification service", false)
	p.Hash = c.hash(claimPlatformHash, "hash algorithm")
	p.Components = c.components()
	return c.err
}

// debug reports whether somebody may look into what runs on a platform.
func (p *Platform) debug() bool { return p.Lifecycle>>12 != lifecycleSecured }

// claims reads the claims of a token. The first that is not as it must be makes it fail for good.
type claims struct {
	list map[int64]cbor.RawMessage
	err  error
}

func claimsOf(payload []byte) (*claims, error) {
	list, err := cose.ClaimMap(payload)
	return &claims{list: list}, err
}

func (c *claims) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// text reads text of 1 to maxText bytes; "" when there is none and none is required.
func (c *claims) text(label int64, name string, required bool) string {
	raw, ok := c.list[label]
	if !ok {
		if required {
			c.fail("it has no %s", name)
		}
		return ""
	}
	text, err := cose.Text(raw)
	switch {
	case err != nil:
		c.fail("its %s is %w", name, err)
	case text == "" || len(text) > maxText:
		c.fail("its %s has %d bytes, not 1 to %d", name, len(text), maxText)
	}
	return text
}

// sized reads a string of least to most bytes.
func (c *claims) sized(label int64, name string, least, most int) []byte {
	raw, ok := c.list[label]
	if !ok {
		c.fail("it has no %s", name)
		return nil
	}
	b, err := cose.Bytes(raw)
	switch {
	case err != nil:
		c.fail("its %s is %w", name, err)
	case len(b) < least || len(b) > most:
		c.fail("its %s has %d bytes, not %d to %d", name, len(b), least, most)
	}
	return b
}

// digest reads a digest or measurement.
func (c *claims) digest(label int64, name string) []byte {
	b := c.sized(label, name, 32, 64)
	if c.err == nil && !digestSize(len(b)) {
		c.fail("its %s has %d bytes, not 32, 48 or 64", name, len(b))
	}
	return b
}

func digestSize(n int) bool { return n == 32 || n == 48 || n == 64 }

// hash reads the name of a hash algorithm.
func (c *claims) hash(label int64, name string) string {
	text := c.text(label, name, true)
	if c.err == nil && !knownHash(text) {
		c.fail("its %s is %.40q, not sha-256, sha-384 or sha-512", name, text)
	}
	return text
}

func knownHash(name string) bool { return name == "sha-256" || name == "sha-384" || name == "sha-512" }

func (c *claims) lifecycle() int {
	raw, ok := c.list[claimLifecycle]
	if !ok {
		c.fail("it has no lifecycle")
		return 0
	}
	n, err := cose.Uint(raw)
	if err != nil {
		c.fail("its lifecycle is %w", err)
		return 0
	}
	if n > 0x60ff || n&0x0f00 != 0 {
		c.fail("its lifecycle %#x is none that is defined", n)
		return 0
	}
	return int(n)
}

func (c *claims) components() []Component {
	raw, ok := c.list[claimComponents]
	if !ok {
		c.fail("it has no software components")
		return nil
	}
	list, err := cose.Array(raw, maxComponents)
	if err != nil {
		c.fail("its software components are %w", err)
		return nil
	}
	if len(list) == 0 {
		c.fail("it has no software components")
	}
	out := make([]Component, 0, len(list))
	for i, raw := range list {
		m, err := claimsOf(raw)
		if err != nil {
			c.fail("its software component %d is %w", i, err)
			return nil
		}
		component := Component{
			Type:        m.text(componentType, "type", false),
			Measurement: m.digest(componentMeasurement, "measurement"),
			Signer:      m.digest(componentSigner, "signer"),
			Version:     m.text(componentVersion, "version", false),
		}
		if _, ok := m.list[componentHash]; ok {
			component.Hash = m.hash(componentHash, "hash algorithm")
		}
		if m.err != nil {
			c.fail("its software component %d: %w", i, m.err)
			return nil
		}
		out = append(out, component)
	}
	return out
}
