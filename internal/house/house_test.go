package house_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module   = "github.com/vouchsafe/vouchsafe/"
	root     = "../.."
	maxLines = 600 // a file longer than this holds more than one thing
)

// layer says what packages may import: those at or below a path may import each other and the packages of the layers in may, by their paths;
// "broker/..." is every layer at or below broker.
type layer struct {
	path string
	may  []string
}

// layers are the rules, lower layers first; docs/architecture.md explains them. The longest path that holds a package counts. A package that no
// path holds is an error: whoever adds one says here where it stands.
var layers = []layer{
	{"internal/strictjson", nil},
	{"internal/readback", nil},
	{"internal/atomicfile", nil},
	{"internal/cli", nil},
	{"internal/harden", nil},
	{"internal/dial", nil},
	{"store", []string{"internal/strictjson", "internal/atomicfile"}},
	{"attest", []string{"internal/strictjson", "internal/atomicfile"}},
	{"policy", []string{"attest", "internal/strictjson"}},
	{"policy/provenance/registry", []string{"policy"}}, // which talks to registries: for the command only

	{"broker/intake", nil},
	{"broker/localca", []string{"internal/atomicfile"}},
	{"broker/envelope", []string{"attest", "internal/strictjson"}},
	{"broker/ear", []string{"attest", "store", "internal/strictjson"}},
	{"broker/session", []string{"attest", "store", "internal/strictjson"}},
	{"broker/access", []string{"attest", "policy", "store", "internal/strictjson"}},
	{"broker/keys", []string{"store", "internal/strictjson"}},
	{"broker/audit", []string{"store"}},
	{"broker/endorse", []string{"attest", "store"}},
	{"broker/logs", []string{"broker/audit", "broker/keys", "store", "internal/strictjson"}},
	{"broker/source", []string{"attest", "policy", "store", "internal/strictjson"}},
	{"broker/data", []string{"broker/access", "broker/audit", "broker/keys", "broker/logs", "broker/session", "store"}},
	{"broker", []string{
		"attest", "policy", "store", "internal/readback", "internal/strictjson",
		"broker/access", "broker/audit", "broker/ear", "broker/envelope", "broker/keys", "broker/logs", "broker/session", "broker/source",
	}},

	// What administers a broker shares the core's types; what runs in the guest knows a broker by its wire format only.
	{"broker/admin", []string{"attest", "policy", "broker", "broker/access", "broker/keys", "broker/logs", "broker/source", "internal/dial", "internal/strictjson"}},
	{"client", []string{"attest", "broker/envelope", "internal/dial", "internal/strictjson", "internal/atomicfile"}},

	{"docs", nil}, // documents that programs serve
	{"broker/api", []string{
		"attest", "policy", "store", "client", "docs",
		"broker", "broker/access", "broker/admin", "broker/envelope", "broker/intake", "broker/keys", "broker/source", "internal/strictjson",
	}},
	{"broker/kbs", []string{
		"attest", "policy", "store", "internal/strictjson",
		"broker", "broker/access", "broker/envelope", "broker/intake", "broker/keys", "broker/session",
	}},
	{"broker/callers", []string{"broker", "broker/access", "broker/intake"}},
	{"broker/tenants", []string{"broker"}},
	{"broker/server", []string{"attest", "broker", "store"}},
	{"broker/node", []string{
		"attest", "policy", "store", "broker", "broker/access", "broker/api", "broker/callers", "broker/data", "broker/endorse", "broker/intake", "broker/kbs", "broker/server",
		"broker/session", "broker/source", "broker/tenants",
	}},
	{"broker/dev", []string{
		"attest", "policy", "store", "internal/atomicfile",
		"broker", "broker/access", "broker/data", "broker/localca", "broker/node", "broker/source",
	}},
	{"broker/node/internal/testbroker", []string{"broker/..."}}, // the program that tests of node kill
	{"internal/testserver", nil},
	{"internal/vaulttest", []string{"store", "internal/testserver"}},
	{"broker/brokertest", []string{"attest", "policy", "store", "client", "broker/...", "internal/vaulttest"}},

	{"internal/bench", []string{"attest", "policy", "store", "client", "broker/...", "internal", "internal/vaulttest"}},
	{"internal", []string{"attest", "policy", "store", "client", "broker/...", "internal/strictjson", "internal/cli", "internal/testserver"}}, // tests and generators
	{"examples", []string{"attest", "client"}},
	{"cmd", []string{"attest", "policy", "policy/provenance/registry", "store", "client", "broker/...", "internal/strictjson", "internal/atomicfile", "internal/cli", "internal/harden"}},
}

// of returns the layer of a package, by its path below the module.
func of(pkg string) *layer {
	var best *layer
	for i := range layers {
		if below(pkg, layers[i].path) && (best == nil || len(layers[i].path) > len(best.path)) {
			best = &layers[i]
		}
	}
	return best
}

func below(pkg, path string) bool { return pkg == path || strings.HasPrefix(pkg, path+"/") }

// allowed reports whether a package of the layer may import another.
func (l *layer) allowed(imported string) bool {
	target := of(imported)
	return target != nil && (target == l || slices.ContainsFunc(l.may, func(may string) bool {
		if all, ok := strings.CutSuffix(may, "/..."); ok {
			return below(target.path, all)
		}
		return target.path == may
	}))
}

// pkg is what "go list" says of a package.
type pkg struct {
	ImportPath, Name, Dir string
	GoFiles               []string
	Imports               []string
	Deps                  []string
}

// packages lists the project's packages. Those that do not compile are listed too: this test is about their shape.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Name,Dir,GoFiles,Imports,Deps", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		list = append(list, p)
	}
	if len(list) < 20 {
		t.Fatalf("only %d packages were found", len(list))
	}
	return list
}

