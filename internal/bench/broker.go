package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	_ "net/http/pprof" // served on a port of its own, when asked for
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/dev"
	sourcevault "github.com/vouchsafe/vouchsafe/broker/source/vault"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// serveDir names the folder of a copy of this program that runs a broker; profileAddress where that serves its profile.
const (
	serveDir       = "VOUCHSAFE_BENCH_BROKER"
	profileAddress = "VOUCHSAFE_BENCH_PROFILE"
)

// vaultSetting holds, as JSON, an inVault for a broker that uses Vault.
const vaultSetting = "VOUCHSAFE_BENCH_VAULT"

// inVault says what of a broker is in Vault, beside secrets of its sources.
type inVault struct {
	Address, Token string
	Mount          string // of the broker's store; "" for one on disk
}

// connect opens a connection as a broker's configuration of Vault does, and completes the configuration with what goes over it.
func (v inVault) connect(ctx context.Context, c *dev.Config) (*vaultconn.Conn, error) {
	conn, err := vaultconn.Open(ctx, vaultconn.Config{
		Address: v.Address, Development: true, Auth: vaultconn.Auth{Method: vaultconn.MethodToken, Token: v.Token},
	})
	if err != nil {
		return nil, err
	}
	c.Sources = sourcevault.Sources(conn, nil)
	if v.Mount != "" {
		c.Shared = data.Vault(data.InVault{Conn: conn, Address: v.Address, Mount: v.Mount, Staleness: data.DefaultStaleness})
	}
	return conn, nil
}

// serve runs a development broker until SIGTERM or until who started it is gone.
func serve(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends when the parent does, however it ends
		os.Exit(1)
	}()
	if address := os.Getenv(profileAddress); address != "" {
		go func() { fmt.Fprintln(os.Stderr, http.ListenAndServe(address, nil)) }()
	}
	logger := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	config := dev.Config{Dir: dir, Listen: "127.0.0.1:0", Logger: logger}
	if setting := os.Getenv(vaultSetting); setting != "" {
		var v inVault
		if err := json.Unmarshal([]byte(setting), &v); err != nil {
			return err
		}
		conn, err := v.connect(ctx, &config)
		if err != nil {
			return err
		}
		defer conn.Close()
	}
	n, info, err := dev.Start(ctx, config)
	if err != nil {
		return err
	}
	fmt.Println(info.URL)
	return errors.Join(n.Run(ctx), n.Close())
}

// process is a broker in a process of its own.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	dir   string
	url   string
	ca    []byte
	admin *admin.Client
	ready time.Duration // from its start until it answered that it is ready
}

// start starts a broker and waits until it is ready.
func start(dir string) *process { return startWith(dir) }

// startWith is start of a broker that gets more settings, NAME=VALUE, beside its folder.
func startWith(dir string, settings ...string) *process {
	p := &process{cmd: exec.Command(must(os.Executable())), dir: dir}
	p.cmd.Env = append(append(os.Environ(), serveDir+"="+dir), settings...)
	p.cmd.Stderr = os.Stderr
	stdout := must(p.cmd.StdoutPipe())
	p.stdin = must(p.cmd.StdinPipe())
	begin := time.Now()
	check(p.cmd.Start())
	p.url = strings.TrimSpace(must(bufio.NewReader(stdout).ReadString('\n')))
	p.ca = must(os.ReadFile(filepath.Join(dir, "tls", "ca.pem")))
	response := must(newHTTP(p.ca).Get(p.url + "/readyz"))
	p.ready = time.Since(begin)
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		check(fmt.Errorf("the broker is not ready: %s", response.Status))
	}
	token := must(os.ReadFile(filepath.Join(dir, "admin.token")))
	p.admin = must(admin.New(admin.Config{Address: p.url, Token: string(bytes.TrimSpace(token)), CACert: p.ca}))
	return p
}

func (p *process) stop() {
	check(p.cmd.Process.Signal(syscall.SIGTERM))
	check(p.cmd.Wait())
}

// tick is the unit of times in /proc/PID/stat, which Linux fixes at a hundredth of a second for programs.
const tick = 10 * time.Millisecond

// used returns how much processor time the process has taken, and how much of it in the system.
func (p *process) used() (total, system time.Duration) {
	text := must(os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid)))
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	user := time.Duration(must(strconv.ParseInt(string(fields[11]), 10, 64))) * tick
	system = time.Duration(must(strconv.ParseInt(string(fields[12]), 10, 64))) * tick
	return user + system, system
}

// resident returns how much memory the process holds, in KiB.
func (p *process) resident() int64 {
	for line := range strings.Lines(string(must(os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))))) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return must(strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64))
		}
	}
	return 0
}

// Budgets of a process, as design.md has them.
const (
	readyBudget    = 100 * time.Millisecond
	residentBudget = 64 << 10 // KiB
)

// startPart measures how fast a broker starts on a store that is there, and what it holds when nobody asks it anything.
func (b *bench) startPart() section {
	s := section{Title: "Starting", Note: "from the start of the process until /readyz answers 200 over TLS; memory is resident, a second later"}
	dir := filepath.Join(b.dir, "start")
	start(dir).stop()
	var times []time.Duration
	var most int64
	for n := range 9 {
		p := start(dir)
		times = append(times, p.ready)
		if n%4 == 0 {
			time.Sleep(time.Second)
			most = max(most, p.resident())
		}
		p.stop()
	}
	s.Rows = append(s.Rows, within("ready, median of 9", quantile(times, .5), readyBudget))
	met := most <= residentBudget
	s.Rows = append(s.Rows, row{What: "resident when idle", Budget: "≤ 64 MiB", Met: &met, Note: fmt.Sprintf("%.1f MiB", float64(most)/1024)})
	return s
}
