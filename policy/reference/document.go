package reference

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/vouchsafe/vouchsafe/policy"
)

const (
	// DocumentKind is the member kind of a document that states a set.
	DocumentKind = "ReferenceSet"
	// MaxDocument is the largest such document in bytes: some five thousand values with a note each.
	MaxDocument = policy.MaxDocument
)

// Stated is a set as a document states it:
//
//	apiVersion: vouchsafe/v1
//	kind: ReferenceSet
//	metadata: {name: payments-image}
//	spec:
//	  values:
//	    - value: 6a6519d757e6…
//	      note: release 2.1
//	      notBefore: 2026-03-01T00:00:00Z
//	      expires: 2027-03-01T00:00:00Z
//	      state: active # or staged; active without it
//
// It says which values count or are staged. Who added them and what else is known of them is not in it; see [Stated.Change].
type Stated struct {
	Name   string
	Values []Value // in the order of Value, each once; of their members only Value, State, NotBefore, Expires and Note are set
}

// ParseDocument reads a document of at most MaxDocument bytes, as strictly as policies are read. filename is for messages only. The error is *policy.Problems and tells
// everything that is wrong, except that a mistake in the YAML itself ends the reading.
func ParseDocument(filename string, source []byte) (Stated, error) {
	p := &stating{Reader: policy.NewReaderOf(source, MaxDocument), at: map[string]bool{}}
	if members, root := p.Document(DocumentKind, "metadata", "spec"); root != nil {
		p.document(members, root)
	}
	if err := p.Err(filename); err != nil {
		return Stated{}, err
	}
	slices.SortFunc(p.out.Values, func(a, b Value) int { return strings.Compare(a.Value, b.Value) })
	return p.out, nil
}

// stating is the state of reading one document.
type stating struct {
	*policy.Reader
	out Stated
	at  map[string]bool // the values read
}

func (p *stating) document(members map[string]*yaml.Node, root *yaml.Node) {
	if n := members["metadata"]; n == nil {
		p.Missing(root, "", "metadata", "a name")
	} else if name := p.Members(n, "metadata", "name")["name"]; name == nil {
		p.Missing(n, "metadata", "name", "the name by which policies ask for the set")
	} else {
		p.out.Name, _ = p.Name(name, "metadata.name")
	}
	spec := members["spec"]
	if spec == nil {
		p.Missing(root, "", "spec", "values")
		return
	}
	values := p.Members(spec, "spec", "values")["values"]
	if values == nil {
		p.Missing(spec, "spec", "values", "a list, which may be empty: []")
		return
	}
	for i, item := range p.Items(values, "spec.values", MaxValues) {
		p.value(item, fmt.Sprintf("spec.values[%d]", i))
	}
}

func (p *stating) value(n *yaml.Node, path string) {
	m := p.Members(n, path, "value", "note", "notBefore", "expires", "state")
	if n.Kind != yaml.MappingNode {
		return
	}
	v := Value{State: Active}
	if at := m["note"]; at != nil {
		v.Note, _ = p.Text(at, path+".note", MaxText)
	}
	if at := m["state"]; at != nil {
		switch {
		case at.Kind != yaml.ScalarNode:
			p.Wrong(at, path+".state", "active or staged")
		case at.Value == string(Active) || at.Value == string(Staged):
			v.State = State(at.Value)
		default:
			p.Problem(at, path+".state", policy.Problem{
				Message: fmt.Sprintf("%.32q is no state here", at.Value), Expected: "active or staged; a value that shall count no more is left out",
			})
		}
	}
	v.NotBefore, v.Expires = p.time(m["notBefore"], path+".notBefore"), p.time(m["expires"], path+".expires")
	at := m["value"]
	if at == nil {
		p.Missing(n, path, "value", "the value that claims are compared with")
		return
	}
	text, ok := p.Text(at, path+".value", MaxText)
	if !ok {
		return
	}
	v.Value = Normalise(text)
	checked := v
	checked.AddedBy, checked.AddedAt = "document", time.Unix(0, 0)
	switch err := checked.check(); {
	case err != nil:
		p.Problem(at, path, policy.Problem{Message: err.Error()})
	case p.at[v.Value]:
		p.Problem(at, path+".value", policy.Problem{Message: fmt.Sprintf("value %.64q is there twice", v.Value)})
	default:
		p.at[v.Value] = true
		p.out.Values = append(p.out.Values, v)
	}
}

// time reads a time; nil is the zero one.
func (p *stating) time(n *yaml.Node, path string) time.Time {
	if n == nil {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || at.IsZero() {
		p.Wrong(n, path, "a time such as 2027-01-01T00:00:00Z")
	}
	return at.UTC()
}

// Document states a set as it is: what counts and what is staged. Retired values are left out. The same set gives the same bytes, and [ParseDocument] takes them, unless
// they are more than MaxDocument or a note is nothing but blank space.
func Document(s Set) []byte {
	var b bytes.Buffer
	// What Go quotes is what YAML reads: the same escapes, for all that does not print.
	fmt.Fprintf(&b, "apiVersion: vouchsafe/v1\nkind: %s\nmetadata: {name: %s}\nspec:\n  values:\n", DocumentKind, s.Name)
	head := b.Len()
	for _, v := range s.Values {
		if v.State == Retired {
			continue
		}
		fmt.Fprintf(&b, "    - value: %q\n", v.Value)
		if v.Note != "" {
			fmt.Fprintf(&b, "      note: %q\n", v.Note)
		}
		for _, at := range []struct {
			name string
			time time.Time
		}{{"notBefore", v.NotBefore}, {"expires", v.Expires}} {
			if !at.time.IsZero() {
				fmt.Fprintf(&b, "      %s: %s\n", at.name, at.time.Format(time.RFC3339Nano))
			}
		}
		if v.State != Active {
			fmt.Fprintf(&b, "      state: %s\n", v.State)
		}
	}
	if b.Len() == head {
		b.Truncate(head - 1)
		b.WriteString(" []\n")
	}
	return b.Bytes()
}

// Change returns what a set needs to be as stated: the values to put, added by whoever at the given time, and those to retire. What is known of a value's origin
// is kept. Both are empty when it is so already.
func (d Stated) Change(s Set, by string, at time.Time) (put []Value, retire []string) {
	stated := make(map[string]bool, len(d.Values))
	for _, v := range d.Values {
		stated[v.Value] = true
		old, there := s.Find(v.Value)
		if there && old.State == v.State && old.Note == v.Note && old.NotBefore.Equal(v.NotBefore) && old.Expires.Equal(v.Expires) {
			continue
		}
		next := old // with its provenance
		next.Value, next.State, next.Note, next.NotBefore, next.Expires, next.AddedBy, next.AddedAt = v.Value, v.State, v.Note, v.NotBefore, v.Expires, by, at
		put = append(put, next)
	}
	for _, v := range s.Values {
		if v.State != Retired && !stated[v.Value] {
			retire = append(retire, v.Value)
		}
	}
	return put, retire
}
