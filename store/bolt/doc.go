// Package bolt keeps records in one bbolt file: a copy-on-write B+tree that is always consistent on disk. It is the
// store of a broker that runs on one machine with nothing else to install.
//
// # File
//
// Two top-level buckets. "vouchsafe" holds one key, "header", whose value is a JSON object (header.Header): the format
// version, the store's id (16 random bytes in hexadecimal), its purpose, and when it was made. "records" holds every
// record under its key; the value is the record's version, 8 bytes big-endian and at least 1, and then the value as it
// was given. The file's mode is 0600.
//
// A store made for development is refused by a production open, and the reverse: evidence kinds that anybody can forge
// are accepted only beside a development store, whose records must therefore never be served by a production broker. A
// newer format is refused rather than guessed at.
//
// # Writes
//
// One goroutine owns writing. It takes every Apply that waits, checks each against the records as they are after those
// before it, writes those that fit in one bbolt transaction, syncs it once and then answers all of them. So 64 callers
// share the cost of a sync, one alone waits for nobody, and one caller's conflict costs the others nothing. An Apply
// whose context ends while it waits its turn returns the context's error and has written nothing; once taken, it waits
// for the disk.
//
// When the disk is full, read-only or failing, each Apply of the transaction gets an error wrapping
// store.ErrUnavailable, bbolt returns to the last committed state, and the next Apply tries afresh: nothing has to be
// restarted when space returns. Reads go on meanwhile.
//
// # Limits
//
// One process at a time: the file is locked, and a second opener gets a [LockedError]. A read transaction that stays
// open for long, as a backup to a slow destination does, keeps the pages it sees from being used again, so the file
// grows meanwhile. The file does not shrink.
//
// # Threats
//
// This package does not protect what it stores: package seal does. Whoever can write the file can return it to an
// earlier state as a whole; the audit log, whose checkpoints leave the machine, is what shows that. A file that is
// damaged is reported by [Check], which reads it with bounds checks of its own before bbolt, which trusts its pages,
// sees it.
package bolt
