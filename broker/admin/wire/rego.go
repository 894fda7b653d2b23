package wire

import (
	"encoding/json"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy/rego"
)

const (
	// maxRego bounds a Rego module, of which JSON may write a byte in six, in bytes.
	maxRego = 6*rego.MaxSource + DefaultLimit
	// maxRegoReferences bounds the reference values of one request, in bytes.
	maxRegoReferences = 2 << 20
)

// The operations on Rego policies and on the reference values that they ask for.
var (
	ListRego = Endpoint[None, List[broker.RegoInfo]]{Operation{
		ID: "listRego", Method: "GET", Path: "/v1/admin/rego", Roles: readRules,
		Summary: "List Rego policies and their versions",
	}}
	GetRego = Endpoint[RegoQuery, RegoSource]{Operation{
		ID: "getRego", Method: "GET", Path: "/v1/admin/rego/{kind}/{id}", Roles: readRules,
		Summary: "Read a Rego policy with the source of one version",
	}}
	PutRego = Endpoint[RegoPut, broker.RegoInfo]{Operation{
		ID: "putRego", Method: "POST", Path: "/v1/admin/rego/{kind}/{id}", Roles: []access.Role{access.Author}, Limit: maxRego,
		Summary: "Add a version of a Rego policy, and unless it is a draft have it judge, which needs the role approver too",
	}}
	ActivateRego = Endpoint[RegoActivate, broker.RegoInfo]{Operation{
		ID: "activateRego", Method: "POST", Path: "/v1/admin/rego-activate/{kind}/{id}", Roles: []access.Role{access.Approver},
		Summary: "Have a version of a Rego policy judge",
	}}
	RetireRego = Endpoint[RegoName, broker.RegoInfo]{Operation{
		ID: "retireRego", Method: "POST", Path: "/v1/admin/rego-retire/{kind}/{id}", Roles: []access.Role{access.Approver},
		Summary: "Have no version of a Rego policy judge: release policies that require it refuse then",
	}}
	GetRegoReferences = Endpoint[None, RegoReferences]{Operation{
		ID: "getRegoReferences", Method: "GET", Path: "/v1/admin/rego-references", Roles: readRules,
		Summary: "Read the reference values that Rego asks for",
	}}
	PutRegoReferences = Endpoint[RegoReferencesPut, None]{Operation{
		ID: "putRegoReferences", Method: "POST", Path: "/v1/admin/rego-references", Roles: []access.Role{access.Author}, Limit: maxRegoReferences,
		Summary: "Set reference values that Rego asks for, which needs the role approver too",
	}}
)

// RegoName names a Rego policy.
type RegoName struct {
	Kind broker.RegoKind `json:"-" path:"kind" doc:"resource or attestation"`
	ID   string          `json:"-" path:"id" doc:"resource-policy, or such as default_cpu"`
}

// RegoQuery names a version to read.
type RegoQuery struct {
	RegoName
	Version uint64 `json:"-" query:"version" doc:"when absent, the active one, or the newest where none is"`
}

// RegoSource is a Rego policy with a source.
type RegoSource struct {
	Policy broker.RegoInfo `json:"policy"`
	Source string          `json:"source" doc:"the module as it was written"`
}

// RegoPut is a Rego module.
type RegoPut struct {
	RegoName
	Source string `json:"source" doc:"the module"`
	Draft  bool   `json:"draft,omitempty" doc:"keep it without having it judge"`
}

// RegoActivate names the version that is to judge.
type RegoActivate struct {
	RegoName
	Version uint64 `json:"version"`
}

// RegoReferences are the reference values that Rego asks for, by id.
type RegoReferences struct {
	Values map[string]broker.RegoReference `json:"values"`
}

// RegoReferencesPut are reference values to set, by id.
type RegoReferencesPut struct {
	Values map[string]RegoReferencePut `json:"values" doc:"1 to 1000"`
}

// RegoReferencePut is a reference value to set.
type RegoReferencePut struct {
	Value   json.RawMessage `json:"value" doc:"any JSON value; null removes the id"`
	Expires time.Time       `json:"expires,omitzero" doc:"is null from then on"`
}
