// Package vaultconn is how a broker talks to HashiCorp Vault or OpenBao: one connection that knows how to log in, keeps its token alive and says in
// typed errors what went wrong. The store, the sources and the seal that are Vault's are all made over a [Conn]. It stands on HashiCorp's client
// (github.com/hashicorp/vault/api), of which it uses the requests only.
//
// # Who is on the other side
//
// TLS is verified always, 1.2 or newer, against Config.CACert or the system's authorities; there is no switch. Plain HTTP needs
// Config.Development and a loopback address, both. No proxy is used and no redirect followed: a standby that cannot forward answers with the address of
// the active node, and a token is not sent to whatever an answer names. Connections are HTTP/1.1: a dead connection then costs the requests
// that wait on it, not all.
//
// # The environment
//
// HashiCorp's client reads some twenty variables VAULT_*, among them VAULT_TOKEN, VAULT_NAMESPACE, VAULT_SKIP_VERIFY, VAULT_HEADERS, VAULT_WRAP_TTL
// and VAULT_AGENT_ADDR. None has an effect here: each thing that they could set is set from Config instead. One that cannot be parsed is an error of
// Open, because the client's constructor reads it before it can be told not to; unset it.
//
// # Logging in
//
// See [Auth] for the methods. A token is renewed when about two thirds of its lease have gone by, a little earlier or later at random, so that brokers
// started together do not come back together. When a renewal no longer brings at least half of the first lease, which is how a maximum TTL shows, the
// Conn logs in anew while the old token is still good. The old one is left to end by itself, because the leases of dynamic secrets that were
// made with it end with it. For the same reason Close revokes a token that this Conn got by logging in, but not with Config.KeepToken.
//
// A request that is refused with 403 is one of two things: a right that is missing, or a token that is gone. The token is asked (lookup-self), at most once in
// checkEvery however many requests are refused (so ErrForbidden can be what is told of a token that was revoked in that moment), and if it is gone the Conn logs in again at once and makes those requests once more. A login that failed is
// not repeated before a pause that doubles from half a second to thirty, with jitter; after two that succeeded in
// quick succession there is a pause of loginGap. Requests that come
// while there is no token fail at once with store.ErrUnavailable. Nothing needs a restart.
//
// Files that hold credentials are refused when others than their owner and group can read them, or others than the owner can write them. They are read again
// at each login, and looked at every filesEvery: a new token or client certificate is used at once, and where the last login failed, a change is reason
// for another.
//
// # Bounds
//
// At most Config.MaxInFlight requests are under way and waitFactor times as many wait for their turn; the next is store.ErrUnavailable at once. Logging in and
// renewing are not held up by them. A request, with its wait, takes Config.Timeout at most. Answers are bounded: lists to maxList, errors to
// maxErrorAnswer, anything else to maxAnswer.
//
// Nothing is retried but a GET or LIST whose connection broke before an answer began, once. After an error of a write it may have been done: see Error.Unknown.
//
// # What an answer is
//
// What does not have the shape of Vault's answers is store.ErrUnavailable whatever its status: the 404 of a load balancer must not look like a secret that
// does not exist. Vault's own 404 for a path at which nothing is mounted is ErrNoMount, which is store.ErrUnavailable too: that a mount has been
// removed does not mean that there are no policies.
//
//	400              ErrCAS where the version is another, else ErrRejected
//	403              ErrForbidden, after the token was found to be good
//	404              ErrNotFound, or ErrNoMount
//	405, 413, other  ErrRejected
//	412              store.ErrUnavailable: this node has not caught up yet
//	429              store.ErrUnavailable: a quota, or a standby
//	472, 473, 3xx    store.ErrUnavailable: a standby, without forwarding
//	501, 503         store.ErrUnavailable: not initialised, sealed, or no active node
//	5xx, no answer   store.ErrUnavailable
//
// # What is never told
//
// Errors, logs, metrics and Status hold no token, secret id or JWT, and of bodies only the messages of Vault's errors, cut short, from which values
// that Vault repeats and whatever looks like a token are removed.
package vaultconn
