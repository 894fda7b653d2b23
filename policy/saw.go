package policy

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Bounds on what a record keeps of the values a rule touched, so that a decision's size does not depend on what a guest put into its
// command line. A digest is 128 hex digits at most.
const (
	maxSeenText  = 256 // bytes of one string
	maxSeenItems = 16  // elements of one list or map
	maxSeenPaths = 32  // paths of one rule
)

// path is a place in the claims: claims.tpm.pcrs[7].
type path struct {
	text  string
	steps []step
	kinds []attest.Kind // that can prove it; nil for all
}

// step is one selection: of a struct's field, or of a map's key or a list's index.
type step struct {
	field *field
	key   any // string or int
}

// claimPath resolves a dotted path below claims, for the baseline and for the set member of tests. Map keys are written as members.
func (s *schema) claimPath(dotted string) (path, error) {
	p := path{text: "claims"}
	for name := range strings.SplitSeq(dotted, ".") {
		var err error
		if p, err = s.extend(p, name); err != nil {
			return path{}, err
		}
	}
	return p, nil
}

// unknownMember says that a path goes on where there is nothing.
type unknownMember struct {
	At, Name string   // the path that exists, and the member that does not
	Known    []string // the members there are; nil where At has none
}

func (e *unknownMember) Error() string {
	if e.Known == nil {
		return fmt.Sprintf("%s has no members", e.At)
	}
	return fmt.Sprintf("%s has no member %q", e.At, e.Name)
}

// extend goes one selection further. key is a member's name, or a map's key or list's index.
func (s *schema) extend(p path, key any) (path, error) {
	st, container := s.at(p)
	next := path{kinds: p.kinds, steps: append(p.steps[:len(p.steps):len(p.steps)], step{key: key})}
	name, isName := key.(string)
	if st != nil && isName {
		f := st.byName[name]
		if f == nil {
			return path{}, &unknownMember{p.text, name, st.names}
		}
		next.steps[len(next.steps)-1] = step{field: f}
		next.text = p.text + "." + name
		if f.kinds != nil {
			next.kinds = f.kinds
		}
		return next, nil
	}
	switch {
	case container == nil:
		return path{}, &unknownMember{At: p.text, Name: fmt.Sprint(key)}
	case container.Kind() == reflect.Map && container.Key().Kind() == reflect.String && isName:
		next.text = p.text + "[" + strconv.Quote(name) + "]"
		return next, nil
	}
	n, err := strconv.Atoi(fmt.Sprint(key))
	if err != nil {
		return path{}, &unknownMember{At: p.text, Name: fmt.Sprint(key)}
	}
	next.steps[len(next.steps)-1].key = n
	next.text = p.text + "[" + strconv.Itoa(n) + "]"
	return next, nil
}

// at returns what a path leads to: a struct, or a map or list type, or neither.
func (s *schema) at(p path) (*structType, reflect.Type) {
	if len(p.steps) == 0 {
		return s.root, nil
	}
	var t reflect.Type
	var child *structType
	for _, step := range p.steps {
		if step.field != nil {
			t, child = step.field.goes, step.field.child
			if t.Kind() == reflect.Pointer {
				t = t.Elem()
			}
			continue
		}
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct:
		return child, nil
	case reflect.Map, reflect.Slice:
		return nil, t
	}
	return nil, nil
}

// read returns the value at the path as JSON has it, cut to the bounds; nil where any part of it is absent.
func (p path) read(claims *attest.Claims) any {
	v := reflect.ValueOf(claims).Elem()
	for _, step := range p.steps {
		if step.field != nil {
			v = v.Field(step.field.index)
			if !step.field.present(v) {
				return nil
			}
			if v.Kind() == reflect.Pointer {
				v = v.Elem()
			}
			continue
		}
		switch v.Kind() {
		case reflect.Map:
			if v = v.MapIndex(reflect.ValueOf(step.key)); !v.IsValid() {
				return nil
			}
		case reflect.Slice:
			i, _ := step.key.(int)
			if i < 0 || i >= v.Len() {
				return nil
			}
			v = v.Index(i)
		default:
			return nil
		}
	}
	return seen(v)
}

func seen(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Bool:
		return v.Bool()
	case reflect.Int, reflect.Int32, reflect.Int64:
		return v.Int()
	case reflect.String:
		return seenText(v.String())
	case reflect.Struct:
		if v.Type() == timeType {
			return v.Interface().(time.Time)
		}
		return "present"
	case reflect.Slice:
		out := make([]any, 0, min(v.Len(), maxSeenItems+1))
		for i := range min(v.Len(), maxSeenItems) {
			if device, ok := v.Index(i).Interface().(attest.Claims); ok {
				out = append(out, string(device.Kind))
				continue
			}
			out = append(out, seen(v.Index(i)))
		}
		if more := v.Len() - maxSeenItems; more > 0 {
			out = append(out, fmt.Sprintf("and %d more", more))
		}
		return out
	case reflect.Map:
		// A map that is touched as a whole is recorded by its size: its keys are chosen by the guest.
		return fmt.Sprintf("%d entries", v.Len())
	}
	return "present"
}

// seenText cuts text at a character's boundary.
func seenText(text string) string {
	if len(text) <= maxSeenText {
		return text
	}
	return strings.ToValidUTF8(text[:maxSeenText], "") + "…"
}
