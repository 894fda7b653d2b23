package xmlsig

import (
	"slices"
	"strings"
)

// canonical returns the canonical form (Canonical XML 1.1, section 2.3) of e, whose surroundings declare the namespaces in inherited,
// without the element skip.
func canonical(e *Element, inherited []declaration, skip *Element) []byte {
	var out strings.Builder
	write(&out, e, inherited, nil, skip)
	return []byte(out.String())
}

// write writes e. inherited are the declarations of the elements around it, written or not, the innermost last; rendered those that are
// in force where it is written.
func write(out *strings.Builder, e *Element, inherited, rendered []declaration, skip *Element) {
	inScope := append(inherited[:len(inherited):len(inherited)], e.declarations...)
	var fresh []declaration
	for i, d := range inScope {
		hidden := slices.ContainsFunc(inScope[i+1:], func(later declaration) bool { return later.prefix == d.prefix })
		if !hidden && lookup(rendered, d.prefix) != d.uri {
			fresh = append(fresh, d)
		}
	}
	slices.SortFunc(fresh, func(a, b declaration) int { return strings.Compare(a.prefix, b.prefix) })
	attributes := slices.Clone(e.Attributes)
	slices.SortFunc(attributes, func(a, b Attribute) int {
		if c := strings.Compare(a.Space, b.Space); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})

	name := qualified(e.prefix, e.Name)
	out.WriteString("<" + name)
	for _, d := range fresh {
		if d.prefix == "" {
			out.WriteString(" xmlns")
		} else {
			out.WriteString(" xmlns:" + d.prefix)
		}
		out.WriteString(`="` + attributeEscaper.Replace(d.uri) + `"`)
	}
	for _, a := range attributes {
		out.WriteString(" " + qualified(a.prefix, a.Name) + `="` + attributeEscaper.Replace(a.Value) + `"`)
	}
	out.WriteString(">")
	rendered = append(rendered[:len(rendered):len(rendered)], fresh...)
	for _, child := range e.Children {
		switch {
		case child.Element == nil:
			out.WriteString(textEscaper.Replace(child.Text))
		case child.Element != skip:
			write(out, child.Element, inScope, rendered, skip)
		}
	}
	out.WriteString("</" + name + ">")
}

// lookup returns the namespace of prefix, "" where it has none.
func lookup(scope []declaration, prefix string) string {
	for i := len(scope) - 1; i >= 0; i-- {
		if scope[i].prefix == prefix {
			return scope[i].uri
		}
	}
	return ""
}

func qualified(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + ":" + name
}

// The characters that canonical form writes as references. Carriage returns, and in values line breaks and tabs, cannot occur.
var (
	attributeEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", `"`, "&quot;")
	textEscaper      = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
)
