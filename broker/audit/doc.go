// Package audit is the tamper-evident log: an append-only Merkle tree of entries whose head is signed, in the formats of C2SP
// (c2sp.org/tlog-tiles, tlog-checkpoint, signed-note and tlog-proof). Nothing is released before its entry is durable here. Anyone with the public
// key can check offline that an entry is in the log, that the log only grew, and that every entry is what it was. What an entry
// says is the caller's affair: 1 to 65535 bytes, as the length prefix of an entry bundle has it.
//
// # Where it is
//
// The log lives in the store, in the same Apply as what it records, so that an entry and its effects (a lease, a new version of a
// secret) are durable together. The alternative, files of its own, would leave one without the other after a crash. Under the prefix,
// "sys/audit" by default:
//
//	head                        the signed checkpoint, as it is served
//	entries/<bundle>/<first>    consecutive entries of a bundle of 256, as an entry bundle has them
//	tile/<level>/<n>            256 hashes, a full tile
//
// Bundle and n are 12 hexadecimal digits, first is the place in the bundle, 2 digits. A commit makes one record of its entries,
// more where they cross into the next bundle or pass 1 MiB, and one of each tile it fills, and replaces the head; only the head is ever
// written over. The records of a bundle are not joined when it is full: measured with 1 KiB entries on bbolt, that cost a single
// caller a fifth to a half more per append, and saves only reading. Tiles that are not full are not stored: their hashes
// follow from the last entries and the tiles below, up to 255 records per level, which is what Open reads and checks.
//
// # Commits
//
// Appends that wait at the same time become one Apply and one signature. A conflict that one caller's writes cause ends that append only;
// the others are committed without it. When the store fails, whether the commit happened is unknown: its callers are told so,
// nothing is signed before the head was read again, and a head found then is shown to nobody before a commit on top of it
// succeeded. Open writes the head again for the same reason. Entries past the head of an atomic store are damage. A head that is shorter than one that was shown, or does not contain it, stops the log.
//
// A checkpoint is signed before it is stored, so one whose commit failed may have been signed and never shown, beside another of the
// same size. It never leaves this package.
//
// Several processes may append to one log on an atomic store: the version of the head decides, and who loses reads again and
// retries. Readers of one process see what another appended only with their own next append.
//
// # Stores that are not atomic
//
// There a commit takes three steps, each durable before the next: the entries, with the tiles they fill; the head; and then, when the entry is in the
// log as far as anybody can tell, the writes of each caller, which do not wait for those of others. So there is never a change without its entry under a
// signed head. The reverse there may be: after a crash, or a conflict that only the write shows ([UnmadeError]), the log says what did not happen.
//
// Records of entries are only ever created, never written over, and where one begins follows from where the one before ends. So the chain of them has
// one content whoever appends, and a head that is signed over entries known to be stored stays true. What an interrupted commit left past the head
// is not thrown away, since a process that is paused in the middle may wake up and go on: Open, and every commit after one that was
// not confirmed, adopts it, which is to sign a head that covers it, and writes the head even where there is nothing to adopt, so that nobody can
// write one on top of the version before. At most 4096 entries are adopted; a commit makes fewer.
//
// Several processes may therefore append to one log there too without harm to it, but each commit of one is in the way of the others. Each is to have a log
// of its own, and a [Claim] to it: it is looked at before each commit and each caller's writes, and renewed in the store before a commit that met another's
// record goes on. A process that was paused, whose clock even stood still, and whose log another took over, finds the entry's record or the head
// at another version, then that its claim is gone, and changes nothing.
//
// Who can write to the store and has not its seal can take away what is past the head after a crash: entries of changes that did not happen, of which nobody was
// told. He cannot bring others, because a sealed value decrypts only as the record and version it was written as. Without a seal below it, he could
// append entries, as he could then read and change everything else.
//
// # What it shows, and what it does not
//
// Each change, removal or exchange of a stored record is found by Open, by the first read that meets it, or by [Audit], except that
// everything is put back to an earlier state at once, or that the log's key signs another history. Both contradict any later
// checkpoint or receipt that somebody kept, and [Audit] with that as Old, or [VerifyConsistency], shows it. So the log is worth as much as
// the checkpoints that leave the machine: every receipt carries one.
//
// Entries are readable by whoever may read the log, and nothing can be removed from it: they must hold no secrets.
//
// Keys do not rotate by themselves yet. A log can be opened with another Signer of the same origin; Verifiers then list the new key and the
// old ones, so that checkpoints and receipts of before stay good. Cosignatures of witnesses are accepted beside the log's
// signature but not asked for.
package audit
