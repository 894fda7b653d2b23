//go:build linux

package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/release"
)

// Sizes of report data, in bytes.
const (
	minReportData     = 32 // all that a TPM quotes
	defaultReportData = 48 // as brokers ask for: a SHA-384
	maxReportData     = 64 // all that a report of SEV-SNP has room for
)

// printer is the command evidence.
type printer struct {
	guest      guest
	reportData string
	format     string
}

func (p *program) evidenceCommand() *cobra.Command {
	e := new(printer)
	c := &cobra.Command{
		Use:   "evidence",
		Short: "Print the evidence that this machine would present",
		Long: `Print the evidence that this machine would present, without asking a broker.

With --format=raw it is the machine's own, as bytes, for 'vouchsafe evidence verify' and 'vouchsafe evidence inspect':
to see the claims before a policy is written. The report data, which binds evidence to a challenge, is random unless
it is given, and printed on standard error.

With --format=json it is all that a request would have in it, with the devices of --device: {"nonce", "recipient",
"evidence": {"kind", "data"}, "additional_evidence", "report_data", "device_report_data", "sizes"}, for a nonce and a
key made up here. The report data, in hex, is what the machine's evidence and that of its devices are bound to;
standard error has a summary.

Evidence is not secret, but names the processor or TPM it comes from.`,
		Example: `  vouchsafe-agent evidence > evidence.bin
  vouchsafe evidence verify --kind snp evidence.bin
  vouchsafe-agent evidence --format=json --device tpm | jq .sizes`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return e.run(c.Context(), p) },
	}
	e.guest.add(c, false)
	c.Flags().StringVar(&e.reportData, "report-data", "", "what to have attested: `HEX` of 32 to 64 bytes (default random)")
	c.Flags().StringVar(&e.format, "format", "raw", "`FORMAT` of what is printed: raw or json")
	return c
}

func (e *printer) run(ctx context.Context, p *program) error {
	switch {
	case e.format != "raw" && e.format != "json":
		return fmt.Errorf("--format is %.32q, not raw or json", e.format)
	case e.format == "json" && e.reportData != "":
		return errors.New("--report-data goes with --format=raw: a whole request has two, made of its nonce and key")
	case e.format == "raw" && slices.ContainsFunc(e.guest.devices, func(name string) bool { return name != noDevices }):
		return errors.New("--device goes with --format=json: raw bytes have room for the machine's own evidence only")
	}
	digest := make([]byte, defaultReportData)
	rand.Read(digest)
	if e.reportData != "" {
		var err error
		if digest, err = hex.DecodeString(e.reportData); err != nil || len(digest) < minReportData || len(digest) > maxReportData {
			return errors.New("--report-data is not hex of 32 to 64 bytes")
		}
	}
	collectors, err := e.guest.open(ctx, p.system)
	if err != nil {
		return err
	}
	defer collectors.close()
	if e.format == "json" {
		return e.request(ctx, p, collectors)
	}
	evidence, err := collectors.machine.Evidence(ctx, digest)
	if err != nil {
		return err
	}
	if e.reportData == "" {
		p.say("kind %s, report data %x", collectors.machine.Kind(), digest)
	}
	if _, err := p.out.Write(evidence); err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	return nil
}

// shown is what a request would have in it, and what its evidence is bound to.
type shown struct {
	Nonce            string           `json:"nonce"`
	Recipient        json.RawMessage  `json:"recipient"`
	Evidence         release.Evidence `json:"evidence"`
	Additional       string           `json:"additional_evidence,omitempty"`
	ReportData       string           `json:"report_data"`
	DeviceReportData string           `json:"device_report_data,omitempty"`
	Sizes            sizes            `json:"sizes"`
}

// sizes are in bytes.
type sizes struct {
	Evidence   int                 `json:"evidence"`
	Additional int                 `json:"additional_evidence,omitempty"`
	Devices    map[attest.Kind]int `json:"devices,omitempty"`
}

// request prints a request for a nonce that no broker gave.
func (e *printer) request(ctx context.Context, p *program, c *collectors) error {
	key, err := envelope.GenerateKey(envelope.XWing)
	if err != nil {
		return err
	}
	nonce := make([]byte, 32)
	rand.Read(nonce)
	out := shown{Nonce: base64.StdEncoding.EncodeToString(nonce), Recipient: key.PublicJWK()}
	runtime := attest.RuntimeData{Hash: crypto.SHA384, Nonce: out.Nonce, Recipient: key.Recipient().Canonical()}
	evidence, err := client.Collect(ctx, c.machine, c.devices, runtime)
	if err != nil {
		return err
	}
	out.Evidence, out.Additional = release.Evidence{Kind: evidence.Kind, Data: evidence.Primary}, evidence.Additional
	out.Sizes = sizes{Evidence: len(evidence.Primary), Additional: len(evidence.Additional)}
	runtime.Additional = evidence.Additional
	digest, err := runtime.Primary()
	if err != nil {
		return err
	}
	out.ReportData = hex.EncodeToString(digest)
	p.say("kind %s, report data %x", evidence.Kind, digest)
	p.say("  evidence of %d bytes", len(evidence.Primary))
	if evidence.Additional != "" {
		if digest, err = runtime.Device(); err != nil {
			return err
		}
		out.DeviceReportData = hex.EncodeToString(digest)
		devices, err := attest.ParseAdditional(evidence.Additional)
		if err != nil {
			return err
		}
		out.Sizes.Devices = map[attest.Kind]int{}
		for _, d := range devices {
			out.Sizes.Devices[d.Kind] = len(d.Data)
			p.say("  with a device of kind %s, %d bytes, report data %x", d.Kind, len(d.Data), digest)
		}
	}
	return printJSON(p.out, out)
}
