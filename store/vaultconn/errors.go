package vaultconn

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"unicode"

	"github.com/vouchsafe/vouchsafe/store"
)

// The errors of a Conn, each wrapped in an *Error. What cannot be done now, because Vault is sealed, not reachable, a standby without an active
// node, overloaded or too slow, wraps store.ErrUnavailable.
var (
	ErrNotFound  = errors.New("there is nothing at this path of Vault")
	ErrForbidden = errors.New("Vault does not allow this")
	ErrCAS       = errors.New("the record has another version")
	ErrRejected  = errors.New("Vault rejected the request")

	// ErrNoMount is a path at which no engine is mounted, so that nothing can be said of what would be there.
	ErrNoMount = fmt.Errorf("%w: nothing is mounted at this path of Vault", store.ErrUnavailable)
	// ErrLogin is that Vault did not take the credentials. Requests fail with it until a later login succeeds.
	ErrLogin = fmt.Errorf("%w: Vault did not accept the login", store.ErrUnavailable)
	// ErrOverload is that too many requests wait already.
	ErrOverload = fmt.Errorf("%w: too many requests to Vault are waiting", store.ErrUnavailable)
)

// Error is what Vault answered, or why it did not.
type Error struct {
	Method, Path string
	Status       int      // 0 where there was no answer
	Messages     []string // as Vault gave them, at most maxMessages of them, cut short and without credentials
	Unknown      bool     // the request was sent and not answered: a write may have been done
	Err          error    // one of the above, or store.ErrUnavailable
}

func (e *Error) Error() string {
	text := fmt.Sprintf("vault: %s %s: %v", e.Method, e.Path, e.Err)
	if len(e.Messages) > 0 {
		text += ": " + strings.Join(e.Messages, "; ")
	}
	return text
}

// Unwrap returns the sentinel.
func (e *Error) Unwrap() error { return e.Err }

// How much of Vault's error messages is kept.
const (
	maxMessages = 4
	maxMessage  = 300 // characters
)

var (
	// tokens are what Vault's tokens look like: service, batch and recovery tokens of today and of before version 1.10.
	tokens = regexp.MustCompile(`\b(hv[sbr]\.[A-Za-z0-9_-]{8,}|[sbr]\.[A-Za-z0-9]{20,})`)
	// repeated is how Vault's field checks say that a value has the wrong type: with the value.
	repeated = regexp.MustCompile(`(?s)error converting input .* for field`)
)

// scrub makes messages fit to be shown: few, short, printable, and without values or credentials.
func scrub(messages []string, credentials ...string) []string {
	if len(messages) > maxMessages {
		messages = messages[:maxMessages]
	}
	out := make([]string, 0, len(messages))
	for _, m := range messages {
		for _, c := range credentials {
			if len(c) >= 4 { // less is no credential, and would tear words apart
				m = strings.ReplaceAll(m, c, "[removed]")
			}
		}
		m = repeated.ReplaceAllString(m, "error converting input [removed] for field")
		m = tokens.ReplaceAllString(m, "[removed]")
		m = strings.Map(func(r rune) rune {
			if unicode.IsSpace(r) || !unicode.IsPrint(r) {
				return ' '
			}
			return r
		}, m)
		// Vault lists several errors as bullet points.
		m = strings.Join(strings.Fields(m), " ")
		if runes := []rune(m); len(runes) > maxMessage {
			m = string(runes[:maxMessage]) + "…"
		}
		if m != "" {
			out = append(out, m)
		}
	}
	return out
}

// Vault has no codes for these, only texts.
const (
	textCAS     = "check-and-set parameter did not match"
	textNoMount = "no handler for route"
)

// kindOf classifies an answer of Vault that is an error.
func kindOf(status int, messages []string) error {
	says := func(text string) bool { return strings.Contains(strings.Join(messages, "\n"), text) }
	switch {
	case status == http.StatusNotFound && says(textNoMount):
		return ErrNoMount
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusForbidden:
		return ErrForbidden
	case status == http.StatusBadRequest && says(textCAS):
		return ErrCAS
	case status == http.StatusPreconditionFailed, status == http.StatusTooManyRequests, status >= 470 && status < 480, status >= 500, status < 400:
		return store.ErrUnavailable
	default:
		return ErrRejected
	}
}
