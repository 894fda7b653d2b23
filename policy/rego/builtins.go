package rego

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"
)

// references is query_reference_value(id), which the reference server adds to the language.
var references = &ast.Builtin{
	Name: "query_reference_value",
	Decl: types.NewFunction(types.Args(types.Named("id", types.S)), types.Named("value", types.A)),
}

// function is a built-in function that policies may call.
type function struct {
	cost estimate // of its result, where that can be larger than its operands or costs more than they have; nil where it cannot
}

// metered is every function that policies may call, by the engine's names. A function of a new version of the engine is not here until
// somebody has thought about it.
var metered = map[string]function{
	// Written with operators.
	"eq": {}, "assign": {}, "internal.member_2": {sizes}, "internal.member_3": {sizes},
	"equal": {sizes}, "neq": {sizes}, "lt": {sizes}, "lte": {sizes}, "gt": {sizes}, "gte": {sizes},
	"plus": {numbers}, "minus": {numbers}, "mul": {numbers}, "div": {numbers}, "rem": {numbers}, "and": {sizes}, "or": {sizes},
	// Numbers.
	"abs": {numbers}, "ceil": {numbers}, "floor": {numbers}, "round": {numbers}, "sum": {numbers}, "product": {numbers}, "max": {sizes}, "min": {sizes},
	"numbers.range": {numbers}, "numbers.range_step": {numbers}, "to_number": {numbers}, "format_int": {numbers},
	"bits.and": {numbers}, "bits.or": {numbers}, "bits.negate": {numbers}, "bits.xor": {numbers}, "bits.lsh": {shifts}, "bits.rsh": {shifts},
	// Collections.
	"count": {}, "all": {}, "any": {}, "sort": {sizes}, "array.concat": {sizes}, "array.reverse": {sizes}, "array.slice": {sizes}, "array.flatten": {sizes},
	"intersection": {sizes}, "union": {sizes}, "set_diff": {sizes}, "object.filter": {sizes}, "object.get": {}, "object.keys": {sizes},
	"object.remove": {sizes}, "object.subset": {sizes}, "object.union": {sizes}, "object.union_n": {sizes}, "json.filter": {sizes}, "json.remove": {sizes}, "walk": {sizes},
	// Strings.
	"concat": {products}, "contains": {sizes}, "endswith": {sizes}, "startswith": {sizes}, "indexof": {sizes}, "indexof_n": {products}, "lower": {sizes}, "upper": {sizes},
	"replace": {products}, "strings.replace_n": {products}, "split": {parts}, "sprintf": {formats}, "strings.any_prefix_match": {products},
	"strings.any_suffix_match": {products}, "strings.count": {sizes}, "strings.reverse": {sizes}, "substring": {sizes}, "trim": {products}, "trim_left": {products},
	"trim_prefix": {sizes}, "trim_right": {products}, "trim_space": {sizes}, "trim_suffix": {sizes},
	"regex.is_valid": {patterns}, "regex.match": {patterns}, "re_match": {patterns}, "regex.split": {patterns}, "regex.find_n": {patterns},
	"regex.find_all_string_submatch_n": {patterns}, "regex.replace": {patterns}, "glob.match": {patterns}, "glob.quote_meta": {sizes},
	// Types.
	"is_array": {}, "is_boolean": {}, "is_null": {}, "is_number": {}, "is_object": {}, "is_set": {}, "is_string": {}, "type_name": {},
	"cast_array": {sizes}, "cast_boolean": {}, "cast_null": {}, "cast_object": {}, "cast_set": {sizes}, "cast_string": {},
	// Encodings.
	"base64.decode": {sizes}, "base64.encode": {sizes}, "base64.is_valid": {sizes}, "base64url.decode": {sizes}, "base64url.encode": {sizes},
	"base64url.encode_no_pad": {sizes}, "hex.decode": {sizes}, "hex.encode": {sizes}, "json.is_valid": {parts}, "json.marshal": {sizes}, "json.unmarshal": {parts},
	"urlquery.decode": {sizes}, "urlquery.encode": {sizes}, "crypto.sha1": {sizes}, "crypto.sha256": {sizes}, "crypto.md5": {sizes},
	"crypto.hmac.equal": {sizes}, "crypto.hmac.sha256": {sizes}, "crypto.hmac.sha512": {sizes},
	"semver.compare": {sizes}, "semver.is_valid": {sizes}, "uuid.parse": {sizes}, "units.parse": {numbers}, "units.parse_bytes": {numbers},
	// Times. now_ns is the time of the judgement.
	"time.now_ns": {}, "time.parse_ns": {sizes}, "time.parse_rfc3339_ns": {sizes}, "time.parse_duration_ns": {sizes}, "time.add_date": {numbers}, "time.clock": {numbers},
	"time.date": {numbers}, "time.diff": {numbers}, "time.weekday": {numbers},
}

// capabilities returns what modules may use.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		_, ok := metered[b.Name]
		return !ok
	})
	c.AllowNet = []string{} // schemas in annotations, which are not read either
	return c
}
