package vaultplugin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"unicode"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker/access"
)

// maxName is how much of a display name gets into the audit log, in bytes.
const maxName = 128

// NoEntity is the subject of every caller whose token has no entity, such as a root token. They are one person to the rules of approval: whoever has one of these
// tokens can have Vault make any number of them.
const NoEntity = "token without an entity"

// callerKey is where a request's context has who Vault says it is from.
type callerKey struct{}

// Caller returns who Vault says a request is from, with the roles that its path gives.
func Caller(req *logical.Request, roles ...access.Role) access.Caller {
	who := access.Caller{Name: printable(req.DisplayName), Via: access.ViaVault, Roles: access.SetOf(roles...), Namespace: access.AllNamespaces, Remote: remote(req)}
	switch {
	case req.EntityID != "":
		who.Token = "entity:" + printable(req.EntityID) // which is who it is however it logged in
		who.Subject = who.Token
	case req.ClientToken != "":
		// Vault gives a mount a hash of the token, with a salt of the mount's. Hashed once more, so that not even that is anywhere.
		sum := sha256.Sum256([]byte("vouchsafe " + req.ClientToken))
		who.Token = "token:" + hex.EncodeToString(sum[:8])
		who.Subject = NoEntity
	}
	if who.Name == "" {
		who.Name = "vault"
	}
	return who
}

// printable clips a text and leaves out what does not belong on a line.
func printable(text string) string {
	if len(text) > maxName {
		text = strings.ToValidUTF8(text[:maxName], "")
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(text, ""))
}

// remote is the address of the peer that Vault saw.
func remote(req *logical.Request) string {
	if req.Connection == nil {
		return ""
	}
	return req.Connection.RemoteAddr
}

func withCaller(ctx context.Context, who access.Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, who)
}

// whoCalls is how package api learns who asks.
func whoCalls(r *http.Request) (access.Caller, error) {
	who, ok := r.Context().Value(callerKey{}).(access.Caller)
	if !ok {
		return access.Caller{}, access.ErrUnauthenticated
	}
	return who, nil
}
