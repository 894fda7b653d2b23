// Package logs knows the audit logs of a store: the one that this broker appends to, and those of the other brokers that share the store.
//
// # One broker
//
// A store that one process has holds one log, "sys/audit". [Single] is a Set of it, and adds nothing.
//
// # Several brokers
//
// In a store that several have, each has a log of its own, so that their commits are not in each other's way. A broker claims a slot, 1 to [MaxSlots], and
// appends to "sys/audit-<slot>", whose origin is the store's with "/<slot>" behind it. The claim is the record
//
//	sys/brokers/<slot>    {"schema":1,"instance":"…","name":"…","claimed":"…","renewed":"…","released":false,"begun":true}
//
// written by compare-and-swap. It is renewed every [Beat]. A broker that could not renew it for [Fence] commits nothing until it can; another takes
// it when it was not renewed for [Lapse] and its clock may be [store.MaxSkew] off. Who ends in order releases it. The logs of slots that were released or
// have lapsed are gone on with, the lowest first, before a new one is begun: there are as many as brokers ran at the same time. The 65th broker at one time
// is refused ([ErrNoSlot]). A log that was begun and is not there is not begun anew: it was wiped.
//
// A broker whose claim another took, because it was paused or could not reach the store for long, finds that out with its next renewal or commit. It then claims
// another slot and goes on with that, without a restart; what it was about to commit fails.
//
// The claim is what keeps two from being in each other's way. That nothing happens without an entry, and that a log stays whole, even with two
// processes that believe in one slot, is the log's own doing: see "Stores that are not atomic" in package audit.
//
// # Reading
//
// Every broker reads every log: decisions say in which their entry is. A claim's record is never removed, so the records say which logs there are. Whoever can
// delete records of the store can hide a whole log, as he can take away anything; an auditor who keeps a checkpoint or a receipt of it finds out.
package logs
