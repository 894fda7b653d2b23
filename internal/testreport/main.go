// Command testreport reads the output of "go test -json" and prints what a person wants of it: a line a package, the whole output of what
// failed, what was skipped and why, and a closing line of counts. It exits with 1 when something failed or nothing was run.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

const module = "github.com/vouchsafe/vouchsafe"

// event is a line of test2json.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build output
	Test       string
	Output     string
	Elapsed    float64 // seconds
}

// report is what was seen so far.
type report struct {
	out                     io.Writer
	output                  map[string][]string // by package and test, while it runs
	passed, failed, skipped int
	skips                   map[string][]string // tests by reason
	broken                  []string            // packages that failed outside of tests
}

func main() {
	r := &report{out: os.Stdout, output: map[string][]string{}, skips: map[string][]string{}}
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
	if !r.finish() {
		os.Exit(1)
	}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(r.out, lines.Text()) // what the go command says itself
			continue
		}
		r.event(e)
	}
	return lines.Err()
}

func (r *report) event(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e, r.output[key])
		} else {
			r.endTest(e, r.output[key])
		}
		delete(r.output, key)
	}
}

func (r *report) endTest(e event, output []string) {
	switch e.Action {
	case "pass":
		r.passed++
	case "fail":
		r.failed++
		fmt.Fprintf(r.out, "\n--- FAIL: %s %s\n%s\n", short(e.Package), e.Test, strings.Join(output, ""))
	case "skip":
		r.skipped++
		why := reason(output)
		r.skips[why] = append(r.skips[why], short(e.Package)+" "+e.Test)
	}
}

func (r *report) endPackage(e event, output []string) {
	switch e.Action {
	case "fail":
		r.broken = append(r.broken, short(e.Package))
		fmt.Fprintf(r.out, "FAIL  %6.1fs  %s\n%s", e.Elapsed, short(e.Package), strings.Join(output, ""))
	case "pass":
		fmt.Fprintf(r.out, "ok    %6.1fs  %s\n", e.Elapsed, short(e.Package))
	}
}

// reason is the last thing that a skipped test logged.
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "---") || strings.HasPrefix(line, "===") {
			continue
		}
		if _, message, ok := strings.Cut(line, ".go:"); ok {
			if _, message, ok = strings.Cut(message, ": "); ok {
				return message
			}
		}
		return line
	}
	return "without a reason"
}

func short(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

// finish prints what was skipped and the counts, and reports whether all is well.
func (r *report) finish() bool {
	if len(r.skips) > 0 {
		fmt.Fprintln(r.out, "\nSkipped:")
	}
	reasons := make([]string, 0, len(r.skips))
	for why := range r.skips {
		reasons = append(reasons, why)
	}
	slices.Sort(reasons)
	for _, why := range reasons {
		fmt.Fprintf(r.out, "  %s\n", why)
		for _, test := range r.skips[why] {
			fmt.Fprintf(r.out, "    %s\n", test)
		}
	}
	if len(r.broken) > 0 {
		fmt.Fprintf(r.out, "\nFailed packages: %s\n", strings.Join(r.broken, ", "))
	}
	fmt.Fprintf(r.out, "\n%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
	return len(r.broken) == 0 && r.failed == 0 && r.passed > 0
}
