// Package seal encrypts everything that goes into a store. It is a store.Store around another one, so that no caller can
// forget it.
//
// # Keys
//
// There are three layers, and only the first is outside the store:
//
//	seal       what the operator holds: a key file, a passphrase, a key in Vault ([Seal])
//	root key   32 random bytes, wrapped by the seal; wraps the data keys and authenticates the header
//	data keys  32 random bytes each; the newest encrypts what is written, older ones still decrypt
//
// Opening a store therefore asks the seal once, and changing the seal rewrites one record.
//
// # Header
//
// The record sys/seal is not encrypted. It is a JSON object in exactly the form that this package writes, at most 64 KiB:
//
//	{"format":1,
//	 "store":"…",                          the store's id, 16 random bytes in hexadecimal
//	 "seal":{"kind":"keyfile","key":"…"},  which seal opens it; the key's id does not give it away
//	 "root":"…",                           the root key as the seal wrapped it, base64
//	 "keys":[{"id":1,"created":"…",        oldest first; the last is in use
//	          "retired":"…",               when a newer one took over
//	          "reserved":65536,            how many encryptions were set aside
//	          "wrapped":"…"}],             nonce (12), ciphertext (32), tag (16), base64
//	 "mac":"…"}                            HMAC-SHA-256 of all the above, base64
//
// From the root key, HKDF-SHA-256 with the store's id as salt makes the key that wraps data keys (info
// "vouchsafe/seal/wrap/1") and the key of the MAC (info "vouchsafe/seal/mac/1"). A data key is wrapped with AES-256-GCM;
// the associated data is "vouchsafe/seal/key/1", the store's id and the key's id. The MAC is over the header's JSON
// without the member "mac". What the seal wraps is bound to "vouchsafe/seal/root/1" and the store's id.
//
// # Values
//
// Every other value is:
//
//	offset  size  content
//	0       1     1, the version of this layout
//	1       4     id of the data key, big-endian
//	5       12    nonce, random
//	17      n     AES-256-GCM ciphertext of the value
//	17+n    16    tag
//
// and the associated data is "vouchsafe/seal/value/1" (22 bytes), the store's id (16), the data key's id (4,
// big-endian), the record's version (8, big-endian) and its key. So a value decrypts only as the record, version and
// store it was written for: exchanging two records, putting an older version back under a newer number, or bringing one
// from another store all give store.ErrCorrupt. Values may be up to [MaxValue] bytes, [Overhead] less than the store's
// own limit.
//
// # Rotation
//
// Random nonces of 96 bits may be used with one key 2^32 times (NIST SP 800-38D, 8.3). Encryptions are set aside in the
// header before they are made, so the count holds across crashes and replicas, and a key is replaced by a new one after
// [MaxSeals]. [Store.Rotate] does so at any time, [Store.Rewrap] encrypts older records again and drops keys that
// nothing needs, [Store.Reseal] changes the seal, and [Store.RenewSeal] has a seal whose own key was replaced by a newer version wrap the root key again. A record that is rewrapped has a version one higher, so a writer
// that read it before gets a conflict, as after any write.
//
// Several processes may share a store that allows it: one that writes looks at the header at least every [RefreshEvery],
// and Rewrap drops a key only when it has been out of use for [Grace]. Their clocks must agree to within a few minutes.
//
// # What this does not do
//
// Keys of records, their number, sizes, and when they change are visible. Whoever can write the inner store can delete
// records, and can put back the whole store, or a single record and version, as it was before; the audit log shows the
// former, and after a deletion and a new creation the latter goes back to a value that was once stored under the same
// name and version. An older header is noticed by a process that has read a later one, and by none that starts. Reseal does not change the data keys: if a seal's key was stolen together with the store, follow it
// by Rotate and Rewrap and replace the secrets themselves. Keys are cleared from memory at Close where Go lets us;
// expanded AES keys are left to the garbage collector.
package seal
