package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"
)

// row is one line of the report.
type row struct {
	What   string        `json:"what"`
	Cost   time.Duration `json:"cost_ns"`
	Floor  time.Duration `json:"floor_ns,omitempty"`
	Ratio  float64       `json:"ratio,omitempty"`
	Budget string        `json:"budget,omitempty"` // in words, "" for none
	Met    *bool         `json:"met,omitempty"`    // nil where there is no budget
	Note   string        `json:"note,omitempty"`
}

// section is a part of the report.
type section struct {
	Title string `json:"title"`
	Rows  []row  `json:"rows"`
	Note  string `json:"note,omitempty"`
}

// against makes a row of a cost, its floor and the most that their ratio may be, 0 for no budget.
func against(what string, cost, floor time.Duration, most float64) row {
	r := row{What: what, Cost: cost, Floor: floor, Ratio: float64(cost) / float64(floor)}
	if most > 0 {
		met := r.Ratio <= most
		r.Budget, r.Met = fmt.Sprintf("≤ %.2f×", most), &met
	}
	return r
}

// within makes a row of a cost and the most that it may be.
func within(what string, cost, most time.Duration) row {
	met := cost <= most
	return row{What: what, Cost: cost, Budget: "≤ " + short(most), Met: &met}
}

// machine is where the report was made.
type machine struct {
	Time      time.Time `json:"time"`
	Processor string    `json:"processor"`
	Cores     int       `json:"cores"`
	System    string    `json:"system"`
	Go        string    `json:"go"`
	Revision  string    `json:"revision,omitempty"`
	Load      string    `json:"load"` // of the system before the run, 1, 5 and 15 minutes
}

func thisMachine() machine {
	m := machine{
		Time: time.Now().UTC().Truncate(time.Second), Cores: runtime.GOMAXPROCS(0), Go: runtime.Version(),
		System: runtime.GOOS + "/" + runtime.GOARCH, Processor: "unknown", Load: loadAverage(),
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.Processor = strings.TrimSpace(value)
				break
			}
		}
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				m.Revision = s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return m
}

// loadAverage is the system's load, of 1, 5 and 15 minutes.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// report is everything that was measured.
type report struct {
	Machine  machine   `json:"machine"`
	Sections []section `json:"sections"`
	Took     float64   `json:"took_seconds"`
}

func (r *report) write(w io.Writer) error {
	m := r.Machine
	fmt.Fprintf(w, "Vouchsafe, measured %s\n%s, %d cores, %s, %s %s\nload before the run: %s\n",
		m.Time.Format(time.DateTime), m.Processor, m.Cores, m.System, m.Go, m.Revision, m.Load)
	met, missed := 0, 0
	for _, s := range r.Sections {
		fmt.Fprintf(w, "\n%s\n", s.Title)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "cost\tfloor\tratio\tbudget\t\t \t")
		for _, row := range s.Rows {
			floor, ratio, verdict := "", "", ""
			if row.Floor > 0 {
				floor, ratio = short(row.Floor), fmt.Sprintf("%.2f×", row.Ratio)
			}
			cost := short(row.Cost)
			if row.Cost == 0 {
				cost = ""
			}
			if row.Met != nil {
				if verdict = "met"; !*row.Met {
					verdict = "MISSED"
					missed++
				} else {
					met++
				}
			}
			text := row.What
			if row.Note != "" {
				text += ": " + row.Note
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t \t%s\n", cost, floor, ratio, row.Budget, verdict, text)
		}
		if err := t.Flush(); err != nil {
			return err
		}
		if s.Note != "" {
			fmt.Fprintf(w, "  %s\n", s.Note)
		}
	}
	_, err := fmt.Fprintf(w, "\n%d budgets met, %d missed; %.0f seconds\n", met, missed, r.Took)
	return err
}

func (r *report) writeJSON(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// short writes a duration with three digits.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.3g s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.3g ms", float64(d)/1e6)
	case d >= time.Microsecond:
		return fmt.Sprintf("%.3g µs", float64(d)/1e3)
	default:
		return fmt.Sprintf("%d ns", d)
	}
}
