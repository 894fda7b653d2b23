package authmethod

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/cidrutil"
	"github.com/hashicorp/vault/sdk/helper/policyutil"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/vaultplugin"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/store"
)

// attestedPath is where it is kept when a key was attested last, by the key's thumbprint.
const attestedPath = "attested/"

// attested says when the machine that has a key was judged last, and for which role.
type attested struct {
	Role     string    `json:"role"`
	At       time.Time `json:"at"`
	Expires  time.Time `json:"expires"` // of the release policy's lease
	Decision string    `json:"decision"`
	Lease    string    `json:"lease"` // its id
}

// loginPaths are the paths of workloads.
func (b *backend) loginPaths() []*framework.Path {
	fields := map[string]*framework.FieldSchema{
		"role":                {Type: framework.TypeString, Description: "the role that is asked for"},
		"nonce":               {Type: framework.TypeString, Description: "the challenge's nonce, base64 of 32 bytes"},
		"recipient":           {Type: framework.TypeMap, Description: "the workload's public key, which the evidence covers: a JWK of P-256 with alg ECDH-ES+A256KW"},
		"evidence":            {Type: framework.TypeMap, Description: "{\"kind\":KIND,\"data\":BASE64}: the evidence, which covers nonce and recipient"},
		"additional_evidence": {Type: framework.TypeString, Description: "evidence of devices, as JSON text that the evidence covers too"},
		"init_data":           {Type: framework.TypeString, Description: "text of the document that the guest was launched with"},
		"proof":               {Type: framework.TypeString, Description: "compact JWS by the recipient key over use, aud, role, nonce and evidence: that whoever logs in has the key"},
	}
	sample := map[string]any{
		"role": "payments", "nonce": "bm9uY2U…", "recipient": map[string]any{"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": "…", "y": "…"},
		"evidence": map[string]any{"kind": "snp", "data": "AgAAAA…"}, "proof": "eyJhbGciOiJFUzI1NiIsInR5cCI6…",
	}
	resolve := vaultplugin.Operation("Say which role a login is for", "login", nil, func(_ context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		return logical.ResolveRoleResponse(d.Get("role").(string))
	})
	return []*framework.Path{
		{
			Pattern: "login", Fields: fields, HelpSynopsis: "Log in with evidence.",
			HelpDescription: "Needs no token: evidence is what authenticates, and the proof that whoever sends it has the key that it covers. Ask challenge for the nonce first. " +
				"The release policies that guard auth/ROLE judge. A refusal is answered 403, with the id of the decision for explain.",
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation:      vaultplugin.Operation("Log in with evidence", "login", sample, b.login),
				logical.ResolveRoleOperation: resolve,
			},
		},
		{
			Pattern: "reattest", Fields: fields, HelpSynopsis: "Show with fresh evidence that a machine which logged in is still good.",
			HelpDescription: "Takes what login takes, by the same key, with a proof whose use is reattest. Afterwards the token can be renewed until the evidence is older than the role's max_evidence_age. Needs no token and gives none.",
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation: vaultplugin.Operation("Show that a machine is still good", "reattest", sample, b.reattest),
			},
		},
	}
}

// judged is a workload that the release policies gave a role.
type judged struct {
	name  string
	role  *role
	reply *release.Reply
	kind  string
	at    time.Time
}

