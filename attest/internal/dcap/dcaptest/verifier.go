package dcaptest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

var shared = sync.OnceValue(New)

// Shared returns a world that is made once: its keys serve every test of a package.
func Shared() *World { return shared() }

// Verify has v judge evidence that is bound to [Binding].
func Verify(tb testing.TB, v attest.Verifier, evidence []byte, at time.Time) (*attest.Claims, error) {
	tb.Helper()
	claims, err := v.Verify(tb.Context(), attest.Input{Evidence: evidence, Binding: attest.BoundTo(Binding), Time: at})
	if err != nil && claims != nil {
		tb.Error("claims came with an error")
	}
	return claims, err
}

// VerifyAny holds v to what it promises of any input: claims, or an error of one of the two types. It returns the claims, or nil.
func VerifyAny(tb testing.TB, v attest.Verifier, input []byte) *attest.Claims {
	tb.Helper()
	claims, err := v.Verify(tb.Context(), attest.Input{Evidence: input, Binding: attest.Unbound(), Time: Now})
	var refusal *attest.Refusal
	var unavailable *attest.Unavailable
	if (claims == nil) == (err == nil) || err != nil && !errors.As(err, &refusal) && !errors.As(err, &unavailable) {
		tb.Fatalf("claims %v, error %v", claims, err)
	}
	return claims
}

// WantCode fails the test unless err is a refusal with the code.
func WantCode(tb testing.TB, err error, code attest.Code) {
	tb.Helper()
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		tb.Errorf("error %v, want %s", err, code)
	}
}
