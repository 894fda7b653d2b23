package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/logs"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/migrate"
	"github.com/vouchsafe/vouchsafe/store/seal"
	"github.com/vouchsafe/vouchsafe/store/vault"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// settingsOf reads a file of settings; without one there are none.
func settingsOf(file string) (*settings, error) {
	if file == "" {
		return &settings{}, nil
	}
	return readSettings(file)
}

// place is a store as a file of settings has it, with its seal and the connection that it needs.
type place struct {
	settings *settings
	conn     *vaultconn.Conn // nil where nothing is in Vault
	config   data.Config
}

// openPlace reads settings and connects to what they name. With create a key file that seals the store is made, unless it exists.
func openPlace(ctx context.Context, file string, create bool) (*place, error) {
	s, err := readSettings(file)
	if err != nil {
		return nil, err
	}
	if s.Data == "" && s.Store.Kind != inVault {
		return nil, fmt.Errorf("%s: %w", file, errNoData)
	}
	logger := slog.New(slog.DiscardHandler)
	conn, err := s.connect(ctx, logger)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	p := &place{settings: s, conn: conn}
	shared := s.shared(conn, nil)
	if shared != nil {
		shared.Staleness = 0
	}
	open := s.Seal.open
	if create {
		open = s.Seal.create
		if s.Data != "" {
			if err := os.MkdirAll(s.Data, 0o700); err != nil {
				return nil, errors.Join(err, p.close())
			}
		}
	}
	key, err := open(s.Data, conn)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", file, err), p.close())
	}
	p.config = data.Config{Dir: s.Data, Shared: shared, Seal: key, Logger: logger}
	return p, nil
}

func (p *place) close() error {
	if p.conn == nil {
		return nil
	}
	return p.conn.Close()
}

// migrated is what "store migrate" prints as JSON.
type migrated struct {
	migrate.Report
	Check bool           `json:"check"` // nothing was written
	Logs  []logs.Settled `json:"audit_logs,omitempty"`
}