// judge checks the proof and has the broker judge the evidence. Where it returns no judged it returns the answer.
func (b *backend) judge(ctx context.Context, req *logical.Request, d *framework.FieldData, use string) (*judged, *logical.Response, error) {
	members, err := vaultplugin.Given(req, d)
	if err != nil {
		return nil, nil, err
	}
	name, _ := members["role"].(string)
	proof, _ := members["proof"].(string)
	delete(members, "role")
	delete(members, "proof")
	members["secrets"] = []any{map[string]any{"name": guarded(name)}}
	text, err := json.Marshal(members)
	if err != nil {
		return nil, nil, invalid(err)
	}
	request, err := release.DecodeRequest(text)
	if err != nil {
		return nil, nil, invalid(err)
	}
	key, err := recipientKey(request.Recipient)
	if err != nil {
		return nil, nil, invalid(err)
	}
	digest, err := request.EvidenceDigest()
	if err != nil {
		return nil, nil, invalid(err)
	}
	config, err := b.mount.Config(ctx, req.Storage)
	if err != nil {
		return nil, nil, err
	}
	// Before the nonce is spent.
	want := Proof{Use: use, Audience: config.Issuer, Role: name, Nonce: request.Nonce, Evidence: digest}
	if err := want.verify(proof, key); err != nil {
		return nil, nil, &broker.Error{Code: broker.CodeEvidence, Message: errProof.Error(), Err: err}
	}
	at := b.now()
	reply, refused, err := b.mount.Release(ctx, req, members)
	if err != nil || refused != nil {
		return nil, refused, err
	}
	r, err := readRole(ctx, req.Storage, name)
	if err != nil {
		return nil, nil, err
	}
	// A role that there is not is denied as one that nobody gets.
	if result := reply.Results[0]; result.Code != "" || result.Lease == nil || r == nil {
		return nil, nil, &broker.Error{Code: broker.CodeDenied, Message: "no release policy gives this role to this workload", Decision: reply.Decision}
	}
	// Vault holds a token to the role's addresses when it is used, and leaves it to methods whether one is given elsewhere.
	if remote := vaultplugin.Caller(req).Remote; !cidrutil.RemoteAddrIsOk(remote, r.TokenBoundCIDRs) {
		return nil, nil, &broker.Error{Code: broker.CodeDenied, Message: "tokens of this role are not given to this address", Decision: reply.Decision}
	}
	return &judged{name: name, role: r, reply: reply, kind: string(request.Evidence.Kind), at: at}, nil, nil
}

// keep writes down that the key was attested.
func (j *judged) keep(ctx context.Context, storage logical.Storage) error {
	e, err := logical.StorageEntryJSON(attestedPath+j.reply.Recipient, attested{
		Role: j.name, At: j.at, Expires: j.reply.Results[0].Lease.Expires, Decision: j.reply.Decision, Lease: j.reply.Results[0].Lease.ID,
	})
	if err != nil {
		return err
	}
	return storage.Put(ctx, e)
}

// lifetime bounds how long a token lives by the release policy's lease.
func (b *backend) lifetime(r *role, expires time.Time) (ttl, period time.Duration) {
	left := max(expires.Sub(b.now()).Truncate(time.Second), time.Second)
	if ttl = r.TokenTTL; ttl == 0 {
		ttl = b.System().DefaultLeaseTTL()
	}
	return min(ttl, left), min(r.TokenPeriod, left)
}

func (b *backend) login(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	j, refused, err := b.judge(ctx, req, d, UseLogin)
	if err != nil {
		return b.mount.Fail(ctx, err)
	}
	if refused != nil {
		return refused, nil
	}
	if err := j.keep(ctx, req.Storage); err != nil {
		return b.mount.Fail(ctx, err)
	}
	auth := &logical.Auth{
		DisplayName: j.name, Alias: &logical.Alias{Name: j.name},
		InternalData: map[string]any{"role": j.name, "recipient": j.reply.Recipient},
		Metadata: map[string]string{
			"role": j.name, "decision": j.reply.Decision, "kind": j.kind, "evidence": j.reply.Evidence, "recipient": j.reply.Recipient,
		},
	}
	j.role.PopulateTokenAuth(auth)
	auth.TTL, auth.Period = b.lifetime(j.role, j.reply.Results[0].Lease.Expires)
	return &logical.Response{Auth: auth}, nil
}

func (b *backend) reattest(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	j, refused, err := b.judge(ctx, req, d, UseReattest)
	if err != nil {
		return b.mount.Fail(ctx, err)
	}
	if refused != nil {
		return refused, nil
	}
	last, err := readAttested(ctx, req.Storage, j.reply.Recipient)
	if err != nil {
		return b.mount.Fail(ctx, err)
	}
	if last == nil || last.Role != j.name {
		return b.mount.Fail(ctx, &broker.Error{Code: broker.CodeSession, Message: "this key has not logged in for this role: log in", Decision: j.reply.Decision})
	}
	if err := j.keep(ctx, req.Storage); err != nil {
		return b.mount.Fail(ctx, err)
	}
	return &logical.Response{Data: map[string]any{
		"decision": j.reply.Decision, "renewable_for": int64(time.Duration(j.role.MaxEvidenceAge).Seconds()), "expires": j.reply.Results[0].Lease.Expires.UTC(),
	}}, nil
}

