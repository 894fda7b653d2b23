package attest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"time"
)

// MaxDevices is how many devices' evidence may accompany primary evidence. A host has up to 8 GPUs and a network
// processor or two; each costs a chain and a signature to verify, so the count is bounded before any of it is done.
const MaxDevices = 16

// MaxEvidenceSize bounds the bytes of primary and device evidence together, in bytes: what a KBS request body may hold.
// Verifiers have tighter limits of their own.
const MaxEvidenceSize = 2 << 20

// Appraiser appraises composite evidence with one verifier per kind: the primary evidence, and that of additional devices with
// it. It is safe for concurrent use.
//
// An error of Appraise is a *[Refusal] or an *[Unavailable], whatever the verifiers do: an error of another type, a panic, and
// claims that are absent or of another kind than was asked become an *Unavailable that wraps the cause, since a verifier
// which failed in a way nobody foresaw has neither proved nor disproved anything.
type Appraiser struct {
	verifiers map[Kind]Verifier
	kinds     []Kind
}

// NewAppraiser returns an Appraiser of the kinds that verifiers are of. Two verifiers of one kind are an error, since
// which of them judged would be an accident; so is none at all.
func NewAppraiser(verifiers ...Verifier) (*Appraiser, error) {
	if len(verifiers) == 0 {
		return nil, errors.New("attest: no verifier is configured, so no evidence could ever be accepted")
	}
	a := &Appraiser{verifiers: make(map[Kind]Verifier, len(verifiers))}
	for _, v := range verifiers {
		if v == nil {
			return nil, errors.New("attest: a verifier is nil")
		}
		kind := v.Kind()
		if !slices.Contains(known, kind) {
			return nil, fmt.Errorf("attest: a verifier is of kind %q, which is not among %v", kind, known)
		}
		if a.verifiers[kind] != nil {
			return nil, fmt.Errorf("attest: two verifiers are of kind %q: configure one", kind)
		}
		a.verifiers[kind] = v
		a.kinds = append(a.kinds, kind)
	}
	slices.Sort(a.kinds)
	return a, nil
}

// Kinds returns the kinds a has a verifier for, sorted.
func (a *Appraiser) Kinds() []Kind { return slices.Clone(a.kinds) }

// Appraise verifies evidence whose primary part must carry the binding primary and whose devices must each carry the binding
// device, in the namespace ns, at the time now. The claims are the primary's, with those of the devices in Devices, in the order presented.
// Bound is true only when every part is bound.
//
// It refuses with CodeTooLarge, CodeKindUnknown, CodeKindNotPrimary, CodeNotADevice, CodeDeviceTwice, CodeDeviceMismatch, and what the
// verifiers refuse with. Everything that costs nothing to check is checked of all parts before anything is verified.
func (a *Appraiser) Appraise(ctx context.Context, ev Evidence, ns string, primary, device Binding, now time.Time) (*Claims, error) {
	if err := a.admit(ev); err != nil {
		return nil, err
	}
	in := Input{Namespace: ns, Evidence: ev.Primary, Binding: primary, Init: ev.Init, Time: now}
	claims, err := verify(ctx, a.verifiers[ev.Kind], in)
	if err != nil {
		return nil, err
	}
	for i, d := range ev.Devices {
		in := Input{Namespace: ns, Evidence: d.Data, Binding: device, Time: now}
		proved, err := verify(ctx, a.verifiers[d.Kind], in)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(claims.Devices, func(other Claims) bool { return sameDevice(&other, proved) }) {
			return nil, Refuse(CodeDeviceTwice, "device %d is a device before it", i)
		}
		if proved.Bound == nil || !*proved.Bound {
			claims.Bound = Ptr(false)
		}
		if err := belongs(claims, proved); err != nil {
			return nil, err
		}
		claims.Devices = append(claims.Devices, *proved)
	}
	return claims, nil
}

// sameDevice reports whether two pieces of evidence are of one device. The bytes were compared already, but one quote can be written in many
// ways, and a device can be asked twice: then its clock, or the order of the GPUs, differs and its key does not. Two devices that no claim
// tells apart are one device as far as any policy can know.
func sameDevice(a, b *Claims) bool {
	if a.TPM != nil && b.TPM != nil && a.TPM.AKDigest != "" && a.TPM.AKDigest == b.TPM.AKDigest {
		return true
	}
	if a.NVIDIA != nil && b.NVIDIA != nil {
		for i := range a.NVIDIA.Devices {
			is := func(d NVIDIADevice) bool { return d.Identity == a.NVIDIA.Devices[i].Identity }
			if slices.ContainsFunc(b.NVIDIA.Devices, is) {
				return true
			}
		}
	}
	return reflect.DeepEqual(a, b)
}

