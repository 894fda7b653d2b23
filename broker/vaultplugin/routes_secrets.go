package vaultplugin

import (
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

// rest is the pattern of the name of a secret, which may have slashes.
const rest = `(?P<name>.+)`

// Secrets are the routes of what is released. None of them answers with a value.
func Secrets() []Route {
	return []Route{
		{
			Pattern: "secrets/?$", Example: "secrets/", Synopsis: "List secrets by name, without their values.",
			About: "All of them, or those whose names begin with prefix. For custodians, authors and auditors.",
			Does:  []Does{{Operation: logical.ListOperation, endpoint: of(wire.ListSecrets), list: member("name")}},
		},
		{
			Pattern: "secrets/" + rest, Example: "secrets/payments/db/password", Synopsis: "Describe a secret and its versions, and add a version.",
			About: "A value is written in base64 and cannot be read again. The first version is the current one; later ones become it with activate, or by secret-activate. For custodians.",
			Does: []Does{
				{Operation: logical.ReadOperation, endpoint: of(wire.GetSecret)},
				{Operation: logical.UpdateOperation, endpoint: of(wire.PutSecret), hidden: []string{"source"}, sample: map[string]any{"value": "aHVudGVyMg==", "activate": true}},
			},
		},
		{
			Pattern: "secret-generate/" + rest, Example: "secret-generate/payments/db/password", Synopsis: "Add a version with a random value that nobody sees.",
			About: "For custodians.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.GenerateSecret), sample: map[string]any{"length": 32, "encoding": "base64"}}},
		},
		{
			Pattern: "secret-activate/" + rest, Example: "secret-activate/payments/db/password", Synopsis: "Make a version the one that is released.",
			About: "For custodians.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.ActivateSecret), sample: map[string]any{"version": 2}}},
		},
		{
			Pattern: "secret-destroy/" + rest, Example: "secret-destroy/payments/db/password", Synopsis: "Remove the value of one version, or of all, for good.",
			About: "What was released already is not taken back by it. For custodians.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: of(wire.DestroySecret), sample: map[string]any{"version": 1}}},
		},
	}
}
