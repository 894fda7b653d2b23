// Package approval says who must agree before what judges requests may change. It is pure: documents, persons, approvals and a time go in, and what is still
// missing comes out. What stores proposals and changes anything is package broker.
//
// # The document
//
//	apiVersion: vouchsafe/v1
//	kind: ApprovalRules
//	spec:
//	  rules:
//	    - name: root-keys
//	      policies: ["root-*"]            # policies by name, "*" standing for any text; and, or:
//	      secrets: ["payments/root/**"]   # every policy one of whose patterns can meet one of these
//	      references: ["payments-image"]  # sets of reference values by name; those that covered policies use are covered anyway
//	      approvals: 2                    # persons besides the author
//	      approvers: [alice@example.com, bob@example.com, carol@example.com] # only these count; everyone with the role where there is no list
//	      via: [oidc, certificate]        # only approvals by who was authenticated so count; any way where there is no list
//	      breakGlass: 2                   # persons who together may do without: see below; not possible when absent
//	      rollback: 24h                   # how long what judged before may be put back by one approver; 0s: never
//	      immutable: false                # true: what judges stays as it is until these rules are changed
//	      expires: 7d                     # how long a proposal, with its approvals, stays open
//	  changes: {approvals: 2, breakGlass: 3}  # who must agree to a change of this document; approvers and via as in a rule
//
// It is read as strictly as a policy, by the same reader: [Parse] reports every mistake with its line and column.
//
// # What a rule covers
//
// [Rules.Covering] is asked with everything that a change touches: of a policy, the version that judges now and the one that shall, so that neither moving
// patterns away from a rule nor moving them under it gets round it; of a set of reference values, every policy that judges by it. Rules are not
// chosen among: every rule that covers the change must be met, each by itself, with its own number, list and ways. An approval counts for each rule that
// accepts it. Where no rule covers a change, one approver makes it.
//
// A change of the rules themselves must meet every rule in force, and changes besides, whose number is never less than that of any rule: so whoever could not
// make a change under the rules cannot lift them either.
//
// # What counts
//
// [Demand.Judge] counts persons, not approvals. An approval counts when it names the digest of this very proposal, was given while it was open and not
// in the future, is by a person who is no author of it, through a way and by a subject that the rule accepts. Of those, persons count who are distinct from each other: see [Distinct].
//
// Authors are whoever wrote the version and whoever proposed it.
//
// # Clocks
//
// A proposal from the future has lapsed, and an approval from the future does not count: a clock that goes back must not keep proposals
// open. [Skew] is allowed for.
//
// # Break-glass
//
// [Demand.Glass] counts otherwise: approvals of the last hour only ([GlassAge]), with an author counting as a person like any other, up to the breakGlass of each rule
// that covers the change. Lists and ways hold all the same. Of a change of the rules, only changes.breakGlass is asked, and so is its list, because a rule whose
// approvers are all gone could otherwise never be changed again. What is immutable stays so.
//
// # Spellings of a person
//
// Whether two persons are the same is asked of folded subjects: Unicode compatibility forms, letter case and characters that do not show make no
// difference, since they must not make two persons of one. Whether a person is on a list is asked of the exact bytes, since that must not make one person of two. Letters
// of other alphabets that look alike are different letters: lists of approvers close that.
//
// # What it does not do
//
// It does not know whether a person still holds a role, or whether a token still exists: package broker leaves such approvals out before it asks.
package approval
