//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/faketsm"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/initdata"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/attest/tpm/tpmtest"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/api"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/client/azuredevice"
	"github.com/vouchsafe/vouchsafe/client/doctor"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/internal/gen/clidoc"
)

// The machine that the program under test runs on: no SEV-SNP and no TPM, unless these say otherwise.
const (
	testSNP         = "VOUCHSAFE_TEST_SNP"          // folder with the virtual device that signs its reports
	testSNPProvider = "VOUCHSAFE_TEST_SNP_PROVIDER" // what the kernel calls the hardware
	testTPM         = "VOUCHSAFE_TEST_TPM"          // the TPM's device
	testNSM         = "VOUCHSAFE_TEST_NSM"          // set where there is an enclave's module
	testAzure       = "VOUCHSAFE_TEST_AZURE"        // URL of the metadata service
	testMachine     = "VOUCHSAFE_TEST_MACHINE"      // folder with the files that a diagnosis looks at, and the kernel's log as log
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"vouchsafe-agent": func() {
		s := system{tpm: os.Getenv(testTPM), machine: thisMachine()}
		if dir := os.Getenv(testMachine); dir != "" {
			s.machine = machineIn(dir)
		}
		if s.tpm == "" {
			s.tpm = "/nonexistent/tpmrm0"
		}
		if os.Getenv(testNSM) != "" {
			s.nsm = module{}
		}
		if url := os.Getenv(testAzure); url != "" {
			imds, err := azuredevice.NewIMDS(azuredevice.IMDSConfig{Address: url})
			if err != nil {
				panic(err)
			}
			s.azure = imds
		}
		// A subsystem that is not there is what a kernel without one is like.
		s.tsm = &faketsm.Client{Subsystems: map[string]configfsi.Client{}}
		if dir := os.Getenv(testSNP); dir != "" {
			s.tsm = reports(dir, os.Getenv(testSNPProvider))
		}
		os.Exit(run(s))
	}})
}

// machineIn is a machine whose files are in a folder. All that are there may be opened, and a program prints the file of its name.
func machineIn(dir string) doctor.Machine {
	return doctor.Machine{
		Root: os.DirFS(dir),
		Open: func(path string, _ bool) error { _, err := os.Stat(filepath.Join(dir, path)); return err },
		Log: func() (string, error) {
			log, err := os.ReadFile(filepath.Join(dir, "log"))
			return string(log), err
		},
		Run: func(_ context.Context, name string, _ ...string) (string, error) {
			output, err := os.ReadFile(filepath.Join(dir, name))
			return string(output), err
		},
	}
}

// reports is a configfs-tsm whose reports are signed by a virtual device.
func reports(dir, provider string) configfsi.Client {
	device, err := virtual.LoadDevice(dir)
	if err != nil {
		panic(err)
	}
	subsystem := faketsm.ReportV7(0)
	subsystem.ReadAttr = func(e *faketsm.ReportEntry, attr string) ([]byte, error) {
		if attr == "provider" {
			return []byte(provider + "\n"), nil
		}
		evidence, err := device.Evidence(rand.Reader, e.InAttrs["inblob"].Value)
		if err != nil || attr == "auxblob" {
			return evidence[snp.ReportSize:], err
		}
		return evidence[:snp.ReportSize], nil
	}
	return &faketsm.Client{Subsystems: map[string]configfsi.Client{"report": subsystem}}
}

// The secrets of the test broker. The value is one that no text stands for.
var secrets = map[string][]byte{
	"app/db/password": []byte("correct horse\n\x00\xff battery staple"),
	"app/db/user":     []byte("app"),
	"app/empty":       {},
}

// onlyMeasured releases to devices that measure all zero, and to enrolled hosts.
const onlyMeasured = `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: app}
spec:
  secrets: ["app/**"]
  require:
    - name: approved-image
      that: >-
        claims.kind == "virtual" && claims.measurement.startsWith("000000000000") ||
        claims.kind == "tpm" && claims.tpm.host == "node-1"
`

// initData is what the launched virtual TEE was launched with.
const initData = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n\n[data]\n\"app.conf\" = \"listen 443\"\n"

