package wire

import (
	"time"

	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/keys"
)

// maxEnrolment bounds a TPM's certificates and keys in base64, in bytes.
const maxEnrolment = 256 << 10

var (
	enrol    = []access.Role{access.Enroller, access.Operator}
	operator = []access.Role{access.Operator}
)

// The operations on enrolments, tokens, keys and the store.
var (
	ListEnrolments = Endpoint[Page, List[tpm.Enrolment]]{Operation{
		ID: "listEnrolments", Method: "GET", Path: "/v1/admin/enrolments", Roles: append([]access.Role{access.Auditor}, enrol...),
		Summary: "List enrolled TPM attestation keys",
	}}
	BeginEnrolment = Endpoint[EnrolmentBegin, EnrolmentChallenge]{Operation{
		ID: "beginEnrolment", Method: "POST", Path: "/v1/admin/enrolment-begin", Roles: enrol, Limit: maxEnrolment,
		Summary: "Challenge a host to prove that its attestation key is in a certified TPM",
	}}
	CompleteEnrolment = Endpoint[EnrolmentComplete, tpm.Enrolment]{Operation{
		ID: "completeEnrolment", Method: "POST", Path: "/v1/admin/enrolment-complete", Roles: enrol,
		Summary: "Enrol the key of a host that answers its challenge, which is spent whatever the answer",
	}}
	RevokeEnrolment = Endpoint[EnrolmentDigest, None]{Operation{
		ID: "revokeEnrolment", Method: "DELETE", Path: "/v1/admin/enrolments/{digest}", Roles: operator,
		Summary: "Make an enrolled key count no more",
	}}

	// Any caller who is known may ask, wherever the roles count.
	WhoAmI = Endpoint[None, Caller]{Operation{
		ID: "whoAmI", Method: "GET", Path: "/v1/admin/whoami", Roles: access.Roles(),
		Summary: "Say who the broker takes the caller for",
	}}

	ListTokens = Endpoint[Page, List[access.Record]]{Operation{
		ID: "listTokens", Method: "GET", Path: "/v1/admin/tokens", Roles: operator, Everywhere: true,
		Summary: "List administrators' tokens, without their text",
	}}
	CreateToken = Endpoint[TokenCreate, TokenCreated]{Operation{
		ID: "createToken", Method: "POST", Path: "/v1/admin/tokens", Roles: operator,
		Summary: "Make a token, with roles that its maker has; its text is in this answer and nowhere else",
	}}
	RevokeToken = Endpoint[TokenID, None]{Operation{
		ID: "revokeToken", Method: "DELETE", Path: "/v1/admin/tokens/{id}", Roles: operator,
		Summary: "End a token; any token may end itself",
	}}

	ListKeys = Endpoint[None, List[keys.Info]]{Operation{
		ID: "listKeys", Method: "GET", Path: "/v1/admin/keys", Roles: []access.Role{access.Operator, access.Auditor}, Everywhere: true,
		Summary: "List the keys that sign tokens, replies and checkpoints",
	}}
	RotateKey = Endpoint[KeyRotate, KeyRotated]{Operation{
		ID: "rotateKey", Method: "POST", Path: "/v1/admin/key-rotate", Roles: operator, Everywhere: true,
		Summary: "Replace the key that signs tokens or replies",
	}}
	RotateDataKey = Endpoint[None, None]{Operation{
		ID: "rotateDataKey", Method: "POST", Path: "/v1/admin/data-key-rotate", Roles: operator, Everywhere: true,
		Summary: "Encrypt with a new data key from now on",
	}}
	Backup = Endpoint[BackupRequest, []byte]{Operation{
		ID: "backup", Method: "POST", Path: "/v1/admin/backup", Roles: operator, Everywhere: true, Media: "application/octet-stream",
		Summary: "Stream a backup of the whole store, encrypted to age recipients; an answer that breaks off is no backup",
	}}
)

// EnrolmentBegin is the first half of an enrolment.
type EnrolmentBegin struct {
	Host    string      `json:"host" doc:"name that claims will carry for the host"`
	Request tpm.Request `json:"request"`
}

// EnrolmentChallenge is what the host's TPM must open.
type EnrolmentChallenge struct {
	ID        string        `json:"id" doc:"of the enrolment, for its second half"`
	Challenge tpm.Challenge `json:"challenge"`
}

// EnrolmentComplete is the second half of an enrolment.
type EnrolmentComplete struct {
	ID     string `json:"id"`
	Secret []byte `json:"secret" doc:"what the TPM recovered of the challenge"`
}

// EnrolmentDigest names an enrolled key.
type EnrolmentDigest struct {
	Digest string `json:"-" path:"digest" doc:"ak_spki_sha256 of the enrolment"`
}

// TokenCreate describes a token to make.
type TokenCreate struct {
	Name      string     `json:"name" doc:"for people"`
	Subject   string     `json:"subject,omitempty" doc:"the person or machine that will hold it; its name when absent. Approvals by one subject count once"`
	Roles     access.Set `json:"roles"`
	Namespace string     `json:"namespace,omitempty" doc:"where its roles count, * for everywhere; the namespace that this broker serves when absent"`
	Scope     []string   `json:"scope,omitempty" doc:"paths of secrets at and below which its roles count; everywhere when absent. For custodians, authors, approvers and auditors"`
	Lifetime  int64      `json:"lifetime,omitempty" doc:"seconds; 92 days when absent"`
}

// Caller is who the broker takes a caller for.
type Caller struct {
	Subject   string     `json:"subject" doc:"the person or machine: approvals by one subject count once"`
	Name      string     `json:"name" doc:"for people"`
	Via       access.Via `json:"via" doc:"how it was authenticated: token, oidc, certificate or vault"`
	Token     string     `json:"token,omitempty" doc:"id of the token, or of another credential; never a secret"`
	Makers    []string   `json:"makers,omitempty" doc:"subjects of who made the token, and of who made theirs"`
	Roles     access.Set `json:"roles"`
	Namespace string     `json:"namespace" doc:"where the roles count, * for everywhere; empty when there are none"`
	Scope     []string   `json:"scope,omitempty" doc:"paths of secrets at and below which the roles count; everywhere when absent"`
	Remote    string     `json:"remote,omitempty" doc:"the address that the request came from"`
}

// TokenCreated is a new token. Printing it shows its id only.
type TokenCreated struct {
	Token  Secret        `json:"token" doc:"the text that authenticates its holder"`
	Record access.Record `json:"record"`
}

// Secret is a text that is encoded as it is, and printed as REDACTED.
type Secret string

// String implements fmt.Stringer.
func (Secret) String() string { return "REDACTED" }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return "REDACTED" }

// TokenID names a token.
type TokenID struct {
	ID string `json:"-" path:"id" doc:"id of the token"`
}

// KeyRotate says which key to replace.
type KeyRotate struct {
	Purpose keys.Purpose `json:"purpose" doc:"token or reply"`
}

// KeyRotated names the new key.
type KeyRotated struct {
	KeyID string `json:"kid"`
}

// BackupRequest says who may read a backup.
type BackupRequest struct {
	Recipients []string `json:"recipients" doc:"age recipients, age1…; 1 to 16"`
}

// MaxLifetime keeps a lifetime in seconds from overflowing before the broker bounds it.
const MaxLifetime = int64(access.MaxLifetime / time.Second)
