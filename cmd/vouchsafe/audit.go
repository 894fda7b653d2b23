package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/internal/atomicfile"
)

func (p *program) auditCommand() *cobra.Command {
	return group("admin", "audit", "Read, verify and prove the tamper-evident log",
		p.auditTail(), p.auditVerify(), p.auditKey(), p.auditProve(), p.auditCheckReceipt())
}

func (p *program) auditTail() *cobra.Command {
	var (
		lines  uint64
		follow bool
	)
	c := &cobra.Command{
		Use:   "tail",
		Short: "Print the latest entries of the audit log",
		Long: `Print the latest entries of the audit log, one line each; with --format=json as they are in the log. --follow goes on as entries come.
Each entry is held against the log's tree as it is read.`,
		Example: "  vouchsafe audit tail -n 50 --follow",
		Args:    cobra.NoArgs,
	}
	c.Flags().Uint64VarP(&lines, "lines", "n", 20, "how `MANY` entries to begin with")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		log, err := readLog(c.Context(), a)
		if err != nil {
			return err
		}
		from := log.size - min(lines, log.size)
		for {
			for e, err := range log.Entries(c.Context(), from, log.size) {
				if err != nil {
					return verdict(err)
				}
				if err := p.printEntry(e.Index, e.Data); err != nil {
					return err
				}
			}
			from = log.size
			if !follow {
				return nil
			}
			select {
			case <-c.Context().Done():
				return nil
			case <-time.After(time.Second):
			}
			if log, err = readLog(c.Context(), a); err != nil {
				return err
			}
		}
	})
}

// printEntry prints an entry on one line.
func (p *program) printEntry(index uint64, entry []byte) error {
	if p.json() {
		_, err := fmt.Fprintf(p.out, "%s\n", entry)
		return err
	}
	var e broker.Event
	if err := json.Unmarshal(entry, &e); err != nil {
		return fmt.Errorf("entry %d is not one of this program's: %w", index, err)
	}
	what := e.Object
	if e.Version != 0 {
		what += " version " + strconv.FormatUint(e.Version, 10)
	}
	if e.Decision != "" {
		what = string(e.Outcome) + " " + e.Decision
		for _, s := range e.Secrets {
			what += " " + s.Name + "=" + string(s.Outcome)
		}
	}
	if e.Actor != nil {
		what += " by " + e.Actor.Name
	}
	_, err := fmt.Fprintf(p.out, "%d  %s  %-15s  %s\n", index, when(e.Time), e.Type, what)
	return err
}

// remoteLog is a broker's log under a checkpoint whose signature was verified.
type remoteLog struct {
	*audit.Remote
	verifiers note.Verifiers
	origin    string
	size      uint64
}

// readLog asks the broker for its log's key and latest checkpoint.
func readLog(ctx context.Context, a *admin.Client) (*remoteLog, error) {
	key, err := a.LogKey(ctx)
	if err != nil {
		return nil, err
	}
	verifier, err := logVerifier(string(key))
	if err != nil {
		return nil, err
	}
	log := &remoteLog{verifiers: note.VerifierList(verifier), origin: verifier.Name()}
	signed, err := a.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	head, err := audit.VerifyCheckpoint(log.verifiers, log.origin, signed)
	if err != nil {
		return nil, no{err}
	}
	log.size, log.Remote = head.Size, audit.NewRemote(fetchFrom(a), head)
	return log, nil
}

func logVerifier(text string) (note.Verifier, error) {
	verifier, err := note.NewVerifier(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("the log's key is not one of C2SP signed-note: %w", err)
	}
	return verifier, nil
}

// fetchFrom reads a broker's log by the paths of C2SP tlog-tiles.
func fetchFrom(a *admin.Client) audit.Fetch {
	return func(ctx context.Context, path string) ([]byte, error) {
		if path == "checkpoint" {
			return a.Checkpoint(ctx)
		}
		return a.Tile(ctx, strings.TrimPrefix(path, "tile/"))
	}
}

// verdict makes an error that says that the log is not in order exit with exitNo.
func verdict(err error) error {
	for _, bad := range []error{audit.ErrDamaged, audit.ErrForked, audit.ErrRolledBack, audit.ErrUnverified, audit.ErrProof, audit.ErrMalformed} {
		if errors.Is(err, bad) {
			return no{err}
		}
	}
	return err
}

