package provenance

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
)

// skew is how far the clock of a builder may be ahead.
const skew = 5 * time.Minute

// Want is what a statement is needed for.
type Want struct {
	Set      string    // the set that its values are to be put into
	Values   []string  // when there are any: the values that are imported, of which each must be stated; otherwise all that are stated
	Artefact string    // when not empty: "sha256:" and hex of the OCI manifest that the statement is attached to, and must be about
	Now      time.Time // of whoever verifies
}

// Origin is where values come from, as a key that may say so has said. All texts but Key are the statement's.
type Origin struct {
	Key        string    // id of the key that signed
	Statement  string    // "sha256:" and hex of the signed payload
	Predicate  string    // type of the predicate; empty of an image's signature
	Builder    string    // empty of an image's signature, like those that follow
	Repository string    // URI
	Workflow   string    // path; may be empty
	Ref        string    // "refs/heads/main"
	Commit     string    // hex
	Time       time.Time // when the build was finished
	Image      string    // docker reference of a signed image
}

// Result is what was believed.
type Result struct {
	Values []string // each once, in the statement's order; lower-case hex, or of an image "sha256:" and hex
	Origin Origin
}

// Statement verifies a DSSE envelope. Every error is a [*Refusal].
func (c Config) Statement(document []byte, want Want) (Result, error) {
	o, refusal := open(document)
	if refusal != nil {
		return Result{}, refusal
	}
	signers := c.signers(pae(PayloadType, o.payload), o.signatures)
	if len(signers) == 0 {
		return Result{}, refuse(ReasonKey, "none of the %d configured keys made a signature of this envelope", len(c.Keys))
	}
	s, refusal := read(o.payload)
	if refusal != nil {
		return Result{}, refusal
	}
	return first(signers, func(k *Key) (Result, *Refusal) {
		if refusal := k.mayState(&s, want); refusal != nil {
			return Result{}, refusal
		}
		values, refusal := s.of(want.Set)
		if refusal != nil {
			return Result{}, refusal
		}
		if want.Artefact != "" && !s.isAbout(want.Artefact) {
			return Result{}, refuse(ReasonArtefact, "the statement is not about %s, to which it is attached", want.Artefact)
		}
		if values, refusal = narrow(values, want.Values); refusal != nil {
			return Result{}, refusal
		}
		return Result{Values: values, Origin: Origin{
			Key: k.ID, Statement: digest(o.payload), Predicate: s.predicate, Builder: s.builder, Repository: s.repository, Workflow: s.workflow,
			Ref: s.ref, Commit: s.commit, Time: s.time,
		}}, nil
	})
}

// signers returns the keys that made one of the signatures.
func (c Config) signers(message []byte, signatures [][]byte) []*Key {
	var out []*Key
	for i := range c.Keys {
		k := &c.Keys[i]
		if slices.ContainsFunc(signatures, func(sig []byte) bool { return signed(k.Public, message, sig) }) {
			out = append(out, k)
		}
	}
	return out
}

// first returns what the first key says that may, or else the first refusal.
func first(signers []*Key, judge func(*Key) (Result, *Refusal)) (Result, error) {
	var refusal *Refusal
	for _, k := range signers {
		result, err := judge(k)
		if err == nil {
			return result, nil
		}
		if refusal == nil {
			refusal = err
		}
	}
	return Result{}, refusal
}

// mayState reports why a key may not say what it says, or nil.
func (k *Key) mayState(s *said, want Want) *Refusal {
	maxAge := k.MaxAge
	if maxAge == 0 {
		maxAge = DefaultMaxAge
	}
	switch {
	case !slices.Contains(k.Sets, want.Set):
		return refuse(ReasonSet, "the key %q may not speak for the set %q", k.ID, want.Set)
	case !slices.Contains(k.Builders, s.builder):
		return refuse(ReasonBuilder, "the builder %q is none that the key %q speaks for", s.builder, k.ID)
	case s.repository != k.Repository:
		return refuse(ReasonRepository, "the source is %q, and the key %q speaks for %q", s.repository, k.ID, k.Repository)
	case !allowsRef(k.Refs, s.ref):
		return refuse(ReasonRef, "the ref %q is none that the key %q speaks for", s.ref, k.ID)
	case len(k.Workflows) > 0 && !slices.Contains(k.Workflows, s.workflow):
		return refuse(ReasonWorkflow, "the workflow %q is none that the key %q speaks for", s.workflow, k.ID)
	case s.time.After(want.Now.Add(skew)):
		return refuse(ReasonFuture, "the build was finished at %s, which is in the future", s.time.Format(time.RFC3339))
	case want.Now.Sub(s.time) > maxAge:
		return refuse(ReasonExpired, "the build was finished at %s, over %s ago", s.time.Format(time.RFC3339), maxAge)
	}
	return k.validAt(s.time)
}

// narrow returns the values that are imported, or why one was not stated.
func narrow(stated, wanted []string) ([]string, *Refusal) {
	if len(wanted) == 0 {
		return stated, nil
	}
	for _, value := range wanted {
		if !slices.Contains(stated, value) {
			return nil, refuse(ReasonArtefact, "the value %.140q is not among the %d that were stated", value, len(stated))
		}
	}
	return wanted, nil
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}
