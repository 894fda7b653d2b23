package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/backup"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/header"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

func (p *program) restoreCommand() *cobra.Command {
	var dir, identity string
	c := &cobra.Command{
		Use:     "restore FILE --data DIR --identity KEYFILE",
		GroupID: "offline",
		Short:   "Make a data directory of a backup",
		Long: `Make a data directory of a backup. The store in it appears when the backup was verified as a whole, and opens with the seal that it had.
A data directory that has a store already is refused.`,
		Example: "  vouchsafe restore monday.backup --data /var/lib/vouchsafe --identity backup.key",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			keys, err := os.Open(identity)
			if err != nil {
				return err
			}
			defer keys.Close()
			identities, err := age.ParseIdentities(keys)
			if err != nil {
				return fmt.Errorf("%s holds no age identity: %w", identity, err)
			}
			from, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer from.Close()
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			progress := p.progress("bytes restored")
			manifest, err := backup.Restore(c.Context(), from, filepath.Join(dir, data.StoreFile), identities,
				backup.Config{Progress: func(done, _ int64) { progress(uint64(done)) }})
			for _, bad := range []error{backup.ErrDamaged, backup.ErrWrongIdentity, backup.ErrExists} {
				if errors.Is(err, bad) {
					return no{err}
				}
			}
			if err != nil {
				return err
			}
			if p.json() {
				return p.printJSON(manifest)
			}
			_, err = fmt.Fprintf(p.out, "%s: restored as of %s\n", dir, when(manifest.Time))
			return err
		},
	}
	c.Flags().StringVar(&dir, "data", "", "data directory `DIR` to make (required)")
	c.Flags().StringVar(&identity, "identity", "", "`FILE` with the age identity that the backup was made for (required)")
	_ = errors.Join(c.MarkFlagRequired("data"), c.MarkFlagRequired("identity")) // the flags exist
	return c
}

func (p *program) storeCommand() *cobra.Command {
	return group("offline", "store", "Check a store, and move it to another place or seal", p.storeCheck(), p.storeMigrate(), p.storeReseal())
}

// checked is what "store check" found.
type checked struct {
	Store   header.Header `json:"store"`
	Records int           `json:"records"`
	Bytes   int64         `json:"bytes"`
	Damaged []damage      `json:"damaged"`
	Entries uint64        `json:"audit_entries"`
}

type damage struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

func (p *program) storeCheck() *cobra.Command {
	var (
		dir, file   string
		sealed      sealSettings
		development bool
	)
	c := &cobra.Command{
		Use:   "check {--data DIR | --config FILE}",
		Short: "Check every page, record and log entry of a store",
		Long: `Check a store that no broker has open: the structure of its file, that every record decrypts as what it says it is, and that the audit
log is what its checkpoint stands for. Nothing is changed.

Exit codes: 0 in order; 1 something is damaged; 2 it cannot be opened.`,
		Example: "  vouchsafe store check --data /var/lib/vouchsafe --seal-key /etc/vouchsafe/seal.key",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			purpose := store.Production
			if development {
				purpose = store.Development
			}
			s, err := settingsOf(file)
			if err != nil {
				return err
			}
			if dir != "" {
				s.Data = dir
			}
			if sealed != (sealSettings{}) {
				s.Seal = sealed
			}
			if s.Store.Kind == inVault {
				return errors.New("the store is in Vault: \"vouchsafe vault doctor\" looks after the engine, and \"vouchsafe audit verify\" after the logs")
			}
			conn, err := s.connect(c.Context(), slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			if conn != nil {
				defer conn.Close() //nolint:errcheck // it says nothing
			}
			key, err := s.Seal.open(s.Data, conn)
			if err != nil {
				return err
			}
			dir = s.Data
			found, err := p.check(c.Context(), data.Config{Dir: dir, Purpose: purpose, Seal: key})
			if err != nil {
				return err
			}
			return p.printChecked(found)
		},
	}
	c.Flags().StringVar(&dir, "data", "", "data directory `DIR`")
	c.Flags().StringVar(&file, "config", "", "YAML `FILE` with the server's settings")
	c.Flags().BoolVar(&development, "dev", false, "it is the data of a development broker")
	addSealFlags(c, &sealed)
	return c
}

func (p *program) check(ctx context.Context, c data.Config) (*checked, error) {
	path := filepath.Join(c.Dir, data.StoreFile)
	if _, err := bolt.Check(ctx, bolt.CheckConfig{Path: path, Timeout: time.Second}); err != nil {
		if errors.Is(err, store.ErrCorrupt) {
			return nil, no{err}
		}
		return nil, err
	}
	d, err := data.Open(ctx, c)
	if errors.Is(err, store.ErrCorrupt) {
		return nil, no{err}
	}
	if err != nil {
		return nil, verdict(err)
	}
	defer d.Close()
	found := &checked{Store: d.Bolt.Header(), Damaged: []damage{}}
	progress := p.progress("records checked")
	result, err := d.Store.Check(ctx, seal.CheckConfig{
		Damaged:  func(key string, err error) { found.Damaged = append(found.Damaged, damage{key, err.Error()}) },
		Progress: func(r seal.CheckResult) { progress(uint64(r.Records)) },
	})
	if err != nil {
		return nil, err
	}
	found.Records, found.Bytes, found.Entries = result.Records, result.Bytes, d.Log.Size()
	return found, verdict(auditAll(ctx, d))
}

func (p *program) printChecked(found *checked) error {
	if p.json() {
		if err := p.printJSON(found); err != nil {
			return err
		}
	} else {
		for _, d := range found.Damaged {
			fmt.Fprintf(p.out, "damaged: %s: %s\n", d.Key, d.Reason)
		}
		fmt.Fprintf(p.out, "%d records of %d bytes, %d audit entries: %d damaged\n", found.Records, found.Bytes, found.Entries, len(found.Damaged))
	}
	if len(found.Damaged) > 0 {
		return silent{exitNo}
	}
	return nil
}
