package broker

import (
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy"
)

// Outcome is how a judgement ended.
type Outcome string

// The outcomes of a decision and of each secret in it.
const (
	OutcomeReleased Outcome = "released"  // at least one secret was released; or this one was
	OutcomeAttested Outcome = "attested"  // the evidence was accepted and a token issued; nothing was asked for yet
	OutcomeDenied   Outcome = "denied"    // a release policy, or there being none, denied it
	OutcomeNotFound Outcome = "not_found" // allowed, but the secret or version does not exist
	OutcomeRefused  Outcome = "refused"   // the evidence was refused
	OutcomeFailed   Outcome = "failed"    // allowed, but where a secret lies could not be asked: nothing of the request was released
)

// Outcomes returns every outcome.
func Outcomes() []Outcome {
	return []Outcome{OutcomeReleased, OutcomeAttested, OutcomeDenied, OutcomeNotFound, OutcomeRefused, OutcomeFailed}
}

// Protocol says by which front end a request came.
type Protocol string

// The protocols.
const (
	ProtocolKBS    Protocol = "kbs"
	ProtocolNative Protocol = "native"
)

// Decision is the record of one judgement: everything an operator needs to know why, and nothing secret. It is written before
// the answer to it, under its id, and its digest is in the audit log.
type Decision struct {
	ID         string           `json:"id"` // UUIDv7: sorts by time
	Time       time.Time        `json:"time"`
	Namespace  string           `json:"namespace"`
	Protocol   Protocol         `json:"protocol"`
	Outcome    Outcome          `json:"outcome"`
	Remote     string           `json:"remote,omitempty"` // the peer's address without its port
	Kind       attest.Kind      `json:"kind"`
	Evidence   string           `json:"evidence"`  // "sha256:" and hex, over the primary evidence and each device's
	Recipient  string           `json:"recipient"` // thumbprint of the recipient key; "" of a passport that was refused
	AttestedAt time.Time        `json:"attested_at,omitzero"`
	Claims     *attest.Claims   `json:"claims,omitempty"`  // absent when the evidence was refused
	Refusal    *Refusal         `json:"refusal,omitempty"` // why the evidence was refused
	Secrets    []SecretDecision `json:"secrets,omitempty"`

	// Withheld is how many secrets are not shown to who asks, because they lie outside of his paths. Never recorded: the log's digest is of the whole.
	Withheld int `json:"withheld,omitempty"`
}

// Refusal is why evidence was refused, as the operator may see it.
type Refusal struct {
	Code   attest.Code `json:"code"`
	Detail string      `json:"detail"`
}

// SecretDecision is the judgement of one secret.
type SecretDecision struct {
	Secret   string          `json:"secret"`
	Version  uint64          `json:"version,omitempty"` // the version released, or the one asked for; 0 when the current one was asked for and not released
	Outcome  Outcome         `json:"outcome"`
	Code     string          `json:"code,omitempty"`     // the policy's code: no_policy, policy_denied; or why its source gave no value
	Policy   string          `json:"policy,omitempty"`   // digest over all policies that matched
	Policies []policy.Result `json:"policies,omitempty"` // every policy that matched, with every rule
	Matched  []policy.Match  `json:"matched,omitempty"`  // the reference values that claims were found equal to
	Lease    *Lease          `json:"lease,omitempty"`
	Source   *SourceDecision `json:"source,omitempty"` // of a secret whose value lies elsewhere
}

// Lease says who holds a version of a secret until when.
type Lease struct {
	ID        string    `json:"id"`
	Secret    string    `json:"secret"`
	Version   uint64    `json:"version"`
	Evidence  string    `json:"evidence"`
	Recipient string    `json:"recipient"`
	Policy    string    `json:"policy"`
	Decision  string    `json:"decision"`
	Issued    time.Time `json:"issued"`
	Expires   time.Time `json:"expires"` // no later than what the source issued

	Source    string     `json:"source,omitempty"`    // the kind of source that the value came from; absent of a stored one
	Revocable bool       `json:"revocable,omitempty"` // the source issued it for this lease, with which it is ended
	Revoked   *time.Time `json:"revoked,omitempty"`   // when an administrator ended it
}

