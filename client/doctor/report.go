package doctor

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Severity says how much a finding matters.
type Severity string

// The severities, the most important first.
const (
	Problem Severity = "problem" // it does not work for this reason
	Warning Severity = "warning" // it works, and proves less than it could
	Note    Severity = "note"    // good to know
	OK      Severity = "ok"      // looked for, and there
)

var severities = []Severity{Problem, Warning, Note, OK}

// Finding is one thing that was found.
type Finding struct {
	ID       string   `json:"id"` // the same in all versions, for scripts
	Severity Severity `json:"severity"`
	Title    string   `json:"title"`            // what was found, in a sentence without its full stop
	Detail   string   `json:"detail,omitempty"` // what it means
	Fix      []string `json:"fix,omitempty"`    // what to do, in order: sentences, and commands that begin with "$ "
}

// Report is the result.
type Report struct {
	Mode     string        `json:"mode"`              // "guest" or "host"
	OK       bool          `json:"ok"`                // it can attest itself; it can host confidential machines
	Kind     attest.Kind   `json:"kind,omitempty"`    // of the evidence that the machine can make, or could but for the problems
	Devices  []attest.Kind `json:"devices,omitempty"` // whose evidence can go with it
	Verdict  string        `json:"verdict"`
	Findings []Finding     `json:"findings"`
}

// Add adds a finding where it belongs. A problem makes the report's OK false.
func (r *Report) Add(f Finding) {
	if f.Severity == Problem {
		r.OK = false
	}
	rank := slices.Index(severities, f.Severity)
	at := slices.IndexFunc(r.Findings, func(other Finding) bool { return slices.Index(severities, other.Severity) > rank })
	if at < 0 {
		at = len(r.Findings)
	}
	r.Findings = slices.Insert(r.Findings, at, f)
}

// add adds a finding that has no more to say than what to do.
func (r *Report) add(severity Severity, id, title, detail string, fix ...string) {
	r.Add(Finding{ID: id, Severity: severity, Title: title, Detail: detail, Fix: fix})
}

// first returns the most important problem, or nil.
func (r *Report) first() *Finding {
	if len(r.Findings) > 0 && r.Findings[0].Severity == Problem {
		return &r.Findings[0]
	}
	return nil
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", r.Verdict)
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "\n%-8s %s  [%s]\n", strings.ToUpper(string(f.Severity)), f.Title, f.ID)
		for _, line := range wrap(f.Detail, 108) {
			fmt.Fprintf(&b, "         %s\n", line)
		}
		for _, step := range f.Fix {
			if command, found := strings.CutPrefix(step, "$ "); found {
				fmt.Fprintf(&b, "           %s\n", command)
				continue
			}
			for _, line := range wrap(step, 108) {
				fmt.Fprintf(&b, "         %s\n", line)
			}
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// wrap breaks a text into lines of at most width characters, where its words allow.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
