// Package admin is the Go client of a broker's administrative API: what the vouchsafe command does, as calls. The operations and their types are
// the table of package wire; a method here is one of them.
//
// A call is tried once. What failed for now is an [*Error] with RetryAfter, and most operations can simply be repeated; adding a version of a secret
// twice adds two. The token is sent over TLS only, except to a loopback address, and to no other host: redirects are not followed.
package admin
