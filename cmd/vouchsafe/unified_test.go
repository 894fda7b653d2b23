package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/policy"
)

// TestUnified holds the difference against patch, where there is one, and always against what it must contain.
func TestUnified(t *testing.T) {
	numbers := func(n int, skip ...int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "line %d\n", i)
			for _, s := range skip {
				if s == i {
					b.WriteString("more\n")
				}
			}
		}
		return b.String()
	}
	long := strings.Repeat("x\n", 3000)
	for name, c := range map[string]struct{ before, after string }{
		"created": {"", numbers(3)}, "retired": {numbers(3), ""}, "first": {numbers(20), "new\n" + numbers(20)}, "last": {numbers(20), numbers(20) + "new\n"},
		"two hunks": {numbers(40, 3), numbers(40, 30)}, "one hunk": {numbers(40, 3), numbers(40, 8)}, "long": {long, strings.ReplaceAll(long, "x", "y")},
	} {
		lines := unified("a", "b", c.before, c.after)
		removed, added := 0, 0
		for _, line := range lines[2:] {
			switch line[0] {
			case '-':
				removed++
			case '+':
				added++
			}
		}
		if strings.Count(c.after, "\n")-strings.Count(c.before, "\n") != added-removed {
			t.Errorf("%s: %d added, %d removed", name, added, removed)
		}
		if _, err := exec.LookPath("patch"); err != nil {
			continue
		}
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte(c.before), 0o600); err != nil {
			t.Fatal(err)
		}
		patch := exec.CommandContext(t.Context(), "patch", "-u", file)
		patch.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
		out, err := patch.CombinedOutput()
		got, _ := os.ReadFile(file) // removed when nothing is left
		if err != nil || string(got) != c.after {
			t.Errorf("%s: %v %s\n%s", name, err, out, strings.Join(lines, "\n"))
		}
	}
	if unified("a", "b", "x\n", "x\n") != nil {
		t.Error("equal texts differ")
	}
	if lines := unified("a", "b", "x", "x\n"); len(lines) != 5 {
		t.Errorf("a missing line feed: %q", lines)
	}
}

// TestMarked shows whole texts, and of an author's draft of the largest size with the most lines what differs, without the memory for all lines by all lines.
func TestMarked(t *testing.T) {
	if got := marked("a\nb\n", ""); strings.Join(got, "|") != "-a|-b" {
		t.Errorf("retired: %q", got)
	}
	if got := marked("a\nb\n", "a\nc\n"); strings.Join(got, "|") != " a|-b|+c" {
		t.Errorf("changed: %q", got)
	}
	if got := marked("", ""); got == nil || len(got) != 0 {
		t.Errorf("nothing: %#v", got)
	}
	most := policy.MaxSource / 2
	if got := marked(strings.Repeat("a\n", most), strings.Repeat("b\n", most)); len(got) != 2*most {
		t.Errorf("%d lines of %d", len(got), 2*most)
	}
}
