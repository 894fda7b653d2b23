// Package migrate moves everything in a sealed store to another sealed store, of whatever kind and seal: from a bolt file to Vault, back, or to a file with
// another seal.
//
// # What moves
//
// Every record, decrypted by the one seal and encrypted by the other: the target has a store id, a root key and data keys of its own, so what is known of the source's
// keys opens nothing in the target. Records have version 1 in the target. Nothing that is stored refers to a version of a record, only a writer
// between its reading and its writing, and none of those outlives the store that it has open. The header of the seal does not move, nor does the
// record sys/migration, which is this package's.
//
// # Order, and being stopped
//
// The record sys/migration of the target is written before anything else and says, in JSON, whose migration it is, how far it is and in the end that it is finished. [Check] is what
// keeps a broker from opening a target that is not: data.Open calls it. A migration that was stopped, killed or cut off anywhere is gone on with by calling [Run] again with the same
// source: pages of records that were written are skipped as long as the source's keys and versions are what they were, and everything else is compared
// and put right, records that the source does not have removed. One that had compared all of it reads the source once more, for its values: a source that was
// restored from a backup in between, and used, may have other values at the same versions. Two that run on one target find each other out by the versions of sys/migration, and the first to notice ends.
//
// The target has to be empty when a migration begins. One that is finished, or was begun from another store, is refused.
//
// # Verification
//
// When everything was copied, every record is read again from both and compared, and the target is looked through for others. The digest in the [Report] is SHA-256
// over all records in key order, each as the length of its key (8 bytes, big-endian), the key, the length of its value and the value; it is taken of
// what was read from the target. Then Config.Settle has its say, which audits the logs. Finally the source's keys and versions are listed again: when anything in it
// changed since it was read, a broker was at work, and the migration does not become valid.
//
// # The source
//
// Nothing is written to it. It is the caller's to see that no broker runs, by the lock of a bolt file or by Config.Idle, which is asked at the beginning and at the end. After a
// migration both stores open: retire the source, since secrets that are destroyed and tokens that are revoked in one from then on are good in the other.
//
// # What this does not do
//
// It does not make anything faster by trusting: each record is read twice from the source and once from the target. Memory is bounded to some 100 MiB with the largest records. Vault being
// away for some seconds is waited for; for longer, the migration ends with an error and is run again.
package migrate
