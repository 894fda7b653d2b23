package broker_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
)

// TestInvariant1OneDoor holds the source to the design: the keys of values are made by one function, only reveal reads one, and only
// Release reaches reveal.
func TestInvariant1OneDoor(t *testing.T) {
	callers := map[string]map[string]bool{} // function or method name → functions that call it
	literals := map[string]bool{}           // functions, with their file, that have "secret-value" in a string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.ToSlash(path) == "../internal/bench" {
			return fs.SkipDir // fills stores with secrets for benchmarks; TestInvariant6ServersDoNotLinkDevelopment sees that no server has it
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			name := "a declaration"
			if f, ok := decl.(*ast.FuncDecl); ok {
				name = f.Name.Name
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil && strings.Contains(text, "secret-value") {
						literals[filepath.ToSlash(path)+" "+name] = true
					}
				case *ast.CallExpr:
					if filepath.Dir(path) != filepath.Join("..", "broker") {
						return true
					}
					called := ""
					switch f := n.Fun.(type) {
					case *ast.Ident:
						called = f.Name
					case *ast.SelectorExpr:
						called = f.Sel.Name
					}
					if callers[called] == nil {
						callers[called] = map[string]bool{}
					}
					callers[called][name] = true
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	same := func(what string, got map[string]bool, want ...string) {
		t.Helper()
		if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, want) {
			t.Errorf("%s: %q, want %q", what, have, want)
		}
	}
	// The second says which records Vault is to wrap by its seal, and reads none.
	same("\"secret-value\" is written in", literals, "../broker/secret.go valueKey", "../broker/vaultplugin/sealwrap.go SealWrapped")
	same("valueKey is called by", callers["valueKey"], "PutSecret", "findValue", "reveal")
	same("reveal is called by", callers["reveal"], "serve")
	same("serve is called by", callers["serve"], "Release")
	// A source is asked for a value behind the same door.
	same("ask is called by", callers["ask"], "reveal")
	same("Fetch is called by", callers["Fetch"], "ask")
	// Of those that know the key of a value, only reveal reads a record's content.
	for _, read := range []string{"Get", "load", "loadOrZero"} {
		if callers[read]["findValue"] {
			t.Errorf("findValue calls %s", read)
		}
	}
	if callers["Get"]["PutSecret"] || !callers["Get"]["reveal"] {
		t.Error("PutSecret reads records, or reveal does not")
	}
}