func (p *program) auditVerify() *cobra.Command {
	var state, keyFile string
	c := &cobra.Command{
		Use:   "verify [--state FILE]",
		Short: "Compute the whole log again and compare it with what was signed",
		Long: `Read the whole audit log, compute every hash of it from the entries, and compare with the signed checkpoint.

With --state the log's key and checkpoint are kept in a file, and each later run proves that the log still contains everything that
it contained before: a log that was cut, changed or replaced as a whole is found out. Keep the file away from the broker.

Exit codes: 0 the log is in order; 1 it is not; 2 it could not be read.`,
		Example: "  vouchsafe audit verify --state ~/vouchsafe.checkpoint",
		Args:    cobra.NoArgs,
	}
	c.Flags().StringVar(&state, "state", "", "`FILE` that remembers the log's key and latest checkpoint")
	c.Flags().StringVar(&keyFile, "key", "", "`FILE` with the log's key, instead of asking the broker for it")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		known, err := readState(state, keyFile)
		if err != nil {
			return err
		}
		if known.Key == "" {
			text, err := a.LogKey(c.Context())
			if err != nil {
				return err
			}
			known.Key = strings.TrimSpace(string(text))
		}
		verifier, err := logVerifier(known.Key)
		if err != nil {
			return err
		}
		progress := p.progress("entries verified")
		report, err := audit.Audit(c.Context(), fetchFrom(a), audit.AuditConfig{
			Origin: verifier.Name(), Verifiers: note.VerifierList(verifier), Old: known.checkpoint(),
			Each: func(index uint64, _ []byte) error { progress(index + 1); return nil },
		})
		if err != nil {
			return verdict(err)
		}
		if state != "" {
			known.Checkpoint = string(report.Signed)
			if err := writeState(state, known); err != nil {
				return err
			}
		}
		return p.printReport(report, known.Key)
	})
}

func (p *program) printReport(report audit.Report, key string) error {
	if p.json() {
		return p.printJSON(struct {
			Origin  string `json:"origin"`
			Entries uint64 `json:"entries"`
			Bytes   uint64 `json:"bytes"`
			Root    string `json:"root"`
			Old     uint64 `json:"old_entries"`
			Key     string `json:"key"`
		}{report.Checkpoint.Origin, report.Checkpoint.Size, report.Bytes, report.Checkpoint.Root.String(), report.Old.Size, key})
	}
	_, err := fmt.Fprintf(p.out, "The log %s is in order: %d entries, root %s\n", report.Checkpoint.Origin, report.Checkpoint.Size, report.Checkpoint.Root)
	if err == nil && report.Old.Size > 0 {
		_, err = fmt.Fprintf(p.out, "It contains all %d entries of the checkpoint from before\n", report.Old.Size)
	}
	return err
}

// logState is what an auditor keeps between runs.
type logState struct {
	Key        string `json:"key"`
	Checkpoint string `json:"checkpoint"`
}

// checkpoint returns the checkpoint that was kept, nil when there is none.
func (s logState) checkpoint() []byte {
	if s.Checkpoint == "" {
		return nil
	}
	return []byte(s.Checkpoint)
}

func readState(path, keyFile string) (logState, error) {
	var s logState
	if path != "" {
		text, err := readInput(nil, path, maxSettings)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
		if err == nil {
			if err := json.Unmarshal(text, &s); err != nil || s.Key == "" {
				return s, fmt.Errorf("%s is not what \"vouchsafe audit verify --state\" wrote", path)
			}
		}
	}
	if keyFile == "" {
		return s, nil
	}
	text, err := readInput(nil, keyFile, 4096)
	if err != nil {
		return s, err
	}
	key := strings.TrimSpace(string(text))
	if s.Key != "" && s.Key != key {
		return s, no{fmt.Errorf("the key in %s is not the one that %s remembers: this is another log", keyFile, path)}
	}
	s.Key = key
	return s, nil
}

func writeState(path string, s logState) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(text, '\n'), 0o600)
}