// start starts a broker with those, and its API.
func start(t *testing.T, c brokertest.Config) *brokertest.Broker {
	t.Helper()
	bodies, err := intake.NewReader(0)
	if err != nil {
		t.Fatal(err)
	}
	c.Handler = func(b *broker.Broker) http.Handler {
		front, err := api.New(api.Config{Broker: b, Intake: bodies, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return front.Handler()
	}
	b := brokertest.Start(t, c)
	for name, value := range secrets {
		b.PutSecret(name, value)
	}
	b.ApplyPolicy(onlyMeasured)
	return b
}

// params describes scripts that run against a broker, in a folder with its certificate, its keys, a good virtual TEE,
// a tampered one and one launched with init.toml, and the value of app/db/password; $SHM is a folder on tmpfs where
// the condition tmpfs holds, $PARENT this process.
func params(t *testing.T, b *brokertest.Broker, folder string) testscript.Params {
	tampered, err := b.Device.With(func(c *virtual.Config) { c.Measurement[0] ^= 0xff })
	if err != nil {
		t.Fatal(err)
	}
	launched, err := b.Device.With(func(c *virtual.Config) {
		init, err := initdata.Parse([]byte(initData))
		if err == nil {
			c.HostData, err = snp.HostData(init)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	shm := memory(t)
	return testscript.Params{
		Dir: folder,
		Setup: func(e *testscript.Env) error {
			e.Setenv("VOUCHSAFE_ADDR", b.URL)
			e.Setenv("BROKER", b.URL)
			e.Setenv("VOUCHSAFE_CACERT", e.WorkDir+"/ca.pem")
			e.Setenv("VOUCHSAFE_TOKEN_FILE", e.WorkDir+"/enroller.token")
			e.Setenv("PARENT", strconv.Itoa(os.Getpid()))
			files := map[string][]byte{
				"ca.pem": b.CA, "keys.json": keys(t, b), "init.toml": []byte(initData),
				"password":       secrets["app/db/password"],
				"enroller.token": []byte(b.CreateToken(access.Enroller) + "\n"),
				"auditor.token":  []byte(b.CreateToken(access.Auditor) + "\n"),
			}
			for name, content := range files {
				if err := os.WriteFile(filepath.Join(e.WorkDir, name), content, 0o600); err != nil {
					return err
				}
			}
			if shm != "" {
				dir, err := os.MkdirTemp(shm, "script")
				if err != nil {
					return err
				}
				e.Setenv("SHM", dir)
			}
			return errors.Join(b.Device.Save(e.WorkDir+"/tee"),
				tampered.Save(e.WorkDir+"/tampered"), launched.Save(e.WorkDir+"/launched"))
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "tmpfs": // $SHM is
				return shm != "", nil
			case "memory": // the script's own folder is
				return inMemory(os.TempDir()), nil
			default:
				return false, fmt.Errorf("unknown condition %q", name)
			}
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"mode": mode, "busy": busy(b)},
	}
}

// keys returns the keys that the broker signs with, as it publishes them.
func keys(t *testing.T, b *brokertest.Broker) []byte {
	t.Helper()
	response, err := b.HTTP.Get(b.URL + release.KeysPath)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	set, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// memory returns a folder on tmpfs, "" where there is none.
func memory(t *testing.T) string {
	if !inMemory("/dev/shm") {
		t.Log("/dev/shm is not tmpfs here: files on it are not tested")
		return ""
	}
	dir, err := os.MkdirTemp("/dev/shm", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func inMemory(dir string) bool {
	var stat unix.Statfs_t
	return unix.Statfs(dir, &stat) == nil && (int64(stat.Type) == unix.TMPFS_MAGIC || int64(stat.Type) == unix.RAMFS_MAGIC)
}

// mode FILE MODE: the file has the mode.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE MODE")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := info.Mode().String(); got != args[1] {
		ts.Fatalf("%s has mode %s", args[0], got)
	}
}

// busy N RETRY-AFTER: the broker behind $BUSY_ADDR is overloaded for N requests.
func busy(b *brokertest.Broker) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: busy N RETRY-AFTER")
		}
		n, err := strconv.Atoi(args[0])
		ts.Check(err)
		target, err := url.Parse(b.URL)
		ts.Check(err)
		behind := httputil.NewSingleHostReverseProxy(target)
		behind.Transport = b.HTTP.Transport
		var asked atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) <= int64(n) {
				w.Header().Set("Retry-After", args[1])
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = w.Write([]byte(`{"code":"unavailable","message":"the log \u001b[31mis full\nvouchsafe-agent: forged"}`))
				return
			}
			behind.ServeHTTP(w, r)
		}))
		ts.Defer(server.Close)
		ts.Setenv("BUSY_ADDR", server.URL)
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, params(t, start(t, brokertest.Config{}), "testdata/script"))
}

// TestTPM enrols a software TPM and fetches with it.
func TestTPM(t *testing.T) {
	device, other := tpmtest.Start(t), tpmtest.Start(t)
	roots, intermediates := device.Authority()
	enroller, err := tpm.NewEnroller(tpm.EnrollerConfig{EKRoots: roots, EKIntermediates: intermediates})
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, brokertest.Config{Enroller: enroller, Verifiers: func(d *data.Data) []attest.Verifier {
		verifier, err := tpm.New(tpm.Config{Enrolments: broker.NewEnrolments(d.Store)})
		if err != nil {
			t.Fatal(err)
		}
		return []attest.Verifier{verifier}
	}})
	p := params(t, b, "testdata/tpm")
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		e.Setenv("TPM", device.Addr())
		e.Setenv("FOREIGN_TPM", other.Addr())
		return setup(e)
	}
	testscript.Run(t, p)
}

// TestReference holds the reference page against the help.
func TestReference(t *testing.T) {
	clidoc.Test(t, new(program).root(), "../../docs/reference/cli-agent.md", "cmd/vouchsafe-agent")
}