// TestInvariant1NoAdministrativeMethodReturnsAPlaintext calls every exported method of the broker, with every role, and looks for the value in
// whatever they return. A method that this test does not know fails it.
func TestInvariant1NoAdministrativeMethodReturnsAPlaintext(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	info := b.PutSecret("a/b", []byte(plaintext))
	b.PutSecret("a/c", []byte(plaintext))
	released, err := g.fetch("a/b")
	if err != nil {
		t.Fatal(err)
	}
	ctx, who := t.Context(), b.Admin
	drop := func(v any, err error) any { return []any{v, fmt.Sprint(err)} }
	page := func(v any, _ bool, err error) any { return drop(v, err) }
	pageAfter := func(v any, _ string, err error) any { return drop(v, err) }
	calls := map[string]func() any{
		"PutSecret": func() any {
			return drop(b.Broker.PutSecret(ctx, who, ns, broker.PutSecret{Name: "a/b", Value: []byte(plaintext), Activate: true}))
		},
		"GenerateSecret": func() any {
			return drop(b.GenerateSecret(ctx, who, ns, broker.GenerateSecret{Name: "a/g", Encoding: "hex", Length: 16}))
		},
		"Secret":         func() any { return drop(b.Secret(ctx, who, ns, "a/b")) },
		"Secrets":        func() any { return page(b.Secrets(ctx, who, ns, "", "", 0)) },
		"ActivateSecret": func() any { return drop(b.ActivateSecret(ctx, who, ns, "a/b", info.Current)) },
		"DestroySecret":  func() any { return drop(b.DestroySecret(ctx, who, ns, "a/b", 1)) },
		"DestroyAll":     func() any { return drop(b.DestroyAll(ctx, who, ns, "a/c")) },
		"ApplyPolicy":    func() any { return drop(b.Broker.ApplyPolicy(ctx, who, ns, "p", []byte("x"), false)) },
		"ActivatePolicy": func() any { return drop(b.ActivatePolicy(ctx, who, ns, "allow-virtual", 1)) },
		"Policies":       func() any { return page(b.Policies(ctx, who, ns, "", 0)) },
		"PutReferences":  func() any { return drop(b.PutReferences(ctx, who, ns, "r", []reference.Value{{Value: "v"}})) },
		"ImportReferences": func() any {
			return drop(b.ImportReferences(ctx, who, ns, broker.Import{Set: "r", Format: broker.ImportPlain, Document: []byte(`[{"value":"w"}]`)}))
		},
		"ActivateReferences": func() any { return drop(b.ActivateReferences(ctx, who, ns, "r", []string{"w"})) },
		"ReferenceUses":      func() any { return drop(b.ReferenceUses(ctx, who, ns, "r")) },
		"ReferenceReleases":  func() any { return pageAfter(b.ReferenceReleases(ctx, who, ns, "r", nil, "")) },
		"RetireReferences":   func() any { return drop(b.RetireReferences(ctx, who, ns, "r", []string{"v"})) },
		"References":         func() any { return drop(b.References(ctx, who, ns, "r")) },
		"ReferenceSets":      func() any { return page(b.ReferenceSets(ctx, who, ns, "", 0)) },
		"CompleteEnrolment":  func() any { return drop(b.CompleteEnrolment(ctx, who, ns, "x", nil)) },
		"Enrolments":         func() any { return page(b.Enrolments(ctx, who, ns, "", 0)) },
		"RevokeEnrolment":    func() any { return b.RevokeEnrolment(ctx, who, ns, "x") },
		"Authenticate":       func() any { return drop(b.Authenticate(ctx, b.Token, "")) },
		"RevokeToken":        func() any { return b.RevokeToken(ctx, who, "x") },
		"Tokens":             func() any { return page(b.Tokens(ctx, who, "", 0)) },
		"RotateKey":          func() any { return drop(b.RotateKey(ctx, who, keys.Reply)) },
		"Explain":            func() any { return drop(b.Explain(ctx, who, ns, released.Decision)) },
		"Decisions":          func() any { return pageAfter(b.Decisions(ctx, who, ns, broker.DecisionFilter{}, "", 0)) },
		"Replay": func() any {
			return drop(b.Replay(ctx, who, ns, broker.Replay{Source: []byte(document("p", "a/*", `claims.kind == "snp"`))}, nil))
		},
		"Leases":       func() any { return page(b.Leases(ctx, who, ns, "", "", 0)) },
		"SigningKeys":  func() any { return drop(b.SigningKeys(ctx, who)) },
		"RecordBackup": func() any { return b.RecordBackup(ctx, who, []string{"age1x"}) },

		"RecordDataKeyRotation": func() any { return b.RecordDataKeyRotation(ctx, who) },
		"Policy":                func() any { i, s, err := b.Policy(ctx, who, ns, "allow-virtual", 0); return []any{i, string(s), err} },
		"BeginEnrolment": func() any {
			id, c, err := b.BeginEnrolment(ctx, who, ns, "host", tpm.Request{})
			return []any{id, c, err}
		},
		"CreateToken": func() any {
			token, record, err := b.Broker.CreateToken(ctx, who, access.Request{Name: "n", Roles: access.SetOf(access.Auditor), Namespace: ns})
			return []any{token.Reveal(), record, err}
		},
		"FirstToken":  func() any { token, record, err := b.FirstToken(ctx, "n", 0); return []any{token.Reveal(), record, err} },
		"Audit":       func() any { _, err := b.Audit(t.Context(), who, broker.OwnLog); return []any{events(t, b), err} },
		"CheckSecret": func() any { return drop(b.CheckSecret(ctx, who, ns, "a/b", 0)) },
		"Lease":       func() any { return drop(b.Lease(ctx, who, ns, released.Results[0].Lease.ID)) },
		"RevokeLease": func() any { return drop(b.RevokeLease(ctx, who, ns, released.Results[0].Lease.ID)) },
		"AuditLogs":   func() any { return drop(b.AuditLogs(ctx, who)) },

		"PutPolicy": func() any {
			return drop(b.PutPolicy(ctx, who, ns, broker.PutPolicy{Source: []byte(document("d", "a/*", "claims.vmpl == 0"))}))
		},
		"Apply": func() any {
			return drop(b.Apply(ctx, who, ns, apply(broker.Apply{DryRun: true}, brokertest.AllowVirtual("x/*"))))
		},
		"PutApprovalRules": func() any {
			return drop(b.PutApprovalRules(ctx, who, ns, broker.PutPolicy{Source: []byte(twoForRoot)}))
		},
		"ActivateApprovalRules": func() any { return drop(b.ActivateApprovalRules(ctx, who, ns, 0)) },
		"ApprovalRules":         func() any { i, s, err := b.ApprovalRules(ctx, who, ns, 0); return []any{i, string(s), err} },
		"ApprovalRulesHistory":  func() any { return drop(b.ApprovalRulesHistory(ctx, who, ns)) },
		"PolicyHistory":         func() any { return drop(b.PolicyHistory(ctx, who, ns, "allow-virtual")) },
		"RollBack":              func() any { return drop(b.RollBack(ctx, who, ns, "allow-virtual", 0, "why")) },
		"Propose": func() any {
			return drop(b.Propose(ctx, who, ns, broker.Change{Type: broker.ChangePolicyRetire, Name: "allow-virtual"}, "why"))
		},
		"Proposal":         func() any { return drop(b.Proposal(ctx, who, ns, strings.Repeat("0", 32))) },
		"Proposals":        func() any { return drop(b.Proposals(ctx, who, ns, true)) },
		"ApproveProposal":  func() any { return drop(b.ApproveProposal(ctx, who, ns, strings.Repeat("0", 32), "", false)) },
		"WithdrawProposal": func() any { return drop(b.WithdrawProposal(ctx, who, ns, strings.Repeat("0", 32), "")) },
		"ActivateProposal": func() any {
			return drop(b.ActivateProposal(ctx, who, ns, strings.Repeat("0", 32), broker.Activation{}))
		},
		"AcknowledgeBreakGlass": func() any { return drop(b.AcknowledgeBreakGlass(ctx, who, ns, strings.Repeat("0", 32), "")) },
		"PutRego": func() any {
			return drop(b.PutRego(ctx, who, ns, broker.RegoResource, broker.RegoResourceID, []byte("package policy\nallow := true"), false))
		},
		"ActivateRego": func() any { return drop(b.ActivateRego(ctx, who, ns, broker.RegoResource, broker.RegoResourceID, 1)) },
		"Rego": func() any {
			i, s, err := b.Rego(ctx, who, ns, broker.RegoResource, broker.RegoResourceID, 0)
			return []any{i, string(s), err}
		},
		"RegoPolicies":   func() any { return drop(b.RegoPolicies(ctx, who, ns)) },
		"RegoReferences": func() any { return drop(b.RegoReferences(ctx, who, ns)) },
		"PutRegoReferences": func() any {
			return b.PutRegoReferences(ctx, who, ns, map[string]broker.RegoReference{"v": {Value: []byte("1")}})
		},
		"CreateNamespace": func() any { return drop(b.CreateNamespace(ctx, who, "tenant", broker.Quota{})) },
		"SetQuota":        func() any { return drop(b.SetQuota(ctx, who, ns, broker.Quota{Bytes: 1 << 40})) },
		"Namespaces":      func() any { return page(b.Namespaces(ctx, who, "", 0)) },
		"Entries": func() any {
			entries, _, _, err := b.Entries(ctx, who, ns, broker.OwnLog, 0, 0)
			text := ""
			for _, e := range entries {
				text += string(e.Event) + e.Proof
			}
			return []any{text, fmt.Sprint(err)}
		},
	}
	workloads := []string{"Challenge", "Attest", "AttestAndRelease", "Release", "Token", "Bearer", "Passport"}
	about := []string{"Keys", "Kinds", "Log", "LogKey", "LogOf", "OwnSlot", "SessionLifetime", "Purpose", "Queued", "Ready", "Serves", "SourceKinds", "Issued", "TendLeases", "TendReferences"}
	for method := range reflect.TypeFor[*broker.Broker]().Methods() {
		if name := method.Name; calls[name] == nil && !slices.Contains(workloads, name) && !slices.Contains(about, name) {
			t.Errorf("Broker.%s is new: have it called here, to show that no plaintext comes out of it", name)
		}
	}
	for name, call := range calls {
		refuteLeak(t, name, call())
	}
	refuteLeak(t, "the log of the program", b.Logs())
	refuteLeak(t, "an attested release", fmt.Sprintf("%+v", released))
}

