// Package docschema says in JSON Schema what documents people write: release policies, tests of them, sets of reference values and approval rules. Editors complete and check by
// it while somebody types.
//
// The parsers of package policy, policy/reference and policy/approval decide what a document is. A schema is less strict than they are, and never stricter: it knows members, types,
// lengths and fixed words, and neither the types of expressions nor what must not be there twice. Tests hold the two together: every document that a
// parser takes validates.
package docschema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/approval"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

// Names returns the names of the schemas, sorted: what [Schema] takes.
func Names() []string { return []string{"approval-rules", "policy", "reference-set", "tests"} }

// Schema returns a schema by its name, as JSON that ends in a line feed.
func Schema(name string) ([]byte, error) {
	var s node
	switch name {
	case "policy":
		s = releasePolicy()
	case "tests":
		s = policyTests()
	case "approval-rules":
		s = approvalRules()
	case "reference-set":
		s = referenceSet()
	default:
		return nil, fmt.Errorf("docschema: there is no schema %q: one of %q", name, Names())
	}
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		return nil, fmt.Errorf("docschema: %w", err)
	}
	return b.Bytes(), nil
}

// node is a part of a schema.
type node map[string]any

// about adds a description.
func (n node) about(text string) node {
	n["description"] = text
	return n
}

// object is a mapping that has no members but those given.
func object(members node, required ...string) node {
	n := node{"type": "object", "properties": members, "additionalProperties": false}
	if len(required) > 0 {
		n["required"] = required
	}
	return n
}

// text is text that is not empty. JSON Schema counts characters and the parsers bytes, of which there are never fewer.
func text(most int) node { return node{"type": "string", "minLength": 1, "maxLength": most} }

