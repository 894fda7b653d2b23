package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/logs"
	"github.com/vouchsafe/vouchsafe/internal/atomicfile"
)

func (p *program) auditVerify() *cobra.Command {
	var (
		state, keyFile string
		which          int
	)
	c := &cobra.Command{
		Use:   "verify [--state FILE]",
		Short: "Compute the whole log again and compare with what was signed",
		Long: `Read the whole audit log, compute every hash of it from the entries, and compare with the signed checkpoint. Where brokers share a store, that is done for
each of its logs, unless --log says for which.

With --state the log's key and checkpoint are kept in a file, and each later run proves that the log still contains everything that
it contained before: a log that was cut, changed or replaced as a whole is found out, and of several, one that is gone. Keep the file away from
the broker.

Exit codes: 0 the log is in order; 1 it is not; 2 it could not be read.`,
		Example: "  vouchsafe audit verify --state ~/vouchsafe.checkpoint",
		Args:    cobra.NoArgs,
	}
	c.Flags().StringVar(&state, "state", "", "`FILE` that remembers the log's key and latest checkpoint")
	c.Flags().StringVar(&keyFile, "key", "", "`FILE` with the log's key, instead of asking the broker for it; needs --log where there are several")
	addLogFlag(c, &which)
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		known, err := readState(state, keyFile)
		if err != nil {
			return err
		}
		numbers, err := logsToVerify(c.Context(), a, which, known)
		if err != nil {
			return err
		}
		if keyFile != "" && len(numbers) > 1 {
			return fmt.Errorf("the store has %d audit logs, each with a key of its own: say --log with --key", len(numbers))
		}
		for _, number := range numbers {
			one := known.of(number)
			if keyFile != "" {
				if one.Key != "" && one.Key != known.Key {
					return no{fmt.Errorf("the key in %s is not the one that %s remembers: this is another log", keyFile, state)}
				}
				one.Key = known.Key
			}
			report, err := p.verifyLog(c.Context(), logReader{a, number}, one)
			if err != nil {
				return err
			}
			if err := p.printReport(report, one.Key); err != nil {
				return err
			}
		}
		if state == "" {
			return nil
		}
		return writeState(state, known)
	})
}

// logsToVerify returns the numbers of the logs to verify: the one that was named, or all. One that was there before must be there still.
func logsToVerify(ctx context.Context, a *admin.Client, which int, known *logState) ([]int, error) {
	if which != ownLog {
		return []int{which}, nil
	}
	list, err := a.Logs(ctx)
	if err != nil {
		return nil, err
	}
	if len(list) == 1 && list[0].Log == 0 && len(known.Logs) == 0 {
		return []int{ownLog}, nil
	}
	there := map[int]bool{}
	var numbers []int
	for _, info := range list {
		there[info.Log] = true
		numbers = append(numbers, info.Log)
	}
	for number := range known.Logs {
		if !there[number] {
			return nil, no{fmt.Errorf("the audit log %d, of which a checkpoint was kept, is gone", number)}
		}
	}
	return numbers, nil
}

// verifyLog audits one log against what is known of it, which it completes.
func (p *program) verifyLog(ctx context.Context, from logReader, known *oneLogState) (audit.Report, error) {
	if known.Key == "" {
		text, err := from.key(ctx)
		if err != nil {
			return audit.Report{}, err
		}
		known.Key = strings.TrimSpace(string(text))
	}
	verifier, err := logVerifier(known.Key)
	if err != nil {
		return audit.Report{}, err
	}
	progress := p.progress("entries verified")
	report, err := audit.Audit(ctx, from.fetch, audit.AuditConfig{
		Origin: verifier.Name(), Verifiers: note.VerifierList(verifier), Old: known.checkpoint(),
		Each: func(index uint64, _ []byte) error { progress(index + 1); return nil },
	})
	if err != nil {
		return report, verdict(err)
	}
	known.Checkpoint = string(report.Signed)
	return report, nil
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

// logState is what an auditor keeps between runs: of the one log of a broker that has its store to itself, or by number of those of brokers that share one.
type logState struct {
	oneLogState
	Logs map[int]*oneLogState `json:"logs,omitempty"`
}

// oneLogState is what is kept of one log.
type oneLogState struct {
	Key        string `json:"key,omitempty"`
	Checkpoint string `json:"checkpoint,omitempty"`
}

// of returns what is kept of a log, to be completed.
func (s *logState) of(number int) *oneLogState {
	if number == ownLog {
		return &s.oneLogState
	}
	if number == 0 && s.Logs[0] == nil && s.Key != "" { // kept when the store was not shared yet, or of a --key
		return &s.oneLogState
	}
	if s.Logs == nil {
		s.Logs = map[int]*oneLogState{}
	}
	if s.Logs[number] == nil {
		s.Logs[number] = &oneLogState{}
	}
	return s.Logs[number]
}

// checkpoint returns the checkpoint that was kept, nil when there is none.
func (s *oneLogState) checkpoint() []byte {
	if s.Checkpoint == "" {
		return nil
	}
	return []byte(s.Checkpoint)
}

func readState(path, keyFile string) (*logState, error) {
	s := &logState{}
	if path != "" {
		text, err := readInput(nil, path, maxSettings)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil {
			if err := json.Unmarshal(text, s); err != nil || s.Key == "" && len(s.Logs) == 0 {
				return nil, fmt.Errorf("%s is not what \"vouchsafe audit verify --state\" wrote", path)
			}
		}
	}
	if keyFile == "" {
		return s, nil
	}
	text, err := readInput(nil, keyFile, 4096)
	if err != nil {
		return nil, err
	}
	key := strings.TrimSpace(string(text))
	if s.Key != "" && s.Key != key {
		return nil, no{fmt.Errorf("the key in %s is not the one that %s remembers: this is another log", keyFile, path)}
	}
	s.Key = key
	return s, nil
}

func writeState(path string, s *logState) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(text, '\n'), 0o600)
}

func (p *program) auditLogs() *cobra.Command {
	c := &cobra.Command{
		Use: "logs", Short: "List the audit logs of the store, and their keys", Args: cobra.NoArgs,
		Long: `List the audit logs of the store: one, unless brokers share it. Then each broker appends to a log of its own, number 1 to 64, and goes on with
one that another left. Each has a name and a key of its own. Number 0 is the log of before the store was shared, where there was one.`,
		Example: "  vouchsafe audit logs",
	}
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		list, err := a.Logs(c.Context())
		if err != nil {
			return err
		}
		if p.json() {
			return p.printJSON(list)
		}
		for _, info := range list {
			if _, err := fmt.Fprintf(p.out, "%d  %s  %s\n", info.Log, info.Key, usedBy(info)); err != nil {
				return err
			}
		}
		return nil
	})
}

func usedBy(info logs.Info) string {
	switch {
	case info.Broker == "" && info.Active:
		return "in use"
	case info.Broker == "":
		return "not in use"
	case info.Active:
		return "in use by " + info.Broker
	}
	return "last used by " + info.Broker
}
