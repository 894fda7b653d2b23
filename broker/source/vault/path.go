package vault

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/policy"
)

// Limits of paths in Vault.
const (
	maxSegment  = policy.MaxSegment
	maxSegments = 32
)

// fixedPath checks a path that is written out, and returns its segments. name is that of the parameter.
func fixedPath(name, path string) ([]string, error) {
	segments := strings.Split(path, "/")
	if path == "" || len(segments) > maxSegments {
		return nil, fmt.Errorf("%s is empty or has over %d segments", name, maxSegments)
	}
	for _, s := range segments {
		if err := fixedSegment(s); err != nil {
			return nil, fmt.Errorf("%s %.100q: %w", name, path, err)
		}
	}
	return segments, nil
}

func fixedSegment(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("it begins or ends with a slash, or has two in a row")
	case s == "." || s == "..":
		return fmt.Errorf("it has a relative segment")
	case len(s) > maxSegment:
		return fmt.Errorf("it has a segment of over %d bytes", maxSegment)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("it has characters that cannot be seen, or is not UTF-8")
	}
	return nil
}

// pathTemplate is a path below the prefix that is written out.
type pathTemplate struct {
	text     string
	segments []*source.Template
}

// known are the segments, with anyText for those that are not written out.
func (p *pathTemplate) known() []string {
	known := make([]string, len(p.segments))
	for i, t := range p.segments {
		known[i] = anyText
		if fixed, ok := t.Fixed(); ok {
			known[i] = fixed
		}
	}
	return known
}

// parsePath checks a path template.
func parsePath(text, secret string) (*pathTemplate, error) {
	t, err := source.Parse(text, secret)
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	p := &pathTemplate{text: text, segments: t.Split("/")}
	if len(p.segments) < 2 || len(p.segments) > maxSegments {
		return nil, fmt.Errorf("path %.100q has %d segments, not 2 to %d", text, len(p.segments), maxSegments)
	}
	for i, s := range p.segments {
		fixed, ok := s.Fixed()
		switch {
		case ok:
			if err := fixedSegment(fixed); err != nil {
				return nil, fmt.Errorf("path %.100q: %w", text, err)
			}
			if strings.ContainsAny(fixed, `?#%\{}$`) {
				return nil, fmt.Errorf(`path %.100q: it has one of ? # %% \ { } $, which no path of an engine has`, text)
			}
			if source.IsReserved(fixed) && i < len(p.segments)-1 {
				return nil, fmt.Errorf("path %.100q: nothing below %s is issued as a secret", text, strings.Join(source.Reserved(), ", "))
			}
		case i == 0:
			return nil, fmt.Errorf("path %.100q: its first segment, the engine's mount, is written out", text)
		default:
			if err := errors.Join(literalsAround(s), s.CheckApart()); err != nil {
				return nil, fmt.Errorf("path %.100q: %w", text, err)
			}
		}
	}
	return p, nil
}

// literalsAround checks what stands beside placeholders in a segment.
func literalsAround(s *source.Template) error {
	for _, literal := range s.Literals() {
		if i := strings.IndexFunc(literal, func(c rune) bool {
			return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_-.@:+~", c))
		}); i >= 0 {
			return fmt.Errorf("beside a placeholder there is %q, which is none of A-Z a-z 0-9 _ - . @ : + ~", literal)
		}
		if strings.Contains(literal, "..") {
			return fmt.Errorf("beside a placeholder there are two dots in a row")
		}
	}
	if strings.HasPrefix(s.String(), ".") {
		return fmt.Errorf("a segment with a placeholder begins with a dot")
	}
	return nil
}

// render fills a path in, and returns its segments, which are not escaped. Its errors are *source.Refusal. Each value was checked when it was put in; here it is what they make
// together with the text around them that is.
func (p *pathTemplate) render(r source.Request) ([]string, error) {
	segments := make([]string, len(p.segments))
	for i, t := range p.segments {
		segment, err := t.Render(r)
		if err != nil {
			return nil, err
		}
		if _, fixed := t.Fixed(); !fixed {
			if err := checkRendered(segment, t); err != nil {
				return nil, err
			}
		}
		segments[i] = segment
	}
	return segments, nil
}

func checkRendered(segment string, t *source.Template) error {
	refuse := func(code, detail string) error {
		return &source.Refusal{Code: code, Placeholder: t.String(), Detail: detail}
	}
	switch {
	case len(segment) > maxSegment:
		return refuse(source.RefusedLong, fmt.Sprintf("with it, the segment has %d bytes, over %d", len(segment), maxSegment))
	case strings.Contains(segment, ".."):
		return refuse(source.RefusedRelative, "with it, the segment has two dots in a row")
	case source.IsReserved(segment):
		return refuse(source.RefusedReserved, "with it, the segment is one of "+strings.Join(source.Reserved(), ", "))
	}
	return nil
}

// sample is a path that the template could make, to ask about rights.
func (p *pathTemplate) sample() (path string, exact bool) {
	const instead = "vouchsafe-sample"
	segments := make([]string, len(p.segments))
	exact = true
	for i, t := range p.segments {
		fixed, ok := t.Fixed()
		if !ok {
			fixed, exact = instead, false
		}
		segments[i] = fixed
	}
	return strings.Join(segments, "/"), exact
}

// checkMount refuses a mount that is none of secrets.
func checkMount(segments []string) error {
	if slices.ContainsFunc(segments, source.IsReserved) {
		return fmt.Errorf("mount: %s hold no secrets", strings.Join(source.Reserved(), ", "))
	}
	return nil
}
