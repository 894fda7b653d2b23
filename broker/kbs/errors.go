package kbs

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/intake"
)

// errorTypes is what the names of the protocol's errors begin with.
const errorTypes = "https://github.com/confidential-containers/kbs/errors/"

// failure is an answer in the protocol's terms.
type failure struct {
	status int
	name   string // of the error type
	detail string
	retry  time.Duration
}

func (f *failure) Error() string { return f.name + ": " + f.detail }

func fail(status int, name, format string, args ...any) *failure {
	return &failure{status: status, name: name, detail: fmt.Sprintf(format, args...)}
}

// writeError answers with an error of a handler. What the workload sees of a refusal is a name, a coarse sentence and the decision's id.
func (k *KBS) writeError(w http.ResponseWriter, r *http.Request, err error) {
	f := k.failureOf(err)
	k.logger.DebugContext(r.Context(), "refused", "route", r.Pattern, "status", f.status, "error", f.name, "cause", err)
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Detail string `json:"detail"`
	}{errorTypes + f.name, f.detail})
	if err != nil { // strings always encode
		panic(err)
	}
	if f.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((f.retry+time.Second-1)/time.Second)))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_, _ = w.Write(body) // the peer may be gone
}

func (k *KBS) failureOf(err error) *failure {
	var (
		f *failure
		e *broker.Error
	)
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &e):
		f = k.table(e)
		f.retry = e.RetryAfter
		if e.Decision != "" {
			f.detail += " (decision " + e.Decision + ")"
		}
		return f
	case errors.Is(err, intake.ErrTooLarge):
		return fail(http.StatusRequestEntityTooLarge, "SerdeError", "the request body is over its limit")
	case errors.Is(err, intake.ErrBusy):
		f = fail(http.StatusServiceUnavailable, "Overloaded", "the broker is busy")
		f.retry = intake.RetryAfter
		return f
	case errors.Is(err, intake.ErrBroken):
		return fail(http.StatusBadRequest, "SerdeError", "the request body could not be read")
	default:
		f = fail(http.StatusServiceUnavailable, "Unavailable", "the broker cannot answer now")
		f.retry = 5 * time.Second
		return f
	}
}

// table is the error→status table of the protocol (kbs-protocol: "What clients do with answers").
func (k *KBS) table(e *broker.Error) *failure {
	switch e.Code {
	case broker.CodeNonce, broker.CodeEvidence:
		return fail(http.StatusUnauthorized, "AttestationError", "%s", e.Message)
	case broker.CodeSession:
		return fail(http.StatusUnauthorized, "TokenVerifierError", "%s", e.Message)
	case broker.CodeDenied:
		return fail(k.denyStatus, "PolicyDeny", "%s", e.Message)
	case broker.CodeNotFound:
		if k.denyStatus == http.StatusUnauthorized {
			return fail(http.StatusUnauthorized, "PolicyDeny", "%s", e.Message)
		}
		return fail(http.StatusNotFound, "ResourceNotFound", "%s", e.Message)
	case broker.CodeUnauthenticated:
		return fail(http.StatusUnauthorized, "AdminAuthAccess", "%s", e.Message)
	case broker.CodeForbidden:
		return fail(http.StatusForbidden, "AdminAuthAccess", "%s", e.Message)
	case broker.CodeApproval: // which asking again does not bring
		return fail(http.StatusForbidden, "ApprovalRequired", "%s", e.Message)
	case broker.CodeQuota:
		return fail(http.StatusForbidden, "QuotaExceeded", "%s", e.Message)
	case broker.CodeConflict:
		return fail(http.StatusConflict, "Conflict", "%s", e.Message)
	case broker.CodeOverloaded:
		return fail(http.StatusTooManyRequests, "Overloaded", "%s", e.Message)
	case broker.CodeInvalid:
		return fail(http.StatusBadRequest, "SerdeError", "%s", e.Message)
	default:
		return fail(http.StatusServiceUnavailable, "Unavailable", "%s", e.Message)
	}
}
