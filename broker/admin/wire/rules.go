package wire

import (
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/provenance"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

const (
	// maxPolicy bounds a policy document, of which JSON may write a byte in six, in bytes.
	maxPolicy = 6*policy.MaxSource + DefaultLimit
	// maxReferences bounds a thousand values with their provenance, in bytes.
	maxReferences = 2 << 20
	// maxImport bounds a document in base64 with the values that it is held against, in bytes.
	maxImport = provenance.MaxDocument/3*4 + 1<<20
)

var (
	readRules     = []access.Role{access.Author, access.Approver, access.Auditor, access.Custodian}
	readDecisions = []access.Role{access.Auditor, access.Author}
)

// The operations on policies and reference values, and on the decisions that they led to.
var (
	ListPolicies = Endpoint[Page, List[broker.PolicyInfo]]{Operation{
		ID: "listPolicies", Method: "GET", Path: "/v1/admin/policies", Roles: readRules,
		Summary: "List release policies and their versions",
	}}
	GetPolicy = Endpoint[PolicyQuery, PolicySource]{Operation{
		ID: "getPolicy", Method: "GET", Path: "/v1/admin/policies/{name}", Roles: readRules,
		Summary: "Read a policy with the source of one version",
	}}
	ApplyPolicy = Endpoint[PolicyApply, broker.PolicyInfo]{Operation{
		ID: "applyPolicy", Method: "POST", Path: "/v1/admin/policies", Roles: []access.Role{access.Author}, Limit: maxPolicy,
		Summary: "Add a version of a policy, and unless it is a draft have it judge, which needs the role approver too",
	}}
	ActivatePolicy = Endpoint[PolicyActivate, broker.PolicyInfo]{Operation{
		ID: "activatePolicy", Method: "POST", Path: "/v1/admin/policy-activate/{name}", Roles: []access.Role{access.Approver},
		Summary: "Have a version judge",
	}}
	RetirePolicy = Endpoint[PolicyName, broker.PolicyInfo]{Operation{
		ID: "retirePolicy", Method: "POST", Path: "/v1/admin/policy-retire/{name}", Roles: []access.Role{access.Approver},
		Summary: "Have no version judge: what only this policy guards is denied then",
	}}

	ListReferences = Endpoint[Page, List[string]]{Operation{
		ID: "listReferences", Method: "GET", Path: "/v1/admin/references", Roles: readRules,
		Summary: "List the names of sets of reference values",
	}}
	GetReferences = Endpoint[ReferenceName, reference.Set]{Operation{
		ID: "getReferences", Method: "GET", Path: "/v1/admin/references/{name}", Roles: readRules,
		Summary: "Read a set of reference values",
	}}
	PutReferences = Endpoint[ReferencesPut, reference.Set]{Operation{
		ID: "putReferences", Method: "POST", Path: "/v1/admin/references/{name}", Roles: []access.Role{access.Author}, Limit: maxReferences,
		Summary: "Add values to a set, or replace them; active ones need the role approver too",
	}}
	ImportReferences = Endpoint[ReferencesImport, broker.Imported]{Operation{
		ID: "importReferences", Method: "POST", Path: "/v1/admin/reference-import/{name}", Roles: []access.Role{access.Author}, Limit: maxImport,
		Summary: "Add the values of a document to a set, staged, after verifying what is signed of it; to have them count at once needs the role approver too",
	}}
	ActivateReferences = Endpoint[ReferencesActivate, reference.Set]{Operation{
		ID: "activateReferences", Method: "POST", Path: "/v1/admin/reference-activate/{name}", Roles: []access.Role{access.Approver}, Limit: maxReferences,
		Summary: "Have staged values of a set count",
	}}
	ReferenceUses = Endpoint[ReferenceName, broker.ReferenceUses]{Operation{
		ID: "referenceUses", Method: "GET", Path: "/v1/admin/reference-uses/{name}", Roles: readRules,
		Summary: "Say which active policies name a set, and when its values were last matched",
	}}
	ReferenceReleases = Endpoint[ReferenceReleasesQuery, List[broker.ReferenceRelease]]{Operation{
		ID: "referenceReleases", Method: "POST", Path: "/v1/admin/reference-releases/{name}", Roles: []access.Role{access.Approver, access.Auditor}, Limit: maxReferences,
		Summary: "Search for secrets that values of a set let pass, and that are still held. A page may have none, and still a next one",
	}}
	RetireReferences = Endpoint[ReferencesRetire, reference.Set]{Operation{
		ID: "retireReferences", Method: "POST", Path: "/v1/admin/reference-retire/{name}", Roles: []access.Role{access.Approver}, Limit: maxReferences,
		Summary: "Make values of a set count no more",
	}}

	ReplayPolicy = Endpoint[Replay, []byte]{Operation{
		ID: "replayPolicy", Method: "POST", Path: "/v1/admin/policy-replay", Media: "application/x-ndjson",
		Roles: []access.Role{access.Author, access.Approver, access.Auditor}, Limit: maxPolicy,
		Summary: "Judge recorded requests again, with a draft in the place of a policy's active version. Lines of JSON: how far it is, and at last the report",
	}}

	ListDecisions = Endpoint[DecisionsQuery, List[broker.DecisionSummary]]{Operation{
		ID: "listDecisions", Method: "GET", Path: "/v1/admin/decisions", Roles: readDecisions,
		Summary: "List decisions in the order of their time. A page may have fewer than there are, or none, and still a next one",
	}}
	Explain = Endpoint[DecisionID, broker.Explanation]{Operation{
		ID: "explain", Method: "GET", Path: "/v1/admin/decisions/{id}", Roles: readDecisions,
		Summary: "Explain a decision: every rule, its expression and the values it saw",
	}}
)

// PolicyName names a policy.
type PolicyName struct {
	Name string `json:"-" path:"name" doc:"name of the policy"`
}

// PolicyQuery names a version to read.
type PolicyQuery struct {
	PolicyName
	Version uint64 `json:"-" query:"version" doc:"when absent, the active one, or the newest where none is"`
}

// PolicySource is a policy with a source.
type PolicySource struct {
	Policy broker.PolicyInfo `json:"policy"`
	Source string            `json:"source" doc:"the document as it was written"`
}

// PolicyApply is a policy document.
type PolicyApply struct {
	Source   string `json:"source" doc:"the document, YAML"`
	Filename string `json:"filename,omitempty" doc:"for messages only"`
	Draft    bool   `json:"draft,omitempty" doc:"keep it without having it judge"`
}

// PolicyActivate names the version that is to judge.
type PolicyActivate struct {
	PolicyName
	Version uint64 `json:"version"`
}

// Replay says which draft to try on which decisions.
type Replay struct {
	Source   string    `json:"source" doc:"the draft, YAML"`
	Filename string    `json:"filename,omitempty" doc:"for messages only"`
	Since    time.Time `json:"since,omitzero" doc:"none made before; all there are when absent"`
	Until    time.Time `json:"until,omitzero" doc:"none made from then on; now when absent"`
}

// ReplayLine is a line of the answer to ReplayPolicy. The last has the report or, where it could not be finished, an error.
type ReplayLine struct {
	Progress *broker.ReplayProgress `json:"progress,omitempty"`
	Report   *broker.ReplayReport   `json:"report,omitempty"`
	Error    *Error                 `json:"error,omitempty"`
}

// ReferenceName names a set.
type ReferenceName struct {
	Name string `json:"-" path:"name" doc:"name of the set"`
}

// ReferencesPut are values to add.
type ReferencesPut struct {
	ReferenceName
	Values []ReferencePut `json:"values" doc:"1 to 1000"`
}

// ReferencePut is a value to add. Who adds it and when is for the broker to say.
type ReferencePut struct {
	Value      string          `json:"value" doc:"hex is stored in lower case"`
	State      reference.State `json:"state,omitempty" doc:"staged or active; active when absent"`
	NotBefore  time.Time       `json:"not_before,omitzero" doc:"counts from then on"`
	Expires    time.Time       `json:"expires,omitzero" doc:"counts until then"`
	Provenance string          `json:"provenance,omitempty" doc:"digest or URI of the statement it was taken from"`
	Note       string          `json:"note,omitempty" doc:"for people"`
}

// ReferencesImport is a document of reference values.
type ReferencesImport struct {
	ReferenceName
	Format    broker.ImportFormat `json:"format" doc:"dsse: an in-toto statement with SLSA provenance in a DSSE envelope; cosign: the signed payload of an OCI image; kbs: a registration message; json: a list of values"`
	Document  []byte              `json:"document" doc:"at most 1 MiB"`
	Signature string              `json:"signature,omitempty" doc:"of cosign: base64, as it stands beside the payload"`
	Artefact  string              `json:"artefact,omitempty" doc:"of dsse and cosign: sha256: and hex of the OCI manifest that the document is attached to"`
	Source    string              `json:"source,omitempty" doc:"of kbs: which name of the message; needed when it has several"`
	Values    []string            `json:"values,omitempty" doc:"of dsse and cosign: the values that it must state, which are imported; all when absent"`
	NotBefore time.Time           `json:"not_before,omitzero" doc:"they count from then on"`
	Expires   time.Time           `json:"expires,omitzero" doc:"they count until then"`
	Note      string              `json:"note,omitempty" doc:"for people"`
	Activate  bool                `json:"activate,omitempty" doc:"have them count at once"`
}

// ReferencesActivate are staged values that are to count.
type ReferencesActivate struct {
	ReferenceName
	Values []string `json:"values" doc:"1 to 1000"`
}

// ReferenceReleasesQuery says for which values of a set to search.
type ReferenceReleasesQuery struct {
	ReferenceName
	Values []string `json:"values,omitempty" doc:"all of the set when absent"`
	After  string   `json:"after,omitempty" doc:"the next of the page before"`
}

// ReferencesRetire are values that are to count no more.
type ReferencesRetire struct {
	ReferenceName
	Values []string `json:"values" doc:"1 or more"`
}

// DecisionsQuery says which decisions to list: those that agree with every parameter.
type DecisionsQuery struct {
	Page
	Since   time.Time      `json:"-" query:"since" doc:"made then or later"`
	Until   time.Time      `json:"-" query:"until" doc:"made before"`
	Outcome broker.Outcome `json:"-" query:"outcome" doc:"released, attested, denied, not_found, refused or failed: of the decision or of a secret in it"`
	Kind    attest.Kind    `json:"-" query:"kind" doc:"of the evidence"`
	Secret  string         `json:"-" query:"secret" doc:"a secret asked for, or a path that it is below"`
	Policy  string         `json:"-" query:"policy" doc:"name of a policy that judged"`
	Code    string         `json:"-" query:"code" doc:"of a refusal, or of a secret: policy_denied"`
	Remote  string         `json:"-" query:"remote" doc:"address of the peer"`
}

// DecisionID names a decision.
type DecisionID struct {
	ID string `json:"-" path:"id" doc:"id of the decision"`
}