func (p *program) storeMigrate() *cobra.Command {
	var (
		from, to string
		check    bool
	)
	c := &cobra.Command{
		Use:   "migrate --from FILE --to FILE [--check]",
		Short: "Move a store from a file to Vault, or back",
		Long: `Move everything in a broker's store to another store: from a file to Vault, back, or to another file or seal. Both are said by files of server
settings, of which data, store, seal and vault count; so --to is the file that the broker will be started with afterwards.

Stop every broker of the source first. The target has to be empty: it is made here, and so is a key file that is to seal it. Every record is decrypted
by the one seal and encrypted by the other, then read again from both stores and compared, and the audit logs are computed again in the target. Nothing is
written to the source.

A migration that was stopped, also by kill -9 or because Vault went away, goes on when the same command is run again. Until it is finished no broker opens the
target. When it is, start the brokers with the settings of --to, and put the source away: a secret that is destroyed in one of the two from then on is still there
in the other.

--check changes nothing: it reads the whole source and says whether the target can be begun or gone on with.

Exit codes: 0 moved; 1 it cannot be done as things are, with the reason; 2 it could not be tried.`,
		Example: `  vouchsafe store migrate --from file.yaml --to vault.yaml --check
  vouchsafe store migrate --from file.yaml --to vault.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			done, err := p.migrate(c.Context(), from, to, check)
			if err != nil {
				return migrationError(err)
			}
			return p.printMigrated(done)
		},
	}
	c.Flags().StringVar(&from, "from", "", "YAML `FILE` with the settings of a server on the source (required)")
	c.Flags().StringVar(&to, "to", "", "YAML `FILE` with the settings of a server on the target (required)")
	c.Flags().BoolVar(&check, "check", false, "read and look, and change nothing")
	_ = errors.Join(c.MarkFlagRequired("from"), c.MarkFlagRequired("to")) // the flags exist
	return c
}

func (p *program) migrate(ctx context.Context, from, to string, check bool) (done *migrated, err error) {
	closing := func(closed func() error) { err = errors.Join(err, closed()) }
	source, err := openPlace(ctx, from, false)
	if err != nil {
		return nil, err
	}
	defer closing(source.close)
	read, err := data.OpenSealed(ctx, source.config, false)
	if err != nil {
		return nil, fmt.Errorf("the source: %w", err)
	}
	defer closing(read.Close)
	// Before anything is made at the target.
	if err := errors.Join(migrate.Check(ctx, read), data.Idle(ctx, read)); err != nil {
		return nil, fmt.Errorf("the source: %w", err)
	}
	target, err := openTarget(ctx, to, check)
	if err != nil {
		return nil, err
	}
	if target != nil {
		defer closing(target.close)
		if target.config.Where() == source.config.Where() {
			return nil, no{fmt.Errorf("--from and --to are one store: %s", source.config.Where())}
		}
	}
	done = &migrated{Check: check}
	show := map[migrate.Stage]func(uint64){
		migrate.Copy: p.progress("records copied  "), migrate.Compare: p.progress("records compared"), migrate.Settle: p.progress("records, audit logs"),
	}
	c := migrate.Config{
		Source: read, From: source.config.Where(), To: "a store that is to be made",
		Idle: func(ctx context.Context) error { return data.Idle(ctx, read) },
		Settle: func(ctx context.Context, target store.Store) (err error) {
			done.Logs, err = data.Settle(ctx, target)
			return err
		},
		Progress: func(now migrate.Progress) { show[now.Stage](uint64(now.Records)) },
	}
	if target != nil {
		c.To = target.config.Where()
		if c.Target, err = target.sealed(ctx, check); err != nil {
			return nil, fmt.Errorf("the target: %w", err)
		}
		if c.Target != nil {
			defer closing(c.Target.Close)
		}
	}
	if check {
		done.Report, err = migrate.Plan(ctx, c)
	} else {
		done.Report, err = migrate.Run(ctx, c)
	}
	return done, err
}

// openTarget opens the place of a target. When it is only looked at and its key file is not there yet, there is nothing: nil.
func openTarget(ctx context.Context, file string, check bool) (*place, error) {
	target, err := openPlace(ctx, file, !check)
	if check && errors.Is(err, os.ErrNotExist) {
		if s, reading := readSettings(file); reading == nil && s.Data != "" {
			if _, missing := os.Stat(filepath.Join(s.Data, data.StoreFile)); s.Store.Kind == inVault || errors.Is(missing, os.ErrNotExist) {
				return nil, nil
			}
		}
	}
	return target, err
}

// sealed opens the store of a target, nil where it is only looked at and not there.
func (p *place) sealed(ctx context.Context, check bool) (*seal.Store, error) {
	s, err := data.OpenSealed(ctx, p.config, !check)
	if check && (errors.Is(err, bolt.ErrNoStore) || errors.Is(err, vault.ErrNoStore) || errors.Is(err, seal.ErrNotSealed)) {
		return nil, nil
	}
	return s, err
}

// migrationError says which errors are a no.
func migrationError(err error) error {
	for _, reason := range []error{
		migrate.ErrNotEmpty, migrate.ErrFinished, migrate.ErrOther, migrate.ErrSame, migrate.ErrBusy, migrate.ErrChanged, migrate.ErrMismatch, migrate.ErrUnfinished,
		logs.ErrInUse, store.ErrCorrupt, seal.ErrWrongSeal,
	} {
		if errors.Is(err, reason) {
			return no{err}
		}
	}
	var locked *bolt.LockedError
	if errors.As(err, &locked) {
		return no{fmt.Errorf("%w: stop the broker first", err)}
	}
	return err
}

func (p *program) printMigrated(done *migrated) error {
	if p.json() {
		return p.printJSON(done)
	}
	if done.Check {
		state := "can be begun"
		if done.Resumed {
			state = "is begun, and can be gone on with"
		}
		_, err := fmt.Fprintf(p.out, "%s: %d records of %d bytes, all readable\n%s: the migration %s\nNothing was changed.\n", done.From, done.Records, done.Bytes, done.To, state)
		return err
	}
	resumed := ""
	if done.Resumed {
		resumed = ", after an earlier run that was stopped"
	}
	fmt.Fprintf(p.out, "%s: has the %d records of %d bytes now%s\n", done.To, done.Records, done.Bytes, resumed)
	fmt.Fprintf(p.out, "Compared, every record: SHA-256 of all is %s\n", done.Digest)
	for _, l := range done.Logs {
		fmt.Fprintf(p.out, "Audit log %s is in order: %d entries\n", l.Origin, l.Entries)
	}
	_, err := fmt.Fprintf(p.out, "Start brokers on it from now on, and put the store %s away.\n", done.From)
	return err
}