func readAttested(ctx context.Context, storage logical.Storage, thumbprint string) (*attested, error) {
	e, err := storage.Get(ctx, attestedPath+thumbprint)
	if err != nil || e == nil {
		return nil, err
	}
	a := &attested{}
	if err := e.DecodeJSON(a); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", store.ErrCorrupt, attestedPath+thumbprint, err)
	}
	return a, nil
}

// renew answers whether a token may live on.
func (b *backend) renew(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	name, _ := req.Auth.InternalData["role"].(string)
	thumbprint, _ := req.Auth.InternalData["recipient"].(string)
	r, err := readRole(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return logical.ErrorResponse("role %q is no more: log in", name), nil
	}
	if !policyutil.EquivalentPolicies(r.TokenPolicies, req.Auth.TokenPolicies) {
		return logical.ErrorResponse("the policies of role %q have changed: log in", name), nil
	}
	last, err := readAttested(ctx, req.Storage, thumbprint)
	if err != nil {
		return nil, err
	}
	now := b.now()
	if last == nil || last.Role != name || now.Sub(last.At) > time.Duration(r.MaxEvidenceAge) || !now.Before(last.Expires) {
		return logical.ErrorResponse("the evidence is older than role %q allows: reattest with the key of the login, then renew", name), nil
	}
	if revoked, err := b.revoked(ctx, req, last); err != nil {
		return nil, err
	} else if revoked {
		return logical.ErrorResponse("the lease of role %q that this key had was revoked: log in", name), nil
	}
	auth := *req.Auth
	auth.ExplicitMaxTTL = r.TokenExplicitMaxTTL
	auth.TTL, auth.Period = b.lifetime(r, last.Expires)
	// Vault lets the one who renews choose how long, up to the most that a token lives from when it was issued. So that is said to be as long as this
	// renewal may make it.
	longest := auth.TTL
	if auth.Period > 0 {
		longest = auth.Period
	}
	auth.MaxTTL = now.Sub(req.Auth.IssueTime) + longest
	if r.TokenMaxTTL > 0 {
		auth.MaxTTL = min(auth.MaxTTL, r.TokenMaxTTL)
	}
	return &logical.Response{Auth: &auth}, nil
}

// revoked reports whether a custodian revoked the lease that a key was given when it was attested last.
func (b *backend) revoked(ctx context.Context, req *logical.Request, last *attested) (revoked bool, err error) {
	err = b.mount.Broker(ctx, req.Storage, func(core *broker.Broker, _ *vaultplugin.Config) error {
		lease, err := core.Lease(ctx, vaultplugin.Caller(req, access.Auditor), store.DefaultNamespace, last.Lease)
		revoked = lease.Revoked != nil
		return err
	})
	return revoked, err
}

// pruneEvery is how often what cannot be renewed any more is forgotten.
const pruneEvery = time.Hour

// prune forgets keys whose leases have ended, as Vault calls it every minute.
func (b *backend) prune(ctx context.Context, req *logical.Request) error {
	b.pruning.Lock()
	defer b.pruning.Unlock()
	now := b.now()
	if !b.WriteSafeReplicationState() || now.Sub(b.pruned) < pruneEvery {
		return nil
	}
	b.pruned = now
	names, err := req.Storage.List(ctx, attestedPath)
	if err != nil {
		return err
	}
	for _, name := range names {
		last, err := readAttested(ctx, req.Storage, name)
		if err != nil {
			return err
		}
		if last != nil && now.After(last.Expires) {
			if err := req.Storage.Delete(ctx, attestedPath+name); err != nil {
				return err
			}
		}
	}
	return nil
}
