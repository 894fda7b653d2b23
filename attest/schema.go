package attest

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// Field describes one claim, for policies to be type-checked against and for the reference documents.
type Field struct {
	Path string // names joined with dots: "snp.reported_tcb.microcode"; claims of a device are those of Claims again
	JSON string // type in JSON Schema: string, integer, boolean, object or array
	CEL  string // type in expressions: string, int, bool, timestamp, list(T), map(K, V), or the name of a message
	Doc  string // what it says, from its doc tag
	// Kinds are those whose evidence can prove the claim, from the kinds tag of it or of what it is in.
	Kinds []Kind
	// Optional tells that the claim can be absent where its parent is there; touching it then is an error.
	Optional bool
	// Format is JSON Schema's format of a string, "date-time" or "".
	Format string
}

// Schema returns a Field for each claim, in the order Claims declares them, a parent before what is in it.
func Schema() []Field { return fields(nil, reflect.TypeFor[Claims](), "", Kinds()) }

func fields(out []Field, t reflect.Type, prefix string, kinds []Kind) []Field {
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		f := Field{
			Path:     prefix + name,
			Doc:      field.Tag.Get("doc"),
			Kinds:    kinds,
			Optional: strings.Contains(options, "omit"),
		}
		if tag := field.Tag.Get("kinds"); tag != "" {
			f.Kinds = nil
			for kind := range strings.SplitSeq(tag, ",") {
				f.Kinds = append(f.Kinds, Kind(kind))
			}
		}
		inner := field.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		f.JSON, f.CEL = jsonType(inner), celType(inner)
		if inner == reflect.TypeFor[time.Time]() {
			f.Format = "date-time"
		}
		out = append(out, f)
		// Devices holds Claims again and is not followed, or there would be no end.
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
			out = fields(out, inner, f.Path+".", f.Kinds)
		}
	}
	return out
}

func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Slice:
		return "array"
	case reflect.Struct:
		if t != reflect.TypeFor[time.Time]() {
			return "object"
		}
	case reflect.Map:
		return "object"
	}
	return "string"
}

func celType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "bool"
	case reflect.Int, reflect.Int64:
		return "int"
	case reflect.Slice:
		return "list(" + celType(t.Elem()) + ")"
	case reflect.Map:
		return "map(" + celType(t.Key()) + ", " + celType(t.Elem()) + ")"
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return "timestamp"
		}
		return "attest." + t.Name()
	}
	return "string"
}

// ProvedBy reports whether evidence of kind can prove the claim.
func (f Field) ProvedBy(kind Kind) bool { return slices.Contains(f.Kinds, kind) }
