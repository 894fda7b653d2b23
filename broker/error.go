package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/session"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
)

// Code is the coarse, stable code of an [Error]: all that a workload learns of why.
type Code string

// The codes of errors. Each front end has a table from these to its protocol's statuses.
const (
	CodeInvalid         Code = "invalid_request"  // malformed, over a limit, or not possible: do not repeat
	CodeNonce           Code = "nonce_invalid"    // not issued here, for something else, expired or spent: ask for another
	CodeSession         Code = "session_invalid"  // no attested session or token, or an expired one: attest again
	CodeEvidence        Code = "evidence_refused" // the evidence is bad; the decision says how
	CodeDenied          Code = "denied"           // a release policy does not allow it; the decision says which rule
	CodeNotFound        Code = "not_found"        // allowed, but there is no such thing
	CodeConflict        Code = "conflict"         // changed by someone else meanwhile, or exists already
	CodeUnauthenticated Code = "unauthenticated"  // no token, or not a good one
	CodeForbidden       Code = "forbidden"        // a good token without the role
	CodeQuota           Code = "quota_exceeded"   // the namespace has as much of something as it may
	CodeOverloaded      Code = "overloaded"       // a limit of the whole broker is reached: come back
	CodeUnavailable     Code = "unavailable"      // something needed is not at hand: come back
)

// Error is how every method of the core fails. Code, Message, Decision and RetryAfter are for whoever asked; Err is for the
// operator's log only, because it may say which check failed.
type Error struct {
	Code       Code
	Message    string        // a sentence, safe for a stranger
	Decision   string        // the id of the recorded decision, or ""
	RetryAfter time.Duration // for overloaded and unavailable
	Err        error         // the cause; never shown to a workload
}

func (e *Error) Error() string {
	text := string(e.Code) + ": " + e.Message
	if e.Decision != "" {
		text += " (decision " + e.Decision + ")"
	}
	if e.Err != nil && e.Err.Error() != e.Message {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// retryOverloaded is short because overload passes as soon as the work in hand is done; retryUnavailable is longer because
// an outage does not. Clients add jitter.
const (
	retryOverloaded  = 1 * time.Second
	retryUnavailable = 5 * time.Second
)

func invalid(format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: CodeInvalid, Message: err.Error()}
}

func notFound(format string, args ...any) *Error {
	return &Error{Code: CodeNotFound, Message: fmt.Sprintf(format, args...)}
}

// asError gives any failure of a part below the core its code. An error that nobody foresaw is unavailability: it is never a reason to
// release, and never the caller's fault.
func asError(err error) *Error {
	var known *Error
	var forbidden *access.Forbidden
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.As(err, &forbidden):
		return &Error{Code: CodeForbidden, Message: forbidden.Error(), Err: err}
	case errors.Is(err, access.ErrUnauthenticated):
		return &Error{Code: CodeUnauthenticated, Message: "a valid token is needed", Err: err}
	case errors.Is(err, store.ErrConflict):
		return &Error{Code: CodeConflict, Message: "changed by someone else meanwhile: read it again, then repeat", Err: err}
	case errors.Is(err, store.ErrNotFound):
		return &Error{Code: CodeNotFound, Message: "there is no such record", Err: err}
	case errors.Is(err, store.ErrInvalid):
		return &Error{Code: CodeInvalid, Message: "a name or value is not acceptable", Err: err}
	case errors.Is(err, reference.ErrTooMany):
		return &Error{Code: CodeInvalid, Message: "the set of reference values is full: begin another", Err: err}
	case errors.Is(err, audit.ErrEntrySize):
		return &Error{Code: CodeInvalid, Message: "too much for one entry of the audit log: do less at once", Err: err}
	case errors.Is(err, audit.ErrOverloaded), errors.Is(err, session.ErrFull):
		return &Error{Code: CodeOverloaded, Message: "the broker is busy", RetryAfter: retryOverloaded, Err: err}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: CodeUnavailable, Message: "the request was given up", RetryAfter: retryOverloaded, Err: err}
	default:
		return &Error{Code: CodeUnavailable, Message: "the broker cannot answer now", RetryAfter: retryUnavailable, Err: err}
	}
}
