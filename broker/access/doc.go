// Package access says who may do what: the roles of administrators, the tokens they call with, and the check that every
// administrative operation begins with.
//
// # Roles
//
// A [Role] permits a kind of work, and none of them permits reading a secret. A caller holds a [Set] of roles in one
// namespace, or in all of them and in what belongs to the whole store; and there everywhere, or for some paths of secrets, a [Scope]. [AuthorizeOn] is the
// check, and the only one. An operation that does not say which paths it is about is about the whole namespace, so that one whose author thought of no paths is
// closed to callers with a scope, rather than open.
//
// # Tokens
//
// A token is a random string that its holder sends with each request:
//
//	vst_<16 hex digits: id>_<43 characters: base64url of 32 random bytes, no padding>
//
// The id names the token in listings and in the audit log. It is no secret. The prefix lets scanners of source code find a token that leaked;
// there is no checksum, since the form is fixed to the character and 256 random bits need no help against collisions.
//
// The record sys/token/<id> holds SHA-256 of the 32 bytes and never the bytes. A plain hash is enough, for nobody can try 2^256 of them. Every
// [Tokens.Authenticate] reads the record, so that a revoked token is good for no request that starts after its revocation was committed.
//
// Every token expires. Whoever is refused learns only that: unknown, revoked, expired and mistyped are one error.
//
// [Tokens.Prepare] and [Tokens.PrepareRevoke] return the write that makes or ends a token, for the caller to commit together with
// an audit entry.
//
// # What it does not do
//
// It does not limit rates; guessing is hopeless and a look-up costs microseconds. It knows no passwords, certificates or JWTs: other ways of
// authenticating, such as packages oidc and certificate below it, make a [Caller] of their own. Each gives one place where the roles count: see [Join].
package access
