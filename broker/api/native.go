package api

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/docs/reference"
)

// hash is that of bindings in the native protocol, as code and as challenges name it.
const (
	hash     = crypto.SHA384
	hashName = "sha384"
)

// The operations of workloads; package release says what they mean.
var (
	challengeEndpoint = wire.Endpoint[release.ChallengeRequest, release.Challenge]{Operation: wire.Operation{
		ID: "challenge", Method: http.MethodPost, Path: release.ChallengePath, Limit: release.MaxChallengeRequest,
		Summary: "Get a nonce for evidence to cover",
	}}
	releaseEndpoint = wire.Endpoint[release.Request, release.Reply]{Operation: wire.Operation{
		ID: "release", Method: http.MethodPost, Path: release.ReleasePath, Limit: release.MaxRequest, Media: release.ReplyMediaType,
		Summary: "Present evidence and get secrets, encrypted to the recipient key; the answer is a flattened JWS whose payload this is",
	}}
	keysEndpoint = wire.Endpoint[wire.None, []byte]{Operation: wire.Operation{
		ID: "keys", Method: http.MethodGet, Path: release.KeysPath, Media: "application/jwk-set+json",
		Summary: "Read the keys that sign replies and tokens (RFC 7517)",
	}}
	openAPIEndpoint = wire.Endpoint[wire.None, []byte]{Operation: wire.Operation{
		ID: "openAPI", Method: http.MethodGet, Path: "/openapi.json", Media: mediaJSON,
		Summary: "Read this document",
	}}
)

func (a *API) routeNative() {
	route(a, challengeEndpoint, a.challenge)
	route(a, releaseEndpoint, a.release)
	bind(a, keysEndpoint, func(context.Context, access.Caller, wire.None) ([]byte, error) { return a.broker.Keys().JWKS(), nil })
	bind(a, wire.ListKinds, func(context.Context, access.Caller, wire.None) (wire.Kinds, error) {
		return wire.Kinds{Kinds: a.broker.Kinds()}, nil
	})
	bind(a, openAPIEndpoint, func(context.Context, access.Caller, wire.None) ([]byte, error) { return reference.OpenAPI, nil })
}

func (a *API) scope(kind attest.Kind) broker.Scope {
	return broker.Scope{Protocol: broker.ProtocolNative, Namespace: a.namespace, Kind: kind, Hash: hash}
}

func (a *API) challenge(c *call) error {
	in, err := release.DecodeChallengeRequest(c.body)
	if err != nil {
		return invalid(err)
	}
	challenge, err := a.broker.Challenge(c.r.Context(), a.scope(in.Kind))
	if err != nil {
		return err
	}
	return writeJSON(c.w, http.StatusOK, release.Challenge{Nonce: challenge.Nonce, Expires: challenge.Expires.UTC(), Hash: hashName})
}

func (a *API) release(c *call) error {
	in, err := release.DecodeRequest(c.body)
	if err != nil {
		return invalid(err)
	}
	req, want, err := a.attestRequest(in)
	if err != nil {
		return invalid(err)
	}
	req.Remote = intake.Remote(c.r)
	released, _, err := a.broker.AttestAndRelease(c.r.Context(), req, want)
	if err != nil {
		return err
	}
	payload, err := encode(reply(released))
	if err != nil {
		return fmt.Errorf("api: encoding a reply: %w", err)
	}
	signed, err := a.broker.Keys().SignFlattened(keys.Reply, release.ReplyType, payload)
	if err != nil {
		return fmt.Errorf("api: signing a reply: %w", err)
	}
	c.w.Header().Set(decisionHeader, released.Decision)
	write(c.w, http.StatusOK, release.ReplyMediaType, signed)
	return nil
}

// attestRequest parses what the request holds as text. Its errors are about the form of the request, which is the workload's own, and may be shown.
func (a *API) attestRequest(in *release.Request) (req broker.AttestRequest, want []broker.Want, err error) {
	req = broker.AttestRequest{
		Scope: a.scope(in.Evidence.Kind), Nonce: in.Nonce, Additional: in.Additional,
		Evidence: attest.Evidence{Kind: in.Evidence.Kind, Primary: in.Evidence.Data},
	}
	if req.Recipient, err = envelope.ParseRecipient(in.Recipient, envelope.Options{}); err != nil {
		return req, nil, err
	}
	if req.Evidence.Devices, err = attest.ParseAdditional(in.Additional); err != nil {
		return req, nil, err
	}
	if in.InitData != "" {
		req.InitData = []byte(in.InitData)
	}
	for _, w := range in.Secrets {
		want = append(want, broker.Want{Secret: w.Name, Version: w.Version})
	}
	return req, want, nil
}

// reply is a release as its signature covers it. Of a secret that is not released it says no more than the code: which policies denied it is the
// operator's to know.
func reply(r *broker.Release) release.Reply {
	out := release.Reply{
		Decision: r.Decision, Issued: r.Issued.UTC(), Nonce: r.Nonce, Recipient: r.Recipient, Evidence: r.Evidence,
		Receipt: string(r.Receipt), Results: make([]release.Result, 0, len(r.Results)),
	}
	for _, secret := range r.Results {
		result := release.Result{Secret: secret.Secret}
		switch secret.Outcome {
		case broker.OutcomeReleased:
			result.Version, result.Policy, result.ContentType = secret.Version, secret.Policy, secret.ContentType
			result.Envelope = json.RawMessage(secret.Envelope)
			result.Lease = &release.Lease{ID: secret.Lease.ID, Expires: secret.Lease.Expires.UTC()}
		case broker.OutcomeNotFound:
			result.Code = release.CodeNotFound
		default:
			result.Code = release.CodeDenied
		}
		out.Results = append(out.Results, result)
	}
	return out
}
