package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/token"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
)

// Passports is what a verifier in Config.Verifiers implements that also takes passports: attestation results which another verifier issued to a workload
// without a nonce of this broker. *token.Verifier does.
type Passports interface {
	Passport(ctx context.Context, compact []byte, at time.Time) (*token.Passport, error)
	Passports() bool // whether it is configured to take any
}

// passportsOf returns the first verifier that takes passports, or nil.
func passportsOf(verifiers []attest.Verifier) Passports {
	for _, v := range verifiers {
		if p, ok := v.(Passports); ok && p.Passports() {
			return p
		}
	}
	return nil
}

// Passport takes a token that another verifier issued in the place of evidence (RFC 9334, section 5.1). It spends no nonce, since there is none: the same token is good again and again
// until it expires, and its claims say so (bound is false, token.passport true), which the policy baseline refuses until a policy waives it. What is released for it is
// encrypted to the key that the other verifier attested, whoever brings the token.
//
// A refusal is recorded, as that of evidence is; what is accepted is recorded by the Release that must follow. The attestation is as old as the token says, and good until the token
// expires or is older than configured. Where no verifier takes passports, the error is that of a token which nobody knows.
func (b *Broker) Passport(ctx context.Context, namespace, compact, remote string, options envelope.Options) (a *Attested, err error) {
	if b.passports == nil {
		return nil, &Error{Code: CodeSession, Message: badToken, Err: ErrForeignToken}
	}
	if err := CheckNamespace(namespace); err != nil {
		return nil, err
	}
	start := b.now()
	code := "accepted"
	defer func() {
		if e := asError(err); e != nil {
			code = string(e.Code)
		}
		b.observer.Attested(ProtocolKBS, attest.Token, code, b.now().Sub(start))
	}()
	if err := b.queue(); err != nil {
		return nil, err
	}
	defer b.dequeue()
	select {
	case b.verifying <- struct{}{}:
		defer func() { <-b.verifying }()
	case <-ctx.Done():
		return nil, asError(fmt.Errorf("%w: %w", errNotVerified, ctx.Err()))
	}
	now := b.now()
	a = &Attested{
		protocol: ProtocolKBS, namespace: namespace, kind: attest.Token, remote: remote, evidence: digest([]byte(compact)), at: now,
	}
	p, err := b.passports.Passport(ctx, []byte(compact), now)
	if err != nil {
		return nil, b.refuseEvidence(ctx, a, err)
	}
	if a.recipient, err = envelope.ParseRecipient(p.Recipient, options); err != nil {
		a.recipient = nil
		return nil, b.refuseEvidence(ctx, a, attest.Refuse(attest.CodeBinding, "the key that the token names cannot be encrypted to: %w", err))
	}
	a.nonce, a.claims, a.expires = p.Nonce, p.Claims, p.Expires
	if p.Issued.Before(now) { // or the clock of the other verifier is ahead, and it is as if it had issued the token now
		a.at = p.Issued
	}
	return a, nil
}

// ErrForeignToken says that a bearer token was not signed by a key of this broker. Another verifier may have issued it.
var ErrForeignToken = errors.New("a token that was not signed here")
