package policy

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// AbsentError says that an expression touched a claim that the evidence does not prove.
type AbsentError struct {
	Claim string // name of the member, without its path
	Kinds string // the kinds that can prove it, separated by commas; "" when every kind can
}

func (e *AbsentError) Error() string {
	if e.Kinds == "" {
		return fmt.Sprintf("claim %s is absent", e.Claim)
	}
	return fmt.Sprintf("claim %s is absent; kinds that can prove it: %s", e.Claim, e.Kinds)
}

// provider gives CEL the types of the claims and reads them. CEL's own provider for Go structs takes a nil pointer for the zero
// value, so that "!claims.debug" would hold for evidence that says nothing about debugging. This one errs.
type provider struct {
	types.Provider // the built-in types
	base           types.Adapter
	schema         *schema
}

func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if st := p.schema.byName[name]; st != nil {
		return types.NewTypeTypeWithParam(st.cel), true
	}
	return nil, false
}

func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	if st := p.schema.byName[name]; st != nil {
		return st.names, true
	}
	return nil, false
}

func (p *provider) FindStructFieldType(name, member string) (*types.FieldType, bool) {
	st := p.schema.byName[name]
	if st == nil {
		return nil, false
	}
	f := st.byName[member]
	if f == nil {
		return nil, false
	}
	absent := &AbsentError{Claim: f.name, Kinds: proves(f.kinds)}
	return &types.FieldType{
		Type: f.cel,
		IsSet: func(target any) bool {
			v, ok := f.value(target)
			return ok && f.present(v)
		},
		GetFrom: func(target any) (any, error) {
			v, ok := f.value(target)
			if !ok {
				return nil, errNotClaims
			}
			if !f.present(v) {
				return nil, absent
			}
			return p.convert(f, v), nil
		},
	}, true
}

// NewValue refuses: expressions judge claims, they make none.
func (p *provider) NewValue(name string, _ map[string]ref.Val) ref.Val {
	return types.NewErr("%s cannot be made in an expression", name)
}

var errNotClaims = errors.New("not an object of claims")

// value returns the field's Go value in target, a pointer to the field's struct.
func (f *field) value(target any) (reflect.Value, bool) {
	v := reflect.ValueOf(target)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return reflect.Value{}, false
	}
	v = v.Elem()
	if v.Kind() != reflect.Struct || f.index >= v.NumField() {
		return reflect.Value{}, false
	}
	return v.Field(f.index), true
}

// convert returns a present value as CEL takes it. Structs become pointers, which further selections read directly.
func (p *provider) convert(f *field, v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Bool:
		return types.Bool(v.Bool())
	case reflect.Int, reflect.Int32, reflect.Int64:
		return types.Int(v.Int())
	case reflect.String:
		return types.String(v.String())
	case reflect.Struct:
		if v.Type() == timeType {
			return types.Timestamp{Time: v.Interface().(time.Time)}
		}
		return v.Addr().Interface()
	case reflect.Slice:
		if f.child != nil {
			list := make([]ref.Val, v.Len())
			for i := range list {
				list[i] = &object{typ: f.child, pointer: v.Index(i).Addr().Interface()}
			}
			return types.NewRefValList(p, list)
		}
	}
	return p.base.NativeToValue(v.Interface())
}

// NativeToValue implements types.Adapter.
func (p *provider) NativeToValue(value any) ref.Val {
	switch v := value.(type) {
	case ref.Val:
		return v
	case bool:
		return types.Bool(v)
	case string:
		return types.String(v)
	}
	if t := reflect.TypeOf(value); t != nil && t.Kind() == reflect.Pointer {
		if st := p.schema.byType[t.Elem()]; st != nil {
			return &object{typ: st, pointer: value}
		}
	}
	return p.base.NativeToValue(value)
}

// object is a struct of claims where CEL needs a value rather than a selection: an element of a list, or the object of a macro.
type object struct {
	typ     *structType
	pointer any
}

func (o *object) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("%s cannot be converted to %v", o.typ.name, t)
}

func (o *object) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("%s cannot be converted to %s", o.typ.name, t.TypeName())
}

func (o *object) Equal(ref.Val) ref.Val { return types.NewErr("objects of claims cannot be compared") }
func (o *object) Type() ref.Type        { return o.typ.cel }
func (o *object) Value() any            { return o.pointer }

// referenceType is the type of reference("name"): something a string can be in.
var referenceType = types.NewOpaqueType(typePrefix + "ReferenceSet")

// referenceRuntimeType is the same with the trait that CEL's "in" asks for.
var referenceRuntimeType = types.NewTypeValue(typePrefix+"ReferenceSet", traits.ContainerType)

// referenceSet is the value of reference("name") in one evaluation.
type referenceSet struct {
	name   string
	values Values
	eval   *evaluation
}

func (s *referenceSet) Contains(value ref.Val) ref.Val {
	text, ok := value.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(value)
	}
	if !s.values.Contains(string(text)) {
		s.eval.miss(s.name, string(text))
		return types.False
	}
	s.eval.match(s.name, s.values, string(text))
	return types.True
}

func (s *referenceSet) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a reference set cannot be converted to %v", t)
}

func (s *referenceSet) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("a reference set cannot be converted to %s", t.TypeName())
}

func (s *referenceSet) Equal(ref.Val) ref.Val {
	return types.NewErr("reference sets cannot be compared")
}
func (s *referenceSet) Type() ref.Type { return referenceRuntimeType }
func (s *referenceSet) Value() any     { return s }
