// Package client runs in the guest: it fetches secrets from a broker, proving by attestation what asks for them.
//
//	c, err := client.New(client.Config{URL: "https://broker.example", CA: pem, Collector: device})
//	secrets, err := c.Fetch(ctx, "payments/db/password")
//
// Each call of [Client.Fetch] makes a new recipient key, asks for a challenge, has the [Collector] make evidence that covers both, and
// sends it with the names of the secrets: package release is the wire format. The key never leaves the process, and is gone with the call.
//
// # A machine and its devices
//
// What is in a machine beside its processor, a GPU or a TPM, proves itself with evidence of its own ([Config.Devices]). Devices make
// theirs first, over the digest of nonce and key; then the machine makes its own, over the digest of nonce, key and the devices' evidence
// as it is sent. So the broker knows that they belong together, and nobody on the way can take one away. [Collect] does that, also for
// whoever wants to look at what would be sent.
//
// # Whom it believes
//
// A secret is believed only when the reply around it is signed by the broker's key, answers this very challenge, names the key made for
// this call, the evidence sent and the secrets asked for, and the envelope opens. The signing keys are given ([Config.Keys]), in an image
// whose measurement the policy knows; or fetched from the broker over TLS, in which case whoever holds a
// certificate the client trusts can make up secrets, but still learns none. Without either, over plain http, there would be nothing
// to believe, so [New] refuses. The guest's clock is not trusted with anything but certificates: freshness is the challenge's.
//
// The receipt in a [Secret] proves that the decision is in the broker's audit log. It is passed on, not verified here:
// package audit does that, with the log's key.
//
// # What is repeated
//
// A broker that is overloaded or unavailable (429, 502, 503, 504), a connection that fails and a challenge that expired meanwhile are
// tried again, from a new challenge, with exponential backoff and jitter, never before the broker's Retry-After. A refusal is final and a
// [*Refused]: the same evidence gets the same answer, and a fleet that repeats refusals hides an attack among its noise. So are
// a reply that is not to be believed and a certificate that does not verify.
//
// # All or nothing
//
// Fetch returns all the secrets or none. A workload that can do with fewer asks for them in calls of their own.
//
// # What it does not do
//
// It keeps nothing, writes no file, and renews no lease. It cannot wipe memory: a [Secret]'s value is an ordinary slice of
// a garbage-collected program, which the guest's memory encryption protects.
package client
