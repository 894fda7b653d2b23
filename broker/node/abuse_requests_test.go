//go:build unix

package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/kbs/kbstest"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// rawRequest is a request as it goes over a connection, in parts.
type rawRequest struct {
	method, target string
	header         []string // lines, without Content-Length
	body           []byte
}

// encode writes the request with the right length.
func (r *rawRequest) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", r.method, r.target)
	for _, line := range r.header {
		b.WriteString(line + "\r\n")
	}
	if len(r.body) > 0 || r.method == http.MethodPost {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	}
	b.WriteString("\r\n")
	b.Write(r.body)
	return b.Bytes()
}

func (r *rawRequest) clone() *rawRequest {
	return &rawRequest{r.method, r.target, slices.Clone(r.header), bytes.Clone(r.body)}
}

// recorder keeps the requests that pass.
type recorder struct {
	base     http.RoundTripper
	mu       sync.Mutex
	requests []*rawRequest
}

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	raw, err := record(q)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.requests = append(r.requests, raw)
	r.mu.Unlock()
	return r.base.RoundTrip(q)
}

// record takes a request apart, and leaves it as it was.
func record(q *http.Request) (*rawRequest, error) {
	raw := &rawRequest{method: q.Method, target: q.URL.RequestURI(), header: []string{"Host: " + q.URL.Host}}
	for name, values := range q.Header {
		for _, v := range values {
			raw.header = append(raw.header, name+": "+v)
		}
	}
	slices.Sort(raw.header[1:])
	if q.Body != nil {
		var err error
		if raw.body, err = io.ReadAll(q.Body); err != nil {
			return nil, err
		}
		q.Body = io.NopCloser(bytes.NewReader(raw.body))
	}
	return raw, nil
}

// recordDesk uses the endpoints of the release desk. The rules of approval that it writes cover nothing that is there.
func recordDesk(ctx context.Context, c *admin.Client, source string, must, may func(any, error)) {
	must(c.PutPolicy(ctx, wire.PolicyPut{Source: source, Filename: "abuse.yaml", Reason: "a test"}))
	must(c.PolicyHistory(ctx, "abuse"))
	may(c.RollBackPolicy(ctx, wire.PolicyRollback{PolicyName: wire.PolicyName{Name: "abuse"}, Version: 1, Reason: "a test"}))
	proposal, err := c.Propose(ctx, wire.Proposed{Type: broker.ChangeReferencePut, Name: "desk", Values: []wire.ReferencePut{{Value: "00ff"}}, Reason: "a test"})
	must(proposal, err)
	id := wire.ProposalID{ID: proposal.ID}
	must(c.Proposals(ctx, wire.ProposalsQuery{State: "all"}))
	must(c.Proposal(ctx, id.ID))
	may(c.ApproveProposal(ctx, wire.ProposalApprove{ProposalID: id, Digest: proposal.Digest}))
	may(c.ActivateProposal(ctx, wire.ProposalActivate{ProposalID: id, BreakGlass: true, Reason: "a test"}))
	may(c.WithdrawProposal(ctx, wire.ProposalWithdraw{ProposalID: id, Reason: "a test"}))
	may(c.AcknowledgeBreakGlass(ctx, wire.ProposalAcknowledge{ProposalID: id, Reason: "a test"}))
	must(c.PutApprovalRules(ctx, wire.PolicyPut{Reason: "a test", Source: "apiVersion: vouchsafe/v1\nkind: ApprovalRules\nspec: {rules: [{name: a, policies: [not-there], approvals: 1}]}\n"}))
	must(c.ApprovalRules(ctx, wire.RulesQuery{Version: 1}))
	may(c.ActivateApprovalRules(ctx, 9))
	must(c.ApprovalRulesHistory(ctx))
}

// recordTenants uses the endpoints of namespaces and of who calls, and those of reference values with a life.
func recordTenants(ctx context.Context, c *admin.Client, source string, must, may func(any, error)) {
	must(c.WhoAmI(ctx))
	must(c.CreateNamespace(ctx, wire.NamespaceQuota{Name: "abuse"}))
	must(c.SetQuota(ctx, wire.NamespaceQuota{Name: "abuse", Quota: broker.Quota{Secrets: 1}}))
	must(c.Namespaces(ctx, wire.Page{Limit: 3}))
	must(c.Entries(ctx, wire.EntriesQuery{From: 1, Limit: 2}))
	may(c.EntriesOf(ctx, wire.LogEntriesQuery{EntriesQuery: wire.EntriesQuery{From: 1, Limit: 2}}))
	set := wire.ReferenceName{Name: "imported"}
	must(c.ImportReferences(ctx, wire.ReferencesImport{ReferenceName: set, Format: broker.ImportPlain, Document: []byte(`[{"value":"00ff"}]`)}))
	must(c.ActivateReferences(ctx, wire.ReferencesActivate{ReferenceName: set, Values: []string{"00ff"}}))
	must(c.ReferenceUses(ctx, set.Name))
	must(c.ReferenceReleases(ctx, wire.ReferenceReleasesQuery{ReferenceName: set, Values: []string{"00ff"}}))
	must(c.Apply(ctx, wire.ApplyDocuments{Documents: []wire.ApplyDocument{{Source: source, Filename: "abuse.yaml"}}, DryRun: true}))
	must(c.Replay(ctx, wire.Replay{Source: source, Filename: "abuse.yaml"}, nil))
}

