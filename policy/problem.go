package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong, or doubtful, in a policy document.
type Problem struct {
	Line     int    `json:"line"`               // 1-based; 0 when the document as a whole is meant
	Column   int    `json:"column"`             // 1-based, in characters
	Path     string `json:"path,omitempty"`     // the member: spec.require[1].that
	Message  string `json:"message"`            // what is wrong
	Expected string `json:"expected,omitempty"` // what would be right
	Nearest  string `json:"nearest,omitempty"`  // the known name closest to the one written
}

func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "%d:%d: ", p.Line, p.Column)
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Expected != "" {
		b.WriteString("; expected " + p.Expected)
	}
	if p.Nearest != "" {
		fmt.Fprintf(&b, "; did you mean %q?", p.Nearest)
	}
	return b.String()
}

// Problems is the error of [Parse]: everything wrong with a document, in the order of its lines.
type Problems struct {
	File string    `json:"file,omitempty"`
	List []Problem `json:"problems"`
}

func (p *Problems) Error() string {
	lines := make([]string, len(p.List))
	for i, problem := range p.List {
		lines[i] = problem.String()
		if p.File != "" && problem.Line > 0 {
			lines[i] = p.File + ":" + lines[i]
		} else if p.File != "" {
			lines[i] = p.File + ": " + lines[i]
		}
	}
	return strings.Join(lines, "\n")
}

// maxProblems is how many problems of one document are told. More help nobody, and a hostile document could have one per byte.
const maxProblems = 50

// problems collects what is wrong while the rest of the document is still being read.
type problems struct{ list []Problem }

func (c *problems) add(p Problem) {
	if len(c.list) < maxProblems {
		c.list = append(c.list, p)
	}
}

// sorted returns the collected problems in the order of the document.
func (c *problems) sorted() []Problem {
	slices.SortStableFunc(c.list, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return c.list
}

// maxNameLength bounds the work of [nearest]: a name longer than this is no misspelling of ours.
const maxNameLength = 128

// Nearest returns the one of names that is the likeliest meaning of name, or "" when none is close.
func Nearest(name string, names []string) string { return nearest(name, names) }

// nearest returns the one of names that is the likeliest meaning of name, or "" when none is close: at most a third of its letters differ,
// swapped neighbours counting as one.
func nearest(name string, names []string) string {
	if len(name) == 0 || len(name) > maxNameLength {
		return ""
	}
	best, distance := "", len(name)/3+1
	for _, candidate := range names {
		if strings.EqualFold(candidate, name) {
			return candidate
		}
		if d := editDistance(name, candidate); d <= distance && (d < distance || best == "") {
			best, distance = candidate, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, substitutions and swaps of neighbours that make b of a.
func editDistance(a, b string) int {
	if len(b) > maxNameLength {
		return len(b)
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
