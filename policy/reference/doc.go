// Package reference holds reference values: named sets of the measurements, key digests and other values that evidence is compared with. A policy asks
// for one with reference("name"); see package policy.
//
// # The document
//
// A [Set] is one JSON object, {"name":…,"values":[…]}, its values in the order of their bytes. [Decode] is strict: unknown and repeated members,
// trailing data, unsorted or repeated values and anything over a limit are errors, so what was decoded encodes to an equal document.
//
// A value is staged, active or retired. Only an active one counts, and only from not_before on and before expires. Retired values stay in the set:
// the record of who let a value in outlives it. Sets are changed by [Set.Put], [Set.Activate], [Set.Retire] and [Set.Matched], which return a
// changed copy and never touch the original, so that a set can be shared and written back with compare-and-swap.
//
// # Provenance
//
// A value that was imported with a signed statement has an origin: the builder, repository, ref, workflow and commit that the statement named, and the key that signed
// it. Its provenance is the statement's digest then. Whoever puts a value by hand vouches for it alone: it has a text as its provenance, and no origin.
// Sets that were written before there were origins have none, and are read as they are.
//
// # Spelling
//
// Claims are lower-case hex. A value that is hex, which here means an even number of at least 32 hexadecimal digits and nothing else, is stored in lower
// case; see [Normalise]. Anything else, a host name or a version, is kept as written, because there the case may matter.
// Shorter hex is not touched: "BEEF" may be a name.
//
// # Looking up
//
// A [Snapshot] is all sets of one namespace, compiled to maps. It implements policy.References: finding out whether a value counts costs the same for
// ten values and ten thousand, and times are judged at the lookup, so a snapshot need not be rebuilt when a value expires.
//
// # What it does not do
//
// It checks no signature of a provenance statement, which package provenance does, and asks nobody's permission; whoever writes sets to the store does.
package reference
