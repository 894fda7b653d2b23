package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/attest/collateral"
)

func (p *program) collateralCommand() *cobra.Command {
	return group("offline", "collateral", "Fetch, look at and carry vendors' certificates and lists",
		p.collateralSync(), p.collateralStatus(), p.collateralExport(), p.collateralImport(), p.collateralKey())
}

// collateralFlags say which folder of collateral a command works on.
type collateralFlags struct {
	config string
	dir    string
	fetch  []string
}

func (f *collateralFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.config, "config", "", "YAML `FILE` with the server's settings")
	c.Flags().StringVar(&f.dir, "dir", "", "`DIR` of collateral (default that of --config)")
}

// settings returns the settings, in which the flags are.
func (f *collateralFlags) settings() (*settings, error) {
	s := &settings{}
	if f.config != "" {
		read, err := readSettings(f.config)
		if err != nil {
			return nil, err
		}
		s = read
	}
	if f.dir != "" {
		s.Collateral.Dir = f.dir
	}
	if f.fetch != nil {
		s.Collateral.Fetch = f.fetch
	}
	_, err := s.Collateral.folder(s.Data)
	return s, err
}

// manager opens the folder of collateral, with the checks of what the settings have verified.
func (s *settings) manager(what opening) (*collateral.Manager, error) {
	kinds, err := s.verified()
	if err != nil {
		return nil, err
	}
	return s.Collateral.open(s.Data, s.hooks(kinds), what, nil, slog.New(slog.DiscardHandler))
}

// open opens the folder. One that is not there is an error where it is only looked at.
func (f *collateralFlags) open(what opening) (*collateral.Manager, error) {
	s, err := f.settings()
	if err != nil {
		return nil, err
	}
	m, err := s.manager(what)
	if errors.Is(err, fs.ErrNotExist) {
		dir, _ := s.Collateral.folder(s.Data)
		return nil, fmt.Errorf("there is no collateral in %s yet: \"vouchsafe collateral sync\" fetches some, and \"import\" takes it from a bundle", dir)
	}
	return m, err
}

// itemStatus is one item as "collateral status" prints it.
type itemStatus struct {
	Name    string    `json:"name"`
	Fetched time.Time `json:"fetched,omitzero"`
	Issued  time.Time `json:"issued,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
	Refresh time.Time `json:"refresh,omitzero"` // absent where nothing is fetched from its vendor
	Source  string    `json:"source,omitempty"`
	SHA256  string    `json:"sha256"`
	Bytes   int       `json:"bytes"`
	Kept    bool      `json:"kept"`
	State   string    `json:"state"` // ok, expiring (within --within) or expired
}

type collateralStatus struct {
	Items   []itemStatus        `json:"items"`
	Wanted  []collateral.Wanted `json:"wanted"`
	Damaged []collateral.Damage `json:"damaged"`
}

func (p *program) collateralStatus() *cobra.Command {
	var (
		f      collateralFlags
		within time.Duration
	)
	c := &cobra.Command{
		Use:   "status [--config FILE | --dir DIR] [--within DURATION]",
		Short: "List collateral, when it expires, and what is missing",
		Long: `List what a broker has at hand of its vendors' certificates, revocation lists and TCB levels, and what it has noted as missing or could not make
newer, with the reason. It reads the folder and changes nothing, so it may run beside the broker, as the broker's user. Each item is held against its
vendor's signature again.

For an alert, run it from cron with --within: longer than the time in which somebody will act.

Exit codes: 0 in order; 1 an item has expired, expires within --within, or is damaged; 2 the folder cannot be read.`,
		Example: `  vouchsafe collateral status --config /etc/vouchsafe/server.yaml
  vouchsafe collateral status --config /etc/vouchsafe/server.yaml --within 72h >/dev/null || page-somebody
  vouchsafe collateral status --dir staging --format=json | jq '.wanted[].name'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if within < 0 {
				return errors.New("--within is negative")
			}
			m, err := f.open(toLook)
			if err != nil {
				return err
			}
			checked := p.progress("items checked")
			if _, err := m.Recheck(c.Context(), func(n, _ int) { checked(uint64(n)) }); err != nil {
				return err
			}
			s, err := f.settings()
			if err != nil {
				return err
			}
			dir, err := s.Collateral.folder(s.Data)
			if err != nil {
				return err
			}
			wanted, err := collateral.ReadWanted(collateral.WantedPath(dir))
			if err != nil {
				return err
			}
			return p.printCollateral(gather(m, wanted, &s.Collateral, within, time.Now()))
		},
	}
	f.add(c)
	c.Flags().DurationVar(&within, "within", 0, "exit with 1 when something expires within this time, like 72h")
	return c
}

