package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/policy"
)

// Limits of scopes.
const (
	// MaxScope is how many prefixes a scope may have: whoever needs more needs a namespace.
	MaxScope = 16
	// MaxPrefix is the longest prefix in bytes.
	MaxPrefix = 256
)

// Scope is where in a namespace roles count: at the paths of secrets that it names and below them, or, without any, everywhere. A prefix is whole segments,
// written with a "/" behind them: "payments/" covers payments and payments/db/password, and not payments2.
type Scope []string

// ParseScope checks prefixes and returns the scope that they make, sorted, each with a "/" at its end, and none that lies below another.
func ParseScope(prefixes ...string) (Scope, error) {
	if len(prefixes) > MaxScope {
		return nil, fmt.Errorf("%d paths: at most %d are possible", len(prefixes), MaxScope)
	}
	var s Scope
	for _, text := range prefixes {
		path := strings.TrimSuffix(text, "/")
		if len(path) >= MaxPrefix {
			return nil, fmt.Errorf("a path of %d bytes: at most %d are possible", len(path), MaxPrefix)
		}
		if err := policy.CheckPath(path); err != nil {
			return nil, fmt.Errorf("the path %.100q: %w", text, err)
		}
		s = append(s, path+"/")
	}
	slices.Sort(s)
	var highest Scope
	for _, prefix := range s { // what it lies below sorts before it
		if n := len(highest); n == 0 || !strings.HasPrefix(prefix, highest[n-1]) {
			highest = append(highest, prefix)
		}
	}
	return highest, nil
}

// check refuses a scope that ParseScope would not have made.
func (s Scope) check() error {
	parsed, err := ParseScope(s...)
	if err == nil && !slices.Equal(parsed, s) {
		err = errors.New("the paths of a scope are not sorted, or one lies below another")
	}
	return err
}

// All reports whether s is a whole namespace.
func (s Scope) All() bool { return len(s) == 0 }

// Covers reports whether a secret's path is at or below one of the prefixes. It holds of patterns, too, in which a prefix never meets a wildcard:
// all that "payments/*" matches is below "payments/", and "*/x" is below nothing.
func (s Scope) Covers(path string) bool {
	if s.All() {
		return true
	}
	path += "/" // so that payments2 does not begin with payments/, and payments does
	return slices.ContainsFunc(s, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
}

// Of returns the prefixes of s that cover a path or pattern. It is nothing but for a scope, which covers one of them at least: that of everything has no prefixes.
func (s Scope) Of(paths ...string) Scope {
	var some Scope
	for _, prefix := range s {
		if slices.ContainsFunc(paths, Scope{prefix}.Covers) {
			some = append(some, prefix)
		}
	}
	return some
}

// Within reports whether all of s is within another scope.
func (s Scope) Within(outer Scope) bool {
	if outer.All() {
		return true
	}
	return !s.All() && !slices.ContainsFunc(s, func(prefix string) bool { return !outer.Covers(strings.TrimSuffix(prefix, "/")) })
}

func (s Scope) String() string {
	if s.All() {
		return "everything"
	}
	return strings.Join(s, ", ")
}

// Object is what an operation is about, for [AuthorizeOn]: the whole namespace, or some paths of secrets in it.
type Object struct {
	paths []string
	some  bool
}

// Whole is the whole namespace, and what belongs to no path in it, such as reference values: whoever has a scope may not touch it.
func Whole() Object { return Object{} }

// Paths are secrets, or patterns of them, all of which must be within the scope. None at all are the whole namespace.
func Paths(paths ...string) Object { return Object{paths: paths} }

// Some is for an operation that itself keeps to what the caller's scope covers, such as a listing.
func Some() Object { return Object{some: true} }

// within reports whether a scope covers the object.
func (o Object) within(s Scope) bool {
	if s.All() || o.some {
		return true
	}
	return len(o.paths) > 0 && !slices.ContainsFunc(o.paths, func(path string) bool { return !s.Covers(path) })
}
