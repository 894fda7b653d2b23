// Package transit is a seal (package seal) whose key is in a transit engine of HashiCorp Vault or OpenBao and never leaves it: the broker sends the
// root key of its store to be encrypted once, when the store is made, and the ciphertext to be decrypted once at each start. Whoever copies the
// store, or the machine's disk, cannot open it without being let in by Vault, where each such opening is in the audit log and the right to it can be taken away.
//
// # What is sent
//
// To PUT MOUNT/encrypt/KEY, in base64:
//
//	plaintext        "vouchsafe/transit/1" (19 bytes), the length of what the root key is bound to (2, big-endian), that itself, and the root key (32)
//	associated_data  what the root key is bound to
//
// The binding is there twice. As associated data Vault itself refuses to decrypt for another store; inside the plaintext, which the key's AEAD
// authenticates too, this package refuses, whatever an engine does with a parameter it does not know: engines before Vault 1.9 ignore associated_data silently.
//
// What is kept in the store is Vault's ciphertext as it came, such as "vault:v3:BASE64", of which the number is the version of the key.
//
// # The key
//
// Wrap looks at the key first and refuses one that there is not (Vault would make it, of its default type, for a token that may), one of a type that is
// not AES-GCM or ChaCha20-Poly1305, and one that is derived, convergent or not, since its ciphertexts depend on a context that is not given here. A key that may be exported, or backed up in plain, or deleted,
// is used, and [Key.Warnings] says what that means; so is one that was imported.
//
// # Rotation
//
// When the key is rotated in Vault, what older versions encrypted still opens, down to the key's min_decryption_version. [Seal.Outdated] says that a newer version could
// encrypt it; seal.Store.RenewSeal then has it encrypted anew, at the start of a broker or when an operator asks for it, and after that the older versions can be disabled.
// It decrypts and encrypts: Vault's own transit/rewrap does not know associated data (as of 1.21) and fails on what has it. The broker has the root key in
// memory for that moment as it does at each start; it sends it to nobody but Vault.
//
// # When Vault is away
//
// A broker that is running does not need this seal: the keys it opened are in its memory, and rotation of data keys needs no more. One that starts does, and gets store.ErrUnavailable where
// Vault cannot be asked, which is worth trying again: not reachable, sealed, overloaded, without the mount, or without the right (HTTP 403; the error is vaultconn.ErrForbidden too). What trying
// again does not help is seal.ErrWrongSeal: there is no such key, its version is below min_decryption_version ([ErrVersion]), or it did not encrypt this.
//
// # What this does not do
//
// Who may decrypt with the key and has a copy of the store can open it, for ever: rotating the key in Vault does not change that, since the root key stays; package seal says what does.
// Vault sees the root key in plain when it wraps and unwraps. The name of the seal in the store's header is MOUNT/KEY; the address and namespace of Vault are not in it, so
// another Vault's key of that name is found out by its not decrypting.
package transit
