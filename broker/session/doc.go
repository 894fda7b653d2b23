// Package session keeps what ties the requests of one workload together: nonces that are good once, and attested sessions.
//
// # Nonces
//
// Anyone may ask for a challenge, so a challenge that nobody has answered costs no memory: the nonce carries what the broker needs to
// recognise it. It is standard base64, with padding, of 32 bytes:
//
//	16  random
//	 4  expiry, seconds since 1970, big-endian (until the year 2106)
//	12  the first bytes of HMAC-SHA-256(key, "vouchsafe nonce v1\n" ‖ random ‖ expiry ‖ scope)
//
// where scope is the [Scope] the nonce was issued for: protocol, namespace, kind and session, each preceded by its length in 4 bytes
// big-endian, and the hash's number in 4 bytes. So evidence of another kind, another protocol or another session cannot
// spend it. The random part alone makes it fresh; the 96 bits of MAC bound what a stranger can guess with one request a guess.
//
// [Nonces.Spend] remembers a nonce only after its MAC was found right, so that nothing a stranger invents takes up memory, and it
// is called before any signature is verified. What is spent is remembered until it expires, in a [Spent]: [MemorySpent] for one
// broker, [StoreSpent] for several that share a store.
//
// The key decides who recognises a nonce. With [MemorySpent] it must be made anew at each start: what was spent is
// forgotten then, and a nonce issued before must not be good again. Brokers that share a [StoreSpent] share keys, [SharedKeys], which lie sealed in
// the store and are replaced every day; a store that is put back to an earlier state has forgotten what was spent since, so brokers over it must be
// started no sooner than a nonce lives.
//
// # The clock
//
// A clock that is set back must not revive a nonce whose memory is gone. Two things see to it. Nonces reads the clock so that it never goes
// back: after a step back it continues from the latest time it saw, by the monotonic reading of [time.Now]. And a Spent
// refuses, by itself, every expiry so old that it may have forgotten. With brokers that share a key, a nonce whose expiry is
// further in the future than any broker's clock may be ahead, [store.MaxSkew], is refused as well.
//
// A broker that shares a store and whose clock is ahead could remove the records of nonces that the others still hold for good, and those nonces could
// be used again. So what is shared is judged by the time that all of them see, the store's ([store.Clocked]): a record is removed 2 minutes after its expiry by that
// clock, if it is past by the broker's own as well; and a nonce is refused whose expiry was, by that clock, more than a minute ago when its record was written.
// Between the two there is a minute in which a nonce has a record and is refused all the same, whatever the brokers' clocks show.
//
// # Sessions
//
// [Sessions] maps the id of an attested session, which the KBS protocol keeps in a cookie, to what was proved. It holds a bounded number
// and never drops a live one for a new one: when it is full, new workloads are told to come back. [Stored] keeps them in a store that several
// brokers share, besides.
//
// # What it does not do
//
// It does not limit rates: a front end does, by peer.
package session
