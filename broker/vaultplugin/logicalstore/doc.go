// Package logicalstore keeps a broker's records in the storage that Vault gives to a plugin: [store.Store] over [logical.Storage].
//
// # Where records are
//
//	record/KEY              a record; KEY is the store's key, with "%" written as %25 and a dot that follows a dot as %2E, for Vault
//	                        takes no key with ".." in it
//	part/KEY/VERSION/N      a part of the value of that version of a record, where it is too large for one entry
//
// An entry of a record begins with a format and the record's version:
//
//	1 byte    format: 1 the value follows, 2 it is in parts
//	8 bytes   version, big endian
//	          format 1: the value
//	          format 2: 4 bytes length of the value, 4 bytes size of a part, big endian
//
// An entry has at most 256 KiB of a value: Vault's integrated storage takes 1 MiB, but Consul 512 KiB and DynamoDB 400 KiB. Parts are written before the
// record that leads to them, and removed after the record that led to them is gone. What a process that was killed leaves between the two is overwritten
// when that version is written again, or removed by [Store.Sweep].
//
// # Versions
//
// Vault's storage has no compare-and-swap. It does not need one here: of all the nodes of a cluster the plugin's requests are served by the active one, and
// of an Enterprise cluster's performance secondaries by the primary's, see package vaultplugin. So the versions are compared under locks of
// this process. A store is made once in a process for a mount.
//
// # Durability
//
// Apply makes one write after the other, each durable when Vault says so; it is not atomic. Once it has begun to write, it does not end because the
// request does: half a change is worth less than a late answer. Each write has [WriteTimeout].
//
// # Secrecy
//
// Vault's barrier encrypts values and binds them to their path, so there is no second seal here. Keys are not encrypted: who has the files of Vault's storage
// learns the names of secrets, as of any secrets engine. [Paths] says where records are, for what Vault's seal is to wrap as well, where that can be done.
//
// # Errors
//
// An error of the storage wraps store.ErrUnavailable, and [ErrReadOnly] where this node cannot write and Vault must pass the request on.
package logicalstore
