// Bench measures what design.md promises about speed, and prints one report: each cost beside its floor, which is the public-key work or
// the write that nothing can do without, measured by turns with it in the same run, and their ratio beside its budget.
//
//	go run ./internal/bench [-json FILE] [-only PART,…] [-seconds N] [-dir DIR]
//
// Ratios compare medians of operations that alternate, so that other work on the machine disturbs both alike. The whole release runs against a
// broker in a process of its own, over TLS, with a store on disk: its processor time is what the system charges that process, and its
// latency is what a client waits, in both round trips. Evidence is virtual, whose verification is that of SNP but that the device's
// certificate is verified every time, which the floor counts.
//
// With a real Vault server (package vaulttest), releases are measured by what clients wait, against a bare read of a KV secret and the verification of
// the evidence, which is all there would be without a broker.
//
// A budget that is missed is reported and not an error: a measurement says nothing about a loaded machine, and the report says how
// loaded it was.
package main
