package policy

import (
	"bytes"
	"encoding/json"
	"errors"
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

// Seen are the values that a rule names, in the order of their first use. In JSON it is an object, in that order.
type Seen []SeenValue

// SeenValue is one value that a rule names: a claim or another variable.
type SeenValue struct {
	Path  string // claims.snp.guest_svn, claims.tpm.pcrs[7], secret
	Value any    // what encoding/json makes of the claim, cut to a bounded size; nil for an absent one
}

// MarshalJSON implements json.Marshaler.
func (s Seen) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, v := range s {
		if i > 0 {
			out = append(out, ',')
		}
		for j, part := range [2]any{v.Path, v.Value} {
			text, err := json.Marshal(part)
			if err != nil {
				return nil, fmt.Errorf("policy: value of %s: %w", v.Path, err)
			}
			if j > 0 {
				out = append(out, ':')
			}
			out = append(out, text...)
		}
	}
	return append(out, '}'), nil
}

// UnmarshalJSON implements json.Unmarshaler, for records that are read again. Numbers come back as json.Number.
func (s *Seen) UnmarshalJSON(text []byte) error {
	*s = nil
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return errors.New("policy: the values a rule saw are not an object")
	}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		v := SeenValue{Path: token.(string)} // the decoder has checked that a member's name is text
		if err := decoder.Decode(&v.Value); err != nil {
			return err
		}
		*s = append(*s, v)
	}
	return nil
}

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