// gather puts together what status prints.
func gather(m *collateral.Manager, wanted []collateral.Wanted, s *collateralSettings, within time.Duration, now time.Time) *collateralStatus {
	out := &collateralStatus{Items: []itemStatus{}, Wanted: []collateral.Wanted{}, Damaged: []collateral.Damage{}}
	for _, i := range m.Items() {
		e := i.Endorsement
		status := itemStatus{
			Name: e.Name, Fetched: e.Fetched.UTC(), Issued: i.Issued.UTC(), Expires: i.Expires.UTC(), Source: i.Source,
			SHA256: fmt.Sprintf("%x", e.Digest), Bytes: len(e.Data), Kept: i.Kept, State: "ok",
		}
		if s.fetches(i.Name.Vendor()) {
			status.Refresh = i.Refresh().UTC()
		}
		switch {
		case i.Expires.IsZero():
		case !now.Before(i.Expires):
			status.State = "expired"
		case i.Expires.Sub(now) <= within:
			status.State = "expiring"
		}
		out.Items = append(out.Items, status)
	}
	slices.SortFunc(out.Items, func(a, b itemStatus) int { return strings.Compare(a.Name, b.Name) })
	for _, w := range wanted {
		// The note may be older than what an import has brought since.
		if w.Held || m.Item(w.Name) == nil {
			out.Wanted = append(out.Wanted, w)
		}
	}
	out.Damaged = append(out.Damaged, m.Damage()...)
	return out
}

func (p *program) printCollateral(s *collateralStatus) error {
	if p.json() {
		if err := p.printJSON(s); err != nil {
			return err
		}
	} else if err := p.printCollateralTable(s); err != nil {
		return err
	}
	if len(s.Damaged) > 0 || slices.ContainsFunc(s.Items, func(i itemStatus) bool { return i.State != "ok" }) {
		return silent{exitNo}
	}
	return nil
}

func (p *program) printCollateralTable(s *collateralStatus) error {
	if err := p.table("ITEM STATE FETCHED EXPIRES REFRESH", func(row func(...any)) {
		for _, i := range s.Items {
			row(shortItem(i.Name), i.State, when(i.Fetched), when(i.Expires), when(i.Refresh))
		}
	}); err != nil {
		return err
	}
	if len(s.Wanted) > 0 {
		fmt.Fprintln(p.out)
		if err := p.table("WANTED SINCE TRIED NEXT PROBLEM", func(row func(...any)) {
			for _, w := range s.Wanted {
				row(w.Name, when(w.Since), w.Attempts, when(w.Next), orDash(w.Problem))
			}
		}); err != nil {
			return err
		}
	}
	for _, d := range s.Damaged {
		fmt.Fprintf(p.out, "damaged: %s: %s\n", plain(d.File), plain(d.Reason))
	}
	return nil
}

// shortItem cuts a chip's identifier to what tells it from others in a table.
func shortItem(name string) string {
	const most = 16
	prefix, rest, ok := strings.Cut(name, "-")
	at := strings.LastIndex(prefix, "/")
	if !ok || !strings.HasPrefix(name, "amd/vcek/") || len(prefix)-at <= most {
		return name
	}
	return prefix[:at+1+most] + "…-" + rest
}

// whileRunning runs the manager while f does something with it.
func whileRunning(ctx context.Context, m *collateral.Manager, f func(context.Context) error) error {
	background, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- m.Run(background) }()
	err := f(ctx)
	stop()
	return errors.Join(err, <-ended)
}

// readNames reads the names of what a server noted as wanted.
func readNames(path string) ([]string, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	wanted, err := collateral.ReadWanted(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, w := range wanted {
		names = append(names, w.Name)
	}
	return names, nil
}
