package tenants_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/sample"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/api"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/broker/kbs"
	"github.com/vouchsafe/vouchsafe/broker/kbs/kbstest"
	"github.com/vouchsafe/vouchsafe/broker/tenants"
	"github.com/vouchsafe/vouchsafe/store"
)

// plaintext is a secret that no answer to an administrator may hold.
const plaintext = "correct-horse-battery-staple-0123456789"

// fixture is a broker that serves namespaces as a node does, every answer of which is kept.
type fixture struct {
	*brokertest.Broker
	t          testing.TB
	operations []api.Operation
	answers    bytes.Buffer
}

func start(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t}
	f.Broker = brokertest.Start(t, brokertest.Config{
		Verifiers: func(*data.Data) []attest.Verifier { return []attest.Verifier{sample.New()} },
		Handler:   f.handler,
	})
	return f
}

func (f *fixture) handler(b *broker.Broker) http.Handler {
	bodies, err := intake.NewReader(0)
	f.check(err)
	protocol, err := kbs.New(kbs.Config{Broker: b, Intake: bodies})
	f.check(err)
	front := func(namespace string) (map[string]http.Handler, error) {
		native, err := api.New(api.Config{
			Broker: b, Intake: bodies, Namespace: namespace,
			Backup:     func(context.Context, io.Writer, []string) error { return nil },
			RotateData: func(context.Context) error { return nil },
		})
		if err != nil {
			return nil, err
		}
		guests, err := protocol.For(namespace)
		if err != nil {
			return nil, err
		}
		f.operations = native.Operations()
		return map[string]http.Handler{"/": native.Handler(), kbs.Prefix + "/": guests.Handler()}, nil
	}
	all, err := tenants.New(tenants.Config{Serves: b.Serves, Front: front})
	f.check(err)
	mux := http.NewServeMux()
	routes, err := front(store.DefaultNamespace)
	f.check(err)
	for pattern, handler := range routes {
		mux.Handle(pattern, handler)
	}
	mux.Handle(tenants.Prefix+"/", all)
	return mux
}

func (f *fixture) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// token makes a token.
func (f *fixture) token(namespace string, scope access.Scope, roles ...access.Role) (text, id string) {
	f.t.Helper()
	who := f.Admin
	who.Roles |= access.SetOf(access.Enroller) // which an administrator is not
	token, record, err := f.Broker.Broker.CreateToken(f.t.Context(), who, access.Request{
		Name: "made", Roles: access.SetOf(roles...), Namespace: namespace, Scope: scope,
	})
	f.check(err)
	return token.Reveal(), record.ID
}

// send sends a request and returns the answer, which is kept.
func (f *fixture) send(method, path, token, body string) (status int, answer string) {
	f.t.Helper()
	request, err := http.NewRequest(method, f.URL+path, strings.NewReader(body))
	f.check(err)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := f.HTTP.Do(request)
	f.check(err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	f.check(err)
	_ = response.Header.Write(&f.answers)
	f.answers.Write(content)
	return response.StatusCode, string(content)
}

// code is an error's.
func code(answer string) broker.Code {
	var e wire.Error
	_ = json.Unmarshal([]byte(answer), &e)
	return e.Code
}

// guest is a client of the KBS protocol at a namespace.
func (f *fixture) guest(namespace string) *kbstest.Client {
	f.t.Helper()
	key, err := kbstest.NewKey("P-256")
	f.check(err)
	return &kbstest.Client{URL: f.URL + "/ns/" + namespace, HTTP: f.HTTP, Key: key, Attester: kbstest.Sample()}
}

// allowSample releases secrets of some pattern to anybody.
func allowSample(name, pattern string) string {
	return `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: ` + name + `}
spec:
  secrets: ["` + pattern + `"]
  require:
    - {name: development, that: claims.kind == "sample"}
  waive:
    - {rule: genuine-hardware, reason: a test}
    - {rule: no-debug, reason: a test}
    - {rule: vmpl-0, reason: a test}
    - {rule: no-migration-agent, reason: a test}
    - {rule: tcb-current, reason: a test}
    - {rule: collateral-current, reason: a test}
`
}

// names are what stands for the parts of an operation's path and query.
type names struct{ secret, name, policy, set, decision, proposal, lease, token, digest, index string }

// bodies are requests that get past decoding, by operation.
var bodies = map[string]string{
	"putSecret": `{"value":"dmFsdWU="}`, "generateSecret": `{"length":16,"encoding":"hex"}`, "activateSecret": `{"version":1}`,
	"destroySecret": `{"all":true}`, "applyPolicy": `{"source":"x","draft":true}`, "activatePolicy": `{"version":1}`,
	"putReferences": `{"values":[{"value":"new","state":"staged"}]}`, "retireReferences": `{"values":["x"]}`,
	"beginEnrolment": `{"host":"h","request":{"ek_certificate":"","ek_public":"","ak_public":""}}`, "completeEnrolment": `{"id":"x","secret":""}`,
	"createToken": `{"name":"x","roles":[]}`, "rotateKey": `{"purpose":"reply"}`, "backup": `{"recipients":["age1x"]}`,
	"createNamespace": `{"secrets":1}`, "setQuota": `{"secrets":1}`,
	"apply": `{"documents":[],"dry_run":true}`, "putPolicy": `{"source":"x"}`, "rollBackPolicy": `{"reason":"x"}`, "replayPolicy": `{"source":"x"}`,
	"propose": `{"type":"policy.retire","name":"nothing","reason":"x"}`, "approveProposal": `{"digest":"x"}`, "withdrawProposal": `{"reason":"x"}`,
	"activateProposal": `{"reason":"x"}`, "acknowledgeBreakGlass": `{"reason":"x"}`, "putApprovalRules": `{"source":"x"}`, "activateApprovalRules": `{"version":7}`,
	"putRego": `{"source":"x","draft":true}`, "activateRego": `{"version":1}`, "putRegoReferences": `{"values":{"x":{"value":null}}}`,
	"importReferences": `{"format":"json","document":"W3sidmFsdWUiOiJ4In1d"}`, "activateReferences": `{"values":["x"]}`, "referenceReleases": `{"values":["x"]}`,
	"challenge": `{"kind":"sample"}`, "release": `{}`,
}

// target fills in the path of an operation.
func target(op api.Operation, n names) string {
	id := n.token
	switch op.ID {
	case "revokeLease":
		id = n.lease
	case "explain":
		id = n.decision
	}
	if strings.Contains(op.Path, "proposal") {
		id = n.proposal
	}
	if strings.Contains(op.Path, "{kind}") {
		id = "default_cpu"
	}
	name := n.policy
	if strings.Contains(op.Path, "reference") {
		name = n.set
	}
	if strings.Contains(op.Path, "namespace") {
		name = n.name
	}
	return strings.NewReplacer("{name...}", n.secret, "{name}", name, "{kind}", "attestation", "{id}", id, "{digest}", n.digest, "{index}", n.index,
		"{path...}", "entries/000.p/1", "{log}", "0").Replace(op.Path)
}
