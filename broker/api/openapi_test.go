package api_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/api"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/docs/reference"
)

var update = flag.Bool("update", false, "write docs/reference/openapi.json anew")

// document is an OpenAPI 3.1 document, as far as this API needs it.
type document struct {
	OpenAPI    string                          `json:"openapi"`
	Info       map[string]any                  `json:"info"`
	Paths      map[string]map[string]operation `json:"paths"`
	Components struct {
		SecuritySchemes map[string]any     `json:"securitySchemes"`
		Schemas         map[string]*schema `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	ID          string                `json:"operationId"`
	Summary     string                `json:"summary"`
	Description string                `json:"description,omitempty"`
	Tags        []string              `json:"tags"`
	Security    []map[string][]string `json:"security"`
	Parameters  []parameter           `json:"parameters,omitempty"`
	Request     *content              `json:"requestBody,omitempty"`
	Responses   map[string]content    `json:"responses"`
}

type parameter struct {
	Name        string  `json:"name"`
	In          string  `json:"in"`
	Required    bool    `json:"required"`
	Description string  `json:"description,omitempty"`
	Schema      *schema `json:"schema"`
}

type content struct {
	Description string                        `json:"description,omitempty"`
	Required    bool                          `json:"required,omitempty"`
	Content     map[string]map[string]*schema `json:"content"`
}

func media(name string, s *schema) map[string]map[string]*schema {
	return map[string]map[string]*schema{name: {"schema": s}}
}

var rest = regexp.MustCompile(`\.\.\.\}`)

// describe makes the document from the table of operations.
func describe(t testing.TB, operations []api.Operation) (*document, *schemas) {
	s := &schemas{t: t, Named: map[string]*schema{}, types: map[string]reflect.Type{}, comments: map[string]map[string]string{}}
	d := &document{OpenAPI: "3.1.0", Paths: map[string]map[string]operation{}}
	d.Info = map[string]any{
		"title": "Vouchsafe", "version": "1", "license": map[string]string{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		"description": "The native release protocol and the administrative API. In requests, members that are not described are refused; in answers, clients pass over them. Generated from the broker's table of operations: do not edit.",
	}
	d.Components.SecuritySchemes = map[string]any{"token": map[string]string{"type": "http", "scheme": "bearer"}}
	failed := content{Description: "An error; the code says which", Content: media("application/json", s.of(reflect.TypeFor[wire.Error]()))}
	for _, op := range operations {
		o := operation{
			ID: op.ID, Summary: op.Summary, Tags: []string{tag(op.Path)}, Security: []map[string][]string{}, Description: who(op),
			Responses: map[string]content{"200": {Description: "Done", Content: answer(s, op)}, "default": failed},
		}
		if len(op.Roles) > 0 {
			o.Security = append(o.Security, map[string][]string{"token": {}})
		}
		for _, f := range reflect.VisibleFields(op.In) {
			in, required := "query", false
			name := f.Tag.Get("query")
			if path := f.Tag.Get("path"); path != "" {
				name, in, required = path, "path", true
			}
			if name != "" {
				o.Parameters = append(o.Parameters, parameter{name, in, required, f.Tag.Get("doc"), s.of(f.Type)})
			}
		}
		if wire.HasBody(op.In) {
			o.Request = &content{Required: true, Content: media("application/json", s.of(op.In))}
		}
		path := rest.ReplaceAllString(op.Path, "}")
		if d.Paths[path] == nil {
			d.Paths[path] = map[string]operation{}
		}
		d.Paths[path][strings.ToLower(op.Method)] = o
	}
	d.Components.Schemas = s.Named
	return d, s
}

// answer describes what a 200 holds.
func answer(s *schemas, op api.Operation) map[string]map[string]*schema {
	switch {
	case op.ID == "release":
		s.of(op.Out) // described, though it comes inside of a signature
		text := &schema{Type: "string", Description: "base64url without padding"}
		return media(op.Media, &schema{Type: "object", Required: []string{"payload", "protected", "signature"},
			Description: "RFC 7515, section 7.2.2; the payload is a " + name(op.Out),
			Properties:  map[string]*schema{"payload": text, "protected": text, "signature": text}})
	case op.Media == "application/octet-stream":
		return media(op.Media, &schema{})
	case op.Media != "" && strings.HasSuffix(op.Media, "json"):
		return media(op.Media, &schema{Type: "object"})
	case op.Media != "":
		return media(op.Media, &schema{Type: "string"})
	default:
		return media("application/json", s.of(op.Out))
	}
}

// who says who may.
func who(op api.Operation) string {
	if len(op.Roles) == 0 {
		return "Anybody may."
	}
	var names []string
	for _, r := range op.Roles {
		names = append(names, r.String())
	}
	text := "Needs the role " + strings.Join(names, " or ")
	if op.Everywhere {
		text += ", in all namespaces"
	}
	return text + "."
}

func tag(path string) string {
	parts := strings.Split(path, "/")
	switch {
	case len(parts) > 3 && parts[2] == "admin":
		return strings.TrimSuffix(strings.NewReplacer("policies", "policy").Replace(strings.SplitN(parts[3], "-", 2)[0]), "s")
	case len(parts) > 2 && parts[2] == "audit":
		return "audit"
	default:
		return "workload"
	}
}

func TestOpenAPI(t *testing.T) {
	f := start(t, brokertest.Config{})
	d, _ := describe(t, f.api.Operations())
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *update {
		if err := os.WriteFile(filepath.Join("..", "..", "docs", "reference", "openapi.json"), text, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(text, reference.OpenAPI) {
		t.Error("docs/reference/openapi.json is stale: run go test ./broker/api -run TestOpenAPI -update")
	}
}

// TestOpenAPIAgainstHandlers holds the published document, as a client reads it, against the mux: each operation of it is served, and no method of a
// path that it does not have.
func TestOpenAPIAgainstHandlers(t *testing.T) {
	f := start(t, brokertest.Config{})
	_, _, text := f.send("GET", "/openapi.json", "", nil)
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	byID := map[string]api.Operation{}
	for _, op := range f.api.Operations() {
		byID[op.ID] = op
	}
	described := 0
	for path, methods := range d.Paths {
		for method, o := range methods {
			described++
			op, served := byID[o.ID]
			if !served || strings.ToLower(op.Method) != method || rest.ReplaceAllString(op.Path, "}") != path {
				t.Errorf("%s %s is described as %s, and not served", method, path, o.ID)
			}
		}
		op := target(api.Operation{Operation: wire.Operation{Path: strings.Replace(path, "{path}", "{path...}", 1)}})
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			_, there := methods[strings.ToLower(method)]
			status, _, answer := f.send(method, op, f.Token, nil)
			if missing := status == http.StatusNotFound && bytes.Contains(answer, []byte("there is no "+method+" /")); missing == there {
				t.Errorf("%s %s: described %v, answered %d %s", method, path, there, status, answer)
			}
		}
	}
	if described != len(byID) {
		t.Errorf("%d operations are described, %d served", described, len(byID))
	}
}

// answers runs operations, and holds what they answer against its schema.
type answers struct {
	*fixture
	document *document
	schemas  *schemas
	left     map[string]api.Operation // not run yet, by id
}

func newAnswers(t testing.TB, f *fixture) *answers {
	a := &answers{fixture: f, left: map[string]api.Operation{}}
	a.document, a.schemas = describe(t, f.api.Operations())
	for _, op := range f.api.Operations() {
		a.left[op.ID] = op
	}
	return a
}

// run performs an operation for good.
func (a *answers) run(id, path, body string) []byte {
	a.t.Helper()
	op := a.left[id]
	delete(a.left, id)
	var content []byte
	if body != "" {
		content = []byte(body)
	}
	status, header, answer := a.send(op.Method, path, a.Token, content)
	if status != http.StatusOK {
		a.t.Fatalf("%s: %d %s", id, status, answer)
	}
	for media, of := range a.document.Paths[rest.ReplaceAllString(op.Path, "}")][strings.ToLower(op.Method)].Responses["200"].Content {
		if got := header.Get("Content-Type"); got != media {
			a.t.Errorf("%s: media type %q, described is %q", id, got, media)
		}
		if !strings.HasSuffix(media, "json") {
			continue
		}
		one := [][]byte{answer}
		if media == "application/x-ndjson" { // the schema is a line's
			one = bytes.Split(bytes.TrimSuffix(answer, []byte("\n")), []byte("\n"))
		}
		for _, text := range one {
			a.check(id, of["schema"], text)
		}
	}
	return answer
}

// check holds JSON against a schema.
func (a *answers) check(what string, want *schema, text []byte) {
	a.t.Helper()
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		a.t.Errorf("%s: %v", what, err)
	} else if err := a.schemas.check(what, want, value); err != nil {
		a.t.Error(err)
	}
}

// enrolments are the operations that TestEnrolment runs, which needs a TPM.
var enrolments = []string{"beginEnrolment", "completeEnrolment", "listEnrolments", "revokeEnrolment"}

// TestAnswersAgainstSchemas runs every other operation.
func TestAnswersAgainstSchemas(t *testing.T) {
	f := start(t, brokertest.Config{})
	a := newAnswers(t, f)
	run := a.run
	quote := func(text string) string {
		b, _ := json.Marshal(text)
		return string(b)
	}
	value := base64.StdEncoding.EncodeToString([]byte(plaintext))
	run("putSecret", "/v1/admin/secrets/app/key", `{"value":"`+value+`","content_type":"text/plain","labels":{"a":"b"}}`)
	run("generateSecret", "/v1/admin/secret-generate/app/key", `{"length":32,"encoding":"alphanumeric"}`)
	run("activateSecret", "/v1/admin/secret-activate/app/key", `{"version":2}`)
	run("destroySecret", "/v1/admin/secret-destroy/app/key", `{"version":1}`)
	run("getSecret", "/v1/admin/secrets/app/key", "")
	run("listSecrets", "/v1/admin/secrets?prefix=app&limit=1", "")
	run("applyPolicy", "/v1/admin/policies", `{"source":`+quote(withWaiver(brokertest.AllowVirtual("app/*")))+`,"filename":"x.yaml","draft":true}`)
	run("activatePolicy", "/v1/admin/policy-activate/allow-virtual", `{"version":1}`)
	run("getPolicy", "/v1/admin/policies/allow-virtual?version=1", "")
	run("listPolicies", "/v1/admin/policies", "")
	run("putReferences", "/v1/admin/references/images", `{"values":[{"value":"x","note":"n","expires":"2099-01-01T00:00:00Z"}]}`)
	run("importReferences", "/v1/admin/reference-import/images", `{"format":"json","document":"W3sidmFsdWUiOiJ5In1d"}`)
	run("activateReferences", "/v1/admin/reference-activate/images", `{"values":["y"]}`)
	run("referenceUses", "/v1/admin/reference-uses/images", "")
	run("referenceReleases", "/v1/admin/reference-releases/images", `{"values":["x"]}`)
	run("retireReferences", "/v1/admin/reference-retire/images", `{"values":["x"]}`)
	run("getReferences", "/v1/admin/references/images", "")
	run("listReferences", "/v1/admin/references", "")
	run("putRego", "/v1/admin/rego/attestation/default_cpu", `{"source":"package policy\ntrust_claims := {\"hardware\": 2}","draft":true}`)
	run("activateRego", "/v1/admin/rego-activate/attestation/default_cpu", `{"version":1}`)
	run("getRego", "/v1/admin/rego/attestation/default_cpu?version=1", "")
	run("listRego", "/v1/admin/rego", "")
	run("retireRego", "/v1/admin/rego-retire/attestation/default_cpu", "")
	run("putRegoReferences", "/v1/admin/rego-references", `{"values":{"svn":{"value":{"a":1},"expires":"2099-01-01T00:00:00Z"}}}`)
	run("getRegoReferences", "/v1/admin/rego-references", "")
	run("challenge", "/v1/challenges", `{"kind":"virtual"}`)

	w := f.workload(envelope.X25519, "app/key", "app/none").attest()
	signed := run("release", "/v1/releases", string(w.body()))
	var jws struct{ Payload string }
	if err := json.Unmarshal(signed, &jws); err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(jws.Payload)
	if err != nil {
		t.Fatal(err)
	}
	a.check("reply", a.schemas.of(reflect.TypeFor[release.Reply]()), payload)
	_, refused := f.workload(envelope.X25519, "app/key").spoil().refused()
	_, _, explanation := f.send("GET", "/v1/admin/decisions/"+refused.Decision, f.Token, nil)
	a.check("explanation of a refusal", a.schemas.of(reflect.TypeFor[broker.Explanation]()), explanation)
	var decisions wire.List[broker.DecisionSummary]
	if err := json.Unmarshal(run("listDecisions", "/v1/admin/decisions", ""), &decisions); err != nil || len(decisions.Items) != 2 {
		t.Fatalf("%+v, %v", decisions, err)
	}
	run("explain", "/v1/admin/decisions/"+decisions.Items[0].ID, "")
	run("checkSecret", "/v1/admin/secret-check/app/key?version=2", "")
	var leases wire.List[broker.Lease]
	if err := json.Unmarshal(run("listLeases", "/v1/admin/leases?secret=app/key", ""), &leases); err != nil || len(leases.Items) != 1 {
		t.Fatalf("%+v, %v", leases, err)
	}
	run("replayPolicy", "/v1/admin/policy-replay", `{"source":`+quote(brokertest.AllowVirtual("app/*"))+`}`)
	run("revokeLease", "/v1/admin/lease-revoke/"+leases.Items[0].ID, "")
	run("retirePolicy", "/v1/admin/policy-retire/allow-virtual", "")

	var created wire.TokenCreated
	if err := json.Unmarshal(run("createToken", "/v1/admin/tokens", `{"name":"x","roles":["auditor"],"lifetime":60}`), &created); err != nil {
		t.Fatal(err)
	}
	run("listTokens", "/v1/admin/tokens", "")
	run("revokeToken", "/v1/admin/tokens/"+created.Record.ID, "")
	run("rotateKey", "/v1/admin/key-rotate", `{"purpose":"reply"}`)
	run("listKeys", "/v1/admin/keys", "")
	run("rotateDataKey", "/v1/admin/data-key-rotate", "")
	if backup := run("backup", "/v1/admin/backup", `{"recipients":["age1x","age1y"]}`); string(backup) != "backup for age1x,age1y" {
		t.Errorf("backup %q", backup)
	}

	a.runDesk(quote)
	run("whoAmI", "/v1/admin/whoami", "")
	run("createNamespace", "/v1/admin/namespaces/tenant", `{"secrets":10,"bytes":1000,"policies":3,"decisions_per_minute":60}`)
	run("setQuota", "/v1/admin/namespace-quota/tenant", `{"secrets":1}`)
	run("listNamespaces", "/v1/admin/namespaces", "")
	run("entries", "/v1/audit/entries?from=1&limit=2", "")

	run("listKinds", "/v1/kinds", "")
	run("keys", "/.well-known/jwks.json", "")
	run("openAPI", "/openapi.json", "")
	run("checkpoint", "/v1/audit/checkpoint", "")
	run("logKey", "/v1/audit/key", "")
	run("tile", "/v1/audit/tile/0/000.p/3", "")
	run("receipt", "/v1/audit/receipt/2", "")
	run("consistency", "/v1/audit/consistency?old=3", "")
	run("listLogs", "/v1/audit/logs", "")
	own := fmt.Sprintf("/v1/audit/log/%d/", f.OwnSlot())
	run("checkpointOf", own+"checkpoint", "")
	run("entriesOf", own+"entries", "")
	run("logKeyOf", own+"key", "")
	run("tileOf", own+"tile/0/000.p/3", "")
	run("receiptOf", own+"receipt/2", "")
	run("consistencyOf", own+"consistency?old=3", "")
	for id := range a.left {
		if !slices.Contains(enrolments, id) {
			t.Errorf("%s was not run", id)
		}
	}
	if seen := f.seen(); strings.Contains(seen, plaintext) || strings.Contains(seen, value) || strings.Contains(seen, f.Token) {
		t.Error("the secret or the administrator's token was answered or logged")
	}
}

// withWaiver adds a waiver, so that answers have one.
func withWaiver(source string) string {
	return strings.Replace(source, "  require:", "  waive:\n    - {rule: tcb-current, reason: a test}\n  require:", 1)
}

// spoil makes evidence that is refused.
func (w *workload) spoil() *workload {
	w.attest().request.Evidence.Data = []byte("no report")
	return w
}
