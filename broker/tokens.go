package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/store"
)

// Authenticate returns the caller whose token text is, with the address it came from.
func (b *Broker) Authenticate(ctx context.Context, text, remote string) (access.Caller, error) {
	who, err := b.tokens.Authenticate(ctx, text)
	if err != nil {
		return access.Caller{}, asError(err)
	}
	who.Remote = remote
	return who, nil
}

// CreateToken makes a token. Operators may, and only with roles that they hold themselves, in a namespace of theirs: whoever can make tokens
// would otherwise hold every role. Whose token made it is recorded with it, and cannot be asked for.
func (b *Broker) CreateToken(ctx context.Context, who access.Caller, r access.Request) (access.Token, access.Record, error) {
	fail := func(err error) (access.Token, access.Record, error) { return access.Token{}, access.Record{}, err }
	if err := access.Authorize(who, access.Operator, r.Namespace); err != nil {
		return fail(asError(err))
	}
	scope, err := access.ParseScope(r.Scope...)
	if err != nil {
		return fail(invalid("%w", err))
	}
	if r.Scope = scope; !r.Scope.Within(who.Scope) { // which Authorize has seen to already, as long as operators have no scope
		return fail(&Error{Code: CodeForbidden, Message: fmt.Sprintf("a token's paths must be among its maker's, and %q has %s", who.Name, who.Scope)})
	}
	for _, role := range r.Roles.Roles() {
		if err := access.Authorize(who, role, r.Namespace); err != nil {
			return fail(&Error{Code: CodeForbidden, Err: err, Message: fmt.Sprintf(
				"a token's roles must be among its maker's, and %q is not %s", who.Name, role)})
		}
	}
	r.CreatedBy, r.Makers = who.Token, append([]string{who.Subject}, who.Makers...)
	token, record, err := b.commitToken(ctx, who, r)
	if err != nil {
		return fail(err)
	}
	return token, record, nil
}

func (b *Broker) commitToken(ctx context.Context, who access.Caller, r access.Request) (access.Token, access.Record, error) {
	token, record, w, err := b.tokens.Prepare(r)
	if err != nil {
		return token, record, invalid("%w", err)
	}
	event := Event{Type: EventTokenCreate, Object: record.ID + " " + record.Roles.String()}
	if !record.Scope.All() {
		event.Object += " for " + strings.Join(record.Scope, " ")
	}
	return token, record, b.commit(ctx, who, store.SysNamespace, event, w)
}

// FirstToken makes the token by which everything else is set up. It is for whoever holds the store and its seal in their hands, as
// "vouchsafe init" does, and no request reaches it.
func (b *Broker) FirstToken(ctx context.Context, name string, lifetime time.Duration) (access.Token, access.Record, error) {
	return b.commitToken(ctx, access.Caller{Name: "init", Subject: "init", Via: access.ViaInit}, access.Request{
		Name: name, Roles: access.Administrator(), Namespace: access.AllNamespaces, Lifetime: lifetime, CreatedBy: "init",
	})
}

// RevokeToken ends a token. Operators may; a token may also end itself.
func (b *Broker) RevokeToken(ctx context.Context, who access.Caller, id string) error {
	record, w, err := b.tokens.PrepareRevoke(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		err = notFound("there is no token with the id %q", clip(id))
	}
	if id != who.Token || who.Token == "" {
		namespace := record.Namespace
		if namespace == "" {
			namespace = access.AllNamespaces
		}
		if denied := access.Authorize(who, access.Operator, namespace); denied != nil {
			return asError(denied)
		}
	}
	if err != nil {
		return asError(err)
	}
	return b.commit(ctx, who, store.SysNamespace, Event{Type: EventTokenRevoke, Object: id}, w)
}

// Tokens returns a page of tokens, without their secrets. Operators of all namespaces may.
func (b *Broker) Tokens(ctx context.Context, who access.Caller, after string, limit int) (page []access.Record, more bool, err error) {
	if err := authorizeEverywhere(who, access.Operator); err != nil {
		return nil, false, err
	}
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	page, err = b.tokens.List(ctx, after, limit+1)
	if err != nil {
		return nil, false, asError(err)
	}
	if len(page) > limit {
		return page[:limit], true, nil
	}
	return page, false, nil
}

// RotateKey replaces the key that signs tokens or replies; what the old one signed stays good until it expires. Operators of all namespaces may.
func (b *Broker) RotateKey(ctx context.Context, who access.Caller, purpose keys.Purpose) (id string, err error) {
	if err := authorizeEverywhere(who, access.Operator); err != nil {
		return "", err
	}
	// Another broker may have rotated it, and a new data key has every record written again: either changed the record's version.
	if err := b.keys.Reload(ctx); err != nil {
		return "", asError(err)
	}
	rotated, use, err := b.keys.PrepareRotate(ctx, purpose)
	if errors.Is(err, keys.ErrNotRotatable) || errors.Is(err, keys.ErrPurpose) {
		return "", invalid("%w", err)
	}
	if err != nil {
		return "", asError(err)
	}
	if err := b.commit(ctx, who, store.SysNamespace, Event{Type: EventKeyRotate, Object: string(purpose)}, rotated); err != nil {
		// Whether the record changed may be unknown: read what is there, so as not to sign with a key that nobody publishes.
		if reload := b.keys.Reload(ctx); reload != nil {
			b.logger.ErrorContext(ctx, "the keys could not be read again after a rotation failed", "cause", reload)
		}
		return "", err
	}
	use()
	return b.keys.KeyID(purpose), nil
}
