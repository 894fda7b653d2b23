package wire

import (
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/source"
)

// maxPutSecret bounds a secret of 1 MiB in base64, with its labels.
const maxPutSecret = broker.MaxSecret/3*4 + DefaultLimit

// readSecrets are the roles that may see metadata of secrets.
var readSecrets = []access.Role{access.Custodian, access.Author, access.Auditor}

// The operations on secrets. None of them answers with a value.
var (
	ListSecrets = Endpoint[SecretsQuery, List[broker.SecretInfo]]{Operation{
		ID: "listSecrets", Method: "GET", Path: "/v1/admin/secrets", Roles: readSecrets,
		Summary: "List secrets by name, without their values",
	}}
	GetSecret = Endpoint[SecretName, broker.SecretInfo]{Operation{
		ID: "getSecret", Method: "GET", Path: "/v1/admin/secrets/{name...}", Roles: readSecrets,
		Summary: "Describe a secret and its versions, without their values",
	}}
	PutSecret = Endpoint[SecretPut, broker.SecretInfo]{Operation{
		ID: "putSecret", Method: "POST", Path: "/v1/admin/secrets/{name...}", Roles: []access.Role{access.Custodian}, Limit: maxPutSecret,
		Summary: "Add a version to a secret, which is made if it does not exist",
	}}
	GenerateSecret = Endpoint[SecretGenerate, broker.SecretInfo]{Operation{
		ID: "generateSecret", Method: "POST", Path: "/v1/admin/secret-generate/{name...}", Roles: []access.Role{access.Custodian},
		Summary: "Add a version with a random value that nobody sees",
	}}
	ActivateSecret = Endpoint[SecretActivate, broker.SecretInfo]{Operation{
		ID: "activateSecret", Method: "POST", Path: "/v1/admin/secret-activate/{name...}", Roles: []access.Role{access.Custodian},
		Summary: "Make a version the one that is released",
	}}
	DestroySecret = Endpoint[SecretDestroy, broker.SecretInfo]{Operation{
		ID: "destroySecret", Method: "POST", Path: "/v1/admin/secret-destroy/{name...}", Roles: []access.Role{access.Custodian},
		Summary: "Remove the value of one version, or of all, for good",
	}}
	CheckSecret = Endpoint[SecretCheck, source.Probe]{Operation{
		ID: "checkSecret", Method: "GET", Path: "/v1/admin/secret-check/{name...}", Roles: []access.Role{access.Custodian},
		Summary: "Ask where a version of a secret lies whether it would answer, without its value",
	}}
	RevokeLease = Endpoint[LeaseID, broker.LeaseRevoked]{Operation{
		ID: "revokeLease", Method: "POST", Path: "/v1/admin/lease-revoke/{id}", Roles: []access.Role{access.Custodian},
		Summary: "Revoke a lease, and end what a source issued for it",
	}}
	ListLeases = Endpoint[LeasesQuery, List[broker.Lease]]{Operation{
		ID: "listLeases", Method: "GET", Path: "/v1/admin/leases", Roles: []access.Role{access.Auditor, access.Custodian},
		Summary: "List who holds which version of a secret until when",
	}}
)

// SecretsQuery asks for secrets.
type SecretsQuery struct {
	Prefix string `json:"-" query:"prefix" doc:"what names begin with"`
	Page
}

// SecretName names a secret.
type SecretName struct {
	Name string `json:"-" path:"name" doc:"path of the secret, 1 to 8 segments"`
}

// SecretPut is a new version.
type SecretPut struct {
	SecretName
	Value       []byte            `json:"value,omitempty" doc:"at most 1 MiB; an empty value when absent"`
	Source      *source.Document  `json:"source,omitempty" doc:"where the value lies, instead of a value"`
	ContentType string            `json:"content_type,omitempty" doc:"media type of the value, told to workloads"`
	Labels      map[string]string `json:"labels,omitempty" doc:"replace those of the secret when there are any"`
	Activate    bool              `json:"activate,omitempty" doc:"make it the version that is released; the first version always is"`
}

// SecretGenerate is a new version with a random value.
type SecretGenerate struct {
	SecretName
	Length   int               `json:"length" doc:"16 to 4096: bytes of randomness for raw, hex and base64, characters for alphanumeric"`
	Encoding string            `json:"encoding" doc:"raw, hex, base64 or alphanumeric"`
	Labels   map[string]string `json:"labels,omitempty" doc:"replace those of the secret when there are any"`
	Activate bool              `json:"activate,omitempty" doc:"make it the version that is released; the first version always is"`
}

// SecretActivate names the version that is to be released.
type SecretActivate struct {
	SecretName
	Version uint64 `json:"version"`
}

// SecretDestroy names one version, or all: exactly one of the two.
type SecretDestroy struct {
	SecretName
	Version uint64 `json:"version,omitempty" doc:"the version to destroy"`
	All     bool   `json:"all,omitempty" doc:"destroy every version"`
}

// SecretCheck names the version to be checked.
type SecretCheck struct {
	SecretName
	Version uint64 `json:"-" query:"version" doc:"the current one when absent"`
}

// LeaseID names a lease.
type LeaseID struct {
	ID string `json:"-" path:"id" doc:"id of the lease"`
}

// LeasesQuery asks for leases.
type LeasesQuery struct {
	Secret string `json:"-" query:"secret" doc:"path of a secret, or of the folder it is in; all when absent"`
	Page
}
