// Package cca appraises attestation tokens of Arm's Confidential Compute Architecture (draft-ffm-rats-cca-token-00 to
// -03, and the Realm Management Monitor specification, DEN0137): the kind cca.
//
// # Evidence
//
// [Parse] takes the CBOR of a token, and the JSON of KBS clients, {"token":[its bytes as numbers]}, whose other members
// are passed over. A token has at most [MaxToken] bytes and is a collection of two COSE_Sign1 messages, the platform's
// under 44234 and the realm's under 44241: with the tag 399 as strings of bytes, with the tag 907 (a conceptual message
// wrapper) as [263, bytes], 263 being the content format application/eat+cwt. Each message has the tag 18 or none, and
// one encoding only. Claims of the platform token:
//
//	265   profile       http://arm.com/CCA-SSD/1.0.0 or tag:arm.com,2023:cca_platform#1.0.0
//	10    challenge     32, 48 or 64 bytes: digest of the realm's key
//	2396  implementation id, 32 bytes
//	256   instance id   33 bytes, the first 1
//	2401  config        1 to 1024 bytes
//	2395  lifecycle     number below 0x6100
//	2399  components    1 to 64 maps: 1 type, 2 measurement of 32, 48 or 64 bytes, 4 version, 5 signer of 32, 48 or 64 bytes, 6 hash
//	2400  verification service, text; may be missing
//	2402  hash          sha-256, sha-384 or sha-512
//
// and of the realm token:
//
//	265   profile       tag:arm.com,2023:realm#1.0.0, or missing
//	10    challenge     64 bytes
//	44235 personalisation value, 64 bytes
//	44238 initial measurement, 32, 48 or 64 bytes
//	44239 extensible measurements, four of 32, 48 or 64 bytes
//	44236 hash          sha-256, sha-384 or sha-512
//	44237 key           with the profile a COSE_Key, without it a point on P-384 of 97 bytes
//	44240 hash by which the platform's challenge is the digest of the key, as it is in that claim
//
// Claims that are not known are passed over, as EAT wants it; nothing is claimed from them. Tokens of the profiles
// 2.0.0, which a draft is still changing, are refused (CodeVersionUnsupported).
//
// # What is verified
//
// In this order, the cheap before the expensive:
//
//   - the form and every size above (CodeTooLarge, CodeMalformed, CodeVersionUnsupported);
//   - the realm's challenge is the expected digest, padded with zeros to 64 bytes (CodeBinding);
//   - the platform's challenge is the digest of the realm's key (CodeKeyNotReported);
//   - the platform's instance is one that the operator configured (CodeKeyNotEnrolled), of the implementation
//     configured for it (CodeCertMismatch);
//   - its key signed the platform token, and the realm's key the realm token: ES256, ES384 or ES512, each with its own
//     curve (CodeAlgorithm, CodeSignature).
//
// Arm publishes no root: platform keys (CPAK) are endorsed by whoever made the platform, and come to the operator out
// of band. [Config].TrustAnchors has them; there is no verification without.
//
// Bytes that no check touches: in JSON, white space and other members.
//
// # What is not verified but claimed
//
// Debugging: debug is false only in the lifecycle "secured". The platform's firmware: with [Config].ReferenceValues
// tcb_status is up-to-date where a set of them has the implementation, the configuration and exactly the components of
// the token, and out-of-date everywhere else, also for an implementation that none of them names. Without reference
// values it is not-published. The realm's measurements, for the policy. Whether the init-data document that was
// presented is in the personalisation value: its digest, padded with zeros to 64 bytes.
//
// # Cache
//
// A platform token is made once a boot, so verified ones are cached by their digest, and evidence from a known platform
// costs one signature.
package cca
