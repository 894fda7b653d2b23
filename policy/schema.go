package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/common/types"

	"github.com/vouchsafe/vouchsafe/attest"
)

// typePrefix begins the names of the claims' types in CEL's messages.
const typePrefix = "vouchsafe."

// claimsType is the name of the type of the variable claims.
const claimsType = typePrefix + "Claims"

// structType describes one Go struct of claims to CEL.
type structType struct {
	name   string
	cel    *types.Type
	fields []*field // in the order of the source
	byName map[string]*field
	names  []string
}

// field is one member of a structType.
type field struct {
	name  string // as JSON and policies spell it
	index int    // in the Go struct
	goes  reflect.Type
	cel   *types.Type
	owner *structType
	child *structType // of the field's value, of a list's elements, or of a map's values; nil where that is no struct
	omit  omission
	doc   string
	kinds []attest.Kind // that can prove it; nil for all
}

// omission is when encoding/json leaves a field out, which is exactly when the claim is absent.
type omission int

const (
	never     omission = iota
	whenEmpty          // omitempty
	whenZero           // omitzero
)

// schema describes every struct reachable from [attest.Claims]. It is derived by reflection, so a claim that a verifier adds can be used in
// policies at once.
type schema struct {
	byName map[string]*structType
	byType map[reflect.Type]*structType
	root   *structType
}

// claimSchema returns the schema. It is built at the first call and not changed after.
var claimSchema = sync.OnceValues(func() (*schema, error) {
	s := &schema{byName: map[string]*structType{}, byType: map[reflect.Type]*structType{}}
	root, err := s.add(reflect.TypeFor[attest.Claims]())
	s.root = root
	return s, err
})

var timeType = reflect.TypeFor[time.Time]()

func (s *schema) add(t reflect.Type) (*structType, error) {
	if done := s.byType[t]; done != nil {
		return done, nil
	}
	st := &structType{name: typePrefix + t.Name(), byName: map[string]*field{}}
	st.cel = types.NewObjectType(st.name)
	s.byType[t], s.byName[st.name] = st, st
	for i := range t.NumField() {
		f, err := s.field(st, t.Field(i), i)
		if err != nil {
			return nil, err
		}
		st.fields = append(st.fields, f)
		st.byName[f.name] = f
		st.names = append(st.names, f.name)
	}
	return st, nil
}

func (s *schema) field(owner *structType, sf reflect.StructField, index int) (*field, error) {
	tag := strings.Split(sf.Tag.Get("json"), ",")
	f := &field{name: tag[0], index: index, goes: sf.Type, owner: owner, doc: sf.Tag.Get("doc")}
	if f.name == "" || f.name == "-" || !sf.IsExported() {
		return nil, fmt.Errorf("policy: claim %s.%s has no JSON name", owner.name, sf.Name)
	}
	switch {
	case slices.Contains(tag[1:], "omitempty"):
		f.omit = whenEmpty
	case slices.Contains(tag[1:], "omitzero"):
		f.omit = whenZero
	}
	if kinds := sf.Tag.Get("kinds"); kinds != "" {
		for kind := range strings.SplitSeq(kinds, ",") {
			f.kinds = append(f.kinds, attest.Kind(kind))
		}
	}
	t := sf.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var err error
	f.cel, f.child, err = s.celType(t)
	if err != nil {
		return nil, fmt.Errorf("policy: claim %s.%s: %w", owner.name, f.name, err)
	}
	return f, nil
}

// celType returns the CEL type of values of t, and the struct they are or hold.
func (s *schema) celType(t reflect.Type) (*types.Type, *structType, error) {
	if t == timeType {
		return types.TimestampType, nil, nil
	}
	switch t.Kind() {
	case reflect.Bool:
		return types.BoolType, nil, nil
	case reflect.Int, reflect.Int64, reflect.Int32:
		return types.IntType, nil, nil
	case reflect.String:
		return types.StringType, nil, nil
	case reflect.Struct:
		child, err := s.add(t)
		if err != nil {
			return nil, nil, err
		}
		return child.cel, child, nil
	case reflect.Slice:
		elem, child, err := s.celType(t.Elem())
		if err != nil {
			return nil, nil, err
		}
		return types.NewListType(elem), child, nil
	case reflect.Map:
		key, _, err := s.celType(t.Key())
		if err != nil {
			return nil, nil, err
		}
		elem, child, err := s.celType(t.Elem())
		if err != nil {
			return nil, nil, err
		}
		return types.NewMapType(key, elem), child, nil
	}
	return nil, nil, fmt.Errorf("expressions have no type for %v", t)
}

// present reports whether the claim is there: whether encoding/json would write it.
func (f *field) present(v reflect.Value) bool {
	switch f.omit {
	case whenZero:
		return !v.IsZero()
	case whenEmpty:
		switch v.Kind() {
		case reflect.Slice, reflect.Map, reflect.String:
			return v.Len() > 0
		case reflect.Struct:
			return true
		}
		return !v.IsZero()
	}
	return v.Kind() != reflect.Pointer || !v.IsNil()
}

// proves says which kinds can prove the field, for messages; "" when every kind can.
func proves(kinds []attest.Kind) string {
	names := make([]string, len(kinds))
	for i, kind := range kinds {
		names[i] = string(kind)
	}
	return strings.Join(names, ", ")
}
