// Package oidc authenticates callers by the JWTs (RFC 7519) of issuers that the operator trusts: identity providers of people, and those of CI systems and
// clusters for machines.
//
// # What counts
//
// A token counts when it is a compact JWS (RFC 7515, section 7.1) of at most [MaxToken] bytes, signed by a key of the issuer's set with an algorithm that the
// operator pinned; its type is JWT or at+jwt; iss is the issuer's, aud holds one of the audiences, exp is to come, iat is there, and not longer past than the issuer's maximum age,
// and nbf, where it is there, has come. Clocks may differ by [Leeway].
//
// The key is that of the key set whose kid the header names. Whatever a header says of keys itself (jwk, jku, x5u, x5c), or that would change what the token
// means (crit, b64, zip, enc, cty), makes it no token. There is no "none" and nothing symmetric. JSON is read strictly: a member that is there twice is an error.
//
// # Who it is
//
// The subject is "NAME:SUB", of the issuer's name in the configuration, so that subjects of two issuers never are one person. With the claim email as the
// subject it is the address in lower case, and email_verified must be true: two issuers that vouch for one address speak of one person.
//
// Rules map claims to roles: a rule matches when every claim that it names is the value it gives, or a list that holds it. A claim that begins with "/" is a JSON
// Pointer (RFC 6901) into objects. The grants of the rules that match are joined by [access.Join]. A token that no rule matches is of a caller who may do nothing.
//
// # What it does not do
//
// It keeps no tokens: to verify one costs less than to look after a cache of those that must not outlive their keys. It cannot tell that a token was revoked
// before it expires; short lifetimes are for that.
package oidc
