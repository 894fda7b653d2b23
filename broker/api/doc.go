// Package api is the native front end: the release protocol of package client/release, and the administrative API of package
// broker/admin/wire, as JSON over HTTPS. It decodes, calls the core, and encodes; it decides nothing.
//
//	/v1/challenges, /v1/releases      the native release
//	/v1/kinds, /.well-known/jwks.json what a workload may want to know before
//	/v1/admin/…                       administration, by bearer token
//	/v1/audit/…                       the log as a C2SP tile log, with proofs
//	/openapi.json                     all of it as an OpenAPI 3.1 document, docs/reference/openapi.json
//
// # One handler
//
// Every operation goes through one function, [API.answer]: it authenticates before it reads a body, reads the body within the operation's limit and
// the broker's budget, has it decoded strictly, calls the core, and turns what comes back into an answer or an error.
//
// # Errors
//
// An error is {"code","message"} with "decision", "retry_after" (seconds) and "problems" (of a policy document) where there are any. Clients go by
// the code. The cause of an error stays here: it is logged, at debug level for what is the caller's fault. The statuses:
//
//	400  invalid_request     malformed, over a limit of its contents, or not possible
//	401  unauthenticated     no valid token; with WWW-Authenticate
//	401  session_invalid
//	403  nonce_invalid, evidence_refused, denied, forbidden; quota_exceeded, of the namespace
//	404  not_found           also a path or method that does not exist
//	409  conflict
//	413  invalid_request     the body is over the operation's limit
//	415  invalid_request     the body is not application/json
//	429  overloaded          with Retry-After
//	503  unavailable         with Retry-After; also overloaded, where the budget for bodies is spent
//
// No request leads to 500, other than by a bug that panics, which package server answers.
//
// # Headers
//
// Answers are not to be cached or sniffed. One about a decision names it in Vouchsafe-Decision, so that a proxy's log can too.
package api
