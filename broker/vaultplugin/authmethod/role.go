package authmethod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/tokenutil"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/vaultplugin"
	"github.com/vouchsafe/vouchsafe/store"
)

// The bounds of max_evidence_age.
const (
	DefaultMaxEvidenceAge = 5 * time.Minute
	maxMaxEvidenceAge     = 24 * time.Hour
)

// rolePath is where roles are in the mount's storage.
const rolePath = "role/"

// role is what tokens of a role are.
type role struct {
	tokenutil.TokenParams
	MaxEvidenceAge vaultplugin.Seconds `json:"max_evidence_age"`
}

// guarded is the name of the secret that stands for a role.
func guarded(name string) string { return "auth/" + name }

func readRole(ctx context.Context, storage logical.Storage, name string) (*role, error) {
	e, err := storage.Get(ctx, rolePath+name)
	if err != nil || e == nil {
		return nil, err
	}
	r := &role{}
	if err := e.DecodeJSON(r); err != nil {
		return nil, fmt.Errorf("%w: role %s: %w", store.ErrCorrupt, name, err)
	}
	return r, nil
}

// rolePaths are the paths of roles.
func (b *backend) rolePaths() []*framework.Path {
	fields := map[string]*framework.FieldSchema{
		"name":             {Type: framework.TypeString, Description: "name of the role; release policies guard it as the secret auth/NAME"},
		"max_evidence_age": {Type: framework.TypeDurationSecond, Description: "how old evidence may be when a token is renewed: that of the login, or of a reattest since; 5 minutes when 0"},
	}
	tokenutil.AddTokenFields(fields)
	const example = "role/payments"
	return []*framework.Path{
		{
			Pattern: "role/?$", HelpSynopsis: "List the roles.", HelpDescription: "For operators and auditors.",
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: vaultplugin.Operation("List the roles", "role/", nil, b.listRoles),
			},
		},
		{
			Pattern: "role/" + framework.GenericNameRegex("name"), HelpSynopsis: "Read, write and delete what tokens of a role are.",
			HelpDescription: "A role says which policies of Vault's its tokens have, and for how long. Who gets the role is said by the release policies that guard auth/NAME: without one, nobody. " +
				"Writing changes the fields that it names. For operators; whoever may write a role can give its tokens any policy.",
			Fields: fields,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation:   vaultplugin.Operation("Read a role", example, nil, b.readRole),
				logical.UpdateOperation: vaultplugin.Operation("Write a role", example, map[string]any{"token_policies": []string{"payments"}, "token_ttl": "1h"}, b.writeRole),
				logical.DeleteOperation: vaultplugin.Operation("Delete a role", example, nil, b.deleteRole),
			},
		},
	}
}

func (b *backend) listRoles(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := req.Storage.List(ctx, rolePath)
	if err != nil {
		return b.mount.Fail(ctx, err)
	}
	return logical.ListResponse(names), nil
}

func (b *backend) readRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	r, err := readRole(ctx, req.Storage, d.Get("name").(string))
	if err != nil {
		return b.mount.Fail(ctx, err)
	}
	if r == nil {
		return nil, nil // 404, as Vault has it
	}
	data := map[string]any{"max_evidence_age": int64(time.Duration(r.MaxEvidenceAge).Seconds())}
	r.PopulateTokenData(data)
	return &logical.Response{Data: data}, nil
}

func (b *backend) writeRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	b.roles.Lock()
	defer b.roles.Unlock()
	if _, err := vaultplugin.Given(req, d); err != nil {
		return b.mount.Fail(ctx, err)
	}
	name := d.Get("name").(string)
	r, err := readRole(ctx, req.Storage, name)
	if err != nil {
		return b.mount.Fail(ctx, err)
	}
	if r == nil {
		r = &role{}
	}
	if err := r.ParseTokenFields(req, d); err != nil {
		return b.mount.Fail(ctx, invalid(err))
	}
	if age, ok := d.GetOk("max_evidence_age"); ok {
		r.MaxEvidenceAge = vaultplugin.Seconds(time.Duration(age.(int)) * time.Second)
	}
	if r.MaxEvidenceAge == 0 {
		r.MaxEvidenceAge = vaultplugin.Seconds(DefaultMaxEvidenceAge)
	}
	if age := time.Duration(r.MaxEvidenceAge); age < 0 || age > maxMaxEvidenceAge {
		return b.mount.Fail(ctx, invalid(fmt.Errorf("max_evidence_age is %v, not from 1s to %v", age, maxMaxEvidenceAge)))
	}
	text, err := json.Marshal(r)
	if err != nil {
		return b.mount.Fail(ctx, err)
	}
	// The secret first, which records who wrote the role: a role without it gives no tokens.
	if err := b.mark(ctx, req, name, text); err != nil {
		return b.mount.Fail(ctx, err)
	}
	if err := req.Storage.Put(ctx, &logical.StorageEntry{Key: rolePath + name, Value: text}); err != nil {
		return b.mount.Fail(ctx, err)
	}
	return nil, nil
}

// mark makes the secret that stands for a role a new version, and destroys the one before.
func (b *backend) mark(ctx context.Context, req *logical.Request, name string, text []byte) error {
	who := vaultplugin.Caller(req, access.Custodian)
	return b.mount.Broker(ctx, req.Storage, func(core *broker.Broker, _ *vaultplugin.Config) error {
		info, err := core.PutSecret(ctx, who, store.DefaultNamespace, broker.PutSecret{
			Name: guarded(name), Value: text, ContentType: "application/json", Activate: true,
		})
		if err != nil {
			return err
		}
		for _, v := range info.Versions {
			if v.Version != info.Current && v.Destroyed == nil {
				if _, err := core.DestroySecret(ctx, who, store.DefaultNamespace, info.Name, v.Version); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (b *backend) deleteRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	b.roles.Lock()
	defer b.roles.Unlock()
	name := d.Get("name").(string)
	err := b.mount.Broker(ctx, req.Storage, func(core *broker.Broker, _ *vaultplugin.Config) error {
		_, err := core.DestroyAll(ctx, vaultplugin.Caller(req, access.Custodian), store.DefaultNamespace, guarded(name))
		var known *broker.Error
		if errors.As(err, &known) && known.Code == broker.CodeNotFound {
			return nil
		}
		return err
	})
	if err == nil {
		err = req.Storage.Delete(ctx, rolePath+name)
	}
	if err != nil {
		return b.mount.Fail(ctx, err)
	}
	return nil, nil
}

func invalid(err error) *broker.Error {
	return &broker.Error{Code: broker.CodeInvalid, Message: err.Error(), Err: err}
}