func name() node {
	return node{"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
}

func list(of node, least, most int) node {
	n := node{"type": "array", "items": of, "maxItems": most}
	if least > 0 {
		n["minItems"] = least
	}
	return n
}

func words(words ...string) node { return node{"enum": words} }

// moment is a time. That it is one is for editors to say: JSON Schema's date-time is stricter than what Go reads.
func moment() node {
	return node{"type": "string", "format": "date-time", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T"}
}

// document is the outermost mapping of a document.
func document(kind, about string, members node, required ...string) node {
	members["apiVersion"] = node{"const": "vouchsafe/v1"}
	members["kind"] = node{"const": kind}
	return object(members, append([]string{"apiVersion", "kind"}, required...)...).about(about)
}

func pattern() node {
	return text(policy.MaxSegments * (policy.MaxSegment + 1)).about("path of secrets: * stands for one segment, ** at the end for all below")
}

func duration() node {
	return text(policy.MaxText).about("a duration such as 60s, 5m or 12h")
}

func releasePolicy() node {
	var waivable []string
	for _, rule := range policy.Baseline() {
		if rule.Waivable {
			waivable = append(waivable, rule.Name)
		}
	}
	slices.Sort(waivable)
	rule := object(node{
		"name":    name().about("what decisions call the rule"),
		"that":    text(policy.MaxExpression).about("a CEL expression that must be true: over claims, now, secret and reference(\"set\")"),
		"message": text(policy.MaxText).about("for whoever reads why it refused"),
	}, "name", "that")
	waiver := object(node{
		"rule":   words(waivable...).about("a rule of the baseline"),
		"reason": text(policy.MaxText).about("why it need not hold here"),
	}, "rule", "reason")
	return document(policy.DocumentKind, "Says which workloads get which secrets.", node{
		"metadata": object(node{"name": name(), "description": text(policy.MaxText)}, "name"),
		"spec": object(node{
			"secrets": list(pattern(), 1, policy.MaxPatterns).about("the secrets that the policy guards"),
			"require": list(rule, 1, policy.MaxRules).about("every one of these must hold, and the baseline besides"),
			"waive":   list(waiver, 0, len(policy.Baseline())).about("rules of the baseline that need not hold"),
			"release": object(node{
				"maxEvidenceAge": duration().about("how old evidence may be; 5m without it"),
				"lease":          duration().about("how long a release counts as held"),
			}),
		}, "secrets", "require"),
		"tests": tests(),
	}, "metadata", "spec")
}

func tests() node {
	anything := node{}
	test := object(node{
		"name": text(policy.MaxText).about("what is tested"),
		"claims": object(node{
			"file":   text(policy.MaxText).about("a file of claims beside the document, as vouchsafe evidence verify prints them"),
			"values": node{"type": "object"},
			"set":    node{"type": "object", "additionalProperties": anything}.about("claims to change, by their paths"),
			"unset":  list(text(policy.MaxText), 0, policy.MaxRules).about("claims to leave out, by their paths"),
		}),
		"reference":   node{"type": "object", "additionalProperties": list(text(policy.MaxText), 0, 100)}.about("sets of reference values, by name"),
		"secret":      text(policy.MaxSegments * (policy.MaxSegment + 1)).about("the secret asked for; one that the policy guards without it"),
		"time":        moment(),
		"evidenceAge": duration(),
		"expect":      words("allow", "deny"),
		"by":          text(policy.MaxText).about("the rule that must refuse"),
	}, "name", "claims", "expect")
	return list(test, 0, policy.MaxTests).about("what the policy must say of which claims")
}

func policyTests() node {
	return document(policy.TestsKind, "Tests of a release policy in a document of their own.", node{
		"metadata": object(node{"name": name().about("of the policy")}, "name"),
		"tests":    tests(),
	}, "metadata", "tests")
}

func referenceSet() node {
	value := object(node{
		"value":     text(policy.MaxText).about("what claims are compared with; hex of 32 digits and more in any case"),
		"note":      text(reference.MaxText).about("for people"),
		"notBefore": moment().about("it counts from then on"),
		"expires":   moment().about("it counts until then"),
		"state":     words(string(reference.Active), string(reference.Staged)).about("staged: kept, and does not count; active without it"),
	}, "value")
	return document(reference.DocumentKind, "A set of reference values: those of the set that are not here count no more.", node{
		"metadata": object(node{"name": name().about("as policies ask for it: reference(\"name\")")}, "name"),
		"spec":     object(node{"values": list(value, 0, reference.MaxValues)}, "values"),
	}, "metadata", "spec")
}

func approvalRules() node {
	days := func() node { return node{"type": []string{"string", "integer"}} }
	who := func(members node) node {
		members["approvers"] = list(text(policy.MaxText), 1, approval.MaxEntries).about("only these subjects count")
		members["via"] = list(words("token", "oidc", "certificate", "vault"), 1, 4).about("only approvals by who was authenticated so count")
		members["breakGlass"] = node{"type": "integer", "minimum": approval.MinBreakGlass, "maximum": approval.MaxApprovals}.about("how many persons may do without")
		members["approvals"] = node{"type": "integer", "minimum": 1, "maximum": approval.MaxApprovals}.about("persons who must approve, besides the authors")
		return members
	}
	globs := func(of string) node {
		return list(node{"type": "string", "pattern": "^[a-z0-9*-]+$"}, 1, approval.MaxEntries).about("names of " + of + ", * for any text")
	}
	rule := object(who(node{
		"name":       name(),
		"policies":   globs("policies"),
		"secrets":    list(pattern(), 1, approval.MaxEntries).about("every policy that guards one of these"),
		"references": globs("sets of reference values"),
		"rollback":   days().about("how long one approver may put back what judged before; 24h without it"),
		"expires":    days().about("how long a proposal stays open; 7d without it"),
		"immutable":  node{"enum": []any{true, false, "true", "false"}}.about("true: nothing it covers is changed"),
	}), "name")
	return document("ApprovalRules", "Says who must agree before what judges may change.", node{
		"spec": object(node{
			"rules":   list(rule, 1, approval.MaxRules),
			"changes": object(who(node{})).about("who must agree to a change of this document"),
		}, "rules"),
	}, "spec")
}
