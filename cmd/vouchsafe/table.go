package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// table prints rows under headings, in columns.
func (p *program) table(headings string, rows func(row func(cells ...any))) error {
	w := tabwriter.NewWriter(p.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(headings, " ", "\t"))
	rows(func(cells ...any) {
		for i, cell := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	})
	return w.Flush()
}

// when prints a time for people, in their zone; "-" for none.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// orDash prints "-" for an empty cell, so that columns can be told apart.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// short cuts a digest to what tells it from others in a table.
func short(digest string) string {
	const most = len("sha256:") + 12
	if len(digest) > most {
		return digest[:most]
	}
	return digest
}