// ours returns the paths below the module of those imports that are the project's.
func ours(imports []string) []string {
	var out []string
	for _, i := range imports {
		if p, ok := strings.CutPrefix(i, module); ok {
			out = append(out, p)
		}
	}
	return out
}

func TestImportsGoDownwards(t *testing.T) {
	for _, p := range packages(t) {
		l := of(p.ImportPath)
		if l == nil {
			t.Errorf("%s has no place in the house: give it one in layers, and in docs/architecture.md", p.ImportPath)
			continue
		}
		for _, imported := range ours(p.Imports) {
			if !l.allowed(imported) {
				t.Errorf("%s imports %s, which is not below it", p.ImportPath, imported)
			}
		}
	}
}

// TestLayersForbid holds the rules against imports that they are there to forbid.
func TestLayersForbid(t *testing.T) {
	for _, bad := range [][2]string{
		{"store/bolt", "broker"}, {"store", "attest"}, {"attest/snp", "policy"}, {"attest", "store"}, {"policy", "broker"}, {"policy", "store"}, {"broker", "policy/provenance/registry"},
		{"broker", "broker/api"}, {"broker", "broker/kbs"}, {"broker", "broker/node"}, {"broker", "broker/data"}, {"broker", "client/release"},
		{"broker/audit", "broker"}, {"broker/audit", "attest"}, {"broker/envelope", "broker"}, {"broker/envelope", "store"},
		{"broker/kbs", "broker/api"}, {"broker/api", "broker/kbs"}, {"broker/node", "broker/dev"}, {"broker/server", "broker/api"},
		{"client", "broker"}, {"client/release", "broker"}, {"client", "policy"}, {"client/snpdevice", "store"},
		{"broker", "cmd/vouchsafe"}, {"client", "cmd/vouchsafe-agent"}, {"internal/strictjson", "attest"},
		{"attest/collateral", "store"}, {"attest/collateral/amd", "broker"}, {"broker/endorse", "broker"}, {"attest/snp", "broker/endorse"},
		{"store/bolt", "internal/mutate"}, {"broker", "internal/faultstore"}, {"cmd/vouchsafe", "internal/mutate"}, {"client", "broker/admin"}, {"broker", "broker/admin"},
	} {
		if of(bad[0]).allowed(bad[1]) {
			t.Errorf("%s may import %s", bad[0], bad[1])
		}
	}
}

// TestWhatShipsUsesNoTestHelpers keeps fakes and mutators out of programs.
func TestWhatShipsUsesNoTestHelpers(t *testing.T) {
	helpers := []string{
		"internal/crash", "internal/faultstore", "internal/mutate", "internal/vectors", "internal/snpjson", "internal/softtpm",
		"internal/ratio", "internal/testserver", "internal/vaulttest", "internal/vaulttest/pluginstore", "internal/vaulttest/pluginstore/wire", "internal/pgtest", "attest/tpm/tpmtest", "attest/snp/snptest", "attest/tdx/tdxtest", "attest/azure/azuretest", "attest/nvidia/nvidiatest", "attest/internal/dcap/dcaptest",
		"attest/measure/pe/petest", "attest/collateral/vendortest", "store/storetest", "broker/brokertest", "broker/kbs/kbstest",
	}
	found := 0
	for _, p := range packages(t) {
		if p.Name != "main" || !below(p.ImportPath, "cmd") {
			continue
		}
		found++
		for _, dep := range ours(p.Deps) {
			if slices.Contains(helpers, dep) {
				t.Errorf("%s links %s, which is for tests", p.ImportPath, dep)
			}
		}
	}
	if found == 0 {
		t.Error("no programs were found")
	}
}

// TestServersLinkNoDevelopmentEvidence is a part of invariant 6: what puts a production broker together has no verifier of evidence that
// anybody can make, so no setting can turn one on. The program has them, in package broker/dev, for "vouchsafe dev".
func TestServersLinkNoDevelopmentEvidence(t *testing.T) {
	for _, p := range packages(t) {
		switch p.ImportPath {
		case "broker", "broker/node", "broker/server", "broker/kbs", "broker/api":
		default:
			continue
		}
		for _, dep := range ours(p.Deps) {
			if dep == "attest/virtual" || dep == "attest/sample" || dep == "broker/dev" {
				t.Errorf("%s links %s", p.ImportPath, dep)
			}
		}
	}
}

func TestPackageNames(t *testing.T) {
	for _, p := range packages(t) {
		for element := range strings.SplitSeq(p.ImportPath, "/") {
			switch element {
			case "util", "utils", "common", "helper", "helpers", "types", "misc", "shared":
				t.Errorf("%s: %q says nothing about what is in it", p.ImportPath, element)
			}
		}
	}
}

// TestPackagesAreDocumented: a package's comment is its design document, and one line is a poor one for what ships.
func TestPackagesAreDocumented(t *testing.T) {
	for _, p := range packages(t) {
		var comment string
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Error(err)
				continue
			}
			if file.Doc != nil {
				if comment != "" {
					t.Errorf("%s has more than one package comment", p.ImportPath)
				}
				comment = file.Doc.Text()
			}
		}
		if len(p.GoFiles) > 0 && comment == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// TestNoInit: what a package needs is given to it, and nothing registers itself.
func TestNoInit(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Error(err)
				continue
			}
			for _, d := range file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
					t.Errorf("%s/%s has a function init", p.ImportPath, name)
				}
			}
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	files := 0
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "bin" || entry.Name() == "testdata") {
			return fs.SkipDir
		}
		if entry.IsDir() || path.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files++
		if lines := bytes.Count(text, []byte("\n")); lines >= maxLines {
			t.Errorf("%s has %d lines: split it by what it does", name, lines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Fatalf("only %d files were found", files)
	}
}