// recordAll uses every endpoint once, as its clients do, and returns the requests. Those that cannot succeed are in it, too.
func recordAll(t *testing.T, p *process) []*rawRequest {
	t.Helper()
	ctx := t.Context()
	r := &recorder{base: p.httpClient().Transport}
	recording := &http.Client{Transport: r}
	c, err := admin.New(admin.Config{Address: p.URL, Token: p.token, HTTP: recording})
	if err != nil {
		t.Fatal(err)
	}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	may := func(any, error) {}
	secret := wire.SecretName{Name: "abuse/app/it"}
	must(c.PutSecret(ctx, wire.SecretPut{SecretName: secret, Value: []byte("one"), Labels: map[string]string{"a": "b"}}))
	must(c.GenerateSecret(ctx, wire.SecretGenerate{SecretName: secret, Length: 32, Encoding: "hex"}))
	must(c.ActivateSecret(ctx, wire.SecretActivate{SecretName: secret, Version: 2}))
	must(c.DestroySecret(ctx, wire.SecretDestroy{SecretName: secret, Version: 1}))
	must(c.Secret(ctx, secret.Name))
	must(c.Secrets(ctx, wire.SecretsQuery{Prefix: "abuse/", Page: wire.Page{Limit: 10, After: "abuse/a"}}))
	must(c.Leases(ctx, wire.LeasesQuery{Secret: "abuse/app"}))
	source := strings.NewReplacer("{name: crash}", "{name: abuse}", "crash/app", "abuse/app").Replace(crashAllow)
	must(c.ApplyPolicy(ctx, wire.PolicyApply{Source: source, Filename: "abuse.yaml"}))
	must(c.ActivatePolicy(ctx, wire.PolicyActivate{PolicyName: wire.PolicyName{Name: "abuse"}, Version: 1}))
	must(c.Policy(ctx, wire.PolicyQuery{PolicyName: wire.PolicyName{Name: "abuse"}, Version: 1}))
	must(c.Policies(ctx, wire.Page{}))
	may(c.RetirePolicy(ctx, "other"))
	recordDesk(ctx, c, source, must, may)
	recordTenants(ctx, c, source, must, may)
	set := wire.ReferenceName{Name: "abuse"}
	must(c.PutReferences(ctx, wire.ReferencesPut{ReferenceName: set, Values: []wire.ReferencePut{{Value: "00ff", Note: "it"}}}))
	must(c.References(ctx, set.Name))
	must(c.ReferenceSets(ctx, wire.Page{}))
	must(c.RetireReferences(ctx, wire.ReferencesRetire{ReferenceName: set, Values: []string{"00ff"}}))
	must(c.Decisions(ctx, wire.DecisionsQuery{Page: wire.Page{Limit: 5}}))
	inRego := wire.RegoName{Kind: broker.RegoAttestation, ID: "default_gpu"}
	must(c.PutRego(ctx, wire.RegoPut{RegoName: inRego, Source: "package policy\ntrust_claims := {\"hardware\": 97}", Draft: true}))
	must(c.ActivateRego(ctx, wire.RegoActivate{RegoName: inRego, Version: 1}))
	must(c.Rego(ctx, wire.RegoQuery{RegoName: inRego, Version: 1}))
	must(c.RegoPolicies(ctx))
	must(c.RetireRego(ctx, inRego))
	must(nil, c.PutRegoReferences(ctx, wire.RegoReferencesPut{Values: map[string]wire.RegoReferencePut{"abuse": {Value: []byte("[1]")}}}))
	must(c.RegoReferences(ctx))
	may(c.BeginEnrolment(ctx, wire.EnrolmentBegin{Host: "host", Request: tpm.Request{}}))
	may(c.CompleteEnrolment(ctx, wire.EnrolmentComplete{ID: strings.Repeat("0", 32), Secret: make([]byte, 32)}))
	must(c.Enrolments(ctx, wire.Page{}))
	may(nil, c.RevokeEnrolment(ctx, strings.Repeat("ab", 32)))
	made, err := c.CreateToken(ctx, wire.TokenCreate{Name: "spare", Roles: access.SetOf(access.Auditor), Lifetime: 60})
	must(made, err)
	must(c.Tokens(ctx, wire.Page{}))
	must(nil, c.RevokeToken(ctx, made.Record.ID))
	must(c.Keys(ctx))
	must(c.RotateKey(ctx, wire.KeyRotate{Purpose: keys.Token}))
	must(nil, c.RotateDataKey(ctx))
	must(nil, c.Backup(ctx, io.Discard, "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z"))
	must(c.Checkpoint(ctx))
	must(c.LogKey(ctx))
	must(c.Tile(ctx, "entries/000.p/3"))
	must(c.Receipt(ctx, 1))
	must(c.Consistency(ctx, wire.ConsistencyQuery{Old: 1, New: 3}))
	must(c.Logs(ctx))
	must(c.CheckpointOf(ctx, 0))
	must(c.LogKeyOf(ctx, 0))
	must(c.TileOf(ctx, 0, "0/000.p/2"))
	must(c.ReceiptOf(ctx, 0, 1))
	must(c.ConsistencyOf(ctx, 0, wire.ConsistencyQuery{Old: 1, New: 3}))
	must(c.Kinds(ctx))
	got, err := p.workload(func(c *client.Config) { c.CA, c.HTTP = nil, recording }).Fetch(ctx, secret.Name)
	must(got, err)
	must(c.Explain(ctx, got[0].Decision))
	must(c.CheckSecret(ctx, wire.SecretCheck{SecretName: secret, Version: 2}))
	must(c.RevokeLease(ctx, got[0].Decision+".0"))

	device, err := virtualdevice.Load(p.Tee)
	must(device, err)
	key, err := kbstest.NewKey("P-256")
	must(key, err)
	guest := &kbstest.Client{URL: p.URL, HTTP: recording, Key: key, Attester: virtualAttester(device)}
	must(guest.Get(ctx, secret.Name))
	token, err := guest.Attest(ctx)
	must(token, err)
	must(guest.GetBearer(ctx, token, secret.Name))
	custodian := &kbstest.Admin{URL: p.URL, HTTP: recording, Header: http.Header{"Authorization": {"Bearer " + p.token}}}
	must(nil, custodian.SetResource(ctx, "abuse/other/it", []byte("value")))
	must(nil, custodian.DeleteResource(ctx, "abuse/other/it"))
	for _, path := range []string{"/openapi.json", "/healthz", "/readyz", "/metrics"} {
		response, err := recording.Get(p.URL + path)
		must(response, err)
		response.Body.Close()
	}
	checkComplete(t, p, r.requests)
	return r.requests
}

