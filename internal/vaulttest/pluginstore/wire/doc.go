// Package wire lets tests of one process use a store of another: [store.Store] over HTTP on a Unix socket. A plugin of Vault's has its storage in a
// process of its own, and the tests of the core are not to link Vault's SDK; see package pluginstore.
//
// # The protocol
//
// A request is a POST to /STORE/OPERATION with a JSON object. STORE is the name of a store, which is there from its first use; OPERATION is get, list, apply or
// watch. The answer is a JSON object that has what the store returned, or its error: the text and the kind, so that errors.Is holds for the errors
// of package store, and errors.As for *store.ConflictError. To watch is answered at once, with an object without events, and then with an object for each event.
//
// A request ends with the caller's context, and the store's call with it. Close ends what the caller has of the store, and not the store.
package wire
