package vaultplugin

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/policy"
)

// ConfigPath is the path of the mount's configuration.
func (m *Mount) ConfigPath() *framework.Path {
	const example = "config"
	write := m.writeConfig
	return &framework.Path{
		Pattern: "config", HelpSynopsis: "Read and change what this mount is: its issuer, the kinds of evidence, their anchors, limits.",
		HelpDescription: "The first write makes the mount's keys and its audit log, and says for ever whether it is for production or for development, whose evidence proves nothing about hardware. " +
			"Later writes change the fields that they name. A configuration that nothing can be made of is refused. Nothing in it is secret. For operators: who may write it says which evidence is believed.",
		Fields: fields(reflect.TypeFor[Config]()),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: Operation("Read the configuration", example, nil, m.readConfig),
			logical.UpdateOperation: Operation("Configure the mount", example, map[string]any{
				"issuer": "https://vault.example:8200/v1/vouchsafe", "kinds": []string{"snp", "tdx"}, "collateral_fetch": []string{"amd", "intel"},
			}, write),
		},
	}
}

func (m *Mount) readConfig(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	c, err := m.Config(ctx, req.Storage)
	if errors.Is(err, errNoConfig) {
		return nil, nil // 404, as Vault has it
	}
	if err != nil {
		return m.Fail(ctx, err)
	}
	return m.respond(ctx, c)
}

func (m *Mount) writeConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	members, err := Given(req, d)
	if err != nil {
		return m.Fail(ctx, err)
	}
	text, err := json.Marshal(members)
	if err != nil {
		return m.Fail(ctx, err)
	}
	c, err := m.Configure(ctx, req.Storage, text)
	if err != nil {
		return m.Fail(ctx, err)
	}
	return m.respond(ctx, c)
}

// respond answers with the members of a value's JSON.
func (m *Mount) respond(ctx context.Context, v any) (*logical.Response, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return m.Fail(ctx, err)
	}
	a := &answer{}
	a.body.Write(text)
	data, err := a.data()
	if err != nil {
		return m.Fail(ctx, err)
	}
	return &logical.Response{Data: data}, nil
}

// PolicyTestPath is the path by which a policy document is checked, and its tests run, without keeping it.
func (m *Mount) PolicyTestPath() *framework.Path {
	return &framework.Path{
		Pattern: "policy-test", HelpSynopsis: "Check a policy document and run the tests in it, without keeping it.",
		HelpDescription: "Answers what is wrong with the document, with lines, or how each of its tests ended and which rule said what. Tests whose claims are in files cannot run here: give the claims in the document. Changes nothing, and needs no configuration. For authors.",
		Fields: map[string]*framework.FieldSchema{
			"source":   {Type: framework.TypeString, Description: "the document, YAML"},
			"filename": {Type: framework.TypeString, Description: "for messages only"},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: Operation("Check a policy document and run its tests", "policy-test", document, m.testPolicy),
		},
	}
}

func (m *Mount) testPolicy(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	members, err := Given(req, d)
	if err != nil {
		return m.Fail(ctx, err)
	}
	name, _ := members["filename"].(string)
	source, _ := members["source"].(string)
	p, err := policy.Parse(name, []byte(source))
	var problems *policy.Problems
	if errors.As(err, &problems) {
		return m.respond(ctx, map[string]any{"valid": false, "problems": problems.List})
	}
	if err != nil {
		return m.Fail(ctx, &broker.Error{Code: broker.CodeInvalid, Message: err.Error(), Err: err})
	}
	results := policy.RunTests(p, nil)
	passed := 0
	for _, r := range results {
		if r.Pass {
			passed++
		}
	}
	return m.respond(ctx, map[string]any{"valid": true, "name": p.Name(), "digest": p.Digest(), "tests": results, "passed": passed, "failed": len(results) - passed})
}
