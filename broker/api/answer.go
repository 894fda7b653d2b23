package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/rego"
)

// decisionHeader names the decision that an answer is about.
const decisionHeader = "Vouchsafe-Decision"

const mediaJSON = "application/json"

// statuses is the table of the package comment.
var statuses = map[broker.Code]int{
	broker.CodeInvalid:         http.StatusBadRequest,
	broker.CodeUnauthenticated: http.StatusUnauthorized,
	broker.CodeSession:         http.StatusUnauthorized,
	broker.CodeNonce:           http.StatusForbidden,
	broker.CodeEvidence:        http.StatusForbidden,
	broker.CodeDenied:          http.StatusForbidden,
	broker.CodeForbidden:       http.StatusForbidden,
	broker.CodeApproval:        http.StatusForbidden,
	broker.CodeQuota:           http.StatusForbidden,
	broker.CodeNotFound:        http.StatusNotFound,
	broker.CodeConflict:        http.StatusConflict,
	broker.CodeOverloaded:      http.StatusTooManyRequests,
	broker.CodeUnavailable:     http.StatusServiceUnavailable,
}

// failure is an error with its status.
type failure struct {
	status int
	answer wire.Error
	cause  error // for the log only
}

func (f *failure) Error() string { return string(f.answer.Code) + ": " + f.answer.Message }
func (f *failure) Unwrap() error { return f.cause }

// invalid makes err, whose message may be shown, the caller's fault.
func invalid(err error) error {
	return &failure{http.StatusBadRequest, wire.Error{Code: broker.CodeInvalid, Message: err.Error()}, nil}
}

// asFailure finds the status of any error.
func asFailure(err error) *failure {
	var (
		f *failure
		e *broker.Error
	)
	// retryUnavailable is told where nobody knows better.
	const retryUnavailable = 5 * time.Second
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &e):
		f = &failure{statuses[e.Code], wire.Error{Code: e.Code, Message: e.Message, Decision: e.Decision, RetryAfter: seconds(e.RetryAfter)}, e.Err}
		var problems *policy.Problems
		if errors.As(e.Err, &problems) {
			f.answer.Problems = problems.List
		}
		var inRego *rego.Problems
		if errors.As(e.Err, &inRego) {
			for _, p := range inRego.List {
				f.answer.Problems = append(f.answer.Problems, policy.Problem{Line: p.Line, Column: p.Column, Message: p.Message})
			}
		}
		if f.status != 0 {
			return f
		}
	case errors.Is(err, intake.ErrTooLarge):
		return &failure{http.StatusRequestEntityTooLarge, wire.Error{Code: broker.CodeInvalid, Message: err.Error()}, nil}
	case errors.Is(err, intake.ErrBusy):
		return &failure{http.StatusServiceUnavailable, wire.Error{
			Code: broker.CodeOverloaded, Message: "the broker is reading too many requests", RetryAfter: seconds(intake.RetryAfter),
		}, err}
	case errors.Is(err, intake.ErrBroken):
		return &failure{http.StatusBadRequest, wire.Error{Code: broker.CodeInvalid, Message: "the request body could not be read"}, err}
	}
	return &failure{http.StatusServiceUnavailable, wire.Error{
		Code: broker.CodeUnavailable, Message: "the broker cannot answer now", RetryAfter: seconds(retryUnavailable),
	}, err}
}

// seconds rounds up, so that nobody comes back too early.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// refuse answers with an error.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	f := asFailure(err)
	level := slog.LevelDebug
	if f.status >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	a.logger.Log(r.Context(), level, "refused", "route", r.Pattern, "status", f.status, "code", f.answer.Code,
		"decision", f.answer.Decision, "cause", f.cause)
	h := w.Header()
	switch f.status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="vouchsafe"`)
	case http.StatusRequestEntityTooLarge:
		h.Set("Connection", "close") // the rest of the body is still on its way
	}
	if f.answer.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(f.answer.RetryAfter))
	}
	if f.answer.Decision != "" {
		h.Set(decisionHeader, f.answer.Decision)
	}
	text, err := encode(f.answer)
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	write(w, f.status, mediaJSON, text)
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	text, err := encode(v)
	if err != nil {
		return fmt.Errorf("api: encoding an answer: %w", err)
	}
	write(w, status, mediaJSON, text)
	return nil
}

// encode is json.Marshal without the escapes that exist for HTML: expressions are full of < and &.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

func write(w http.ResponseWriter, status int, media string, body []byte) {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the peer may be gone
}

// checkContentType wants JSON to be called so: a page in a browser cannot send that elsewhere without being asked first.
func checkContentType(r *http.Request, needed bool) error {
	values := r.Header.Values("Content-Type")
	if len(values) == 0 && !needed {
		return nil
	}
	if len(values) == 1 {
		media, parameters, err := mime.ParseMediaType(values[0])
		delete(parameters, "charset") // RFC 8259, section 11: it has no effect
		if err == nil && media == mediaJSON && len(parameters) == 0 {
			return nil
		}
	}
	return &failure{http.StatusUnsupportedMediaType, wire.Error{Code: broker.CodeInvalid, Message: "the Content-Type is not application/json"}, nil}
}