// checkComplete holds the requests against the OpenAPI document: every operation must be among them.
func checkComplete(t *testing.T, p *process, requests []*rawRequest) {
	t.Helper()
	response, err := p.httpClient().Get(p.URL + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var document struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&document); err != nil || len(document.Paths) == 0 {
		t.Fatal("no OpenAPI document: ", err)
	}
	parameter := regexp.MustCompile(`\\\{[^}]*\}`)
	for path, operations := range document.Paths {
		pattern := regexp.MustCompile("^" + parameter.ReplaceAllString(regexp.QuoteMeta(path), ".+") + "$")
		for method := range operations {
			if !slices.ContainsFunc(requests, func(r *rawRequest) bool {
				target, _, _ := strings.Cut(r.target, "?")
				return strings.EqualFold(r.method, method) && pattern.MatchString(target)
			}) {
				t.Errorf("no request was recorded for %s %s", method, path)
			}
		}
	}
}

// attacker makes damaged requests of recorded ones, and of new ones whose nonce is still good.
type attacker struct {
	random   *rand.Rand
	recorded []*rawRequest
	bodies   [][]byte
	p        *process
	plain    *http.Client
	device   *virtualdevice.Device
	native   *envelope.PrivateKey
	guest    *kbstest.Key
}

func newAttacker(t *testing.T, p *process, recorded []*rawRequest, seed uint64) *attacker {
	t.Helper()
	a := &attacker{random: rand.New(rand.NewPCG(seed, 12)), recorded: recorded, p: p, plain: p.httpClient()}
	for _, r := range recorded {
		if len(r.body) > 0 {
			a.bodies = append(a.bodies, r.body)
		}
	}
	var err error
	if a.device, err = virtualdevice.Load(p.Tee); err != nil {
		t.Fatal(err)
	}
	if a.native, err = envelope.GenerateKey(envelope.X25519); err != nil {
		t.Fatal(err)
	}
	if a.guest, err = kbstest.NewKey("P-256"); err != nil {
		t.Fatal(err)
	}
	return a
}

// harm is how far a request is damaged.
type harm int

const (
	harmless harm = iota // the head is that of a request: there must be an answer
	harmHead             // a header may be none: the server may close the connection before it has the body
	harmAll              // nor may the server find the end, so that it must be told that no more comes
)

