package collateral

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/atomicfile"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// Wanted is an item that is not at hand, or that could not be made newer, and why.
type Wanted struct {
	Name     string    `json:"name"`
	Since    time.Time `json:"since"`             // it was wanted first
	Asked    time.Time `json:"asked"`             // it was asked for last
	Kept     bool      `json:"kept,omitempty"`    // by an operator, or always
	Held     bool      `json:"held,omitempty"`    // an older one is at hand
	Next     time.Time `json:"next,omitzero"`     // when it is tried again; absent where it is about to be, or nothing is fetched
	Attempts int       `json:"attempts"`          // that failed
	Result   Result    `json:"result,omitempty"`  // of the last attempt
	Problem  string    `json:"problem,omitempty"` // the last attempt's, in words
}

// Wanted returns what is missing, or could not be made newer, by name.
func (m *Manager) Wanted() []Wanted {
	now := m.config.Now()
	all := []Wanted{}
	for _, l := range m.lanes {
		all = append(all, l.list(now)...)
	}
	slices.SortFunc(all, func(a, b Wanted) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func (l *lane) list(now time.Time) []Wanted {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Wanted
	for _, w := range l.wants {
		out := Wanted{
			Name: w.name.text, Since: w.since.UTC(), Asked: w.asked.UTC(), Kept: w.kept, Held: w.refresh,
			Attempts: w.attempts, Result: w.result,
		}
		next := w.due
		if l.paused.After(next) {
			next = l.paused
		}
		switch {
		case l.publisher.Source == nil:
			out.Problem = fmt.Sprintf("nothing is fetched from %s here", l.publisher.Vendor)
		case next.After(now):
			out.Next = next.UTC()
		}
		if w.err != nil {
			out.Problem = w.err.Error()
		}
		all = append(all, out)
	}
	return all
}

// maxWantedFile bounds the file in bytes: some thousand names of 200 bytes with what went wrong.
const maxWantedFile = 8 << 20

// saveWanted writes what is wanted to the folder, for commands and for whoever carries it to a machine that has a network. It is for people: a server
// does not read it.
func (m *Manager) saveWanted() {
	if m.folder == nil || m.config.ReadOnly || m.config.Command {
		return
	}
	text, err := json.MarshalIndent(m.Wanted(), "", " ")
	if err != nil {
		return
	}
	text = append(text, '\n')
	m.mu.Lock()
	defer m.mu.Unlock()
	if bytes.Equal(text, m.saved) {
		return
	}
	if err := atomicfile.Write(filepath.Join(m.folder.dir, wantedFile), text, 0o600); err != nil {
		m.config.Logger.Warn("what collateral is wanted cannot be written down", "error", err)
		return
	}
	m.saved = text
}

// ReadWanted reads what a server wrote down as wanted: the file wanted.json in the folder of its collateral. None is nothing wanted.
func ReadWanted(path string) ([]Wanted, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxWantedFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxWantedFile {
		return nil, fmt.Errorf("collateral: %s has over %d bytes", path, maxWantedFile)
	}
	var all []Wanted
	if err := strictjson.UnmarshalNewer(text, &all); err != nil {
		return nil, fmt.Errorf("collateral: %s: %w", path, err)
	}
	for _, w := range all {
		if _, err := ParseName(w.Name); err != nil {
			return nil, fmt.Errorf("collateral: %s: %w", path, err)
		}
	}
	return all, nil
}

// WantedPath is where a server with the folder dir writes down what is wanted.
func WantedPath(dir string) string { return filepath.Join(dir, wantedFile) }

// Stats are numbers about one vendor's items, for metrics.
type Stats struct {
	Vendor  Vendor
	Items   map[Type]int
	Expires time.Time // of the first item that expires; zero where none does
	Wanted  int       // missing: not at hand and waited for
	Failing int       // at hand and could not be made newer
	Fetches map[Result]uint64
}

// Stats returns the numbers of every configured vendor.
func (m *Manager) Stats() []Stats {
	of := map[Vendor]*Stats{}
	var all []Stats
	for _, v := range Vendors() {
		l := m.lanes[v]
		if l == nil {
			continue
		}
		s := &Stats{Vendor: v, Items: map[Type]int{}, Fetches: map[Result]uint64{}}
		s.Wanted, s.Failing = l.numbers()
		for _, r := range Results() {
			s.Fetches[r] = m.counts.of(v, r).Load()
		}
		of[v] = s
	}
	for _, h := range *m.current.Load() {
		s := of[h.Name.Vendor()]
		if s == nil {
			continue
		}
		s.Items[h.Name.Type()]++
		if !h.Expires.IsZero() && (s.Expires.IsZero() || h.Expires.Before(s.Expires)) {
			s.Expires = h.Expires
		}
	}
	for _, v := range Vendors() {
		if of[v] != nil {
			all = append(all, *of[v])
		}
	}
	return all
}

// numbers counts the names that are missing, and those at hand that could not be made newer.
func (l *lane) numbers() (missing, failing int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.wants {
		switch {
		case !w.refresh:
			missing++
		case w.err != nil:
			failing++
		}
	}
	return missing, failing
}

// Fetching reports whether anything is fetched from a vendor.
func (m *Manager) Fetching(v Vendor) bool {
	l := m.lanes[v]
	return l != nil && l.publisher.Source != nil
}

// Always returns the names that are always wanted of the vendors from which something is fetched.
func (m *Manager) Always() []string {
	var names []string
	for _, v := range Vendors() {
		if l := m.lanes[v]; l != nil && l.publisher.Source != nil {
			for _, name := range l.always {
				names = append(names, name.text)
			}
		}
	}
	return names
}
