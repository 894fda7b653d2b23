package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vouchsafe/vouchsafe/attest/measure/pe/petest"
	"github.com/vouchsafe/vouchsafe/broker/dev"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

func TestMain(m *testing.M) {
	testscript.Main(programs{m}, map[string]func(){"fetch": func() { os.Exit(fetch()) }})
}

// programs are tests after which the programs that they built are removed.
type programs struct{ *testing.M }

func (p programs) Run() int {
	defer func() { _ = os.RemoveAll(buildOnce.dir) }()
	return p.M.Run()
}

// buildOnce is the folder with the programs, which are built once for all scripts of a test run.
var buildOnce struct {
	sync.Once
	dir string
	err error
}

// build builds the programs as they ship, and returns their folder.
func build(t *testing.T) string {
	buildOnce.Do(func() {
		if buildOnce.dir, buildOnce.err = os.MkdirTemp("", "vouchsafe-scripts"); buildOnce.err != nil {
			return
		}
		c := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "build", "-o", buildOnce.dir, ".", "../vouchsafe-agent")
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			buildOnce.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if buildOnce.err != nil {
		t.Fatal(buildOnce.err)
	}
	return buildOnce.dir
}

// fetch is what a workload does, as small as it can be: fetch SECRET TEE, with the broker from the environment. It prints the secret, or why not and
// exits with 1. "fetch --evidence TEE" prints evidence instead. The agent has tests of its own.
func fetch() int {
	device, err := virtualdevice.Load(os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if os.Args[1] == "--evidence" {
		evidence, err := device.Evidence(context.Background(), make([]byte, 48))
		if err == nil {
			_, err = os.Stdout.Write(evidence)
		}
		if err != nil {
			return 2
		}
		return 0
	}
	ca, err := os.ReadFile(os.Getenv("VOUCHSAFE_CACERT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	c, err := client.New(client.Config{URL: os.Getenv("VOUCHSAFE_ADDR"), CA: ca, Collector: device})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	secrets, err := c.Fetch(context.Background(), os.Args[1])
	if err != nil {
		var refused *client.Refused
		if errors.As(err, &refused) {
			fmt.Fprintln(os.Stderr, refused.Decision)
		}
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, err = os.Stdout.Write(secrets[0].Value)
	if err != nil {
		return 2
	}
	return 0
}

// The folders of scripts below testdata. They run the programs, built as they ship, as people and other scripts do.
const (
	onlyFile  = "script"  // those that need no store, or one in a file
	bothKinds = "both"    // those that are run with a store of either kind: "vouchsafe dev --vault=$STORE" or "vouchsafe server --config server.yaml"
	fromVault = "sources" // those of secrets that lie in Vault, which are run with a store of either kind, too
	onlyVault = "vault"   // those of what is otherwise with a store in Vault
	sealVault = "seal"    // those that move and seal stores, in files and in Vault
)

// inData are settings of a server that has its own, and with nothing else its store, in the folder data.
const inData = `data: data
url: https://localhost
tls: {certificate: data/tls/server.pem, key: data/tls/server.key}
seal: {key_file: seal.key}
`

// TestScripts runs scripts with stores in files.
func TestScripts(t *testing.T) {
	for _, folder := range []string{onlyFile, bothKinds} {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			runScripts(t, folder, func(env *testscript.Env) error {
				at := filepath.Join(env.WorkDir, "server.yaml")
				if _, err := os.Stat(at); err == nil {
					return nil // the script has its own
				}
				return os.WriteFile(at, []byte(inData), 0o600)
			})
		})
	}
}

// runScripts runs the scripts of a folder below testdata.
func runScripts(t *testing.T, folder string, prepare func(*testscript.Env) error) {
	bin := build(t)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", folder),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("VECTORS", vectors.Folder())
			env.Setenv("TZ", "UTC")
			env.Setenv("STORE", "") // the settings of a store that is no file of the data directory
			measure, err := filepath.Abs(filepath.Join("..", "..", "attest", "measure"))
			if err != nil {
				return err
			}
			env.Setenv("MEASURE", measure)
			env.Setenv("ATTEST", filepath.Dir(measure))
			return prepare(env)
		},
		Condition: func(condition string) (bool, error) {
			if condition == "vectors" {
				_, err := os.Stat(filepath.Join(vectors.Folder(), "snp"))
				return err == nil, nil
			}
			if condition == "swtpm" {
				_, err := exec.LookPath("swtpm_setup")
				return err == nil, nil
			}
			if condition == "ovmf" { // Debian's package of that name, whose image has TDX metadata
				_, err := os.Stat("/usr/share/ovmf/OVMF.fd")
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", condition)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"agekey":             ageKey,
			"capture":            capture,
			"clientcertificates": clientCertificates,
			"corrupt":            corrupt,
			"devenv":             devEnv,
			"eif":                writeEIF,
			"freeport":           freePort,
			"get":                get,
			"gpuevidence":        gpuEvidence,
			"kbsadmin":           kbsAdmin,
			"keyservice":         keyService,
			"keyset":             keySet,
			"mode":               mode,
			"ociregistry":        ociRegistry,
			"serves":             serves,
			"signingkey":         signingKey,
			"signedtoken":        signedToken,
			"softtpm":            softTPM,
			"statement":          statement,
			"sigterm":            sigterm,
			"tdxitems":           tdxItems,
			"touch":              touch,
			"uki":                writeUKI,
			"waitfor":            waitFor,
			"waitfile":           waitFile,
			"waitcert":           waitCert,
		},
	})
}

// writeUKI writes a small unified kernel image: uki FILE VERSION [SECTION CONTENT]…. Its kernel is another program without code.
func writeUKI(ts *testscript.TestScript, _ bool, args []string) {
	kernel := petest.Write(petest.Parts(".text", "code"), nil, nil)
	sections := append([]string{".sdmagic", "#### LoaderInfo: systemd-stub " + args[1] + " ####", ".linux", string(kernel)}, args[2:]...)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), petest.Write(petest.Parts(sections...), nil, nil), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".kernel"), kernel, 0o600))
}

