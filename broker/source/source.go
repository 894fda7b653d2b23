package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/store"
)

// MaxDocument bounds a document in bytes: the metadata of a secret, with a hundred versions of it, stays within one record.
const MaxDocument = 8 << 10

// Document says where the value of a secret lies. It holds nothing secret.
type Document struct {
	Kind       string          `json:"kind" doc:"vault-kv or vault-dynamic"`
	Parameters json.RawMessage `json:"parameters,omitempty" doc:"of the kind; absent of a version that was destroyed"`
}

// Request is what a value is asked for.
type Request struct {
	Namespace string
	Secret    string
	Decision  string         // id
	Claims    *attest.Claims // what the workload proved; absent, with Decision, where nothing is released
}

// Value is what a source gave. The caller clears Bytes.
type Value struct {
	Bytes   []byte
	Version string // the source's own, such as the version of a KV secret; "" where it has none
	Lease   *Lease // of what an Issuer issued; nil where it lives on by itself, or nothing was issued
}

// Lease is what was issued and can be ended.
type Lease struct {
	Handle   string        // by which [Issuer.Revoke] ends it: not a secret, and not for everyone
	Duration time.Duration // for which it lives from when it was asked for; 0 where the source does not say
}

// Place is where something is about to be issued.
type Place struct {
	Name string `json:"name"`
	// Exclusive says that nobody but brokers of this store has anything issued there, so that what no record tells of is a broker's that crashed.
	Exclusive bool `json:"exclusive,omitempty"`
}

// Probe is what can be said of a source without a value of it.
type Probe struct {
	Answers bool   `json:"answers" doc:"whether a release would get a value, as far as can be known without one"`
	Version string `json:"version,omitempty" doc:"the source's own version that it would get"`
	Detail  string `json:"detail" doc:"what was asked and what was found; what a release needs and lacks"`
}

// Source answers for the secrets of one kind. It is safe for concurrent use.
type Source interface {
	// Kind returns the kind of its documents.
	Kind() string
	// Check returns parameters of a document for the secret that r names in their canonical form, or what is wrong with them: that a secret of this
	// namespace may not say so is wrong, too. It asks nothing.
	Check(parameters json.RawMessage, r Request) (json.RawMessage, error)
	// Probe asks whether a value could be had, without asking for it.
	Probe(ctx context.Context, parameters json.RawMessage, r Request) (Probe, error)
	// Fetch asks for the value. With an error there is no value; but where something was issued all the same, the lease of it is returned.
	Fetch(ctx context.Context, parameters json.RawMessage, r Request) (Value, error)
}

// Issuer is a Source that makes something new at each Fetch.
type Issuer interface {
	Source
	// Place says where Fetch would have it issued, or refuses what Fetch would.
	Place(parameters json.RawMessage, r Request) (Place, error)
	// Revoke ends what was issued. That it has ended already is no error.
	Revoke(ctx context.Context, handle string) error
	// Issued returns the handles of what was issued at an exclusive place between two times, whoever asked for it.
	Issued(ctx context.Context, place Place, from, to time.Time) ([]string, error)
}

// The errors of a Source. Those that mean that the broker cannot get a value now wrap store.ErrUnavailable as well.
var (
	ErrNotFound    = errors.New("the source has no such thing")
	ErrForbidden   = fmt.Errorf("the source does not allow it: %w", store.ErrUnavailable)
	ErrRejected    = fmt.Errorf("the source rejected the request: %w", store.ErrUnavailable)
	ErrUnavailable = fmt.Errorf("the source cannot be asked: %w", store.ErrUnavailable)
	ErrValue       = fmt.Errorf("the source's value is not usable: %w", store.ErrUnavailable)
)

// Failure is one of the errors of a Source, with what the operator may know of it.
type Failure struct {
	Err    error  // one of the above
	Detail string // for records and explanations: what was asked and why there is no value, without any part of one
	Cause  error  // for the log; may be nil
	// Unknown says that the source may have issued something all the same: the request was sent, and its answer is not known.
	Unknown bool
}

func (f *Failure) Error() string {
	if f.Cause != nil {
		return fmt.Sprintf("%v: %s: %v", f.Err, f.Detail, f.Cause)
	}
	return fmt.Sprintf("%v: %s", f.Err, f.Detail)
}

// Unwrap makes errors.Is and As find the error and its cause.
func (f *Failure) Unwrap() []error {
	if f.Cause == nil {
		return []error{f.Err}
	}
	return []error{f.Err, f.Cause}
}

// The codes of a Refusal.
const (
	RefusedAbsent   = "absent"    // the evidence does not prove the claim
	RefusedEmpty    = "empty"     // the value has no characters
	RefusedLong     = "too_long"  // over the limit of a segment
	RefusedRelative = "relative"  // begins with a dot, or has two in a row
	RefusedReserved = "reserved"  // names what is never a place of secrets, such as sys
	RefusedOutside  = "outside"   // leads to where the settings let no secret of the namespace lead
	RefusedByte     = "character" // has a character that is none of A-Z a-z 0-9 _ - .
)

// Refusal says that a value that a workload proved cannot be put where a template has it. The value is not in it: strangers choose it.
type Refusal struct {
	Code        string
	Placeholder string // as the template spells it
	Detail      string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("the value of %s cannot be used: %s", r.Placeholder, r.Detail)
}

// CodeOf returns the code that records and metrics have for an error of a Source: one of few words.
func CodeOf(err error) string {
	var refusal *Refusal
	switch {
	case err == nil:
		return "answered"
	case errors.As(err, &refusal):
		return "refused"
	case errors.Is(err, ErrNotFound):
		return "not_found"
	case errors.Is(err, ErrForbidden):
		return "forbidden"
	case errors.Is(err, ErrRejected):
		return "rejected"
	case errors.Is(err, ErrValue):
		return "bad_value"
	default:
		return "unavailable"
	}
}

// Definite reports whether an error says for sure that nothing was issued that the source did not tell of.
func Definite(err error) bool {
	var (
		failure *Failure
		refusal *Refusal
	)
	return errors.As(err, &refusal) || errors.As(err, &failure) && !failure.Unknown
}
