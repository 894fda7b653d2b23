//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// Sizes of report data, in bytes.
const (
	minReportData     = 32 // all that a TPM quotes
	defaultReportData = 48 // as brokers ask for: a SHA-384
	maxReportData     = 64 // all that a report of SEV-SNP has room for
)

func (p *program) evidenceCommand() *cobra.Command {
	var (
		g          guest
		reportData string
	)
	c := &cobra.Command{
		Use:   "evidence",
		Short: "Print the evidence that this machine would present",
		Long: `Print the evidence that this machine would present, as raw bytes, without asking a broker: for 'vouchsafe evidence
verify' and 'vouchsafe evidence inspect', to see the claims before a policy is written.

The report data, which binds evidence to a challenge, is random unless it is given, and printed on standard error.
Evidence is not secret, but names the processor or TPM it comes from.`,
		Example: `  vouchsafe-agent evidence > evidence.bin
  vouchsafe evidence verify --kind snp evidence.bin`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return g.print(c.Context(), p, reportData) },
	}
	g.add(c, false)
	c.Flags().StringVar(&reportData, "report-data", "", "what to have attested: `HEX` of 32 to 64 bytes (default random)")
	return c
}

func (g *guest) print(ctx context.Context, p *program, reportData string) error {
	digest := make([]byte, defaultReportData)
	rand.Read(digest)
	if reportData != "" {
		var err error
		if digest, err = hex.DecodeString(reportData); err != nil || len(digest) < minReportData || len(digest) > maxReportData {
			return errors.New("--report-data is not hex of 32 to 64 bytes")
		}
	}
	collector, done, err := g.collector(ctx, p.system)
	if err != nil {
		return err
	}
	defer done()
	evidence, err := collector.Evidence(ctx, digest)
	if err != nil {
		return err
	}
	if reportData == "" {
		p.say("kind %s, report data %x", collector.Kind(), digest)
	}
	if _, err := p.out.Write(evidence); err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	return nil
}
