package readback

import (
	"encoding"
	stdjson "encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// kind is how a value is read.
type kind int

const (
	library kind = iota // not here
	passed
	boolean
	integer
	text
	moment // a time.Time
	pointer
	list
	object
)

// shape is what a Go type looks like in JSON.
type shape struct {
	kind    kind
	goes    reflect.Type
	elem    *shape   // of a pointer or list
	members []member // of an object, in the order of the struct's fields
}

// member is one of an object.
type member struct {
	name  string // as it is written: in quotes, with the colon
	index int    // of the field
	shape *shape
}

// shapes are those that were made. A type may lead to itself.
type shapes map[reflect.Type]*shape

var (
	passedType   = reflect.TypeFor[Passed]()
	timeType     = reflect.TypeFor[time.Time]()
	durationType = reflect.TypeFor[time.Duration]()
	ownDecoder   = []reflect.Type{
		reflect.TypeFor[json.UnmarshalerFrom](), reflect.TypeFor[stdjson.Unmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](),
	}
)

func (all shapes) of(t reflect.Type) *shape {
	if done := all[t]; done != nil {
		return done
	}
	s := &shape{goes: t}
	all[t] = s
	switch t {
	case durationType: // which the library refuses
		return s
	case passedType:
		s.kind = passed
		return s
	case timeType:
		s.kind = moment
		return s
	}
	for _, method := range ownDecoder {
		if reflect.PointerTo(t).Implements(method) {
			return s
		}
	}
	switch t.Kind() {
	case reflect.Bool:
		s.kind = boolean
	case reflect.Int, reflect.Int32, reflect.Int64:
		s.kind = integer
	case reflect.String:
		s.kind = text
	case reflect.Pointer:
		s.kind, s.elem = pointer, all.of(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Uint8 { // of which the library makes base64
			s.kind, s.elem = list, all.of(t.Elem())
		}
	case reflect.Struct:
		all.object(s)
	}
	return s
}

// object makes s the shape of a struct, if its fields are all plain.
func (all shapes) object(s *shape) {
	for i := range s.goes.NumField() {
		f := s.goes.Field(i)
		tag := strings.Split(f.Tag.Get("json"), ",")
		if !f.IsExported() || f.Anonymous || !plainName(tag[0]) {
			return
		}
		for _, option := range tag[1:] {
			if option != "omitempty" && option != "omitzero" { // which are about writing
				return
			}
		}
		name := `"` + tag[0] + `":`
		if slices.ContainsFunc(s.members, func(m member) bool { return m.name == name }) { // which the library refuses
			return
		}
		s.members = append(s.members, member{name: name, index: i, shape: all.of(f.Type)})
	}
	s.kind = object
}

// plainName reports whether a name in a tag means itself, in JSON as well.
func plainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return name != ""
}
