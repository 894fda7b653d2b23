// Package vault keeps records in a KV engine, version 2, of HashiCorp Vault: the store of brokers that run where there is Vault, as many of them as there
// need be on one store.
//
// # Layout
//
// The store is a folder, [Config.Prefix], of a mount, and everything in it is a secret of the engine:
//
//	PREFIX/=header                          the store's header
//	PREFIX/default/payments=2Ev1            the record default/payments.v1
//	PREFIX/=parts/default/large/=part-ID-0  a part of the record default/large
//
// Each segment of a key is one element of the path. Letters, digits, "-" and "_" stand for themselves, and every other byte is "=" and two upper-case
// hexadecimal digits, so that nothing in a key means anything to Vault's router, its policies, a URL or a file system; and a name has one spelling. An
// element has at most 104 bytes: the engine encrypts names, which makes at most 242 of them, and Vault's file storage takes 254. A longer segment
// goes on in the next element, and "=" at an element's end says so. What begins with "=" and is not an escaped byte is the store's own.
// Names of other forms are not the store's and are passed over.
//
// What a secret holds is JSON, in one of these forms and no other:
//
//	{"value": "BASE64"}                                               a record's value, or a part of one, of at most 384 KiB
//	{"id": "32 hex", "parts": 2, "size": 400000, "sha256": "64 hex"}  a record whose value is in parts of 384 KiB, the last one shorter
//	{"deleted": true}                                                 a tombstone
//
// and the header's members are format (1), store (an id, 16 random bytes in lower-case hexadecimal), purpose and created (RFC 3339). A store made for development is refused by
// a production open, and the reverse; a newer format is refused rather than guessed at. Any other content where a record should be gives store.ErrCorrupt, and
// can be replaced and deleted at the version that List shows.
//
// Raft, Vault's own storage, takes 1 MiB for an entry by default (max_entry_size); a part is half of it in base64. Parts are written first, under a random id, and the record that
// names them after them; then the parts that it replaced are removed. A value whose parts do not have its SHA-256 is never returned.
//
// # Engine
//
// [Open] demands that the engine keeps one version of each secret (max_versions 1), so that what was replaced is gone, and deletes none by itself
// (delete_version_after 0s). It sets the former when it creates a store and nothing else is in the engine; else it says what to run, since for others it would
// cost older versions. A limit for single secrets, as "vault kv metadata put" sets, is not looked at. [rights.Store] says what the broker's token has to be allowed.
//
// # Writes
//
// A record's version is the engine's version of the secret, and every write is a check-and-set (cas) of the version that it replaces, 0 to create. So two writers, in
// whichever brokers, never both succeed, and a write that arrives late, when its sender has given up, either was the first or does nothing.
// One write is one request, and one more for each part. An Apply of several looks up the versions of all but the first at the same time
// and makes them, if none is in conflict, one after the other in the order they have: the store is not atomic. A conflict that comes up after that, when some are
// made, is a [PartialError] and not a conflict.
//
// When the answer to a write does not come in time the write has been made, or not, or will be within 90 seconds: store.ErrUnavailable. Who makes it again
// with the same version gets a conflict if it was made, and has to read to know whose it is. Nothing is written twice.
//
// A deletion writes a tombstone, which is the moment of deletion, and then removes the name with all that the engine knows of it, so that the next record of
// that name has version 1. The engine removes names unconditionally, so this must not happen when another has used the name again: it is sent within 20
// seconds of the tombstone or not at all, Vault ends requests after 90 (max_request_duration: do not set it higher), and others leave a tombstone alone for 2 minutes. A create that meets one waits for
// its maker, at most 2 seconds, and then is store.ErrUnavailable; from 2 minutes on it replaces the tombstone by its own, which one only can, and
// removes the name. Ages are differences of Vault's own dates. [Store.Sweep] does the same for names that nobody creates again, and removes parts that no record
// names when they are an hour old.
//
// A writer who was held up for that long between the parts and the record sees it by the same dates, and writes those parts again that are gone.
//
// What "vault kv delete" or "vault kv destroy" did to a record's last version counts as deleted for reads and creates; a sweep leaves it, and the parts of what
// may be undeleted. A writer who has read the record before can still update it, which the engine allows.
//
// # Reads
//
// A Get is one request, and one for each part, the parts several at a time. Without [Config.Staleness] a Get that starts after an Apply returned, in whichever
// broker, sees it, as far as Vault is: all reads have to go to the active node, as they do unless performance standbys of Vault Enterprise answer. A node that
// lost its cluster and does not know yet may answer with what was before, for as long as it takes it to notice.
//
// With a Staleness, a Get may return what this store read or wrote at most so long ago, counted from before that request was sent: a record that another has deleted, or a policy
// that another has retired, is served up to that bound and never after it, also when Vault cannot be reached. This store's own writes are seen at once, and a
// write in doubt leaves nothing behind. That there is no record is not remembered. At most 16 MiB are, of values up to 64 KiB.
//
// List asks for the names of the folders that its page is in and for the versions of the records on the page, several at a time. The engine returns all names
// of a folder at once: each page of a folder with 10,000 records reads 10,000 names, and the versions of its own. A List is no snapshot: what is written meanwhile is in it or not.
//
// Watch tells this store's own writes at once. Others' are found by listing the prefix and looking up each version, every [Config.PollEvery]: of several changes between two
// such polls it tells the last, and of a deletion and creation the creation. It is for prefixes of few records; above 10,000 it only says to read again.
//
// # Failures
//
// Whatever Vault cannot or will not do wraps store.ErrUnavailable, and what the connection says of it: sealed, standby, overloaded, too slow, not reachable,
// forbidden (vaultconn.ErrForbidden, with the path), and an engine that is gone, whose records are unavailable and not absent. Nothing is tried again here, nothing queues but what the
// connection lets wait, and the next call after an outage works. A mount that was disabled and enabled again is empty. That something is not there is therefore
// believed only of a store whose header was seen within the last second: otherwise the store is lost, every call is a [LostError], and the header is looked for once a second until
// it is back. [Store.Lost] tells, and [Store.Check] looks at once, for readiness. A record whose content is gone and whose name is not, as Vault leaves it when it is killed while it removes a name, counts as deleted.
//
// # What Vault sees
//
// Keys of records, their number, sizes and when they change; and values as they are given. Package seal above this one encrypts values before they come here, bound to key
// and version, so that whoever can write the engine can take records away and put back whole older ones, which the audit log shows, but not read or
// exchange them. Vault's audit log has the paths in clear and values as HMAC. The engine encrypts names in its storage.
//
// # Limits
//
// A key of 1024 bytes of which most are escaped makes a path that file storage does not take; raft does. A writer that is held up between looking at an old tombstone and
// replacing it, for as long as it takes others to replace, remove, create and update the record up to the same version, deletes that. A server of Vault, frozen while a removal of a name waited
// to be read and longer than 2 minutes, may execute it just after another used the name again, unless it has lost its place in a raft cluster meanwhile. Clocks of Vault's nodes have to agree to within
// half a minute, and the broker's with them to within half an hour.
package vault
