package ear

import (
	"errors"
	"fmt"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Appraiser judges parts of evidence by attestation policies: *broker.Broker has one of those of a namespace.
type Appraiser interface {
	// Appraise returns the trust claims of a part of the class (cpu, gpu, switch, …) by the names of a trustworthiness vector, and what names the policy. Where
	// no policy is for the class, policy is "". evidence is the part's annotated evidence, whole, as JSON.
	Appraise(class string, evidence []byte) (claims map[string]int, policy string, err error)
}

// ErrAppraisal says that an attestation policy did not make a vector. It is wrapped with why.
var ErrAppraisal = errors.New("the attestation policy gives no trustworthiness vector")

// vector returns the vector of one part and what made it: an attestation policy where there is one for the class, else this package.
func (t *Token) vector(class string, c *attest.Claims) (v Vector, policy string, err error) {
	own := Appraise(c)
	if t.Policies == nil {
		return own, PolicyID, nil
	}
	evidence, err := t.annotate(c, true)
	if err != nil {
		return Vector{}, "", err
	}
	claims, policy, err := t.Policies.Appraise(class, evidence)
	if err != nil {
		return Vector{}, "", fmt.Errorf("%w: %w", ErrAppraisal, err)
	}
	if policy == "" {
		return own, PolicyID, nil
	}
	v, err = own.claimed(claims)
	return v, policy, err
}

// claimed returns the vector that a policy claims. What it does not claim is no claim. It may be better than v, which knows no reference values, but not
// where v is contraindicated: that is what was verified, such as debugging or a revoked TCB, and not what is unknown.
func (v Vector) claimed(claims map[string]int) (Vector, error) {
	var out Vector
	fields := map[string]struct {
		own int
		out *int
	}{
		"instance-identity": {v.InstanceIdentity, &out.InstanceIdentity}, "configuration": {v.Configuration, &out.Configuration},
		"executables": {v.Executables, &out.Executables}, "file-system": {v.FileSystem, &out.FileSystem}, "hardware": {v.Hardware, &out.Hardware},
		"runtime-opaque": {v.RuntimeOpaque, &out.RuntimeOpaque}, "storage-opaque": {v.StorageOpaque, &out.StorageOpaque},
		"sourced-data": {v.SourcedData, &out.SourcedData},
	}
	for name, value := range claims {
		f, ok := fields[name]
		if !ok {
			return Vector{}, fmt.Errorf("%w: there is no trust claim %q", ErrAppraisal, name)
		}
		*f.out = value
	}
	for _, f := range fields {
		if f.own >= contraindicated {
			*f.out = max(*f.out, f.own)
		}
	}
	return out, nil
}
