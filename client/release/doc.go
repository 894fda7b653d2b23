// Package release is the wire format of the native release: what a workload and a broker send each other. The client and the
// broker's front end both use it, so that neither can drift from the other.
//
// # The exchange
//
// POST [ChallengePath] with a [ChallengeRequest] gives a [Challenge]. The workload makes a recipient key, has its evidence
// cover the digest of nonce and key ([Request.Binding]), and sends POST [ReleasePath] with a [Request]. What it gets is one of:
//
//   - 200 and a [Reply], signed: a JWS in the flattened JSON form (RFC 7515, section 7.2.2), of media type [ReplyMediaType],
//     ES256, with the protected header {"alg":"ES256","kid":…,"typ":"vouchsafe-release+json"}. It holds a [Result] for each secret
//     that was asked for, in the same order: an envelope, or a code. A secret that is denied is a result too; that all
//     of them are denied does not change the status.
//   - another status and an [Error], not signed: nothing was judged or the evidence was refused. 403 says that repeating this
//     will not help, except that [CodeNonce] asks for another challenge; 429 and 503 say when to come back (Retry-After).
//
// # What a reply is bound to
//
// The signed reply names the nonce, the recipient key by its thumbprint, the evidence by its digest, and in each result the secret, its
// version and the digest of the policies that allowed it. [Reply.Check] holds all of them against the request. An envelope for an HPKE key
// is bound to the same once more, by itself: [Reply.Context].
//
// The signing keys are published as a JWKS at [KeysPath]. A key of that set signs attestation tokens too: it is "typ" that keeps one from being
// taken for the other, so [Keys.Open] asks for it.
//
// # Reading
//
// A broker reads requests strictly: a member that is unknown, there twice or spelled otherwise is refused. A client
// reads answers so too, but passes over members it does not know, because a guest's client may be older than the broker
// for years. A member that changes the meaning of the others comes under another path and typ.
package release
