package api_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy"
)

// schema is a JSON Schema, of the keywords that documents of this API use.
type schema struct {
	Ref                  string             `json:"$ref,omitempty"`
	Type                 string             `json:"type,omitempty"`
	Description          string             `json:"description,omitempty"`
	Format               string             `json:"format,omitempty"`
	ContentEncoding      string             `json:"contentEncoding,omitempty"`
	Minimum              *int               `json:"minimum,omitempty"`
	Enum                 []string           `json:"enum,omitempty"`
	Items                *schema            `json:"items,omitempty"`
	Properties           map[string]*schema `json:"properties,omitempty"`
	Required             []string           `json:"required,omitempty"`
	AdditionalProperties *schema            `json:"additionalProperties,omitempty"`
}

// schemas makes schemas of Go types. Descriptions are the fields' doc tags or, from the source, their comments.
type schemas struct {
	t        testing.TB
	Named    map[string]*schema
	types    map[string]reflect.Type      // of Named
	comments map[string]map[string]string // by package path, then "Type" or "Type.Field"
}

const module = "github.com/vouchsafe/vouchsafe/"

// name returns what a type is called in the document: the last element of each package path, for types of one name are told apart by it.
func name(t reflect.Type) string {
	base, argument, generic := strings.Cut(t.Name(), "[")
	if generic {
		argument = strings.TrimSuffix(argument, "]")
		if dot := strings.LastIndexByte(argument, '.'); dot >= 0 {
			return base + "Of" + qualified(argument[:dot], argument[dot+1:])
		}
		return base + "Of" + strings.ToUpper(argument[:1]) + argument[1:]
	}
	return qualified(t.PkgPath(), base)
}

// qualified leaves the package out where the types that everything is about are declared.
func qualified(pkg, name string) string {
	folder := pkg[strings.LastIndexByte(pkg, '/')+1:]
	if folder == "wire" || folder == "broker" {
		return name
	}
	return strings.ToUpper(folder[:1]) + folder[1:] + name
}

func (s *schemas) of(t reflect.Type) *schema {
	switch t {
	case reflect.TypeFor[time.Time]():
		return &schema{Type: "string", Format: "date-time"}
	case reflect.TypeFor[[]byte]():
		return &schema{Type: "string", ContentEncoding: "base64"}
	case reflect.TypeFor[json.RawMessage](), reflect.TypeFor[policy.Seen]():
		return &schema{Type: "object"}
	case reflect.TypeFor[access.Set]():
		names := &schema{Type: "string"}
		for _, r := range access.Roles() {
			names.Enum = append(names.Enum, r.String())
		}
		return &schema{Type: "array", Items: names}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.String:
		return &schema{Type: "string"}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Int, reflect.Int64:
		return &schema{Type: "integer"}
	case reflect.Uint64:
		return &schema{Type: "integer", Minimum: new(int)}
	case reflect.Slice:
		return &schema{Type: "array", Items: s.of(t.Elem())}
	case reflect.Map:
		return &schema{Type: "object", AdditionalProperties: s.of(t.Elem())}
	case reflect.Struct:
		if other := s.types[name(t)]; other != nil && other != t {
			s.t.Fatalf("%v and %v would both be called %s", t, other, name(t))
		}
		s.types[name(t)] = t
		if s.Named[name(t)] == nil {
			s.Named[name(t)] = &schema{} // ends recursion
			*s.Named[name(t)] = *s.object(t)
		}
		return &schema{Ref: "#/components/schemas/" + name(t)}
	default:
		s.t.Fatalf("no schema for %v", t)
		return nil
	}
}

func (s *schemas) object(t reflect.Type) *schema {
	o := &schema{Type: "object", Properties: map[string]*schema{}, Description: s.comment(t, "")}
	for _, f := range reflect.VisibleFields(t) {
		member, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || member == "-" {
			continue
		}
		if member == "" {
			s.t.Errorf("%v.%s has no json tag", t, f.Name)
		}
		value := s.of(f.Type)
		if value.Description = f.Tag.Get("doc"); value.Description == "" {
			value.Description = s.comment(owner(t, f), f.Name)
		}
		o.Properties[member] = value
		if !strings.Contains(options, "omit") {
			o.Required = append(o.Required, member)
		}
	}
	slices.Sort(o.Required)
	return o
}

