package vaultplugin

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
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
		all[name] = &framework.FieldSchema{Type: fieldType(f.Type), Description: doc, Query: f.Tag.Get("query") != ""}
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

// Given returns what a request has of the fields, and refuses what the path does not know: a member that is spelled wrongly must not be as if it were absent.
func Given(req *logical.Request, d *framework.FieldData) (map[string]any, error) {
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
