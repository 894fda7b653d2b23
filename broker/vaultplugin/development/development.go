// Package development judges evidence that proves nothing about hardware, for development mounts of the plugin. It stands apart so that nothing else of the
// plugin links it: the program hands [Verifiers] to its mounts, which call it for a mount whose first configuration said that it is for development.
package development

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/sample"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker/vaultplugin"
)

// Verifiers makes those of the development kinds that a configuration names.
func Verifiers(c *vaultplugin.Config) ([]attest.Verifier, error) {
	var all []attest.Verifier
	if slices.Contains(c.Kinds, attest.Virtual) {
		root, err := certificate(c.DevelopmentRoot)
		if err != nil {
			return nil, fmt.Errorf("development_root: %w", err)
		}
		v, err := virtual.NewVerifier(root)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	if slices.Contains(c.Kinds, attest.Sample) {
		all = append(all, sample.New())
	}
	if slices.Contains(c.Kinds, attest.SampleDevice) {
		all = append(all, sample.NewDevice())
	}
	return all, nil
}

// certificate returns the first certificate of a PEM text.
func certificate(text string) (*x509.Certificate, error) {
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, errors.New("there is no certificate in it: virtual evidence needs the root of its TEEs")
}