// belongs holds a device against the machine beside which it is presented, where their formats have something in common. That the machine
// presented the device at all is covered by its own evidence, whose binding is over the additional evidence as it was presented.
//
// The report of an Azure guest's hardware covers the attestation key of the guest's TPM, so a quote beside it is by that key or is another
// machine's.
func belongs(machine, device *Claims) error {
	if device.Kind != TPM || machine.Azure == nil {
		return nil
	}
	if machine.TPM == nil || device.TPM == nil || machine.TPM.AKDigest == "" || device.TPM.AKDigest != machine.TPM.AKDigest {
		return Refuse(CodeDeviceMismatch, "the TPM beside %s evidence is not the one whose key the hardware's report covers", machine.Kind)
	}
	return nil
}

// admit checks what needs no cryptography.
func (a *Appraiser) admit(ev Evidence) error {
	if len(ev.Devices) > MaxDevices {
		return Refuse(CodeTooLarge, "evidence of %d devices: at most %d are appraised together", len(ev.Devices), MaxDevices)
	}
	size := len(ev.Primary)
	for _, d := range ev.Devices {
		size += len(d.Data)
	}
	if size > MaxEvidenceSize {
		return Refuse(CodeTooLarge, "evidence of %d bytes: at most %d are appraised", size, MaxEvidenceSize)
	}
	if ev.Kind.Device() {
		return Refuse(CodeKindNotPrimary, "%s evidence proves a device only: it needs evidence of a machine beside it", ev.Kind)
	}
	if a.verifiers[ev.Kind] == nil {
		return a.unknown(ev.Kind)
	}
	for i, d := range ev.Devices {
		if a.verifiers[d.Kind] == nil {
			return a.unknown(d.Kind)
		}
		if !d.Kind.Accompanies() {
			return Refuse(CodeNotADevice, "device %d has %s evidence, which is primary evidence only", i, d.Kind)
		}
		same := func(other Device) bool { return other.Kind == d.Kind && slices.Equal(other.Data, d.Data) }
		if slices.ContainsFunc(ev.Devices[:i], same) {
			return Refuse(CodeDeviceTwice, "device %d has the evidence of a device before it", i)
		}
	}
	return nil
}

// maxQuotedKind bounds how much of a kind that nobody knows is repeated in a refusal, in bytes.
const maxQuotedKind = 32

func (a *Appraiser) unknown(kind Kind) error {
	name := string(kind)
	if len(name) > maxQuotedKind {
		name = name[:maxQuotedKind] + "…"
	}
	return Refuse(CodeKindUnknown, "no verifier of kind %q is configured: this broker verifies %v", name, a.kinds)
}

// errVerifier is wrapped by the Unavailable of a verifier that broke its contract.
var errVerifier = errors.New("attest: a verifier broke its contract")

// verify calls v and holds it to the contract of Verifier.
func verify(ctx context.Context, v Verifier, in Input) (claims *Claims, err error) {
	kind := v.Kind()
	failed := func(err error) error {
		return &Unavailable{What: "a verdict of the " + string(kind) + " verifier (verifier failed)", Err: err}
	}
	defer func() {
		if p := recover(); p != nil {
			claims, err = nil, failed(fmt.Errorf("%w: panic: %v\n%s", errVerifier, p, debug.Stack()))
		}
	}()
	claims, err = v.Verify(ctx, in)
	var (
		refusal     *Refusal
		unavailable *Unavailable
	)
	switch {
	case errors.As(err, &refusal), errors.As(err, &unavailable):
		return nil, err
	case err != nil:
		return nil, failed(err)
	case claims == nil:
		return nil, failed(fmt.Errorf("%w: it returned neither claims nor an error", errVerifier))
	case claims.Kind != kind:
		return nil, failed(fmt.Errorf("%w: it returned claims of kind %q", errVerifier, claims.Kind))
	case in.Binding.IsBound() && (claims.Bound == nil || !*claims.Bound):
		return nil, failed(fmt.Errorf("%w: it returned claims that do not say they are bound", errVerifier))
	case !in.Binding.IsBound() && (claims.Bound == nil || *claims.Bound):
		return nil, failed(fmt.Errorf("%w: it returned claims that say they are bound, to nothing", errVerifier))
	}
	claims.Devices = nil // a verifier proves one kind's evidence; only Appraise composes
	return claims, nil
}
