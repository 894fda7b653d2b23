package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestProgress shows progress on a real terminal, in one line, and to nobody else.
func TestProgress(t *testing.T) {
	terminal, screen := openTerminal(t)
	p := &program{errOut: terminal}
	show := p.progress("decisions judged")
	shown := make(chan string)
	go func() {
		var all []byte
		buffer := make([]byte, 256)
		for !bytes.Contains(all, []byte("judged")) {
			n, err := screen.Read(buffer)
			if err != nil {
				break
			}
			all = append(all, buffer[:n]...)
		}
		shown <- string(all)
	}()
	var line string
	for done := uint64(1); line == ""; done++ { // it takes a second until there is something worth saying
		show(done)
		select {
		case line = <-shown:
		case <-time.After(20 * time.Millisecond):
		}
	}
	if !strings.HasPrefix(line, "\r") || !strings.Contains(line, " decisions judged") || strings.Contains(line, "\n") {
		t.Errorf("shown: %q", line)
	}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	quiet := (&program{errOut: file}).progress("decisions judged")
	end := time.Now().Add(1200 * time.Millisecond)
	for time.Now().Before(end) {
		quiet(1)
		time.Sleep(50 * time.Millisecond)
	}
	if info, err := file.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("%v bytes in a file, %v", info, err)
	}
}

// openTerminal returns a terminal, and what is on its other side.
func openTerminal(t *testing.T) (terminal, screen *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there are no terminals here: ", err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("there are no terminals here: ", err)
	}
	t.Cleanup(func() { terminal.Close() })
	return terminal, screen
}
