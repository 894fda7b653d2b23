package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy/approval"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
)

// Limits of a proposal.
const (
	// MaxReason is the largest reason in bytes.
	MaxReason = 1024
	// MaxProposal is the largest proposal in bytes, which bounds the reference values of one.
	MaxProposal = 256 << 10
	// maxApprovals is how many approvals of one proposal are kept: more than any rule asks for.
	maxApprovals = 3 * approval.MaxApprovals

	proposalIDSize = 16
)

// ChangeType says what a change changes.
type ChangeType string

// The changes that can be proposed.
const (
	ChangePolicyActivate  ChangeType = "policy.activate"
	ChangePolicyRetire    ChangeType = "policy.retire"
	ChangeRulesActivate   ChangeType = "rules.activate"
	ChangeRulesRetire     ChangeType = "rules.retire"
	ChangeReferencePut    ChangeType = "reference.put"
	ChangeReferenceRetire ChangeType = "reference.retire"
)

// ofPolicy reports whether it is a change of one policy.
func (t ChangeType) ofPolicy() bool { return t == ChangePolicyActivate || t == ChangePolicyRetire }

// Change is a change of what judges requests, in full.
type Change struct {
	Type    ChangeType        `json:"type"`
	Name    string            `json:"name,omitempty"`    // of the policy, or of the set of reference values
	Version uint64            `json:"version,omitempty"` // that is to be active
	Digest  string            `json:"digest,omitempty"`  // of that version's source
	Values  []reference.Value `json:"values,omitempty"`  // of reference.put
	Retire  []string          `json:"retire,omitempty"`  // of reference.retire
}

// subject names what is changed, for messages and the log.
func (c *Change) subject() string { return cmp.Or(c.Name, rulesName) }

// Base is the state that a proposal starts from. When it is another at activation, the approvals were for something else.
type Base struct {
	Active  uint64            `json:"active,omitempty"`  // the version that judges
	Digest  string            `json:"digest,omitempty"`  // of its source
	Changes uint64            `json:"changes,omitempty"` // how often that has changed
	Sets    map[string]string `json:"sets,omitempty"`    // of each set of reference values that the change depends on, the digest of what counts
}

// Person is who had a hand in something, as authenticated then.
type Person struct {
	Subject string     `json:"subject"`
	Name    string     `json:"name"`
	Via     access.Via `json:"via,omitempty"`
	Token   string     `json:"token,omitempty"` // id of the credential
	Makers  []string   `json:"makers,omitempty"`
	Remote  string     `json:"remote,omitempty"`
}

func person(who access.Caller) Person {
	return Person{Subject: who.Subject, Name: who.Name, Via: who.Via, Token: who.Token, Makers: who.Makers, Remote: who.Remote}
}

func (p *Person) counted() approval.Person {
	return approval.Person{Subject: p.Subject, Makers: p.Makers}
}

// Approval is one approval of a proposal.
type Approval struct {
	Person
	Digest string    `json:"digest"` // of the proposal, as the approver named it
	Time   time.Time `json:"time"`

	// Scope is where the approver's roles counted, of that what has to do with the change; everywhere when absent.
	Scope access.Scope `json:"scope,omitempty"`

	Not string `json:"not,omitempty"` // why it does not count; only in answers
}

// ProposalState is where a proposal is in its life.
type ProposalState string

// The states of a proposal. Those of one that is open, in answers, say more than is stored.
const (
	ProposalOpen      ProposalState = "open"
	ProposalApproved  ProposalState = "approved" // open, and it has what the rules demand
	ProposalLapsed    ProposalState = "lapsed"
	ProposalStale     ProposalState = "stale" // what it starts from has changed
	ProposalMade      ProposalState = "made"
	ProposalWithdrawn ProposalState = "withdrawn"
)

// Proposal is one change that somebody wants made, with the approvals it has.
type Proposal struct {
	ID        string        `json:"id"` // 32 hexadecimal digits, random
	Namespace string        `json:"namespace"`
	Change    Change        `json:"change"`
	Base      Base          `json:"base"`
	Proposer  Person        `json:"proposer"`
	Authors   []Person      `json:"authors"` // none of whom counts as an approver: the version's, and the proposer
	Reason    string        `json:"reason"`
	Created   time.Time     `json:"created"`
	Digest    string        `json:"digest"` // "sha256:" and hex, over all of the above: what is approved
	State     ProposalState `json:"state"`
	Approvals []Approval    `json:"approvals"`
	Closed    *Step         `json:"closed,omitempty"`   // how it ended
	Standing  *Standing     `json:"standing,omitempty"` // only in answers
}

// Standing is what a proposal still lacks.
type Standing struct {
	Lapses     time.Time        `json:"lapses"`
	Rules      []string         `json:"rules"` // that cover the change
	Tallies    []approval.Tally `json:"tallies"`
	BreakGlass []approval.Tally `json:"break_glass,omitempty"`
	Obstacle   string           `json:"obstacle,omitempty"` // why it cannot be made, whatever its approvals

	// Unacknowledged says that it was made by break-glass, and that no auditor has acknowledged that.
	Unacknowledged bool `json:"unacknowledged,omitempty"`
}

