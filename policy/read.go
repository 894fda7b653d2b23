package policy

import (
	"cmp"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Reader reads a document of another kind than a policy as strictly as policies are read: no anchors, aliases, tags, further documents and hidden
// characters, no unknown and no repeated members. It collects what is wrong, with its places. Paths name members in messages: spec.rules[1].name.
type Reader struct{ reader }

// NewReader returns a Reader of source, of at most [MaxSource] bytes.
func NewReader(source []byte) *Reader {
	return &Reader{reader{source: slices.Clone(source)}}
}

// NewReaderOf is NewReader for a kind of document that may have another number of bytes than [MaxSource].
func NewReaderOf(source []byte, most int) *Reader {
	return &Reader{reader{source: slices.Clone(source), most: most}}
}

// Document returns the members of a document of the given kind that have the given names, and the mapping itself; nil when it cannot be read. It has
// apiVersion and kind besides.
func (r *Reader) Document(kind string, known ...string) (members map[string]*yaml.Node, root *yaml.Node) {
	r.kind = kind
	if root = r.document(); root == nil {
		return nil, nil
	}
	members = r.members(root, "", append([]string{"apiVersion", "kind"}, known...)...)
	if root.Kind != yaml.MappingNode {
		return nil, nil
	}
	r.identity(root, members, kind)
	return members, root
}

// identity holds the members of a document by which it says what it is.
func (r *reader) identity(root *yaml.Node, members map[string]*yaml.Node, kind string) {
	for _, want := range [...]struct{ name, value string }{{"apiVersion", docVersion}, {"kind", kind}} {
		if n := members[want.name]; n == nil {
			r.missing(root, "", want.name, want.value)
		} else {
			r.oneOf(n, want.name, want.value)
		}
	}
}

// Members returns the members of a mapping by name, and reports those that are not known.
func (r *Reader) Members(n *yaml.Node, path string, known ...string) map[string]*yaml.Node {
	return r.members(n, path, known...)
}

// Missing reports a member that has to be there and is not.
func (r *Reader) Missing(holder *yaml.Node, path, name, expected string) {
	if holder.Kind == yaml.MappingNode {
		r.missing(holder, path, name, expected)
	}
}

// Items returns the elements of a list of at most the given number.
func (r *Reader) Items(n *yaml.Node, path string, most int) []*yaml.Node {
	return r.items(n, path, most)
}

// Text returns a scalar that YAML reads as text, of 1 to most bytes.
func (r *Reader) Text(n *yaml.Node, path string, most int) (string, bool) {
	return r.text(n, path, most)
}

// Name returns a scalar that [CheckName] accepts.
func (r *Reader) Name(n *yaml.Node, path string) (string, bool) { return r.name(n, path) }

// Problem reports p at a node.
func (r *Reader) Problem(n *yaml.Node, path string, p Problem) { r.at(n, path, p) }

// Wrong reports that a node is of another type than expected.
func (r *Reader) Wrong(n *yaml.Node, path, expected string) { r.wrongType(n, path, expected) }

// Err returns nil, or *[Problems] with all that was reported.
func (r *Reader) Err(filename string) error {
	if len(r.list) == 0 {
		return nil
	}
	return &Problems{File: filename, List: r.sorted()}
}

// Digest returns "sha256:" and the lower-case hex SHA-256 of a document's exact bytes, which is how versions of documents are named.
func Digest(source []byte) string { return digestOf(source) }

// kindOf is what the document is expected to be.
func (r *reader) kindOf() string { return cmp.Or(r.kind, DocumentKind) }
