// Package collateral has at hand what verifiers need besides evidence, and gets it: certificates of chips, revocation lists, TCB levels, reference
// manifests and key sets, which vendors publish and sign. A [Manager] implements [attest.Endorsements].
//
// # Items
//
// Every item has a name, in one spelling ([ParseName]); hex is lower-case:
//
//	amd/vcek/{product}/{hwid}-{tcb}  DER certificate             from AMD's key distribution service (package amd)
//	amd/vlek/{product}/{tcb}         DER certificate             published by nobody: from a file or a bundle only
//	amd/crl/{product}                DER list by the ARK         from AMD's service
//	intel/tcb/{sgx|tdx}/{fmspc}      JSON, chain beside it       from Intel's PCS or a PCCS (package intel)
//	intel/identity/{qe|tdqe}         JSON, chain beside it       the same
//	intel/crl/{processor|platform}   DER list, chain beside it   the same
//	intel/crl/root                   DER list by the Root CA     the same
//	nvidia/rim/{id}                  XML manifest                from NVIDIA's RIM service (package nvidia)
//	nvidia/ocsp/{sha256}             DER OCSP response           from NVIDIA's OCSP service, where the certificate is known
//	hygon/hsk_cek/{serial}           two certificates            from a file or a bundle only (package hygon)
//	jwks/{verifier}                  JSON Web Key Set            from the verifier's own URL (package jwks)
//
// Products are Milan, Genoa and Turin; hwid has 64 bytes, 8 on Turin; tcb is the 8 bytes of REPORTED_TCB; fmspc has 6.
//
// # A lookup never waits
//
// [Manager.Endorsement] reads one map that is never changed, only replaced. What is missing is noted as wanted and answered with an *attest.Unavailable, whose
// RetryAfter is an estimate of when it will be here. Vendors that throttle, fail, hang or lie slow nothing down that is at hand.
//
// # Fetching
//
// Each vendor is a lane of its own: a set of wanted names, one of each however many ask for it, a few workers, and a least interval between requests
// (AMD's service answers about one in ten seconds). A throttled vendor is left alone for as long as it asks, at most an hour. Failures double the
// time to the next try, with jitter. A vendor's word that there is no such item is believed for an hour. Requests have time-outs, sizes and TLS that is
// verified always; redirects stay on their host ([Client]).
//
// Items at hand are fetched again well before their end: lists once a day, since a revocation should be known the day it is published; key sets every
// hour, and sooner, at most once a minute, when a token names a key that is not there ([Manager.Refresh]); certificates a month ahead. While a vendor is down they are served however old they are: whether they still count is for the verifier, by what
// they say and its grace.
//
// # What is kept
//
// Nothing is kept that does not pass its vendor's [Check]: what can be verified against a pinned root is. An item never takes the place of one that its
// publisher made later, whether it comes from the vendor, another replica, a file or a bundle, so that nobody can bring back an old list.
//
// On disk an item is one file, written at once or not at all: a line with a SHA-256 of the rest, a header (name, when and where it was fetched, when it was
// made and ends), the data, the chain ([Item.Encode]). What is not whole is moved into the folder damaged, logged, and fetched again. Several processes may
// use a folder; a running server sees within half a minute what a command put there.
//
// # Abuse
//
// Whoever can get a challenge can present a report that he made himself, naming any chip at any TCB; only the certificate shows that it is forged. So
// strangers decide what is wanted of AMD. (Intel's names come from a PCK certificate that was verified, key sets' from the configuration.) Therefore:
//
//   - a name is checked against the grammar before anything else, and nothing of a stranger's is part of a URL or a path but such a name;
//   - 64 such names of a vendor wait at most, each for as long as it is asked for; more are told to come back later. Names for which there is
//     nothing are remembered for an hour, 1024 at most;
//   - what is at hand and is to be made newer goes first, then what an operator wants, then strangers' names in the order they came. A flood can delay
//     the first certificate of a new chip; it cannot make anything at hand stale;
//   - disk and memory are bounded (16384 items, 64 MiB): what nobody asked for longest goes, never what an operator wants;
//   - the vendor's interval is the same however many ask, so that a flood here is none there.
//
// A fleet that cannot wait under such a flood has its chips' certificates synced or imported beforehand, or presented by the guests.
//
// # Replicas, and no network
//
// With a [Shared] store, what one replica fetched all use (key sets, which nobody signed, each fetches itself), and a claim lets one fetch at a time. [Export] and [Manager.Import] carry items in one signed file
// to where there is no network.
package collateral
