package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/ear"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/keys"
)

// Token returns an attested workload's attestation result as a signed token (EAR), by which it, or whoever relies on it, can show for
// as long as the attestation is good what was attested. It carries no right but to ask: secrets are encrypted to the key in it.
func (b *Broker) Token(ctx context.Context, a *Attested) (string, error) {
	id, err := b.newID()
	if err != nil {
		return "", asError(err)
	}
	now := b.now()
	rules, err := b.rules.of(ctx, a.namespace)
	if err != nil {
		return "", asError(err)
	}
	t := b.tokenOf(ctx, a, rules.rego, now)
	t.ID = id
	payload, err := t.Encode()
	if errors.Is(err, ear.ErrTooLarge) {
		return "", invalid("the evidence proves more than a token can hold: use a smaller init-data document")
	}
	if errors.Is(err, ear.ErrAppraisal) {
		b.logger.WarnContext(ctx, "no token is issued", "decision", a.decision, "kind", a.kind, "cause", err)
		return "", &Error{Code: CodeEvidence, Message: "the attestation policy gives no result for this evidence", Decision: a.decision, Err: err}
	}
	if err != nil {
		return "", asError(err)
	}
	token, err := b.keys.SignCompact(keys.Token, ear.Type, payload)
	if err != nil {
		return "", asError(err)
	}
	return token, nil
}

// SessionLifetime returns how long an attestation is good for.
func (b *Broker) SessionLifetime() time.Duration { return b.limits.SessionLifetime }

// badToken is what the bearer of a token learns when it is no good.
const badToken = "the token was not issued here, or has expired: attest again"

// Bearer takes back a token that Token returned. Its evidence is as old as the token says, and remote is who brings it now. The error of
// a token that no key of this broker signed wraps ErrForeignToken: it may be a [Broker.Passport].
func (b *Broker) Bearer(token, remote string, options envelope.Options) (*Attested, error) {
	fail := func(err error) (*Attested, error) {
		return nil, &Error{Code: CodeSession, Message: badToken, Err: err}
	}
	payload, _, err := b.keys.Verify(keys.Token, ear.Type, token)
	if errors.Is(err, keys.ErrUnknownKey) || errors.Is(err, keys.ErrMalformed) {
		return fail(fmt.Errorf("%w: %w", ErrForeignToken, err))
	}
	if err != nil {
		return fail(err)
	}
	t, err := ear.Decode(payload)
	if err != nil {
		return fail(err)
	}
	if err := t.Check(b.now(), b.issuer, ""); err != nil {
		return fail(err)
	}
	// A verifier that is no longer configured must not live on in tokens, and a key that is no longer acceptable neither.
	if !b.accepts(t.Claims.Kind) {
		return fail(attest.Refuse(attest.CodeKindUnknown, "no verifier of %q is configured any more", t.Claims.Kind))
	}
	recipient, err := envelope.ParseRecipient(t.Recipient, options)
	if err != nil {
		return fail(err)
	}
	return &Attested{
		protocol: ProtocolKBS, namespace: t.Namespace, kind: t.Claims.Kind, nonce: t.Nonce, remote: remote, evidence: t.Evidence,
		decision: t.Decision, claims: t.Claims, recipient: recipient, at: t.Attested, expires: t.Expires,
	}, nil
}
