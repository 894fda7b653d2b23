package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/store/migrate"
)

func (p *program) storeReseal() *cobra.Command {
	var from, to string
	c := &cobra.Command{
		Use:   "reseal --from FILE --to FILE",
		Short: "Change what seals a store, where it is",
		Long: `Change what seals a store: from a key file to a key of Vault's transit engine, or any other way. Both files are server settings for the same
store, of which data, store, seal and vault count; --from has the seal that opens it now, and --to the one that will, with which the broker is started afterwards. A
key file that --to names is made unless it exists.

Stop every broker of the store first. One record is rewritten, at once or not at all; the store's data keys stay. If the old seal's key may be known to somebody
who has a copy of the store, follow it by "vouchsafe key rotate data", and replace the secrets themselves.

Backups from before open with the old seal only: keep it as long as them.`,
		Example: "  vouchsafe store reseal --from server.yaml --to server-transit.yaml",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			before, after, err := reseal(c.Context(), from, to)
			if err != nil {
				return migrationError(err)
			}
			if p.json() {
				return p.printJSON(map[string]string{"before": before, "after": after})
			}
			_, err = fmt.Fprintf(p.out, "Sealed with %s before, with %s now\n", before, after)
			return err
		},
	}
	c.Flags().StringVar(&from, "from", "", "YAML `FILE` with the settings of a server and the seal of now (required)")
	c.Flags().StringVar(&to, "to", "", "YAML `FILE` with the settings of a server and the seal to come (required)")
	_ = errors.Join(c.MarkFlagRequired("from"), c.MarkFlagRequired("to")) // the flags exist
	return c
}

func reseal(ctx context.Context, from, to string) (before, after string, err error) {
	old, err := openPlace(ctx, from, false)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, old.close()) }()
	s, err := data.OpenSealed(ctx, old.config, false)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := errors.Join(data.Idle(ctx, s), migrate.Check(ctx, s)); err != nil {
		return "", "", err
	}
	next, err := openPlace(ctx, to, true)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, next.close()) }()
	if old.config.Where() != next.config.Where() {
		return "", "", fmt.Errorf("--from is %s and --to is %s: to bring a store to another place, use \"vouchsafe store migrate\"", old.config.Where(), next.config.Where())
	}
	name := func(p *place) string { return p.config.Seal.Kind() + " " + p.config.Seal.KeyID() }
	return name(old), name(next), s.Reseal(ctx, next.config.Seal)
}
