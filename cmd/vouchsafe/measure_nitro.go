package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/measure/nitro"
)

// nitroBuild is what a build and its deployment say of a Nitro enclave.
type nitroBuild struct {
	image, role, instance, certificate, reference string
}

func (p *program) measureNitro() *cobra.Command {
	var b nitroBuild
	c := &cobra.Command{
		Use:   "nitro --eif FILE",
		Short: "Compute the PCRs of an AWS Nitro enclave",
		Long: `Compute the PCRs of an AWS Nitro enclave from its image file (EIF): PCR 0, which policies have as claims.measurement, is of the whole image, PCR 1 of
kernel and boot, PCR 2 of the application, and PCR 8 of the certificate that signed it, where it is signed.

Two more are not of the image: PCR 3 is of the IAM role of the instance that starts the enclave, and PCR 4 of the instance. --role and
--instance compute them.

--signing-certificate computes PCR 8 before there is an image, from the certificate that will sign it; of an image it must be the signer's.`,
		Example: `  vouchsafe measure nitro --eif payments.eif
  vouchsafe measure nitro --eif payments.eif --role arn:aws:iam::123456789012:role/payments
  vouchsafe measure nitro --eif payments.eif --reference payments-enclave
  vouchsafe measure nitro --signing-certificate signer.pem`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if b.image == "" && b.role == "" && b.instance == "" && b.certificate == "" {
				return errors.New("say what to measure: --eif FILE, --role ARN, --instance ID or --signing-certificate FILE")
			}
			result, err := b.predict(c)
			if err != nil {
				return err
			}
			return result.print(p, b.reference)
		},
	}
	f := c.Flags()
	f.StringVar(&b.image, "eif", "", "enclave image `FILE`")
	f.StringVar(&b.role, "role", "", "`ARN` of the IAM role of the instance that starts the enclave")
	f.StringVar(&b.instance, "instance", "", "`ID` of the instance that starts it")
	f.StringVar(&b.certificate, "signing-certificate", "", "PEM `FILE` with the certificate that signs the image")
	referenceFlag(c, &b.reference)
	return c
}

func (b *nitroBuild) predict(c *cobra.Command) (*prediction, error) {
	result := &prediction{Kind: attest.Nitro}
	add := func(n int, value, why string) {
		if value != "" {
			result.Values = append(result.Values, predicted{
				Claim: fmt.Sprintf("claims.nitro.pcrs[%d]", n), Value: value, For: why, set: fmt.Sprintf("-pcr%d", n),
			})
		}
	}
	signer, err := b.signer()
	if err != nil {
		return nil, err
	}
	if b.image != "" {
		var of *nitro.Result
		if err := withFile(b.image, func(file *os.File, size int64) (err error) {
			of, err = nitro.Measure(c.Context(), file, size)
			return err
		}); err != nil {
			return nil, err
		}
		if signer != "" && signer != of.PCR8 {
			return nil, fmt.Errorf("%s is not signed with the certificate in %s", b.image, b.certificate)
		}
		result.Values = append(result.Values, predicted{Claim: "claims.measurement", Value: of.PCR0})
		add(1, of.PCR1, "kernel and boot")
		add(2, of.PCR2, "the application")
		signer = of.PCR8
	}
	if b.role != "" {
		add(3, nitro.RolePCR(b.role), "the role "+b.role)
	}
	if b.instance != "" {
		add(4, nitro.InstancePCR(b.instance), "the instance "+b.instance)
	}
	add(8, signer, "the signer")
	return result, nil
}

// signer returns PCR 8 of images that the given certificate signs, "" where none is given.
func (b *nitroBuild) signer() (string, error) {
	if b.certificate == "" {
		return "", nil
	}
	cert, err := readCertificate(b.certificate)
	if err != nil {
		return "", err
	}
	return nitro.CertificatePCR(cert.Raw), nil
}
