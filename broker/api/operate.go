package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/keys"
)

func (a *API) routeOperator() {
	b := a.broker
	bind(a, wire.ListEnrolments, func(ctx context.Context, who access.Caller, in wire.Page) (wire.List[tpm.Enrolment], error) {
		page, more, err := b.Enrolments(ctx, who, a.namespace, in.After, in.Limit)
		return list(page, more, func(e tpm.Enrolment) string { return e.AKSPKIDigest }), err
	})
	bind(a, wire.BeginEnrolment, func(ctx context.Context, who access.Caller, in wire.EnrolmentBegin) (out wire.EnrolmentChallenge, err error) {
		id, challenge, err := b.BeginEnrolment(ctx, who, a.namespace, in.Host, in.Request)
		if err != nil {
			return out, err
		}
		return wire.EnrolmentChallenge{ID: id, Challenge: *challenge}, nil
	})
	bind(a, wire.CompleteEnrolment, func(ctx context.Context, who access.Caller, in wire.EnrolmentComplete) (out tpm.Enrolment, err error) {
		enrolment, err := b.CompleteEnrolment(ctx, who, a.namespace, in.ID, in.Secret)
		if err != nil {
			return out, err
		}
		return *enrolment, nil
	})
	bind(a, wire.RevokeEnrolment, func(ctx context.Context, who access.Caller, in wire.EnrolmentDigest) (wire.None, error) {
		return wire.None{}, b.RevokeEnrolment(ctx, who, a.namespace, in.Digest)
	})

	bind(a, wire.WhoAmI, func(_ context.Context, who access.Caller, _ wire.None) (wire.Caller, error) {
		return wire.Caller{
			Subject: who.Subject, Name: who.Name, Via: who.Via, Token: who.Token, Makers: who.Makers, Roles: who.Roles, Namespace: who.Namespace,
			Scope: who.Scope, Remote: who.Remote,
		}, nil
	})
	bind(a, wire.ListTokens, func(ctx context.Context, who access.Caller, in wire.Page) (wire.List[access.Record], error) {
		page, more, err := b.Tokens(ctx, who, in.After, in.Limit)
		return list(page, more, func(t access.Record) string { return t.ID }), err
	})
	bind(a, wire.CreateToken, a.createToken)
	bind(a, wire.RevokeToken, func(ctx context.Context, who access.Caller, in wire.TokenID) (wire.None, error) {
		return wire.None{}, b.RevokeToken(ctx, who, in.ID)
	})

	bind(a, wire.ListKeys, func(ctx context.Context, who access.Caller, _ wire.None) (wire.List[keys.Info], error) {
		page, err := b.SigningKeys(ctx, who)
		return list(page, false, nil), err
	})
	bind(a, wire.RotateKey, func(ctx context.Context, who access.Caller, in wire.KeyRotate) (wire.KeyRotated, error) {
		id, err := b.RotateKey(ctx, who, in.Purpose)
		return wire.KeyRotated{KeyID: id}, err
	})
	bind(a, wire.RotateDataKey, a.rotateDataKey)
	route(a, wire.Backup, a.streamBackup)
}

func (a *API) createToken(ctx context.Context, who access.Caller, in wire.TokenCreate) (wire.TokenCreated, error) {
	if in.Namespace == "" {
		in.Namespace = a.namespace
	}
	if in.Lifetime < 0 || in.Lifetime > wire.MaxLifetime {
		return wire.TokenCreated{}, invalid(fmt.Errorf("a lifetime of %d seconds, not 1 to %d", in.Lifetime, wire.MaxLifetime))
	}
	token, record, err := a.broker.CreateToken(ctx, who, access.Request{
		Name: in.Name, Subject: in.Subject, Roles: in.Roles, Namespace: in.Namespace, Scope: in.Scope,
		Lifetime: time.Duration(in.Lifetime) * time.Second,
	})
	if err != nil {
		return wire.TokenCreated{}, err
	}
	return wire.TokenCreated{Token: wire.Secret(token.Reveal()), Record: record}, nil
}

// notConfigured is what an operation without its hook answers.
func notConfigured(what string) error {
	return &failure{http.StatusNotFound, wire.Error{Code: broker.CodeNotFound, Message: "this broker does not " + what + " over the network"}, nil}
}

func (a *API) rotateDataKey(ctx context.Context, who access.Caller, _ wire.None) (wire.None, error) {
	if a.rotateData == nil {
		return wire.None{}, notConfigured("rotate its data key")
	}
	if err := a.broker.RecordDataKeyRotation(ctx, who); err != nil {
		return wire.None{}, err
	}
	return wire.None{}, a.rotateData(ctx)
}

// streamBackup writes a backup as it is made. It cannot say that it failed once it has begun, so it breaks the connection off.
func (a *API) streamBackup(c *call) error {
	var in wire.BackupRequest
	if err := wire.Decode(c.r, c.body, &in); err != nil {
		return invalid(err)
	}
	if a.backup == nil && a.noBackup != "" {
		return &failure{http.StatusConflict, wire.Error{Code: broker.CodeConflict, Message: a.noBackup}, nil}
	}
	if a.backup == nil {
		return notConfigured("make backups")
	}
	ctx := c.r.Context()
	if err := a.broker.RecordBackup(ctx, c.who, in.Recipients); err != nil {
		return err
	}
	w := &stream{w: c.w, control: http.NewResponseController(c.w), media: wire.Backup.Media}
	err := a.backup(ctx, w, in.Recipients)
	if err == nil {
		return nil
	}
	if !w.begun {
		return err
	}
	a.logger.ErrorContext(ctx, "a backup broke off", "written", w.written, "cause", err)
	panic(http.ErrAbortHandler) // the documented way to break off an answer
}

// stream writes a long answer, with time for each part of it rather than for the whole.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	media   string
	begun   bool
	written int64
}

// partTimeout is how long a client may take to read what one write sends.
const partTimeout = 30 * time.Second

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	if err := s.control.SetWriteDeadline(time.Now().Add(partTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", s.media)
		s.w.WriteHeader(http.StatusOK)
	}
	n, err := s.w.Write(p)
	s.written += int64(n)
	return n, err
}
