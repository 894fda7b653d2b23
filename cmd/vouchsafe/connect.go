package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/client/admin"
)

// connection says which broker to administer, by flags or the environment.
type connection struct {
	address, tokenFile, caCert string
}

const connectionHelp = `
The broker and the caller come from flags or the environment:
  --addr        VOUCHSAFE_ADDR        https://HOST:PORT
  --token-file  VOUCHSAFE_TOKEN_FILE  a file with an administrator's token
  --cacert      VOUCHSAFE_CACERT      PEM file of the authority that the broker's certificate comes from`

// administer makes a command of f, which talks to a broker.
func (p *program) administer(c *cobra.Command, f func(c *cobra.Command, a *admin.Client, args []string) error) *cobra.Command {
	var at connection
	c.Flags().StringVar(&at.address, "addr", "", "the broker's URL (default $VOUCHSAFE_ADDR)")
	c.Flags().StringVar(&at.tokenFile, "token-file", "", "file with an administrator's token (default $VOUCHSAFE_TOKEN_FILE)")
	c.Flags().StringVar(&at.caCert, "cacert", "", "PEM file of the authority to trust (default $VOUCHSAFE_CACERT)")
	if c.Long == "" {
		c.Long = c.Short + ".\n"
	}
	c.Long = strings.TrimSuffix(c.Long, "\n") + "\n" + connectionHelp
	c.RunE = func(c *cobra.Command, args []string) error {
		client, err := at.client()
		if err != nil {
			return err
		}
		return answered(f(c, client, args))
	}
	return c
}

func (at *connection) client() (*admin.Client, error) {
	for _, v := range []struct {
		value *string
		name  string
	}{{&at.address, "VOUCHSAFE_ADDR"}, {&at.tokenFile, "VOUCHSAFE_TOKEN_FILE"}, {&at.caCert, "VOUCHSAFE_CACERT"}} {
		if *v.value == "" {
			*v.value = os.Getenv(v.name)
		}
	}
	if at.address == "" {
		return nil, errors.New("which broker? Set VOUCHSAFE_ADDR or say --addr https://HOST:PORT")
	}
	if at.tokenFile == "" {
		return nil, errors.New("who are you? Set VOUCHSAFE_TOKEN_FILE or say --token-file FILE")
	}
	token, err := readInput(nil, at.tokenFile, 4096)
	if err != nil {
		return nil, fmt.Errorf("the administrator's token: %w", err)
	}
	c := admin.Config{Address: at.address, Token: string(bytes.TrimSpace(token))}
	if at.caCert != "" {
		if c.CACert, err = readInput(nil, at.caCert, maxSettings); err != nil {
			return nil, fmt.Errorf("the authority to trust: %w", err)
		}
	}
	return admin.New(c)
}

// answered makes an error that is the broker's answer, and not a failure to get one, exit with exitNo.
func answered(err error) error {
	var e *admin.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case broker.CodeUnavailable, broker.CodeOverloaded, "":
		return err
	}
	text := e.Message
	switch e.Code {
	case broker.CodeUnauthenticated:
		text += ": the token in VOUCHSAFE_TOKEN_FILE or --token-file is unknown, revoked or expired"
	case broker.CodeInvalid:
		for _, problem := range e.Problems {
			text += "\n" + problem.String()
		}
		if len(e.Problems) > 0 {
			text = strings.TrimPrefix(text[strings.IndexByte(text, '\n')+1:], "\n")
		}
	}
	return no{errors.New(text)}
}
