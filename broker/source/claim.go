package source

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/vouchsafe/vouchsafe/attest"
)

// schema lists the claims. It is made at the first call and not changed after.
var schema = sync.OnceValue(attest.Schema)

// findClaim returns the claim at a path, which must be one that a value can be: a text, a number, a truth value, or an entry of a map of these.
func findClaim(path, key string, indexed bool) (lookup, error) {
	whole := nameClaims + "." + path
	var found *attest.Field
	var known []string
	for _, f := range schema() {
		known = append(known, nameClaims+"."+f.Path)
		if f.Path == path {
			found = &f
		}
	}
	if found == nil {
		return nil, unknown("there is no claim "+strconv.Quote(clip(whole)), whole, known)
	}
	kind := found.CEL
	if of, ok := strings.CutPrefix(kind, "map("); ok && indexed {
		kind = strings.TrimSuffix(of[strings.Index(of, ", ")+2:], ")")
		if _, err := strconv.Atoi(key); err != nil && strings.HasPrefix(of, "int,") {
			return nil, fmt.Errorf("${%.80s[…]}: its keys are numbers", whole)
		}
	} else if ok {
		return nil, fmt.Errorf("${%.80s} is a map: name an entry of it, as in ${%s[\"name\"]}", whole, whole)
	} else if indexed {
		return nil, fmt.Errorf("${%.80s[…]}: the claim is no map", whole)
	}
	switch kind {
	case "string", "int", "bool":
	default:
		return nil, fmt.Errorf("${%.80s} is of type %s: only a text, a number or a truth value can be a part of a path", whole, kind)
	}
	return func(r Request) (string, *Refusal) { return claimAt(r.Claims, path, key, indexed) }, nil
}

// claimAt reads a claim. One that is not there is refused: the zero value of what was not proved means nothing.
func claimAt(claims *attest.Claims, path, key string, indexed bool) (string, *Refusal) {
	absent := &Refusal{Code: RefusedAbsent, Detail: "the evidence does not prove it"}
	if claims == nil {
		return "", absent
	}
	v := reflect.ValueOf(claims).Elem()
	for name := range strings.SplitSeq(path, ".") {
		if v.Kind() != reflect.Struct {
			return "", absent
		}
		field, optional := member(v.Type(), name)
		if field < 0 {
			return "", absent
		}
		v = v.Field(field)
		if optional && v.IsZero() {
			return "", absent
		}
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return "", absent
			}
			v = v.Elem()
		}
	}
	if indexed {
		if v = entry(v, key); !v.IsValid() {
			return "", absent
		}
	}
	switch v.Kind() {
	case reflect.String:
		return v.String(), nil
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), nil
	case reflect.Int, reflect.Int64, reflect.Int32:
		return strconv.FormatInt(v.Int(), 10), nil
	}
	return "", absent
}

// member finds a field by its name in JSON, -1 where there is none. An optional one is absent when it is zero.
func member(t reflect.Type, name string) (index int, optional bool) {
	for i := range t.NumField() {
		tag, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if tag == name {
			return i, strings.Contains(options, "omit")
		}
	}
	return -1, false
}

// entry returns an entry of a map, which is not valid where there is none.
func entry(v reflect.Value, key string) reflect.Value {
	if v.Kind() != reflect.Map {
		return reflect.Value{}
	}
	k := reflect.New(v.Type().Key()).Elem()
	switch k.Kind() {
	case reflect.String:
		k.SetString(key)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(key, 10, 64)
		if err != nil {
			return reflect.Value{}
		}
		k.SetInt(n)
	default:
		return reflect.Value{}
	}
	return v.MapIndex(k)
}