// refuteLeak looks for the plaintext in anything, however it may be encoded.
func refuteLeak(t *testing.T, where string, v any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	all := string(text) + fmt.Sprintf("%+v %s", v, v)
	for _, form := range []string{
		plaintext, hex.EncodeToString([]byte(plaintext)), base64.StdEncoding.EncodeToString([]byte(plaintext))[:40],
		base64.RawURLEncoding.EncodeToString([]byte(plaintext))[:40], fmt.Sprint([]byte(plaintext))[1:80],
	} {
		if strings.Contains(all, form) {
			t.Errorf("%s shows the plaintext", where)
		}
	}
}

// TestInvariant1NamespacesCannotReachIntoOthers names namespaces such that one record's key would be another's.
func TestInvariant1NamespacesCannotReachIntoOthers(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	b.PutSecret("policy-version/p", []byte(plaintext))
	for _, namespace := range []string{"default/secret-value", "default/secret", "sys", "sys/token", "", "*", ".", "..", "a b", strings.Repeat("n", 64)} {
		for name, call := range map[string]func(context.Context) error{
			"policy": func(ctx context.Context) error { _, _, err := b.Policy(ctx, b.Admin, namespace, "p", 1); return err },
			"apply": func(ctx context.Context) error {
				_, err := b.Broker.ApplyPolicy(ctx, b.Admin, namespace, "p", []byte(brokertest.AllowVirtual("x")), false)
				return err
			},
			"put": func(ctx context.Context) error {
				_, err := b.Broker.PutSecret(ctx, b.Admin, namespace, broker.PutSecret{Name: "a"})
				return err
			},
			"list": func(ctx context.Context) error {
				_, _, err := b.Secrets(ctx, b.Admin, namespace, "", "", 0)
				return err
			},
			"explain": func(ctx context.Context) error {
				_, _, err := b.Decisions(ctx, b.Admin, namespace, broker.DecisionFilter{}, "", 0)
				return err
			},
			"challenge": func(ctx context.Context) error {
				scope := g.scope
				scope.Namespace = namespace
				_, err := b.Challenge(ctx, scope)
				return err
			},
		} {
			if err := call(t.Context()); codeOf(err) != broker.CodeInvalid {
				t.Errorf("%s in namespace %q: %v", name, namespace, err)
			}
		}
	}
	if err := broker.CheckNamespace(store.DefaultNamespace); err != nil {
		t.Error(err)
	}
}
