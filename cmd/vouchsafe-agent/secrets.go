//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/internal/cli"
)

// connection says where the broker is and whom to believe. Flags win over the environment.
type connection struct {
	address, caCert string
	timeout         time.Duration
}

func (at *connection) add(c *cobra.Command) {
	c.Flags().StringVar(&at.address, "addr", "", "`URL` of the broker (default $VOUCHSAFE_ADDR)")
	c.Flags().StringVar(&at.caCert, "cacert", "",
		"PEM `FILE` of the authority to trust (default $VOUCHSAFE_CACERT, else the system's)")
	c.Flags().DurationVar(&at.timeout, "timeout", 30*time.Second, "how long one request may take")
	cli.InSection("Flags that reach a broker", c.Flags(), "addr", "cacert", "timeout")
}

// read takes what was not given from the environment and returns the certificates to trust, if any.
func (at *connection) read() (ca []byte, err error) {
	orEnvironment(&at.address, "VOUCHSAFE_ADDR")
	orEnvironment(&at.caCert, "VOUCHSAFE_CACERT")
	if at.address == "" {
		return nil, errors.New("which broker? Set VOUCHSAFE_ADDR or say --addr https://HOST:PORT")
	}
	if at.timeout <= 0 {
		return nil, errors.New("--timeout is not more than 0")
	}
	if at.caCert == "" {
		return nil, nil
	}
	if ca, err = readFile(at.caCert, maxTrust); err != nil {
		return nil, fmt.Errorf("the authority to trust: %w", err)
	}
	return ca, notEmpty(at.caCert, ca)
}

// notEmpty keeps an empty file of what to trust from meaning that none was given, and so the system's authorities or
// any keys.
func notEmpty(path string, content []byte) error {
	if len(content) == 0 {
		return fmt.Errorf("%s is empty", path)
	}
	return nil
}

func orEnvironment(value *string, name string) {
	if *value == "" {
		*value = os.Getenv(name)
	}
}

// asker is what commands share that fetch secrets.
type asker struct {
	at       connection
	guest    guest
	keys     string
	initData string
	keyType  string
	retryFor time.Duration
}

func (a *asker) add(c *cobra.Command) {
	a.at.add(c)
	a.guest.add(c, false)
	c.Flags().StringVar(&a.keys, "keys", "",
		"JWKS `FILE` with the keys that the broker signs replies with (default $VOUCHSAFE_KEYS, else fetched over TLS)")
	c.Flags().StringVar(&a.initData, "init-data", "", "`FILE` with the init-data document that this guest was launched with")
	names := make([]string, 0, len(envelope.KeyTypes()))
	for _, t := range envelope.KeyTypes() {
		names = append(names, string(t))
	}
	c.Flags().StringVar(&a.keyType, "recipient-key-type", string(envelope.XWing),
		"`TYPE` of the key that secrets are encrypted to: "+strings.Join(names, ", ")+"; the first resists quantum computers")
	c.Flags().DurationVar(&a.retryFor, "retry-for", 2*time.Minute,
		"how long to go on trying a broker that is busy or away; 0 to try once")
}

// fetch asks for secrets, telling about retries where errors go.
func (a *asker) fetch(ctx context.Context, p *program, wants []release.Want) ([]client.Secret, error) {
	ca, err := a.at.read()
	if err != nil {
		return nil, err
	}
	c := client.Config{
		URL: a.at.address, CA: ca, KeyType: envelope.KeyType(a.keyType), Timeout: a.at.timeout,
		// As often as there is time for.
		Retry: client.Retry{Max: math.MaxInt},
		OnRetry: func(wait time.Duration, cause error) {
			p.say("vouchsafe-agent: no answer yet, trying again in %v: %v", wait.Round(100*time.Millisecond), cause)
		},
	}
	switch {
	case a.retryFor < 0:
		return nil, errors.New("--retry-for is negative")
	case a.retryFor == 0:
		c.Retry.Max = 1
	default:
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.retryFor)
		defer cancel()
	}
	orEnvironment(&a.keys, "VOUCHSAFE_KEYS")
	if a.keys != "" {
		if c.Keys, err = readFile(a.keys, maxTrust); err != nil {
			return nil, fmt.Errorf("the broker's keys: %w", err)
		}
		if err := notEmpty(a.keys, c.Keys); err != nil {
			return nil, err
		}
	}
	if a.initData != "" {
		document, err := readFile(a.initData, maxInitData)
		if err != nil {
			return nil, fmt.Errorf("the init-data document: %w", err)
		}
		c.InitData = string(document)
	}
	if strings.HasPrefix(a.at.address, "http://") && a.keys == "" {
		return nil, errors.New("over http anyone could answer for the broker: use https, " +
			"or say --keys FILE with the keys it signs with")
	}
	collectors, err := a.guest.open(ctx, p.system)
	if err != nil {
		return nil, err
	}
	defer collectors.close()
	c.Collector, c.Devices = collectors.machine, collectors.devices
	asking, err := client.New(c)
	if err != nil {
		return nil, err
	}
	return asking.FetchVersions(ctx, wants...)
}

// secretName is what secrets are called. It keeps a mistake from being recorded as a refusal.
var secretName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$`)

// parseWant reads NAME or NAME@VERSION.
func parseWant(text string) (release.Want, error) {
	name, version, given := strings.Cut(text, "@")
	want := release.Want{Name: name}
	if !secretName.MatchString(name) {
		return want, fmt.Errorf("%.256q is not NAME or NAME@VERSION: a name has segments of A-Z a-z 0-9 _ - . with / between them, "+
			"which do not begin with a dot", text)
	}
	if !given {
		return want, nil
	}
	var err error
	if want.Version, err = strconv.ParseUint(version, 10, 64); err != nil || want.Version == 0 {
		return want, fmt.Errorf("%.256q is not NAME or NAME@VERSION with a version of 1 or more", text)
	}
	return want, nil
}

// wipe overwrites values that were delivered, as far as this program's copies go.
func wipe(secrets []client.Secret) {
	for _, secret := range secrets {
		clear(secret.Value)
	}
}