// next returns a damaged request.
func (a *attacker) next(ctx context.Context) (raw []byte, h harm, err error) {
	var r *rawRequest
	switch n := a.random.IntN(10); {
	case n < 3:
		r, err = a.freshRelease(ctx)
	case n < 5:
		r, err = a.freshAttestation(ctx)
	default:
		r = a.recorded[a.random.IntN(len(a.recorded))].clone()
		// What copies or rewrites the whole store is for now and then.
		if costly(r) && a.random.IntN(20) > 0 {
			r = a.recorded[0].clone()
		}
	}
	if err != nil {
		return nil, harmless, err
	}
	switch n := a.random.IntN(20); {
	case n < 10:
		r.body = a.damage(r.body)
	case n < 12:
		r.target, h = "/"+strings.TrimLeft(clean(a.damage([]byte(r.target))), "/"), harmHead
	case n < 14 && len(r.header) > 1:
		at := 1 + a.random.IntN(len(r.header)-1)
		r.header[at], h = clean(a.damage([]byte(r.header[at]))), harmHead
	case n < 15 && len(r.header) > 1:
		at := 1 + a.random.IntN(len(r.header)-1)
		if a.random.IntN(2) == 0 {
			r.header = slices.Delete(r.header, at, at+1)
		} else {
			r.header = append(r.header, r.header[at])
		}
	case n < 16:
		methods := []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "X"}
		r.method = methods[a.random.IntN(len(methods))]
	case n < 17:
		r.target = a.recorded[a.random.IntN(len(a.recorded))].target // someone else's body
	case n < 18: // as it is
	default:
		return mutate.Input(a.random, [][]byte{r.encode()}), harmAll, nil
	}
	return r.encode(), h, nil
}

func costly(r *rawRequest) bool {
	return strings.HasSuffix(r.target, "/backup") || strings.HasSuffix(r.target, "-rotate")
}

// damage returns a damaged copy.
func (a *attacker) damage(b []byte) []byte {
	if a.random.IntN(8) == 0 && len(a.bodies) > 0 {
		return mutate.Input(a.random, a.bodies)
	}
	return mutate.Input(a.random, [][]byte{b})
}

// clean keeps damage inside a line of a request's head.
func clean(line []byte) string {
	return strings.Map(func(c rune) rune {
		if c == '\r' || c == '\n' || c == ' ' {
			return '_'
		}
		return c
	}, string(line))
}

// freshRelease makes a good release request, or one whose evidence is damaged and vouches for the right nonce.
func (a *attacker) freshRelease(ctx context.Context) (*rawRequest, error) {
	kind := attest.Virtual
	body, err := a.post(ctx, release.ChallengePath, release.ChallengeRequest{Kind: kind})
	if err != nil {
		return nil, err
	}
	challenge, err := release.DecodeChallenge(body)
	if err != nil {
		return nil, err
	}
	q := &release.Request{
		Nonce: challenge.Nonce, Recipient: a.native.PublicJWK(), Secrets: []release.Want{{Name: "abuse/app/it"}},
	}
	digest, err := q.Binding(challenge.Hash, a.native.Recipient())
	if err != nil {
		return nil, err
	}
	evidence, err := a.device.Evidence(ctx, digest)
	if err != nil {
		return nil, err
	}
	if a.random.IntN(2) == 0 {
		evidence = a.damage(evidence)
	}
	q.Evidence = release.Evidence{Kind: kind, Data: evidence}
	text, err := json.Marshal(q)
	return a.request(release.ReleasePath, text), err
}

// freshAttestation makes a good attestation of the KBS protocol.
func (a *attacker) freshAttestation(ctx context.Context) (*rawRequest, error) {
	caught := &catcher{base: a.plain.Transport}
	c := &kbstest.Client{URL: a.p.URL, HTTP: &http.Client{Transport: caught}, Key: a.guest, Attester: virtualAttester(a.device)}
	if _, err := c.Attest(ctx); caught.request == nil {
		return nil, err
	}
	return caught.request, nil
}

// catcher keeps an attestation instead of sending it.
type catcher struct {
	base    http.RoundTripper
	request *rawRequest
}

func (c *catcher) RoundTrip(q *http.Request) (response *http.Response, err error) {
	if !strings.HasSuffix(q.URL.Path, "/attest") {
		return c.base.RoundTrip(q)
	}
	if c.request, err = record(q); err == nil {
		err = errCaught
	}
	return nil, err
}

var errCaught = fmt.Errorf("kept")

func (a *attacker) request(path string, body []byte) *rawRequest {
	return &rawRequest{"POST", path, []string{"Host: " + strings.TrimPrefix(a.p.URL, "https://"), "Content-Type: application/json"}, body}
}

func (a *attacker) post(ctx context.Context, path string, message any) ([]byte, error) {
	text, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, a.p.URL+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "application/json")
	response, err := a.plain.Do(q)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}
