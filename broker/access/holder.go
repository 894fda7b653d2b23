package access

import (
	"cmp"
	"context"
	"errors"

	"github.com/vouchsafe/vouchsafe/store"
)

// Holder returns the caller who would be authenticated by the token with that id, for deciding whether what was done with it before still counts. It
// authenticates nobody: an id is no secret. The error is ErrUnauthenticated when the token was revoked or has expired.
func (t *Tokens) Holder(ctx context.Context, id string) (Caller, error) {
	if !validID(id) {
		return Caller{}, ErrUnauthenticated
	}
	s, _, err := t.get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return Caller{}, ErrUnauthenticated
	}
	if err != nil {
		return Caller{}, err
	}
	if !t.now().Before(s.Expires) {
		return Caller{}, ErrUnauthenticated
	}
	return s.caller(), nil
}

// caller is who holds a token.
func (s *stored) caller() Caller {
	return Caller{
		Token: s.ID, Name: s.Name, Subject: cmp.Or(s.Subject, s.Name), Via: ViaToken, Makers: s.Makers, Roles: s.Roles, Namespace: s.Namespace,
		Scope: s.Scope,
	}
}
