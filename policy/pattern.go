package policy

import (
	"fmt"
	"strings"
)

// Limits of a secret's path.
const (
	// MaxSegments is the largest number of segments of a secret's path.
	MaxSegments = 8
	// MaxSegment is the largest length of one segment in bytes: what file systems and Vault take as one name.
	MaxSegment = 255
)

// CheckPath checks a secret's path: 1 to [MaxSegments] segments separated by "/", each of 1 to [MaxSegment] of the
// characters A-Z a-z 0-9 _ - . and not beginning with a dot.
func CheckPath(path string) error {
	n := 0
	for segment := range strings.SplitSeq(path, "/") {
		if n++; n > MaxSegments {
			return fmt.Errorf("secret path has more than %d segments", MaxSegments)
		}
		if err := checkSegment(segment); err != nil {
			return fmt.Errorf("secret path %.*q: %w", 64, path, err)
		}
	}
	return nil
}

func checkSegment(segment string) error {
	switch {
	case segment == "":
		return fmt.Errorf("it has an empty segment")
	case len(segment) > MaxSegment:
		return fmt.Errorf("a segment is longer than %d bytes", MaxSegment)
	case segment[0] == '.':
		return fmt.Errorf("segment %q begins with a dot", segment)
	}
	for i := range len(segment) {
		c := segment[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.') {
			return fmt.Errorf("segment %q has a character that is none of A-Z a-z 0-9 _ - .", segment)
		}
	}
	return nil
}

// Wildcards of a pattern.
const (
	oneSegment   = "*"  // exactly one segment
	moreSegments = "**" // one segment or more; only at the end
)

// CheckPattern checks a pattern of secret paths: a path in which a whole segment may be "*", which stands for exactly one segment,
// and the last may be "**", which stands for one or more.
func CheckPattern(text string) error {
	segments := strings.Split(text, "/")
	if len(segments) > MaxSegments {
		return fmt.Errorf("secret pattern has more than %d segments", MaxSegments)
	}
	for i, segment := range segments {
		if segment == oneSegment || segment == moreSegments && i == len(segments)-1 {
			continue
		}
		if segment == moreSegments {
			return fmt.Errorf("secret pattern %q has ** before its end", text)
		}
		if strings.Contains(segment, "*") {
			return fmt.Errorf("secret pattern %q has a * that is not a segment of its own", text)
		}
		if err := checkSegment(segment); err != nil {
			return fmt.Errorf("secret pattern %q: %w", text, err)
		}
	}
	return nil
}

// pattern is a checked pattern.
type pattern struct {
	text     string
	segments []string
}

func newPattern(text string) pattern { return pattern{text, strings.Split(text, "/")} }

// matches reports whether the pattern covers a checked path.
func (p pattern) matches(path string) bool {
	rest, more := path, true
	for _, want := range p.segments {
		if !more {
			return false
		}
		if want == moreSegments {
			return true
		}
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if want != oneSegment && want != segment {
			return false
		}
	}
	return !more
}

// example returns a path the pattern covers.
func (p pattern) example() string {
	return strings.NewReplacer(moreSegments, "example", oneSegment, "example").Replace(p.text)
}
