package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/ear"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/rego"
	"github.com/vouchsafe/vouchsafe/store"
)

// activeRego is a Rego policy that judges.
type activeRego struct {
	policy  *rego.Policy
	version uint64
}

// regoRules is what a namespace has of Rego at one moment. It is immutable, but for policies that get stuck.
type regoRules struct {
	resource    *activeRego            // nil where none is active
	attestation map[string]*activeRego // by id
	references  map[string]regoValue
}

// regoValue is a reference value, decoded.
type regoValue struct {
	value   any
	expires time.Time
}

// at returns what query_reference_value gives at a time.
func (r *regoRules) at(now time.Time) func(string) any {
	return func(id string) any {
		v, ok := r.references[id]
		if !ok || !v.expires.IsZero() && !now.Before(v.expires) {
			return nil
		}
		return v.value
	}
}

// readRego compiles the active Rego policies, and decodes the reference values. What does not compile is an error, as with release policies.
func (n *namespaceRules) readRego(ctx context.Context, s store.Store, compiler *rego.Compiler, namespace string) (*regoRules, error) {
	out := &regoRules{attestation: map[string]*activeRego{}, references: map[string]regoValue{}}
	kept := map[string]*rego.Policy{}
	for _, kind := range []RegoKind{RegoResource, RegoAttestation} {
		prefix := regoKey(namespace, kind, "")
		err := each(ctx, s, prefix, func(key string) error {
			record, _, err := load[regoRecord](ctx, s, key)
			if err != nil {
				return err
			}
			if record.Kind != kind || record.ID != strings.TrimPrefix(key, prefix) || checkRego(kind, record.ID) != nil {
				return damaged("the record %s holds the %s policy %q", key, record.Kind, record.ID)
			}
			if record.Active == 0 {
				return nil
			}
			v, source := record.find(record.Active), record.Sources[record.Active]
			if v == nil || source == nil || digest(source) != v.Digest {
				return damaged("the Rego policy %s has no version %d, which is said to be active, or another source", record.ID, record.Active)
			}
			known := string(kind) + v.Digest
			p := n.compiledRego[known]
			if p == nil {
				if p, err = compiler.Compile(ctx, record.ID, source, kind.query()); err != nil {
					return fmt.Errorf("%w: the Rego policy %s version %d does not compile now: %w", store.ErrUnavailable, record.ID, v.Version, err)
				}
			}
			kept[known] = p
			if active := (&activeRego{p, v.Version}); kind == RegoResource {
				out.resource = active
			} else {
				out.attestation[record.ID] = active
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	n.compiledRego = kept
	values, _, err := loadOrZero[map[string]RegoReference](ctx, s, regoReferencesKey(namespace))
	if err != nil {
		return nil, err
	}
	for id, v := range values {
		decoded, err := decodeNumbers(v.Value)
		if err != nil {
			return nil, damaged("the reference value %q is no JSON", id)
		}
		out.references[id] = regoValue{decoded, v.Expires}
	}
	return out, nil
}

// decodeNumbers decodes one JSON value, numbers as they are written.
func decodeNumbers(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}

// compactJSON returns the one JSON value in text without blanks.
func compactJSON(text []byte) ([]byte, error) {
	if _, err := decodeNumbers(text); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err := json.Compact(&b, text)
	return b.Bytes(), err
}

// tokenOf returns the token of an attestation without its id. Its vectors are made by the attestation policies of now.
func (b *Broker) tokenOf(ctx context.Context, a *Attested, rules *regoRules, now time.Time) ear.Token {
	t := ear.Token{
		Issuer: b.issuer, Issued: a.at.Truncate(time.Second), Expires: a.expires.Truncate(time.Second), Build: b.build,
		Namespace: a.namespace, Nonce: a.nonce, Recipient: a.recipient.Canonical(), Evidence: a.evidence,
		Decision: a.decision, Attested: a.at, Claims: a.claims,
	}
	if len(rules.attestation) > 0 {
		t.Policies = appraiser{ctx, rules, now}
	}
	return t
}

// appraiser implements ear.Appraiser.
type appraiser struct {
	ctx   context.Context
	rules *regoRules
	now   time.Time
}

// Appraise asks the policy default_CLASS.
func (a appraiser) Appraise(class string, evidence []byte) (map[string]int, string, error) {
	id := "default_" + class
	active := a.rules.attestation[id]
	if active == nil {
		return nil, "", nil
	}
	input, err := decodeNumbers(evidence)
	if err != nil {
		return nil, "", err
	}
	find := a.rules.at(a.now)
	references := map[string]any{}
	for name := range a.rules.references {
		if v := find(name); v != nil {
			references[name] = v
		}
	}
	claims, err := active.policy.TrustClaims(a.ctx, rego.Request{Input: input, Data: map[string]any{"reference": references}, Time: a.now, References: find})
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", id, err)
	}
	return claims, id + " " + active.policy.Digest(), nil
}

// judgeRego returns the call that asks the resource policy for a secret, or nil where none is active. What the policy sees of the attestation is made once, for all secrets of
// a request.
func (b *Broker) judgeRego(ctx context.Context, a *Attested, rules *regoRules, now time.Time) func(secret string) func() policy.Result {
	active := rules.resource
	if active == nil {
		return func(string) func() policy.Result { return nil }
	}
	var (
		input any
		err   error
		made  bool
	)
	return func(secret string) func() policy.Result {
		return func() policy.Result {
			if !made {
				made = true
				token := b.tokenOf(ctx, a, rules, now)
				var text []byte
				if text, err = token.Input(); err == nil {
					input, err = decodeNumbers(text)
				}
			}
			rule := policy.RuleResult{Rule: "allow", That: string(rego.Allow), Outcome: policy.Error}
			result := policy.Result{Policy: "rego/" + RegoResourceID, Version: active.version, Digest: active.policy.Digest()}
			allow, why := false, err
			if err == nil {
				var path []any
				for part := range strings.SplitSeq(secret, "/") {
					path = append(path, part)
				}
				allow, why = active.policy.Allows(ctx, rego.Request{
					Input: input, Time: now, References: rules.at(now),
					Data: map[string]any{"plugin": "resource", "resource-path": path, "query": map[string]any{}},
				})
			}
			switch {
			case why != nil:
				rule.Message = clip(why.Error())
			case allow:
				rule.Outcome = policy.Pass
			default:
				rule.Outcome, rule.Message = policy.Fail, "the policy does not allow it"
			}
			result.Allow, result.Rules = rule.Outcome == policy.Pass, []policy.RuleResult{rule}
			return result
		}
	}
}
