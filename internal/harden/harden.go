//go:build linux

// Package harden keeps the secrets of a process that holds them for a moment out of core dumps, other users' files,
// debuggers and swap, as far as the system lets it. In a confidential guest memory is encrypted against the host; this
// is against what else runs in the guest, and against what the guest itself writes to disk.
//
// Everything is done as well as it can be: a container that may not lock memory still gets the rest. What a process
// cannot do for itself is the service manager's: no swap, no ptrace capability.
package harden

import (
	"golang.org/x/sys/unix"
)

// Before is what the process was like, for a program that replaces this one and shall find things as if it had been
// started directly.
type Before struct {
	umask   int
	core    unix.Rlimit
	memlock unix.Rlimit
	raised  bool // memlock was
}

// Process hardens the process: files it makes are its user's only; no core is dumped; others of the same user cannot
// attach to it or read its memory; and its memory, now and in future, is not swapped out, where that takes no limit
// that could end it later.
func Process() *Before {
	b := &Before{umask: unix.Umask(0o077)}
	if unix.Getrlimit(unix.RLIMIT_CORE, &b.core) == nil {
		// The soft limit only: whoever comes after may need the other.
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 0, Max: b.core.Max})
	}
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // execve sets it again
	b.lockMemory()
	return b
}

// lockMemory locks only without a limit: under one, the lock would make a later allocation fail, which ends a Go program.
func (b *Before) lockMemory() {
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &b.memlock) != nil {
		return
	}
	if b.memlock.Cur != unix.RLIM_INFINITY {
		if unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}) != nil {
			return
		}
		b.raised = true
	}
	// As pages are used: the runtime reserves far more than it uses.
	_ = unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT) // execve undoes it
}

// Restore gives back what a program that replaces this one would inherit.
func (b *Before) Restore() {
	unix.Umask(b.umask)
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &b.core)
	if b.raised {
		_ = unix.Munlockall()
		_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &b.memlock)
	}
}