// freePort sets each variable that it is given to a port that nothing listens on.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Setenv(name, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
		ts.Check(l.Close())
	}
}

// patience is how long a script waits for what is to come, on a machine that may be busy.
const patience = 30 * time.Second

func eventually(ts *testscript.TestScript, what string, f func() bool) {
	for end := time.Now().Add(patience); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s: not after %v", what, patience)
		}
	}
}

// waitFor waits until something listens on localhost at a port; "! waitfor" until nothing does.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	eventually(ts, "port "+args[0], func() bool {
		c, err := net.Dial("tcp", net.JoinHostPort("localhost", args[0]))
		if err == nil {
			c.Close()
		}
		return (err == nil) != neg
	})
}

// waitFile waits until a file has a text in it.
func waitFile(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, args[0], func() bool {
		content, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && strings.Contains(string(content), args[1])
	})
}

// waitCert waits until the server at a port shows the certificate in a file.
func waitCert(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, args[1], func() bool {
		pair, err := tls.LoadX509KeyPair(ts.MkAbs(args[1]), ts.MkAbs(args[2]))
		ts.Check(err)
		c, err := tls.Dial("tcp", "localhost:"+args[0], &tls.Config{InsecureSkipVerify: true}) // the certificate is what is looked at
		ts.Check(err)
		defer c.Close()
		return bytes.Equal(c.ConnectionState().PeerCertificates[0].Raw, pair.Certificate[0])
	})
}

// devEnv points the environment at the development broker in a folder.
func devEnv(ts *testscript.TestScript, _ bool, args []string) {
	var info dev.Info
	eventually(ts, args[0]+"/dev.json", func() bool {
		text, err := os.ReadFile(ts.MkAbs(filepath.Join(args[0], "dev.json")))
		return err == nil && json.Unmarshal(text, &info) == nil
	})
	ts.Setenv("VOUCHSAFE_ADDR", info.URL)
	ts.Setenv("VOUCHSAFE_CACERT", info.CACert)
	ts.Setenv("VOUCHSAFE_TOKEN_FILE", info.TokenFile)
}

// get sets a variable to a member of the JSON on standard output, or checks it: get PATH $VAR or get PATH = VALUE. A path is
// names and indices with dots between, or "." for the whole; "len" is how many members there are.
func get(ts *testscript.TestScript, neg bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for part := range strings.SplitSeq(args[0], ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[part]
		case []any:
			if part == "len" {
				v = len(in)
				continue
			}
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(in) {
				ts.Fatalf("%s: there is no %s among %d", args[0], part, len(in))
			}
			v = in[i]
		default:
			v = nil
		}
	}
	text, ok := v.(string)
	if !ok {
		encoded, err := json.Marshal(v)
		ts.Check(err)
		text = string(encoded)
	}
	if args[1] != "=" {
		ts.Setenv(args[1], text)
		return
	}
	if (text == args[2]) == neg {
		ts.Fatalf("%s is %s", args[0], text)
	}
}

// ageKey makes an age identity in a file and sets a variable to its recipient.
func ageKey(ts *testscript.TestScript, _ bool, args []string) {
	key, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(key.String()+"\n"), 0o600))
	ts.Setenv(args[1], key.Recipient().String())
}

// corrupt flips a bit of a file: at an offset, negative from its end, or wherever a text is.
func corrupt(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	content, err := os.ReadFile(path)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	switch {
	case err != nil && !bytes.Contains(content, []byte(args[1])):
		ts.Fatalf("%s has no %s", args[0], args[1])
	case err != nil:
		damaged := []byte(args[1])
		damaged[len(damaged)-1] ^= 1
		content = bytes.ReplaceAll(content, []byte(args[1]), damaged)
	case at < 0:
		content[len(content)+at] ^= 1
	default:
		content[at] ^= 1
	}
	ts.Check(os.WriteFile(path, content, 0o600))
}

// mode checks a file's permissions.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if have := fmt.Sprintf("%o", info.Mode().Perm()); have != args[0] {
		ts.Fatalf("%s has mode %s", args[1], have)
	}
}

// sigterm asks every process in the background to end, as a service manager does.
func sigterm(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGTERM))
	}
}

// touch gives files a modification time that they did not have.
func touch(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		later := time.Now().Add(time.Minute)
		ts.Check(os.Chtimes(ts.MkAbs(name), later, later))
	}
}

// TestRunLeavesNothing: a run of the program in this process leaves nothing behind. It is here so that execute can be called by other
// programs' tests.
func TestRunLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, args := range [][]string{{"version"}, {"nonsense"}, {"secret", "list"}, {"policy", "check", "testdata/none.yaml"}} {
		var out, errOut bytes.Buffer
		execute(t.Context(), args, strings.NewReader(""), &out, &errOut)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}

// capture sets a variable to what a pattern's group matches: capture stdout|stderr VARIABLE PATTERN.
func capture(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[2])
	ts.Check(err)
	found := pattern.FindStringSubmatch(ts.ReadFile(args[0]))
	if len(found) != 2 {
		ts.Fatalf("%s has no %s", args[0], args[2])
	}
	ts.Setenv(args[1], found[1])
}
