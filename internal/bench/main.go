package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// bench is one run.
type bench struct {
	time time.Duration // for one comparison
	dir  string        // for stores
}

func main() {
	if dir := os.Getenv(serveDir); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, "bench: the broker:", err)
			os.Exit(1)
		}
		return
	}
	if err := measure(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure() (err error) {
	jsonFile := flag.String("json", "", "file for the report as JSON, besides")
	only := flag.String("only", "", "parts to measure, separated by commas: start, snp, policy, rego, envelope, audit, release, secrets, replay, vault")
	seconds := flag.Float64("seconds", 1.5, "how long one comparison takes")
	folder := flag.String("dir", "", "where stores are made, a temporary folder when empty: what a write costs depends on the disk")
	flag.Parse()
	b := &bench{time: time.Duration(*seconds * float64(time.Second))}
	if b.dir, err = os.MkdirTemp(*folder, "vouchsafe-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	parts := []struct {
		name string
		run  func() section
	}{
		{"start", b.startPart}, {"snp", b.snpPart}, {"policy", b.policyPart}, {"rego", b.regoPart}, {"envelope", b.envelopePart}, {"audit", b.auditPart},
		{"release", b.releasePart}, {"secrets", b.secretsPart}, {"replay", b.replayPart}, {"vault", b.vaultPart},
	}
	wanted := strings.Split(*only, ",")
	for _, name := range wanted {
		if *only != "" && !slices.ContainsFunc(parts, func(p struct {
			name string
			run  func() section
		}) bool {
			return p.name == name
		}) {
			return fmt.Errorf("there is no part %q", name)
		}
	}
	r := &report{Machine: thisMachine()}
	begin := time.Now()
	for _, part := range parts {
		if *only != "" && !slices.Contains(wanted, part.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring: %s\n", part.name)
		if err := caught(func() { r.Sections = append(r.Sections, part.run()) }); err != nil {
			return err
		}
	}
	r.Took = time.Since(begin).Seconds()
	if *jsonFile != "" {
		if err := r.writeJSON(*jsonFile); err != nil {
			return err
		}
	}
	return r.write(os.Stdout)
}