// Step is one thing that was done to a policy or proposal.
type Step struct {
	Time     time.Time `json:"time"`
	Did      string    `json:"did"` // the type of the event in the log
	Version  uint64    `json:"version,omitempty"`
	By       Person    `json:"by"`
	Reason   string    `json:"reason,omitempty"`
	Proposal string    `json:"proposal,omitempty"`
	Approved []string  `json:"approved,omitempty"` // subjects of the approvals that the proposal had
}

// proposalDomain separates a proposal's digest from every other SHA-256 in the system.
const proposalDomain = "vouchsafe/proposal/v1\n"

// digestOf computes what an approval must name: over everything that approvers are shown and nothing that happens afterwards. The id is random, so two
// proposals of one change have different digests, and nothing that approved the one can be taken for an approval of the other.
func (p *Proposal) digestOf() (string, error) {
	bare := Proposal{
		ID: p.ID, Namespace: p.Namespace, Change: p.Change, Base: p.Base, Proposer: p.Proposer, Authors: p.Authors, Reason: p.Reason, Created: p.Created,
	}
	text, err := encode(bare)
	if err != nil {
		return "", err
	}
	return digest([]byte(proposalDomain), text), nil
}

func proposalKey(namespace, id string) string { return store.Key(namespace, "proposal", id) }

// proposal reads a proposal and holds it against its digest.
func (b *Broker) proposal(ctx context.Context, namespace, id string) (*Proposal, uint64, error) {
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != proposalIDSize || strings.ToLower(id) != id {
		return nil, 0, notFound("there is no proposal %q: an id has %d hexadecimal digits", clip(id), 2*proposalIDSize)
	}
	p, at, err := load[Proposal](ctx, b.store, proposalKey(namespace, id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, 0, notFound("there is no proposal %s", id)
	}
	if err != nil {
		return nil, 0, err
	}
	want, err := p.digestOf()
	if err != nil {
		return nil, 0, err
	}
	if p.ID != id || p.Namespace != namespace || p.Digest != want {
		return nil, 0, damaged("proposal %s is not what was recorded", id)
	}
	return &p, at, nil
}

// newProposalID returns 128 random bits in hex.
func (b *Broker) newProposalID() (string, error) {
	var id [proposalIDSize]byte
	if _, err := io.ReadFull(cmp.Or(b.rand, rand.Reader), id[:]); err != nil {
		return "", fmt.Errorf("no randomness: %w", err)
	}
	return hex.EncodeToString(id[:]), nil
}

// caseOf is a proposal as the rules judge it: with the approvals of those only who may still give one, of what it touches now. It says of the others why they may not,
// by their position.
func (b *Broker) caseOf(ctx context.Context, namespace string, p *Proposal, touches access.Object) (approval.Case, map[int]string, error) {
	c := approval.Case{Digest: p.Digest, Created: p.Created, Now: b.now()}
	for _, a := range p.Authors {
		c.Authors = append(c.Authors, a.counted())
	}
	not := map[int]string{}
	for i, a := range p.Approvals {
		why, err := b.unentitled(ctx, namespace, a, touches)
		if err != nil {
			return c, nil, err
		}
		counted := approval.Approval{Person: a.counted(), Via: string(a.Via), Digest: a.Digest, Time: a.Time}
		if why != "" {
			not[i] = why
			counted.Digest = "" // counts for nothing, and keeps its position
		}
		c.Approvals = append(c.Approvals, counted)
	}
	return c, not, nil
}

// unentitled says why who gave an approval could not give it now, "" if they could. Of a token that is known: it must be there, and hold the role. Of who was
// authenticated otherwise the broker learns nothing between two requests; the rules say which ways count. A scope must cover all that the change touches now:
// a draft may have been added that guards more.
func (b *Broker) unentitled(ctx context.Context, namespace string, a Approval, touches access.Object) (string, error) {
	const beyond = "it was given for some paths, and not all that the policy guards, in every version that is kept, is there"
	if a.Via != access.ViaToken {
		then := access.Caller{Roles: access.SetOf(access.Approver), Namespace: namespace, Scope: a.Scope}
		if access.AuthorizeOn(then, access.Approver, namespace, touches) != nil {
			return beyond, nil
		}
		return "", nil
	}
	holder, err := b.tokens.Holder(ctx, a.Token)
	if errors.Is(err, access.ErrUnauthenticated) {
		return "its token was revoked or has expired", nil
	}
	if err != nil {
		return "", err
	}
	if holder.Subject != a.Subject || access.AuthorizeOn(holder, access.Approver, namespace, access.Some()) != nil {
		return "its token is not an approver's", nil
	}
	if access.AuthorizeOn(holder, access.Approver, namespace, touches) != nil {
		return beyond, nil
	}
	return "", nil
}

// checkReason refuses a reason that is no line of text.
func checkReason(reason string, needed bool) error {
	switch {
	case needed && strings.TrimSpace(reason) == "":
		return invalid("a reason is needed: it is what approvers and auditors read")
	case len(reason) > MaxReason:
		return invalid("a reason has at most %d bytes", MaxReason)
	case !utf8.ValidString(reason) || strings.ContainsFunc(reason, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }):
		return invalid("a reason is printable text")
	}
	return nil
}
