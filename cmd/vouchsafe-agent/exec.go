//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/client/sealedfd"
)

// executor is the command exec.
type executor struct {
	asker
	fds, files, variables []string // NAME=SECRET[@VERSION]
}

func (p *program) execCommand() *cobra.Command {
	e := new(executor)
	c := &cobra.Command{
		Use:   "exec {--fd|--file|--env} NAME=SECRET[@VERSION]... -- COMMAND [ARGUMENT]...",
		Short: "Become a program that is given secrets",
		Long: `Fetch secrets and become a program that is given them: COMMAND replaces this process, so that no parent stays behind
with a copy, signals and the exit code are the program's own, and a service manager sees one process. Nothing is
started when a secret is refused.

How the program gets a secret is its owner's choice; each flag may be repeated, and NAME is an environment variable:
  --fd    NAME is the number of an open file descriptor with the secret in it
  --file  NAME is the path of the same, /proc/self/fd/N, for programs that want
          a file's name in PASSWORD_FILE and the like
  --env   NAME is the secret itself

The descriptor is an anonymous file in memory, sealed so that nobody can change it. It is closed when the program
closes it; children inherit it unless the program says otherwise.

Use --env only for programs that know nothing else. An environment variable is readable in /proc/PID/environ by the
same user and by root for as long as the program lives; every child inherits it; crash reporters, debug pages and
container inspection print it. A secret in it cannot hold a zero byte.

The command is looked for in PATH before anything is fetched. What this process does for its own protection, no core
dumps and files for the user only, ends with it; set it for the program where you start it. Exit codes are the program's once it runs.`,
		Example: `  vouchsafe-agent exec --file POSTGRES_PASSWORD_FILE=payments/db/password -- docker-entrypoint.sh postgres
  vouchsafe-agent exec --fd KEY_FD=payments/tls/key -- app --key-fd-from-env KEY_FD
  vouchsafe-agent exec --env PGPASSWORD=payments/db/password -- psql -h db -U app`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return e.run(c.Context(), p, args) },
	}
	c.Flags().StringArrayVar(&e.fds, "fd", nil, "`NAME=SECRET`: give the secret in a descriptor, its number in the variable")
	c.Flags().StringArrayVar(&e.files, "file", nil, "`NAME=SECRET`: give the secret in a descriptor, its path in the variable")
	c.Flags().StringArrayVar(&e.variables, "env", nil, "`NAME=SECRET`: give the secret in the variable, where others can see it")
	e.add(c)
	c.Flags().SetInterspersed(false) // what follows the command is the command's
	return c
}

// gift is one secret on its way into the program.
type gift struct {
	variable string
	want     release.Want
	deliver  func(variable string, secret []byte) (value string, keep *os.File, err error)
}

func (e *executor) run(ctx context.Context, p *program, command []string) error {
	gifts, err := e.gifts()
	if err != nil {
		return err
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	var wants []release.Want
	for _, g := range gifts {
		if !slices.Contains(wants, g.want) {
			wants = append(wants, g.want)
		}
	}
	secrets, err := e.fetch(ctx, p, wants)
	if err != nil {
		return err
	}
	environment, kept, err := give(gifts, wants, secrets)
	wipe(secrets)
	if err != nil {
		return err
	}
	p.restore()
	err = syscall.Exec(path, command, environment)
	runtime.KeepAlive(kept)
	return fmt.Errorf("starting %s: %w", path, err)
}

func (e *executor) gifts() ([]gift, error) {
	var gifts []gift
	for _, group := range []struct {
		flag    string
		values  []string
		deliver func(string, []byte) (string, *os.File, error)
	}{{"--fd", e.fds, asDescriptor}, {"--file", e.files, asFile}, {"--env", e.variables, asVariable}} {
		for _, text := range group.values {
			variable, name, ok := strings.Cut(text, "=")
			if !ok || !variableName.MatchString(variable) {
				return nil, fmt.Errorf("%s %.100q is not NAME=SECRET with a variable's name", group.flag, text)
			}
			want, err := parseWant(name)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", group.flag, err)
			}
			if slices.ContainsFunc(gifts, func(g gift) bool { return g.variable == variable }) {
				return nil, fmt.Errorf("the variable %s is given two secrets", variable)
			}
			gifts = append(gifts, gift{variable, want, group.deliver})
		}
	}
	if len(gifts) == 0 {
		return nil, errors.New("no secret is asked for: say --fd, --file or --env NAME=SECRET")
	}
	return gifts, nil
}

// variableName is what shells take as a variable; a memory file's name has room for it.
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,199}$`)

// give returns the environment of the program, and the files that must stay open until it runs. secrets are in the
// order of wants.
func give(gifts []gift, wants []release.Want, secrets []client.Secret) (environment []string, kept []*os.File, err error) {
	environment = os.Environ()
	for _, g := range gifts {
		value, file, err := g.deliver(g.variable, secrets[slices.Index(wants, g.want)].Value)
		if err != nil {
			return nil, nil, fmt.Errorf("the secret for %s: %w", g.variable, err)
		}
		if file != nil {
			kept = append(kept, file)
		}
		environment = slices.DeleteFunc(environment, func(entry string) bool {
			return strings.HasPrefix(entry, g.variable+"=")
		})
		environment = append(environment, g.variable+"="+value)
	}
	return environment, kept, nil
}

func asDescriptor(variable string, secret []byte) (string, *os.File, error) {
	file, err := sealedfd.New(variable, secret)
	if err != nil {
		return "", nil, err
	}
	number, err := sealedfd.Inherit(file)
	return strconv.Itoa(number), file, err
}

func asFile(variable string, secret []byte) (string, *os.File, error) {
	number, file, err := asDescriptor(variable, secret)
	return "/proc/self/fd/" + number, file, err
}

func asVariable(_ string, secret []byte) (string, *os.File, error) {
	if bytes.IndexByte(secret, 0) >= 0 {
		return "", nil, errors.New("it holds a zero byte, which no environment variable can: use --fd or --file")
	}
	return string(secret), nil, nil
}
