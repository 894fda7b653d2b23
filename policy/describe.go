package policy

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
)

// Description is what a document and its expressions can say, for reference pages and completion.
type Description struct {
	Baseline  []BaselineRule
	Variables []Term
	Functions []string // CEL's, by name; operators are left out
	Macros    []string
	Claims    []Claim // in the order of their definition, members after what they belong to
}

// Term is a variable of expressions.
type Term struct{ Name, Type, Doc string }

// Claim is one claim that expressions can touch.
type Claim struct {
	Path  string // below claims: snp.guest_svn
	Type  string // in CEL's spelling: int, list(string), map(int, string)
	Kinds string // that can prove it, separated by commas; "" for all
	Doc   string
}

// Describe returns the description of this version.
func Describe() (Description, error) {
	schema, err := claimSchema()
	if err != nil {
		return Description{}, err
	}
	d := Description{Baseline: Baseline(), Macros: slices.Clone(macros)}
	for _, v := range variables {
		d.Variables = append(d.Variables, Term{v.name, typeName(v.cel), v.doc})
	}
	for _, name := range wordsOnly(standard) {
		if !slices.Contains(macros, name) {
			d.Functions = append(d.Functions, name)
		}
	}
	slices.Sort(d.Functions)
	d.Claims = describeStruct(schema.root, "", "", nil)
	return d, nil
}

// describeStruct lists the members of a struct. above are the structs it is in: a device's claims are claims again, and not repeated.
func describeStruct(st *structType, prefix, kinds string, above []*structType) []Claim {
	above = append(above[:len(above):len(above)], st)
	var out []Claim
	for _, f := range st.fields {
		own := kinds
		if f.kinds != nil {
			own = proves(f.kinds)
		}
		out = append(out, Claim{Path: prefix + f.name, Type: typeName(f.cel), Kinds: own, Doc: f.doc})
		if f.child != nil && f.child.cel == f.cel && !slices.Contains(above, f.child) {
			out = append(out, describeStruct(f.child, prefix+f.name+".", own, above)...)
		}
	}
	return out
}

// typeName spells a type as expressions would.
func typeName(t *types.Type) string {
	return strings.NewReplacer(typePrefix, "", "google.protobuf.Timestamp", "timestamp", "google.protobuf.Duration", "duration").Replace(t.String())
}
