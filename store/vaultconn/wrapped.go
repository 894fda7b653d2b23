package vaultconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
)

// The errors of a response-wrapped secret id. Both are alarms: somebody looked into them, or swapped them.
var (
	// ErrUnwrapped is a wrapping token that is good no more. It was good for one use, and this Conn did not use it.
	ErrUnwrapped = errors.New("the wrapping token of the secret id is not good: somebody else unwrapped it, or it lay there for longer than its TTL. " +
		"Until you know which, treat the secret id as stolen: destroy it, and look in Vault's audit log for who called sys/wrapping/unwrap")
	// ErrWrapping is a wrapping token that was made for something else than a secret id of the role.
	ErrWrapping = errors.New("the wrapping token does not come from where the role's secret ids do: somebody may have put another in its place")
)

// unwrapped is a secret id that came wrapped. It is kept in memory alone. It belongs to the login that is under way.
type unwrapped struct {
	from string // the wrapping token
	held string // the secret id
}

// secretID returns the secret id, unwrapping it when its file holds a wrapping token that was not seen before.
//
// After it is unwrapped the file is removed, if it can be: a used wrapping token that is found at the next start could not be told from one that somebody
// else used.
func (u *unwrapped) secretID(ctx context.Context, c *Conn) (string, error) {
	file := c.config.Auth.SecretIDFile
	wrapping, err := readCredential(file, secretFile)
	switch {
	case u.held != "" && (errors.Is(err, os.ErrNotExist) || wrapping == u.from):
		return u.held, nil
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("no wrapped secret id: each start of a broker needs a new one: %w", err)
	case err != nil:
		return "", err
	}
	secretID, err := c.unwrap(ctx, wrapping)
	if err != nil {
		return "", err
	}
	u.from, u.held = wrapping, secretID
	if err := os.Remove(file); err != nil {
		c.config.Logger.WarnContext(ctx, "the used wrapping token could not be removed; at the next start there must be another in its place", "cause", err)
	}
	return secretID, nil
}

// unwrap looks where a wrapping token comes from, which does not use it, and then what it holds, which does.
func (c *Conn) unwrap(ctx context.Context, wrapping string) (string, error) {
	a, err := c.internal(ctx, classLogin, Request{
		Method: http.MethodPost, Path: "sys/wrapping/lookup", Body: map[string]string{"token": wrapping},
	}, "", wrapping)
	if err != nil {
		return "", used(err)
	}
	var origin struct {
		Path string `json:"creation_path"`
	}
	want := fmt.Sprintf("auth/%s/role/%s/secret-id", c.config.Auth.Mount, c.config.Auth.Role)
	if a == nil || json.Unmarshal(a.Data, &origin) != nil || origin.Path != want {
		return "", fmt.Errorf("%w: %w: it comes from %.200q, not from %q", ErrLogin, ErrWrapping, origin.Path, want)
	}
	if a, err = c.internal(ctx, classLogin, Request{Method: http.MethodPost, Path: "sys/wrapping/unwrap"}, wrapping); err != nil {
		return "", used(err)
	}
	var secret struct {
		SecretID string `json:"secret_id"`
	}
	if a == nil || json.Unmarshal(a.Data, &secret) != nil || checkCredential(secret.SecretID) != nil {
		return "", fmt.Errorf("%w: what was wrapped is not a secret id", ErrLogin)
	}
	return secret.SecretID, nil
}

// used says what it means that Vault does not know a wrapping token.
func used(err error) error {
	if errors.Is(err, ErrRejected) || errors.Is(err, ErrForbidden) || errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: %w: %w", ErrLogin, ErrUnwrapped, err)
	}
	return err
}
