// Command softtpm gives the demo a TPM: it runs swtpm, or changes one of its PCRs as booting something else would.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/google/go-tpm/tpm2"

	"github.com/vouchsafe/vouchsafe/attest/tpm/swtpm"
)

func main() {
	dir := flag.String("dir", "", "run a TPM in this folder; its address and its maker's certificates are written there")
	extend := flag.Uint("extend", 0, "extend this PCR of the TPM at --address, and end")
	address := flag.String("address", "", "address of a running TPM")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *address != "" {
		err = change(ctx, *address, *extend)
	} else {
		err = run(ctx, *dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "softtpm:", err)
		os.Exit(1)
	}
}

// run runs a TPM until ctx ends. The file "address" appears last.
func run(ctx context.Context, dir string) error {
	process, err := swtpm.Start(ctx, dir)
	if err != nil {
		return err
	}
	defer process.Stop()
	roots, intermediates, err := process.Authority()
	if err != nil {
		return err
	}
	var bundle bytes.Buffer
	for _, cert := range append(roots, intermediates...) {
		if err := pem.Encode(&bundle, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}); err != nil {
			return err
		}
	}
	for _, file := range []struct {
		name    string
		content []byte
	}{{"authority.pem", bundle.Bytes()}, {"address", []byte(process.Addr() + "\n")}} {
		// Renamed into place, so that whoever waits for the file finds all of it.
		path := filepath.Join(dir, file.name)
		if err := errors.Join(os.WriteFile(path+".new", file.content, 0o600), os.Rename(path+".new", path)); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// change extends a PCR with a digest that stands for something else.
func change(ctx context.Context, address string, pcr uint) error {
	t, err := swtpm.Dial(ctx, address)
	if err != nil {
		return err
	}
	defer t.Close()
	digest := sha256.Sum256([]byte("something else"))
	_, err = tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{
			{HashAlg: tpm2.TPMAlgSHA256, Digest: digest[:]},
		}},
	}.Execute(t)
	return err
}
