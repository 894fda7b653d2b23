//go:build linux

// Command vouchsafe-agent runs in the guest: it proves to a broker what the guest is, and puts the secrets it gets where
// the workload reads them. See docs/workload.md and "vouchsafe-agent help".
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/vouchsafe/vouchsafe/client/tpmdevice"
	"github.com/vouchsafe/vouchsafe/internal/harden"
)

func main() { os.Exit(run(system{tpm: tpmdevice.DefaultDevice, machine: thisMachine()})) }

// run is main without the exit, on a system whose devices are given, so that a test can be the program.
func run(s system) int {
	s.restore = harden.Process().Restore
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s.out, s.errOut = os.Stdout, os.Stderr
	return execute(ctx, os.Args[1:], s)
}
