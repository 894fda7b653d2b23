// Package backup copies a bolt store while it is in use, into an age file, and makes a store of such a file again.
//
// # Format
//
// An age file (age-encryption.org/v1) for the recipients given, whose content is
//
//	"vouchsafe-backup/1\n"
//	size     8 bytes, big-endian
//	store    size bytes: the bbolt file as one transaction sees it
//	manifest to the end, at most 4 KiB: a JSON object with format, store (its id), purpose, time, size, and
//	         sha256 of the bbolt file
//
// # What it protects
//
// The values in the file are sealed already (package seal), and stay so: a restored store opens with the same key file
// or passphrase as the one it was copied from, which a backup does not contain and which must be kept elsewhere. age
// hides names and sizes as well, and shows damage. It does not show who made a file: anybody who knows a recipient can.
// Restore a file only from where you put it, and compare the digest that Write returned with the one that Restore
// returns. A backup is the past: secrets destroyed and tokens revoked since are back after a restore.
//
// # Limits
//
// The copy is taken in one read transaction. Writers go on meanwhile, and the store's file grows by what they write
// until the copy is done, so a slow destination should be a local file first. Restore never replaces a file.
package backup
