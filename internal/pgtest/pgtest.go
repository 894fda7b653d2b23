// Package pgtest gives tests a real PostgreSQL: the server that Debian's package postgresql has, on a port of loopback, with data of its own in a
// folder that goes with it. It ends with the test. Where PostgreSQL is not installed, tests that ask for it are skipped and say so.
//
// PostgreSQL refuses to run as root. A test that runs as root runs it as the user postgres, whom the package makes, or as nobody. Who connects over TCP needs
// a password; the test's own statements go over a socket in the folder.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/testserver"
)

// Superuser is the role that may do everything, and Database where it does it.
const (
	Superuser = "root"
	Database  = "postgres"
)

// Server is a running PostgreSQL.
type Server struct {
	Address  string // host and port
	Password string // of Superuser

	bin, dir string
	identity *syscall.Credential // whom it runs as; nil for the test's user
	keeper   *testserver.Keeper
	process  *testserver.Process
}

// patience is how long is waited for what takes a second on a machine that is not busy.
const patience = time.Minute

// installed is where Debian puts the programs; the server's are not on the path. Those of the highest version are used.
const installed = "/usr/lib/postgresql/*/bin"

// Start runs a server until t ends. It skips t where PostgreSQL is not installed.
func Start(t testing.TB) *Server {
	t.Helper()
	bin, err := find()
	if err != nil {
		t.Skipf("%v", err)
	}
	s := &Server{bin: bin, Password: "password-of-a-test"}
	if os.Geteuid() == 0 {
		if s.identity, err = unprivileged(); err != nil {
			t.Skipf("no PostgreSQL for tests: %v", err)
		}
	}
	// Not t.TempDir, whose paths can be longer than the name of a socket may be.
	if s.dir, err = os.MkdirTemp("", "pgtest"); err != nil {
		t.Fatal(err)
	}
	if s.keeper, err = testserver.New(s.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	if err := s.start(); err != nil {
		log, _ := os.ReadFile(s.log())
		t.Fatalf("pgtest: %v\n%s", err, log)
	}
	return s
}

// find returns the folder of the server's programs.
func find() (string, error) {
	found, err := filepath.Glob(installed)
	if err != nil {
		return "", err
	}
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	for _, dir := range slices.Backward(found) {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir, nil
		}
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	return "", errors.New("no PostgreSQL for tests: install Debian's package postgresql")
}

func version(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return n
}

// unprivileged returns a user whom PostgreSQL can run as.
func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(account.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(account.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
	}
	return nil, errors.New("there is neither a user postgres nor a user nobody, and it does not run as root")
}

func (s *Server) log() string { return filepath.Join(s.dir, "log") }

// command returns a command of PostgreSQL's, run as its user.
func (s *Server) command(ctx context.Context, name string, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, name), arguments...)
	cmd.Dir = s.dir
	// Nothing of the environment, in which PG… can say to use another server.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.identity}
	return cmd
}

func (s *Server) start() error {
	if s.identity != nil {
		if err := os.Chown(s.dir, int(s.identity.Uid), int(s.identity.Gid)); err != nil {
			return err
		}
	}
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte(s.Password+"\n"), 0o600); err != nil {
		return err
	}
	if s.identity != nil {
		if err := os.Chown(password, int(s.identity.Uid), int(s.identity.Gid)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	data := filepath.Join(s.dir, "data")
	output, err := s.command(ctx, "initdb", "--pgdata="+data, "--username="+Superuser, "--pwfile="+password, "--encoding=UTF8", "--no-sync",
		"--auth-local=trust", "--auth-host=scram-sha-256").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, output)
	}
	for range 5 { // a port that is free now need not be when the server opens it
		if err = s.listen(ctx, data); err == nil || !strings.Contains(err.Error(), "in use") {
			return err
		}
		s.keeper.Kill()
	}
	return err
}

// listen runs the server and waits until it answers.
func (s *Server) listen(ctx context.Context, data string) error {
	var err error
	if s.Address, err = testserver.FreePort(); err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return err
	}
	log, err := os.Create(s.log())
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.command(context.WithoutCancel(ctx), "postgres", "-D", data, "-p", port, "-h", "127.0.0.1", "-k", s.dir, "-F", "-c", "timezone=UTC")
	cmd.Stdout, cmd.Stderr = log, log
	if s.process, err = s.keeper.Start(cmd); err != nil {
		return err
	}
	for {
		if _, err = s.query(ctx, Superuser, "", "SELECT 1", s.dir); err == nil {
			return nil
		}
		select {
		case <-s.process.Ended():
			text, _ := os.ReadFile(s.log())
			return fmt.Errorf("the server ended: %w\n%s", s.process.Err(), text)
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the server: in the way in which it leaves nothing in the system, and then for certain.
func (s *Server) stop() {
	if s.process != nil && s.keeper.Signal(syscall.SIGQUIT) == nil {
		select {
		case <-s.process.Ended():
		case <-time.After(patience):
		}
	}
	_ = s.keeper.End()
}

// VaultURL is the connection_url for Vault's database engine.
func (s *Server) VaultURL() string {
	return "postgresql://{{username}}:{{password}}@" + s.Address + "/" + Database + "?sslmode=disable"
}

// Exec runs statements as the superuser and returns what they print: a line a row, its columns divided by "|".
func (s *Server) Exec(t testing.TB, statements string) string {
	t.Helper()
	output, err := s.query(t.Context(), Superuser, "", statements, s.dir)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return output
}

// Query runs statements as a role that connects over TCP with a password, as Exec does. Its error has what PostgreSQL said, such as that there is no such role.
func (s *Server) Query(ctx context.Context, role, password, statements string) (string, error) {
	return s.query(ctx, role, password, statements, "127.0.0.1")
}

func (s *Server) query(ctx context.Context, role, password, statements, host string) (string, error) {
	_, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return "", err
	}
	cmd := s.command(ctx, "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--no-password", "--set=ON_ERROR_STOP=1",
		"--host="+host, "--port="+port, "--username="+role, "--dbname="+Database, "--command="+statements)
	cmd.Env = append(cmd.Env, "PGPASSWORD="+password, "PGCONNECT_TIMEOUT=10", "PGSSLMODE=disable")
	var output, said strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("psql: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSuffix(output.String(), "\n"), nil
}
