// Command claims writes the reference of claims from attest.Schema: claims.md for people and claims.schema.json, JSON
// Schema 2020-12, for tools. Run it with go generate ./attest.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

func main() {
	log.SetFlags(0)
	dir := flag.String("dir", "docs/reference", "folder that the files are written to")
	flag.Parse()
	for name, content := range Files() {
		if err := os.WriteFile(filepath.Join(*dir, name), content, 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

// Files returns the content of each file.
func Files() map[string][]byte {
	fields := attest.Schema()
	return map[string][]byte{"claims.md": markdown(fields), "claims.schema.json": schema(fields)}
}

func markdown(fields []attest.Field) []byte {
	var b strings.Builder
	b.WriteString(`# Claims

Generated from the code by ` + "`go generate ./attest`" + `; do not edit.

What a policy can ask about evidence, as ` + "`claims.<name>`" + `. Bytes are lower-case hex. A claim marked "may be absent" is absent
where the evidence does not prove it, which is not the same as false, zero or empty: an expression that touches an absent
claim is an error, and an error refuses. The last column names the kinds of evidence that can prove the claim, nothing where all can.

| claim | type | may be absent | meaning | kinds |
|---|---|---|---|---|
`)
	all := len(attest.Kinds())
	for _, f := range fields {
		absent, kinds := "", ""
		if f.Optional {
			absent = "yes"
		}
		if len(f.Kinds) < all {
			names := make([]string, len(f.Kinds))
			for i, kind := range f.Kinds {
				names[i] = string(kind)
			}
			kinds = strings.Join(names, ", ")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", f.Path, f.CEL, absent, f.Doc, kinds)
	}
	return []byte(b.String())
}

// node is the part of JSON Schema that claims need.
type node struct {
	Schema      string           `json:"$schema,omitempty"`
	Title       string           `json:"title,omitempty"`
	Description string           `json:"description,omitempty"`
	Ref         string           `json:"$ref,omitempty"`
	Type        string           `json:"type,omitempty"`
	Format      string           `json:"format,omitempty"`
	Properties  map[string]*node `json:"properties,omitempty"`
	Required    []string         `json:"required,omitempty"`
	Items       *node            `json:"items,omitempty"`
	Additional  any              `json:"additionalProperties,omitempty"`
}

func schema(fields []attest.Field) []byte {
	root := &node{
		Schema: "https://json-schema.org/draft/2020-12/schema", Title: "Vouchsafe claims", Type: "object",
		Description: "What a verifier proved from attestation evidence.", Properties: map[string]*node{}, Additional: new(bool),
	}
	nodes := map[string]*node{"": root}
	for _, f := range fields {
		parentPath, name := "", f.Path
		if dot := strings.LastIndexByte(f.Path, '.'); dot >= 0 {
			parentPath, name = f.Path[:dot], f.Path[dot+1:]
		}
		n := &node{Type: f.JSON, Format: f.Format, Description: f.Doc}
		switch {
		case f.JSON == "array":
			n.Items = element(f.CEL)
		case strings.HasPrefix(f.CEL, "map("):
			n.Additional = element(f.CEL)
		case f.JSON == "object":
			n.Properties, n.Additional = map[string]*node{}, new(bool)
		}
		parent := nodes[parentPath]
		parent.Properties[name] = n
		if !f.Optional {
			parent.Required = append(parent.Required, name)
		}
		nodes[f.Path] = n
	}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		log.Fatal(err)
	}
	return append(text, '\n')
}

// element is the schema of what a list or map holds.
func element(cel string) *node {
	inner := strings.TrimSuffix(cel[strings.IndexByte(cel, '(')+1:], ")")
	if _, value, ok := strings.Cut(inner, ", "); ok {
		inner = value
	}
	switch inner {
	case "string":
		return &node{Type: "string"}
	case "int":
		return &node{Type: "integer"}
	}
	return &node{Ref: "#"} // a device's claims
}
