package admin

import (
	"context"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

// RegoPolicies returns the Rego policies.
func (c *Client) RegoPolicies(ctx context.Context) (wire.List[broker.RegoInfo], error) {
	return call(ctx, c, wire.ListRego, wire.None{})
}

// Rego returns a Rego policy with the source of one version.
func (c *Client) Rego(ctx context.Context, in wire.RegoQuery) (wire.RegoSource, error) {
	return call(ctx, c, wire.GetRego, in)
}

// PutRego adds a version of a Rego policy. What is wrong with the module is in the Problems of an [*Error].
func (c *Client) PutRego(ctx context.Context, in wire.RegoPut) (broker.RegoInfo, error) {
	return call(ctx, c, wire.PutRego, in)
}

// ActivateRego has a version of a Rego policy judge.
func (c *Client) ActivateRego(ctx context.Context, in wire.RegoActivate) (broker.RegoInfo, error) {
	return call(ctx, c, wire.ActivateRego, in)
}

// RetireRego has no version of a Rego policy judge.
func (c *Client) RetireRego(ctx context.Context, in wire.RegoName) (broker.RegoInfo, error) {
	return call(ctx, c, wire.RetireRego, in)
}

// RegoReferences returns the reference values that Rego asks for.
func (c *Client) RegoReferences(ctx context.Context) (wire.RegoReferences, error) {
	return call(ctx, c, wire.GetRegoReferences, wire.None{})
}

// PutRegoReferences sets reference values that Rego asks for.
func (c *Client) PutRegoReferences(ctx context.Context, in wire.RegoReferencesPut) error {
	_, err := call(ctx, c, wire.PutRegoReferences, in)
	return err
}
