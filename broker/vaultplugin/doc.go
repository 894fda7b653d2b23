// Package vaultplugin is the broker inside Vault: what the secrets engine and the auth method have in common. A [Mount] is one mount of either, with a whole
// broker in it: its policies, reference values, enrolments, keys and audit log are the mount's own, in the storage that Vault gives it.
//
// # One core
//
// The core and the native front end are those of the server: a request to Vault is decoded by the mount's table of paths ([Route]), made into the request of
// package broker/api that it is, and answered by that in this process. So a path accepts, judges, limits and answers what the server does, and there
// is no second opinion here. What is different is who asks, where it is kept, and how an answer looks in Vault.
//
// # Who asks
//
// Vault's own policies say who may use a path. Who may, has the roles in the core that the operation of the path needs, and no others: the paths
// are cut so that each role has paths of its own, see docs/vault-plugin.md. The audit log names the caller as Vault does: the entity, or a hash of the token
// where it has none, and the display name. A token is never written anywhere.
//
// Challenges, releases and public keys need no token: PathsSpecial.Unauthenticated. What a stranger can make the broker do there is bounded by the core as it
// is in the server, and by Vault's quotas.
//
// # Which node
//
// Requests are served by one process: the active node, and of an Enterprise cluster with performance replication the primary's. On other nodes every
// operation answers logical.ErrReadOnly, at which Vault passes it on, and no core is made. A nonce is good on the node that issued it; after another node took over,
// workloads ask for another, as they do after a restart of the server.
//
// # When there is a core
//
// The first configuration of a mount makes its keys and its log. From then on the core is made at the first request, or when Vault initialises the mount, and
// anew when the configuration changes. A log that is gone is not begun again: then the mount answers that it is unavailable.
//
// # Development
//
// A mount is made for production or for development, by its first configuration, and remains so. Evidence that proves nothing about hardware is judged
// in development mounts only: the core refuses to be made otherwise. This package links no verifier of such evidence; [Options.Development] is where
// the program hands one in.
//
// # Errors
//
// An error of the broker has its status of package broker/api. The body is Vault's, {"errors":["CODE: MESSAGE"],"data":{…}}, whose data is what a server's
// answer has: code, message, decision, retry_after, problems. The header Retry-After is there for mounts that are tuned to let it through. Native paths, below v1/,
// answer as the server does.
package vaultplugin
