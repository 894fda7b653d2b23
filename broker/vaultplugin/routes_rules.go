package vaultplugin

import (
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

var (
	authorAndApprover = []access.Role{access.Author, access.Approver}
	document          = map[string]any{"source": "apiVersion: vouchsafe/v1\nkind: ReleasePolicy\n…"}
	values            = map[string]any{"values": []any{map[string]any{"value": "6a65…", "note": "release 1.4"}}}
)

// state says in which state the values of a request are put.
func state(name string) func(map[string]any) error {
	return func(members map[string]any) error {
		list, _ := members["values"].([]any)
		for _, v := range list {
			value, ok := v.(map[string]any)
			if !ok {
				return invalid("values is a list of objects with a value")
			}
			if said, there := value["state"]; there && said != name {
				return invalid("this path puts values that are %s: leave state out", name)
			}
			value["state"] = name
		}
		return nil
	}
}

// Rules are the routes of release policies and reference values.
func Rules() []Route {
	name := framework.GenericNameRegex
	return []Route{
		{
			Pattern: "policies/?$", Example: "policies/", Synopsis: "List release policies, and add drafts.",
			About: "Writing adds a version of the policy that the document states, as a draft, which changes nothing until policy-activate has it judge. For authors.",
			Does: []Does{
				{Operation: logical.ListOperation, endpoint: of(wire.ListPolicies), list: member("name")},
				{Operation: logical.UpdateOperation, endpoint: of(wire.ApplyPolicy), fixed: map[string]any{"draft": true}, sample: document},
			},
		},
		{
			Pattern: "policies/" + name("name"), Example: "policies/payments-db", Synopsis: "Read a release policy with the source of a version.",
			About: "For everyone who works with policies.",
			Does:  []Does{{Operation: logical.ReadOperation, endpoint: of(wire.GetPolicy)}},
		},
		{
			Pattern: "policy-apply", Example: "policy-apply", Synopsis: "Add a version of a release policy and have it judge at once.",
			About: "What a write to policies and policy-activate do, in one. For those who are author and approver in one person.",
			Does: []Does{{
				Operation: logical.UpdateOperation, endpoint: of(wire.ApplyPolicy), roles: authorAndApprover, fixed: map[string]any{"draft": false}, sample: document,
			}},
		},
		{
			Pattern: "policy-activate/" + name("name"), Example: "policy-activate/payments-db", Synopsis: "Have a version of a release policy judge.",
			About: "For approvers.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.ActivatePolicy), sample: map[string]any{"version": 3}}},
		},
		{
			Pattern: "policy-retire/" + name("name"), Example: "policy-retire/payments-db", Synopsis: "Have no version of a release policy judge.",
			About: "What only this policy guards is denied from then on. For approvers.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.RetirePolicy)}},
		},
		{
			Pattern: "references/?$", Example: "references/", Synopsis: "List the sets of reference values.",
			About: "For everyone who works with policies.",
			Does:  []Does{{Operation: logical.ListOperation, endpoint: of(wire.ListReferences), list: member()}},
		},
		{
			Pattern: "references/" + name("name"), Example: "references/payments-image", Synopsis: "Read a set of reference values, and stage values.",
			About: "Values that are written here are staged: they count when reference-activate names them, or reference-apply writes them again. For authors.",
			Does: []Does{
				{Operation: logical.ReadOperation, endpoint: of(wire.GetReferences)},
				{Operation: logical.UpdateOperation, endpoint: of(wire.PutReferences), adjust: state("staged"), sample: values},
			},
		},
		{
			Pattern: "reference-apply/" + name("name"), Example: "reference-apply/payments-image", Synopsis: "Add values to a set, or replace them, and have them count at once.",
			About: "For those who are author and approver in one person.",
			Does: []Does{{
				Operation: logical.UpdateOperation, endpoint: of(wire.PutReferences), roles: authorAndApprover, adjust: state("active"), sample: values,
			}},
		},
		{
			Pattern: "reference-activate/" + name("name"), Example: "reference-activate/payments-image", Synopsis: "Have staged values of a set count.",
			About: "For approvers.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.ActivateReferences), sample: map[string]any{"values": []string{"6a65…"}}}},
		},
		{
			Pattern: "reference-uses/" + name("name"), Example: "reference-uses/payments-image", Synopsis: "Say which policies name a set, and when its values were last matched.",
			About: "For everyone who works with policies.",
			Does:  []Does{{Operation: logical.ReadOperation, endpoint: of(wire.ReferenceUses)}},
		},
		{
			Pattern: "reference-releases/" + name("name"), Example: "reference-releases/payments-image", Synopsis: "Search for secrets that values of a set let pass, and that are still held.",
			About: "For approvers and auditors.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.ReferenceReleases), sample: map[string]any{"values": []string{"6a65…"}}}},
		},
		{
			Pattern: "reference-retire/" + name("name"), Example: "reference-retire/payments-image", Synopsis: "Make values of a set count no more.",
			About: "For approvers.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.RetireReferences), sample: map[string]any{"values": []string{"6a65…"}}}},
		},
	}
}

// Records are the routes of what was decided and who holds what.
func Records() []Route {
	return []Route{
		{
			Pattern: "decisions/?$", Example: "decisions/", Synopsis: "List decisions in the order of their time.",
			About: "A page has at most limit of them; the next begins after the last one. For auditors and authors.",
			Does:  []Does{{Operation: logical.ListOperation, endpoint: of(wire.ListDecisions), list: member("id")}},
		},
		{
			Pattern: "explain/" + framework.GenericNameRegex("id"), Example: "explain/01890a5d-ac96-774b-bcce-b302099a8057", Synopsis: "Explain a decision: every rule, its expression and the values it saw.",
			About: "The record is held against its digest in the audit log first. For auditors and authors.",
			Does:  []Does{{Operation: logical.ReadOperation, endpoint: of(wire.Explain)}},
		},
		{
			Pattern: "leases/?$", Example: "leases/", Synopsis: "List who holds which version until when.",
			About: "What was released, by the thumbprint of the key that it was encrypted to. These are the broker's leases, not Vault's: a release is answered to who has no token of Vault's. For auditors and custodians.",
			Does:  []Does{{Operation: logical.ListOperation, endpoint: of(wire.ListLeases), list: member("secret", "id")}},
		},
		{
			Pattern: "lease-revoke/" + framework.GenericNameRegex("id"), Example: "lease-revoke/01890a5d-ac96-774b-bcce-b302099a8057.0", Synopsis: "Revoke a lease.",
			About: "It says that whoever holds the version is to hold it no more. What was released is not taken back by it: replace the secret as well. For custodians.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.RevokeLease)}},
		},
		{
			Pattern: "log/checkpoint", Example: "log/checkpoint", Public: true, Synopsis: "Read the latest signed checkpoint of the audit log.",
			About: "As it is (c2sp.org/tlog-checkpoint), and not in Vault's envelope: what is below log/ is a log of c2sp.org/tlog-tiles. Needs no token.",
			Does:  []Does{{Operation: logical.ReadOperation, endpoint: of(wire.Checkpoint)}},
		},
		{
			Pattern: "log/key", Example: "log/key", Public: true, Synopsis: "Read the key that checkpoints verify with.",
			About: "As it is (c2sp.org/signed-note). Needs no token.",
			Does:  []Does{{Operation: logical.ReadOperation, endpoint: of(wire.LogKey)}},
		},
		{
			Pattern: `log/tile/(?P<path>.+)`, Example: "log/tile/entries/000.p/12", Synopsis: "Read a tile of hashes, or a bundle of entries, of the audit log.",
			About: "As it is (c2sp.org/tlog-tiles). For auditors.",
			Does:  []Does{{Operation: logical.ReadOperation, endpoint: of(wire.Tile)}},
		},
		{
			Pattern: `log/receipt/(?P<index>\d+)`, Example: "log/receipt/12", Synopsis: "Prove that an entry is in the audit log.",
			About: "As it is (c2sp.org/tlog-proof). For auditors.",
			Does:  []Does{{Operation: logical.ReadOperation, endpoint: of(wire.Receipt)}},
		},
		{
			Pattern: "log/consistency", Example: "log/consistency", Synopsis: "Prove that the audit log of one size is the beginning of that of another.",
			About: "RFC 6962, section 2.1.2. For auditors.",
			Does:  []Does{{Operation: logical.ReadOperation, endpoint: of(wire.Consistency), sample: map[string]any{"old": 10}}},
		},
	}
}

// Hosts are the routes of enrolled TPMs and of the keys that sign.
func Hosts() []Route {
	return []Route{
		{
			Pattern: "enrolments/?$", Example: "enrolments/", Synopsis: "List enrolled TPM attestation keys.",
			About: "For enrollers, operators and auditors.",
			Does:  []Does{{Operation: logical.ListOperation, endpoint: of(wire.ListEnrolments), list: member("ak_spki_sha256")}},
		},
		{
			Pattern: "enrolments/" + framework.GenericNameRegex("digest"), Example: "enrolments/9f86d081884c7d65", Synopsis: "Make an enrolled key count no more.",
			About: "For operators.",
			Does:  []Does{{Operation: logical.DeleteOperation, endpoint: of(wire.RevokeEnrolment)}},
		},
		{
			Pattern: "enrolment-begin", Example: "enrolment-begin", Synopsis: "Challenge a host to prove that its attestation key is in a certified TPM.",
			About: "The first half of an enrolment. For enrollers and operators.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.BeginEnrolment), sample: map[string]any{"host": "rack-3-node-7", "request": map[string]any{}}}},
		},
		{
			Pattern: "enrolment-complete", Example: "enrolment-complete", Synopsis: "Enrol the key of a host that answers its challenge.",
			About: "The second half of an enrolment. The challenge is spent whatever the answer. For enrollers and operators.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.CompleteEnrolment), sample: map[string]any{"id": "01890a5d…", "secret": "c2VjcmV0…"}}},
		},
		{
			Pattern: "keys/?$", Example: "keys/", Synopsis: "List the keys that sign replies, tokens and checkpoints.",
			About: "For operators and auditors.",
			Does:  []Does{{Operation: logical.ListOperation, endpoint: of(wire.ListKeys), list: member("kid")}},
		},
		{
			Pattern: "key-rotate", Example: "key-rotate", Synopsis: "Replace the key that signs tokens or replies.",
			About: "What the old one signed stays good until it expires. For operators.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.RotateKey), sample: map[string]any{"purpose": "reply"}}},
		},
	}
}