// owner returns the struct that declares a field, which may be one that t embeds.
func owner(t reflect.Type, f reflect.StructField) reflect.Type {
	for _, i := range f.Index[:len(f.Index)-1] {
		t = t.Field(i).Type
	}
	return t
}

// comment returns the comment of a type, or of its field, from the source: one paragraph.
func (s *schemas) comment(t reflect.Type, field string) string {
	pkg, inside := strings.CutPrefix(t.PkgPath(), module)
	if !inside {
		return ""
	}
	if s.comments[pkg] == nil {
		s.comments[pkg] = s.parse(pkg)
	}
	typeName, _, _ := strings.Cut(t.Name(), "[")
	if field == "" {
		return s.comments[pkg][typeName]
	}
	return s.comments[pkg][typeName+"."+field]
}

func (s *schemas) parse(pkg string) map[string]string {
	files, err := filepath.Glob(filepath.Join("..", "..", pkg, "*.go"))
	if err != nil || len(files) == 0 {
		s.t.Fatalf("no source of %s: %v", pkg, err)
	}
	comments := map[string]string{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, decl := range file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.TYPE {
				continue
			}
			for _, spec := range group.Specs {
				spec := spec.(*ast.TypeSpec)
				comments[spec.Name.Name] = paragraph(group.Doc, spec.Doc)
				fields, ok := spec.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, f := range fields.Fields.List {
					for _, n := range f.Names {
						comments[spec.Name.Name+"."+n.Name] = paragraph(f.Doc, f.Comment)
					}
				}
			}
		}
	}
	return comments
}

func paragraph(groups ...*ast.CommentGroup) string {
	for _, g := range groups {
		if g != nil {
			first, _, _ := strings.Cut(strings.TrimSpace(g.Text()), "\n\n")
			return strings.Join(strings.Fields(first), " ")
		}
	}
	return ""
}

// check holds a decoded JSON value against a schema, strictly: members that it does not name are errors.
func (s *schemas) check(where string, want *schema, got any) error {
	if want.Ref != "" {
		return s.check(where, s.Named[strings.TrimPrefix(want.Ref, "#/components/schemas/")], got)
	}
	mismatch := fmt.Errorf("%s is %.100v, not %s %s", where, got, want.Type, want.Format)
	switch want.Type {
	case "string":
		text, ok := got.(string)
		if !ok || len(want.Enum) > 0 && !slices.Contains(want.Enum, text) {
			return mismatch
		}
		if want.Format == "date-time" {
			if _, err := time.Parse(time.RFC3339, text); err != nil {
				return mismatch
			}
		}
	case "boolean":
		if _, ok := got.(bool); !ok {
			return mismatch
		}
	case "integer":
		n, ok := got.(float64)
		if !ok || n != float64(int64(n)) || want.Minimum != nil && n < float64(*want.Minimum) {
			return mismatch
		}
	case "array":
		items, ok := got.([]any)
		if !ok {
			return mismatch
		}
		for i, item := range items {
			if err := s.check(fmt.Sprintf("%s[%d]", where, i), want.Items, item); err != nil {
				return err
			}
		}
	case "object":
		members, ok := got.(map[string]any)
		if !ok {
			return mismatch
		}
		return s.checkObject(where, want, members)
	default:
		return fmt.Errorf("%s: a schema of type %q", where, want.Type)
	}
	return nil
}

func (s *schemas) checkObject(where string, want *schema, members map[string]any) error {
	for _, name := range want.Required {
		if _, there := members[name]; !there {
			return fmt.Errorf("%s lacks %s", where, name)
		}
	}
	for name, value := range members {
		property := want.Properties[name]
		if property == nil {
			property = want.AdditionalProperties
		}
		if property == nil && want.Properties != nil {
			return fmt.Errorf("%s has %s, which is not described", where, name)
		}
		if property == nil {
			continue // any object
		}
		if err := s.check(where+"."+name, property, value); err != nil {
			return err
		}
	}
	return nil
}
