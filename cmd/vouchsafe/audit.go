package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/audit"
)

func (p *program) auditCommand() *cobra.Command {
	return group("admin", "audit", "Read, verify and prove the tamper-evident log",
		p.auditTail(), p.auditEntries(), p.auditVerify(), p.auditLogs(), p.auditKey(), p.auditProve(), p.auditCheckReceipt())
}

func (p *program) auditTail() *cobra.Command {
	var (
		lines  uint64
		follow bool
		which  int
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
	addLogFlag(c, &which)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		log, err := readLog(c.Context(), a, which)
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
			if log, err = readLog(c.Context(), a, which); err != nil {
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
	for i, change := range e.Changes {
		between := ", "
		if i == 0 {
			between = ": "
		}
		what += between + change.Type + " " + change.Object
	}
	if e.Decision != "" {
		what = string(e.Outcome) + " " + e.Decision
		for _, s := range e.Secrets {
			what += " " + s.Name + "=" + string(s.Outcome)
		}
	}
	if e.Actor != nil {
		what = strings.TrimLeft(what+" by "+e.Actor.Name, " ") // some events are about no object
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

// ownLog stands for the log of the broker that is asked.
const ownLog = -1

func addLogFlag(c *cobra.Command, which *int) {
	c.Flags().IntVar(which, "log", ownLog, "`NUMBER` of the log, of those that \"vouchsafe audit logs\" lists (default: that of the broker asked)")
}

// logReader reads one of the logs of a broker's store.
type logReader struct {
	a     *admin.Client
	which int
}

func (l logReader) key(ctx context.Context) ([]byte, error) {
	if l.which == ownLog {
		return l.a.LogKey(ctx)
	}
	return l.a.LogKeyOf(ctx, l.which)
}

func (l logReader) receipt(ctx context.Context, index uint64) ([]byte, error) {
	if l.which == ownLog {
		return l.a.Receipt(ctx, index)
	}
	return l.a.ReceiptOf(ctx, l.which, index)
}

// fetch reads the log by the paths of C2SP tlog-tiles.
func (l logReader) fetch(ctx context.Context, path string) ([]byte, error) {
	tile, isTile := strings.CutPrefix(path, "tile/")
	switch {
	case isTile && l.which == ownLog:
		return l.a.Tile(ctx, tile)
	case isTile:
		return l.a.TileOf(ctx, l.which, tile)
	case l.which == ownLog:
		return l.a.Checkpoint(ctx)
	}
	return l.a.CheckpointOf(ctx, l.which)
}

// readLog asks the broker for a log's key and latest checkpoint.
func readLog(ctx context.Context, a *admin.Client, which int) (*remoteLog, error) {
	from := logReader{a, which}
	key, err := from.key(ctx)
	if err != nil {
		return nil, err
	}
	verifier, err := logVerifier(string(key))
	if err != nil {
		return nil, err
	}
	log := &remoteLog{verifiers: note.VerifierList(verifier), origin: verifier.Name()}
	signed, err := from.fetch(ctx, "checkpoint")
	if err != nil {
		return nil, err
	}
	head, err := audit.VerifyCheckpoint(log.verifiers, log.origin, signed)
	if err != nil {
		return nil, no{err}
	}
	log.size, log.Remote = head.Size, audit.NewRemote(from.fetch, head)
	return log, nil
}

func logVerifier(text string) (note.Verifier, error) {
	verifier, err := note.NewVerifier(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("the log's key is not one of C2SP signed-note: %w", err)
	}
	return verifier, nil
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
