package vault

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Wildcards of a pattern of paths, as policies have them.
const (
	oneSegment   = "*"
	moreSegments = "**" // one or more; only at the end
)

// Paths says which paths of Vault secrets may name. A nil *Paths allows all.
//
// A path is what Vault is asked, as its own policies have it: secret/data/payments/db for a secret in an engine of KV v2. A pattern of paths is a
// path in which "*" stands for one segment, and "**" at the end for one or more.
type Paths struct {
	limited bool
	allowed map[string][][]string // by namespace
	own     [][]string
}

// NewPaths returns the paths that each namespace's secrets may name. A namespace that is not in allowed may name none; with nil there is no such limit.
// What own has, no secret names whatever is allowed: where the broker keeps its own records, and the key that seals them.
func NewPaths(allowed map[string][]string, own []string) (*Paths, error) {
	p := &Paths{limited: allowed != nil, allowed: make(map[string][][]string, len(allowed))}
	var errs []error
	add := func(to [][]string, text string) [][]string {
		pattern, err := parsePattern(text)
		errs = append(errs, err)
		return append(to, pattern)
	}
	for namespace, patterns := range allowed {
		for _, text := range patterns {
			p.allowed[namespace] = add(p.allowed[namespace], text)
		}
	}
	for _, text := range own {
		p.own = add(p.own, text)
	}
	return p, errors.Join(errs...)
}

func parsePattern(text string) ([]string, error) {
	segments, err := fixedPath("path", text)
	if err != nil {
		return nil, err
	}
	for i, s := range segments {
		switch {
		case !strings.ContainsAny(s, "*+"), s == oneSegment && i > 0, s == moreSegments && i > 0 && i == len(segments)-1:
		case i == 0:
			return nil, fmt.Errorf("path %.100q: its first segment, the engine's mount, is written out", text)
		default:
			return nil, fmt.Errorf(`path %.100q: "*" stands for one whole segment, and "**" at the end for one or more; "+" and parts of segments are not possible`, text)
		}
	}
	return segments, nil
}

// anyText is in the place of a segment whose text is not known yet. It is no segment.
const anyText = ""

// matches reports whether a pattern matches a path, whatever is filled in where a segment is not known; with maybe, whether it does for some of it.
func matches(pattern, path []string, maybe bool) bool {
	for i, want := range pattern {
		switch {
		case want == moreSegments:
			return len(path) > i
		case i >= len(path):
			return false
		case want != oneSegment && want != path[i] && !(maybe && path[i] == anyText):
			return false
		}
	}
	return len(path) == len(pattern)
}

// check refuses a path that secrets of a namespace may not name. Of a path with segments that are not known yet, which are anyText, it refuses what may not
// be named whatever they are: the rest is refused when they are known.
func (p *Paths) check(namespace string, path []string) error {
	if p == nil {
		return nil
	}
	if slices.ContainsFunc(p.own, func(pattern []string) bool { return matches(pattern, path, false) }) {
		return &outside{fmt.Sprintf("%.200q is where this broker keeps its own records or keys, which no secret names", written(path))}
	}
	if p.limited && !slices.ContainsFunc(p.allowed[namespace], func(pattern []string) bool { return matches(pattern, path, true) }) {
		return &outside{fmt.Sprintf("%.200q is not among the paths that secrets of namespace %q may name, which the operator's settings list (vault.sources)",
			written(path), namespace)}
	}
	return nil
}

// written is a path as people read it.
func written(path []string) string {
	all := slices.Clone(path)
	for i, s := range all {
		if s == anyText {
			all[i] = "${…}"
		}
	}
	return strings.Join(all, "/")
}

// outside says that a path is not one that secrets of a namespace may name. At a release it is a source.Failure or a source.Refusal.
type outside struct{ message string }

func (o *outside) Error() string { return o.message }
