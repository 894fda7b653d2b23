package testserver_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/testserver"
)

const patience = 30 * time.Second

// child has this test binary be one that starts a server in the folder that it names, and ends.
const (
	child      = "TESTSERVER_CHILD"
	childState = "TESTSERVER_STATE" // "running" or "stopped" until it is killed, or "exit"
)

// server is a shell that starts another process, as a server starts plugins, and prints the ids of both.
func server() *exec.Cmd {
	return exec.Command("/bin/sh", "-c", "sleep 600 & echo $$ $!; wait")
}

// start starts the server and returns the ids.
func start(t *testing.T, k *testserver.Keeper) (*testserver.Process, []int) {
	t.Helper()
	cmd := server()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	cmd.Stdout = writer
	p, err := k.Start(cmd)
	if err := errors.Join(err, writer.Close()); err != nil {
		t.Fatal(err)
	}
	return p, ids(t, bufio.NewReader(reader))
}

func ids(t *testing.T, from *bufio.Reader) []int {
	t.Helper()
	line, err := from.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var ids []int
	for field := range strings.FieldsSeq(line) {
		id, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if len(ids) != 2 {
		t.Fatalf("got %q", line)
	}
	return ids
}

// gone waits until there are no such processes and there is no such folder.
func gone(t *testing.T, ids []int, dir string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		left := 0
		for _, id := range ids {
			if alive(id) {
				left++
			}
		}
		_, err := os.Stat(dir)
		if left == 0 && errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d of the processes %v are left; the folder: %v", left, ids, err)
		}
	}
}

// alive reports whether a process runs; one that has ended and was not waited for does not.
func alive(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(status), ") ")
	return ok && !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

func TestKeeper(t *testing.T) {
	dir, err := os.MkdirTemp("", "testserver")
	if err != nil {
		t.Fatal(err)
	}
	k, err := testserver.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Signal(syscall.SIGCONT); !errors.Is(err, testserver.ErrNotRunning) {
		t.Errorf("got the error %v", err)
	}
	p, first := start(t, k)
	if _, err := k.Start(server()); err == nil {
		t.Error("a second process was started")
	}
	if err := k.Signal(syscall.SIGSTOP); err != nil {
		t.Error(err)
	}
	k.Kill()
	if p.Err() == nil {
		t.Error("a process that was killed ended well")
	}
	_, second := start(t, k)
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	if err := k.End(); err != nil {
		t.Error(err)
	}
	gone(t, append(first, second...), dir)
}

// TestEndsWithTheTestBinary kills a test binary whose server runs, or is stopped so that it can do nothing itself.
func TestEndsWithTheTestBinary(t *testing.T) {
	if dir := os.Getenv(child); dir != "" {
		beChild(t, dir)
	}
	for _, state := range []string{"running", "stopped", "exit"} {
		t.Run(state, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "testserver")
			if err != nil {
				t.Fatal(err)
			}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			binary := exec.Command(self, "-test.run=^TestEndsWithTheTestBinary$")
			binary.Env = append(os.Environ(), child+"="+dir, childState+"="+state)
			output, err := binary.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := binary.Start(); err != nil {
				t.Fatal(err)
			}
			started := ids(t, bufio.NewReader(output))
			if state != "exit" {
				if !alive(started[0]) || !alive(started[1]) {
					t.Error("the server does not run")
				}
				if err := binary.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
			_ = binary.Wait()
			gone(t, started, dir)
		})
	}
}

// beChild starts a server, prints its ids, and ends or waits to be killed.
func beChild(t *testing.T, dir string) {
	k, err := testserver.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, ids := start(t, k)
	if os.Getenv(childState) == "stopped" {
		if err := k.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Println(ids[0], ids[1])
	if os.Getenv(childState) == "exit" {
		os.Exit(0)
	}
	select {}
}

func TestFreePort(t *testing.T) {
	address, err := testserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(address, ":")
	if n, err := strconv.Atoi(port); err != nil || n < 1024 || n >= 32768 {
		t.Errorf("got %s", address)
	}
}
