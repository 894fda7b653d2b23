package vaultplugin

import (
	"net/http"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/client/release"
)

// replyMedia is of answers that are JSON objects under another name.
const replyMedia = release.ReplyMediaType

// The operations of workloads, as package api serves them.
var (
	challenge = of(wire.Endpoint[release.ChallengeRequest, release.Challenge]{Operation: wire.Operation{
		ID: "challenge", Method: http.MethodPost, Path: release.ChallengePath, Summary: "Get a nonce for evidence to cover",
	}})
	releases = of(wire.Endpoint[release.Request, release.Reply]{Operation: wire.Operation{
		ID: "release", Method: http.MethodPost, Path: release.ReleasePath, Media: release.ReplyMediaType, Summary: "Present evidence and get secrets, encrypted to the recipient key",
	}})
	publicKeys = of(wire.Endpoint[wire.None, []byte]{Operation: wire.Operation{
		ID: "keys", Method: http.MethodGet, Path: release.KeysPath, Media: "application/jwk-set+json", Summary: "Read the keys that sign replies (RFC 7517)",
	}})
)

// Challenges are the routes by which a workload gets a nonce and the public keys.
func Challenges() []Route {
	return []Route{
		{
			Pattern: "challenge", Example: "challenge", Public: true, Synopsis: "Get a nonce for evidence to cover.",
			About: "The first of a workload's two requests, which needs no token. The nonce is good for one presentation of evidence of this kind, within minutes, on the node that issued it. The evidence must cover the hash of nonce and recipient key that docs/vault-plugin.md states.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: challenge, sample: map[string]any{"kind": "snp"}}},
		},
		{
			Pattern: "kinds", Example: "kinds", Public: true, Synopsis: "List the kinds of evidence that are verified.",
			About: "Needs no token.",
			Does:  []Does{{Operation: logical.ReadOperation, endpoint: of(wire.ListKinds)}},
		},
		{
			Pattern: "jwks", Example: "jwks", Public: true, Synopsis: "Read the keys that replies are signed with.",
			About: "A JWK Set (RFC 7517), as it is and not in Vault's envelope. Needs no token. Workloads that do not trust Vault's TLS certificate alone have it in their image.",
			Does:  []Does{{Operation: logical.ReadOperation, endpoint: publicKeys}},
		},
	}
}

// Releases are the routes by which a workload gets secrets.
func Releases() []Route {
	request := map[string]any{
		"nonce": "bm9uY2U…", "recipient": map[string]any{"kty": "EC", "crv": "P-256", "x": "…", "y": "…"},
		"evidence": map[string]any{"kind": "snp", "data": "AgAAAA…"}, "secrets": []any{map[string]any{"name": "payments/db/password"}},
	}
	return []Route{
		{
			Pattern: "release", Example: "release", Public: true, Synopsis: "Present evidence and get secrets, encrypted to the recipient key.",
			About: "The second of a workload's two requests, which needs no token: the evidence is what authenticates. The answer's data is a flattened JWS (payload, protected, signature) whose payload has a result for each secret: an envelope that only the holder of the recipient key opens, or a code. Each answer has its record in the audit log before it is given. Evidence that is refused is answered 403, with the id of the decision for explain.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: releases, sample: request}},
		},
		{
			Pattern: "v1/challenges", Example: "v1/challenges", Public: true, Synopsis: "Get a nonce, as a server answers it.",
			About: "What challenge does, in the server's own form: clients of a server use a mount as one, at the URL https://VAULT/v1/MOUNT.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: challenge, native: true, sample: map[string]any{"kind": "snp"}}},
		},
		{
			Pattern: "v1/releases", Example: "v1/releases", Public: true, Synopsis: "Present evidence and get secrets, as a server answers it.",
			About: "What release does, in the server's own form: see v1/challenges.",
			Does:  []Does{{Operation: logical.UpdateOperation, endpoint: releases, native: true, sample: request}},
		},
		{
			Pattern: "v1/kinds", Example: "v1/kinds", Public: true, Synopsis: "List the kinds of evidence that are verified, as a server answers it.",
			About: "What kinds does, in the server's own form: see v1/challenges.",
			Does:  []Does{{Operation: logical.ReadOperation, endpoint: of(wire.ListKinds), native: true}},
		},
		{
			Pattern: `\.well-known/jwks\.json`, Example: ".well-known/jwks.json", Public: true, Synopsis: "Read the keys that replies are signed with, where a server has them.",
			About: "What jwks does: see v1/challenges.",
			Does:  []Does{{Operation: logical.ReadOperation, endpoint: publicKeys, native: true}},
		},
	}
}
