//go:build linux

package harden_test

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vouchsafe/vouchsafe/internal/harden"
)

const child = "VOUCHSAFE_TEST_HARDEN"

// TestProcess runs in a process of its own, since what it does cannot all be undone.
func TestProcess(t *testing.T) {
	if os.Getenv(child) == "" {
		command := exec.Command(os.Args[0], "-test.run=^TestProcess$")
		command.Env = append(os.Environ(), child+"=1")
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	unix.Umask(0o022)
	var before, memory unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &before); err != nil {
		t.Fatal(err)
	}
	before.Cur = before.Max
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &memory); err != nil {
		t.Fatal(err)
	}
	b := harden.Process()
	if got := umask(); got != 0o077 {
		t.Errorf("umask %#o", got)
	}
	if got := limit(t, unix.RLIMIT_CORE); got != (unix.Rlimit{Cur: 0, Max: before.Max}) {
		t.Errorf("core limit %v", got)
	}
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || dumpable != 0 {
		t.Errorf("dumpable %d, %v", dumpable, err)
	}
	grown := make([]byte, 256<<20) // must not fail whatever was locked
	for i := 0; i < len(grown); i += os.Getpagesize() {
		grown[i] = 1
	}
	b.Restore()
	if got := umask(); got != 0o022 {
		t.Errorf("umask %#o after Restore", got)
	}
	if got := limit(t, unix.RLIMIT_CORE); got != before {
		t.Errorf("core limit %v after Restore, not %v", got, before)
	}
	if got := limit(t, unix.RLIMIT_MEMLOCK); got != memory {
		t.Errorf("lock limit %v after Restore, not %v", got, memory)
	}
}

func umask() int {
	mask := unix.Umask(0)
	unix.Umask(mask)
	return mask
}

func limit(t *testing.T, which int) (l unix.Rlimit) {
	t.Helper()
	if err := unix.Getrlimit(which, &l); err != nil {
		t.Fatal(err)
	}
	return l
}
