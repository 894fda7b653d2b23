//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/client/secretfile"
)

// fetcher is the command fetch.
type fetcher struct {
	asker
	format            string
	output, outputDir string
	allowDisk         bool
}

func (p *program) fetchCommand() *cobra.Command {
	f := new(fetcher)
	c := &cobra.Command{
		Use:   "fetch NAME[@VERSION]...",
		Short: "Fetch secrets to standard output or into files",
		Long: `Fetch secrets to standard output or into files. All of them come, or none: a workload that can do with fewer asks
twice.

One secret goes to standard output as the bytes it is, with no line break after it. Several go into files
(--output-dir), or into one JSON document (--format=json): {"secrets": [{"name", "version", "content_type", "policy",
"decision", "lease": {"id", "expires"}, "receipt", "value"}]}, in the order asked for, value in base64.

A file has mode 0600 and replaces what was there at once, so that a reader sees the old secret or the new one. It must
be on tmpfs or ramfs, as /run and /dev/shm are: a disk outside the confidential machine keeps what was written to it
once. --allow-disk says that you know better, for a disk that is encrypted with a key only this machine has. A secret
payments/db/password goes to DIR/payments/db/password; folders are made with mode 0700.

A lease says until when the broker takes the secret to be held here. Fetch again before that to have the current
version.`,
		Example: `  vouchsafe-agent fetch payments/db/password
  vouchsafe-agent fetch --output /run/app/db-password payments/db/password@3
  vouchsafe-agent fetch --output-dir /run/app payments/db/password payments/tls/key
  vouchsafe-agent fetch --format=json payments/db/password | jq -r '.secrets[0].value | @base64d'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return f.run(c.Context(), p, args) },
	}
	c.Flags().StringVar(&f.format, "format", "raw", "`FORMAT` of what is written: raw or json")
	c.Flags().StringVar(&f.output, "output", "", "write to `FILE` instead of standard output")
	c.Flags().StringVar(&f.outputDir, "output-dir", "", "write each secret to a file of its name below `DIR`, which is made when absent")
	c.Flags().BoolVar(&f.allowDisk, "allow-disk", false, "write files where they may reach a disk")
	f.add(c)
	return c
}

func (f *fetcher) run(ctx context.Context, p *program, args []string) error {
	wants := make([]release.Want, len(args))
	names := make([]string, len(args))
	for i, arg := range args {
		var err error
		if wants[i], err = parseWant(arg); err != nil {
			return err
		}
		names[i] = wants[i].Name
	}
	switch {
	case f.format != "raw" && f.format != "json":
		return fmt.Errorf("--format is %q, not raw or json", f.format)
	case f.output != "" && f.outputDir != "":
		return errors.New("--output and --output-dir are two places: give one of them")
	case f.outputDir != "" && f.format == "json":
		return errors.New("--output-dir writes secrets as they are: --format=json goes to one file or standard output")
	case f.outputDir == "" && f.format == "raw" && len(args) > 1:
		return errors.New("several secrets, one after the other, could not be told apart: " +
			"say --output-dir DIR or --format=json")
	case f.allowDisk && f.output == "" && f.outputDir == "":
		return errors.New("--allow-disk is about --output and --output-dir: what becomes of standard output is your shell's")
	}
	if f.outputDir != "" {
		if err := secretfile.CheckNames(names...); err != nil {
			return err
		}
	}
	// Opened first: a secret that has nowhere to go is not asked for.
	deliver, done, err := f.place(p)
	if err != nil {
		return err
	}
	defer done()
	secrets, err := f.fetch(ctx, p, wants)
	if err != nil {
		return err
	}
	defer wipe(secrets)
	return deliver(secrets)
}

// place opens where secrets go, and returns what puts them there.
func (f *fetcher) place(p *program) (deliver func([]client.Secret) error, done func(), err error) {
	if f.output == "" && f.outputDir == "" {
		return func(secrets []client.Secret) error {
			content, err := f.encode(secrets)
			if err != nil {
				return err
			}
			defer clear(content)
			if _, err := p.out.Write(content); err != nil {
				return fmt.Errorf("writing to standard output: %w", err)
			}
			return nil
		}, func() {}, nil
	}
	c := secretfile.Config{Folder: f.outputDir, Make: true, AllowDisk: f.allowDisk}
	file := filepath.Base(f.output)
	if f.output != "" {
		c.Folder, c.Make = filepath.Dir(f.output), false
		if err := secretfile.CheckNames(file); err != nil {
			return nil, nil, err
		}
	}
	folder, err := secretfile.Open(c)
	if errors.Is(err, secretfile.ErrDisk) {
		err = fmt.Errorf("%w\nChoose a folder below /run or /dev/shm, or say --allow-disk where the disk is encrypted "+
			"with a key only this machine has", err)
	}
	if err != nil {
		return nil, nil, err
	}
	deliver = func(secrets []client.Secret) error {
		files := make([]secretfile.File, 0, len(secrets))
		if f.output != "" {
			content, err := f.encode(secrets)
			if err != nil {
				return err
			}
			defer clear(content)
			files = append(files, secretfile.File{Name: file, Content: content})
		} else {
			for _, secret := range secrets {
				files = append(files, secretfile.File{Name: secret.Name, Content: secret.Value})
			}
		}
		return folder.Write(files...)
	}
	return deliver, func() { _ = folder.Close() }, nil
}

// printed is a secret as scripts get it.
type printed struct {
	Name        string         `json:"name"`
	Version     uint64         `json:"version"`
	ContentType string         `json:"content_type,omitempty"`
	Policy      string         `json:"policy"`
	Decision    string         `json:"decision"`
	Lease       *release.Lease `json:"lease,omitempty"`
	Receipt     string         `json:"receipt"`
	Value       []byte         `json:"value"`
}

// encode returns what goes to one place, in a slice of its own.
func (f *fetcher) encode(secrets []client.Secret) ([]byte, error) {
	if f.format == "raw" {
		return bytes.Clone(secrets[0].Value), nil
	}
	list := make([]printed, len(secrets))
	for i, s := range secrets {
		if s.Value == nil {
			s.Value = []byte{} // an empty secret is "", not null
		}
		list[i] = printed{s.Name, s.Version, s.ContentType, s.Policy, s.Decision, s.Lease, s.Receipt, s.Value}
	}
	var b bytes.Buffer
	err := printJSON(&b, struct {
		Secrets []printed `json:"secrets"`
	}{list})
	return b.Bytes(), err
}