// Event is an entry of the audit log: what happened, in brief, and the digest of the record that has the whole of it. Entries are small,
// so that the log can be kept for ever while decision records, which hold claims, may be pruned.
type Event struct {
	Format    int           `json:"v"` // 1
	Type      string        `json:"type"`
	Time      time.Time     `json:"time"`
	Namespace string        `json:"namespace"`
	Decision  string        `json:"decision,omitempty"` // the id of a decision; its record is at NS/decision/ID
	Actor     *Actor        `json:"actor,omitempty"`    // who changed something; absent for releases
	Object    string        `json:"object,omitempty"`   // the name of what was changed
	Version   uint64        `json:"version,omitempty"`
	Activated bool          `json:"activated,omitempty"` // the version became the one that is released, or that judges
	Outcome   Outcome       `json:"outcome,omitempty"`
	Source    string        `json:"source,omitempty"` // the kind of source that the version of a secret has; absent of a stored one
	Digest    string        `json:"digest,omitempty"` // "sha256:" and hex: of the decision record, or of what was written where that is not secret
	Evidence  string        `json:"evidence,omitempty"`
	Recipient string        `json:"recipient,omitempty"`
	Secrets   []EventSecret `json:"secrets,omitempty"`
	Entry     *uint64       `json:"entry,omitempty"`     // of unmade: the entry that says what was not done
	Proposal  string        `json:"proposal,omitempty"`  // id of the proposal that was made, approved or carried out
	Approvals []string      `json:"approvals,omitempty"` // subjects of the approvals that a proposal had when it was carried out
	Reason    string        `json:"reason,omitempty"`    // as whoever did it gave it
	Changes   []EventChange `json:"changes,omitempty"`   // of apply: all that was changed, together
}

// EventChange is one of the changes that were made together.
type EventChange struct {
	Type      string `json:"type"` // as that of an event of this change alone
	Object    string `json:"object"`
	Version   uint64 `json:"version,omitempty"`
	Digest    string `json:"digest,omitempty"`
	Activated bool   `json:"activated,omitempty"`
}

// EventSecret is one secret in a release event.
type EventSecret struct {
	Name    string  `json:"name"`
	Version uint64  `json:"version,omitempty"`
	Outcome Outcome `json:"outcome"`
	Policy  string  `json:"policy,omitempty"`
	Lease   string  `json:"lease,omitempty"`

	Source        string `json:"source,omitempty"`         // the kind of source that was asked
	SourceVersion string `json:"source_version,omitempty"` // the source's own
}

// Actor is who did something, and from where.
type Actor struct {
	Token   string     `json:"token,omitempty"` // the token's id, never the token
	Name    string     `json:"name"`
	Subject string     `json:"subject,omitempty"` // who is behind the token, where that is not its name
	Via     access.Via `json:"via,omitempty"`     // how they were authenticated
	Remote  string     `json:"remote,omitempty"`
}

// eventFormat is the version of Event's layout.
const eventFormat = 1

// The types of events.
const (
	EventAttest            = "attest"
	EventRelease           = "release"
	EventSecretPut         = "secret.put"
	EventSecretActivate    = "secret.activate"
	EventSecretDestroy     = "secret.destroy"
	EventLeaseRevoke       = "lease.revoke"
	EventPolicyDraft       = "policy.draft"
	EventPolicyApply       = "policy.apply" // and it judges
	EventApply             = "apply"        // several documents at once
	EventPolicyActivate    = "policy.activate"
	EventPolicyRetire      = "policy.retire"
	EventPolicyRollback    = "policy.rollback"
	EventRegoPut           = "rego.put" // and it judges, when activated is set
	EventRegoActivate      = "rego.activate"
	EventRegoRetire        = "rego.retire"
	EventRegoReferences    = "rego.references"
	EventReferencePut      = "reference.put"
	EventReferenceRetire   = "reference.retire"
	EventRulesDraft        = "approval-rules.draft"
	EventRulesActivate     = "approval-rules.activate"
	EventRulesRetire       = "approval-rules.retire"
	EventPropose           = "proposal.open"
	EventApprove           = "proposal.approve"
	EventWithdraw          = "proposal.withdraw"
	EventBreakGlass        = "break-glass" // a proposal was carried out without the approvals that it would have needed
	EventAcknowledge       = "break-glass.acknowledge"
	EventEnrolmentBegin    = "enrolment.begin"
	EventEnrolmentDone     = "enrolment.complete"
	EventEnrolmentRevoked  = "enrolment.revoke"
	EventTokenCreate       = "token.create"
	EventTokenRevoke       = "token.revoke"
	EventKeyRotate         = "key.rotate"
	EventDataKeyRotate     = "data-key.rotate"
	EventBackup            = "backup"
	EventNamespaceCreate   = "namespace.create"
	EventNamespaceQuota    = "namespace.quota"
	EventReferenceImport   = "reference.import" // of a document, whose digest or statement the values name
	EventReferenceActivate = "reference.activate"

	// EventUnmade says that another entry of this log was not followed by what it says, because another change came first. Only a store that is not
	// atomic has entries of which that may be so.
	EventUnmade = "unmade"
)
