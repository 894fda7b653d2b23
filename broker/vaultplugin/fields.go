package vaultplugin

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker/intake"
)

// fieldName is how a field of an input is called in a request to Vault: as in its JSON, path or query.
func fieldName(f reflect.StructField) string {
	for _, tag := range []string{"path", "query"} {
		if name := f.Tag.Get(tag); name != "" {
			return name
		}
	}
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// described are fields whose types say nothing of them.
var described = map[string]string{
	"kind":                "kind of the evidence, such as snp, tdx or tpm",
	"nonce":               "the challenge's nonce, base64 of 32 bytes",
	"recipient":           "public key that what is released is encrypted to, and that the evidence covers: a JWK",
	"evidence":            "{\"kind\":KIND,\"data\":BASE64}: the evidence, which covers nonce and recipient",
	"additional_evidence": "evidence of devices, as JSON text that the evidence covers too",
	"init_data":           "text of the document that the guest was launched with",
	"secrets":             "what is asked for: [{\"name\":PATH,\"version\":N},…]; the current version without one",
	"version":             "number of the version",
	"id":                  "the id",
	"roles":               "roles",
	"request":             "the TPM's certificates and public keys, as \"vouchsafe-agent enrol\" makes them",
	"purpose":             "which key: token or reply",
}

// sensitive are the fields of bodies that have something secret.
var sensitive = []string{"value", "secret"}

// fields returns the schema of an input.
func fields(t reflect.Type) map[string]*framework.FieldSchema {
	all := map[string]*framework.FieldSchema{}
	for _, f := range reflect.VisibleFields(t) {
		name := fieldName(f)
		if f.Anonymous || !f.IsExported() || name == "" || name == "-" {
			continue
		}
		doc := f.Tag.Get("doc")
		if doc == "" {
			doc = described[name]
		}
		schema := &framework.FieldSchema{Type: fieldType(f.Type), Description: doc, Query: f.Tag.Get("query") != ""}
		if !schema.Query && slices.Contains(sensitive, name) {
			schema.DisplayAttrs = &framework.DisplayAttributes{Sensitive: true} // what Vault shows does not show it
		}
		all[name] = schema
	}
	return all
}

// fieldType is what Vault calls a type.
func fieldType(t reflect.Type) framework.FieldType {
	switch t {
	case reflect.TypeFor[Seconds]():
		return framework.TypeDurationSecond
	case reflect.TypeFor[json.RawMessage]():
		return framework.TypeMap
	case reflect.TypeFor[[]byte]():
		return framework.TypeString
	}
	switch t.Kind() {
	case reflect.Bool:
		return framework.TypeBool
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Uint8:
		return framework.TypeInt64
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return framework.TypeStringSlice
		}
		return framework.TypeSlice
	case reflect.Map:
		if t.Elem().Kind() == reflect.String {
			return framework.TypeKVPairs
		}
		return framework.TypeMap
	case reflect.Struct:
		if t.String() == "time.Time" {
			return framework.TypeString
		}
		return framework.TypeMap
	default:
		return framework.TypeString
	}
}

// tooLarge reports whether a value that Vault decoded has over left bytes as JSON, or nearly so, and returns what is left. It stops where it knows.
func tooLarge(value any, left int) (int, bool) {
	switch v := value.(type) {
	case string:
		left -= len(v)
	case json.Number:
		left -= len(v)
	case map[string]any:
		for name, member := range v {
			var over bool
			if left, over = tooLarge(member, left-len(name)); over {
				return left, true
			}
		}
	case []any:
		for _, item := range v {
			var over bool
			if left, over = tooLarge(item, left); over {
				return left, true
			}
		}
	}
	left -= 2 // what stands around and between
	return left, left < 0
}

// Given returns what a request has of the fields, and refuses what the path does not know: a member that is spelled wrongly must not be as if it were absent.
// What has more bytes than a server reads is refused before anything is copied: Vault lets 32 MiB through, to paths that need no token too.
func Given(req *logical.Request, d *framework.FieldData) (map[string]any, error) {
	if _, over := tooLarge(req.Data, intake.MaxBody); over {
		return nil, invalid("the request has over %d bytes", intake.MaxBody)
	}
	for _, name := range slices.Sorted(maps.Keys(req.Data)) {
		if d.Schema[name] == nil {
			return nil, invalid("%.64q is not known here", name)
		}
	}
	members := map[string]any{}
	for name := range d.Schema {
		value, there, err := d.GetOkErr(name)
		if err != nil {
			return nil, invalid("%s: %w", name, err)
		}
		if there {
			members[name] = value
		}
	}
	return members, nil
}
