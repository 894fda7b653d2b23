package admin

import (
	"context"
	"fmt"
	"io"

	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/keys"
)

// Enrolments returns a page of enrolled TPM keys.
func (c *Client) Enrolments(ctx context.Context, in wire.Page) (wire.List[tpm.Enrolment], error) {
	return call(ctx, c, wire.ListEnrolments, in)
}

// BeginEnrolment challenges a host to prove where its attestation key is.
func (c *Client) BeginEnrolment(ctx context.Context, in wire.EnrolmentBegin) (wire.EnrolmentChallenge, error) {
	return call(ctx, c, wire.BeginEnrolment, in)
}

// CompleteEnrolment enrols the key of a host that answers its challenge.
func (c *Client) CompleteEnrolment(ctx context.Context, in wire.EnrolmentComplete) (tpm.Enrolment, error) {
	return call(ctx, c, wire.CompleteEnrolment, in)
}

// RevokeEnrolment makes an enrolled key count no more.
func (c *Client) RevokeEnrolment(ctx context.Context, digest string) error {
	_, err := call(ctx, c, wire.RevokeEnrolment, wire.EnrolmentDigest{Digest: digest})
	return err
}

// Tokens returns a page of tokens.
func (c *Client) Tokens(ctx context.Context, in wire.Page) (wire.List[access.Record], error) {
	return call(ctx, c, wire.ListTokens, in)
}

// CreateToken makes a token.
func (c *Client) CreateToken(ctx context.Context, in wire.TokenCreate) (wire.TokenCreated, error) {
	return call(ctx, c, wire.CreateToken, in)
}

// RevokeToken ends a token.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	_, err := call(ctx, c, wire.RevokeToken, wire.TokenID{ID: id})
	return err
}

// Keys describes the keys that sign.
func (c *Client) Keys(ctx context.Context) (wire.List[keys.Info], error) {
	return call(ctx, c, wire.ListKeys, wire.None{})
}

// RotateKey replaces a key that signs.
func (c *Client) RotateKey(ctx context.Context, in wire.KeyRotate) (wire.KeyRotated, error) {
	return call(ctx, c, wire.RotateKey, in)
}

// RotateDataKey has the store encrypt with a new key.
func (c *Client) RotateDataKey(ctx context.Context) error {
	_, err := call(ctx, c, wire.RotateDataKey, wire.None{})
	return err
}

// Backup writes a backup that the given age recipients can read to w. On an error what was written is no backup. It has no time-out but the context's.
func (c *Client) Backup(ctx context.Context, w io.Writer, recipients ...string) error {
	response, err := c.do(ctx, wire.Backup.Operation, wire.BackupRequest{Recipients: recipients})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	// A broker that fails half way breaks the connection off, which is an error here and not an end.
	if _, err := io.Copy(w, response.Body); err != nil {
		return fmt.Errorf("admin: backup: %w", err)
	}
	return nil
}

// WhoAmI says who the broker takes the client for.
func (c *Client) WhoAmI(ctx context.Context) (wire.Caller, error) {
	return call(ctx, c, wire.WhoAmI, wire.None{})
}
