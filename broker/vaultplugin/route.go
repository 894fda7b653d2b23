package vaultplugin

import (
	"context"
	"maps"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker/access"
)

// Route is a path of a mount, with all that Vault's help says of it.
type Route struct {
	Pattern  string // as package framework has it
	Example  string // a path of it
	Synopsis string
	About    string
	Public   bool // no token is needed
	Does     []Does
}

// Does is what one operation on a path does in the core.
type Does struct {
	Operation logical.Operation
	endpoint  endpoint
	roles     []access.Role  // of the caller; default: one that the endpoint asks for
	fixed     map[string]any // members that the path says
	hidden    []string       // fields of the endpoint that the path does not have
	adjust    func(members map[string]any) error
	list      func(any) string // what an item of a listing is called
	native    bool             // answered as the server does
	sample    map[string]any   // of a request
}

// callerRoles are the roles that a caller of the path has.
func (d *Does) callerRoles() []access.Role {
	if d.roles == nil && len(d.endpoint.Roles) > 0 {
		return d.endpoint.Roles[:1]
	}
	return d.roles
}

// fields is the schema of one operation.
func (d *Does) fields() map[string]*framework.FieldSchema {
	all := fields(d.endpoint.in)
	for name := range d.fixed {
		delete(all, name)
	}
	for _, name := range d.hidden {
		delete(all, name)
	}
	return all
}

// Paths makes the routes paths of a backend.
func (m *Mount) Paths(routes []Route) []*framework.Path {
	var paths []*framework.Path
	for _, r := range routes {
		p := &framework.Path{
			Pattern: r.Pattern, HelpSynopsis: r.Synopsis, HelpDescription: r.About,
			Fields: map[string]*framework.FieldSchema{}, Operations: map[logical.Operation]framework.OperationHandler{},
		}
		for i := range r.Does {
			d := &r.Does[i]
			maps.Copy(p.Fields, d.fields())
			p.Operations[d.Operation] = Operation(d.endpoint.Summary, r.Example, d.sample, m.serve(d))
		}
		paths = append(paths, p)
	}
	return paths
}

// Operation is an operation that is passed on to the node that serves the mount's requests.
func Operation(summary, example string, sample map[string]any, serve framework.OperationFunc) *framework.PathOperation {
	return &framework.PathOperation{
		Callback: serve, Summary: summary, Examples: []framework.RequestExample{{Description: summary + ": " + example, Data: sample}},
		ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
	}
}

// Unauthenticated are the routes that need no token.
func Unauthenticated(routes []Route) []string {
	var paths []string
	for _, r := range routes {
		if r.Public {
			paths = append(paths, r.Example)
		}
	}
	return paths
}

// serve answers requests of an operation.
func (m *Mount) serve(d *Does) framework.OperationFunc {
	schema := d.fields()
	return func(ctx context.Context, req *logical.Request, data *framework.FieldData) (*logical.Response, error) {
		members, err := Given(req, &framework.FieldData{Raw: data.Raw, Schema: schema})
		if err != nil {
			return m.Fail(ctx, err)
		}
		maps.Copy(members, d.fixed)
		if d.adjust != nil {
			if err := d.adjust(members); err != nil {
				return m.Fail(ctx, err)
			}
		}
		c, release, err := m.use(ctx, req.Storage)
		if err != nil {
			return m.Fail(ctx, err)
		}
		defer release()
		a, err := c.call(ctx, d.endpoint, Caller(req, d.callerRoles()...), members)
		if err != nil {
			return m.Fail(ctx, err)
		}
		r, err := d.answer(a)
		if err != nil {
			return m.Fail(ctx, err)
		}
		return r, nil
	}
}

// answer makes the front end's answer one of Vault's.
func (d *Does) answer(a *answer) (*logical.Response, error) {
	switch {
	case d.native:
		return a.native(), nil
	case a.status != http.StatusOK:
		return a.failure(), nil
	case d.endpoint.Media != "" && d.endpoint.Media != replyMedia:
		return a.native(), nil
	case d.list != nil:
		return a.list(d.list)
	}
	data, err := a.data()
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: data, Headers: a.passed()}, nil
}
