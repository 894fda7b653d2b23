// Package crash kills processes for the tests that hold what survives it. A test starts its own binary with an environment that makes TestMain write
// until it is killed, a line for each thing that it may rely on; [Run] returns the lines that came before the end.
package crash

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// RoundsVariable names the environment variable that says how often to kill: hundreds for a release, where an ordinary run is to be quick.
const RoundsVariable = "VOUCHSAFE_CRASHES"

// Rounds returns what RoundsVariable says, or usual.
func Rounds(t *testing.T, usual int) int {
	t.Helper()
	text := os.Getenv(RoundsVariable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, not a positive number", RoundsVariable, text)
	}
	return n
}

// Run starts command, kills it some time after its first line, and returns its lines. What the kill cut off was not said, and is left out. A command
// that ends by itself fails the test.
func Run(t *testing.T, command *exec.Cmd, after time.Duration) []string {
	t.Helper()
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			break
		}
		if len(lines) == 0 {
			kill := time.AfterFunc(after, func() { _ = command.Process.Kill() }) // fails only when the process is gone, which Wait tells
			defer kill.Stop()
		}
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	var killed *exec.ExitError
	if err := command.Wait(); !errors.As(err, &killed) || killed.ExitCode() != -1 || len(lines) == 0 {
		t.Fatalf("the process ended by itself: %v, after %d lines; the last ones: %q", err, len(lines), lines[max(0, len(lines)-2):])
	}
	return lines
}
