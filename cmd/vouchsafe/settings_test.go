package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tdx-guest/testing/testdata"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

const settingsPage = "../../docs/reference/server-config.md"

// TestSettingsPage holds the reference page against the settings: every member is in it, nothing else is, and its flags exist.
func TestSettingsPage(t *testing.T) {
	page, err := os.ReadFile(settingsPage)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string][]string{}
	for line := range strings.SplitSeq(string(page), "\n") {
		if strings.HasPrefix(line, "| `") {
			cells := strings.Split(line, "|")
			name := strings.Trim(cells[1], " `")
			if told[name] != nil {
				t.Errorf("%s is there twice", name)
			}
			told[name] = cells
		}
	}
	real := map[string]reflect.Kind{}
	leaves(reflect.TypeFor[settings](), "", real)
	for _, name := range slices.Sorted(maps.Keys(real)) {
		if told[name] == nil {
			t.Errorf("the page does not have %s", name)
		}
		if cells := told[name]; real[name] == reflect.Bool && !slices.ContainsFunc(cells, func(c string) bool { return strings.Trim(c, " `") == "false" }) {
			t.Errorf("%s is false by default", name)
		}
	}
	server := new(program).serverCommand()
	for name, cells := range told {
		if _, ok := real[name]; !ok {
			t.Errorf("the page has %s, which is no setting", name)
		}
		if flag, ok := strings.CutPrefix(strings.Trim(cells[2], " `"), "--"); ok && server.Flags().Lookup(flag) == nil {
			t.Errorf("%s: there is no flag --%s", name, flag)
		}
	}
	for name, want := range map[string]string{
		"limits.challenge_lifetime":  fmt.Sprintf("%.0fm", broker.DefaultChallengeLifetime.Minutes()),
		"limits.session_lifetime":    fmt.Sprintf("%.0fm", broker.DefaultSessionLifetime.Minutes()),
		"limits.refusals_per_second": fmt.Sprint(broker.DefaultRefusalsPerSecond),
		"limits.secrets":             fmt.Sprint(broker.DefaultSecrets),
	} {
		if cells := told[name]; cells != nil && strings.Trim(cells[2], " `") != want {
			t.Errorf("the default of %s is %s", name, want)
		}
	}
}

// keyed is what maps are keyed by; those that hold texts, by NAME.
var keyed = map[string]string{"snp.minimum_tcb": "PRODUCT", "vault.sources": "NAMESPACE", "provenance": "NAMESPACE"}

// leaves collects the paths of members that hold a value.
func leaves(t reflect.Type, path string, into map[string]reflect.Kind) {
	for _, f := range reflect.VisibleFields(t) {
		member := f.Type
		name := path + f.Tag.Get("yaml")
		if member.Kind() == reflect.Map {
			key := keyed[name]
			if member.Elem().Kind() == reflect.String {
				key = "NAME"
			}
			member, name = member.Elem(), name+"."+key
		}
		if member.Kind() == reflect.Slice && member.Elem().Kind() == reflect.Struct {
			member, name = member.Elem(), name+"[]"
		}
		if member.Kind() == reflect.Struct && member != reflect.TypeFor[time.Time]() {
			leaves(member, name+".", into)
			continue
		}
		into[name] = member.Kind()
	}
}

// TestSettingsExamples reads what the documentation and the packaging say a configuration looks like.
func TestSettingsExamples(t *testing.T) {
	example := regexp.MustCompile("(?s)```yaml\n(data: .*?)```")
	for _, path := range []string{settingsPage, "../../docs/operator.md"} {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := example.FindSubmatch(page)
		if found == nil {
			t.Fatalf("%s has no example", path)
		}
		if err := decodeSettings(found[1], new(settings)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	long := new(program).serverCommand().Long
	_, sample, _ := strings.Cut(long, "minimal file:\n")
	sample, _, _ = strings.Cut(sample, "\n\nThe server")
	s := new(settings)
	if err := decodeSettings([]byte(sample), s); err != nil || s.TLS.Key == "" {
		t.Errorf("the help of server: %v", err)
	}
	if s, err := readSettings("../../deploy/server.yaml"); err != nil || s.Data == "" {
		t.Errorf("deploy/server.yaml: %v", err)
	}
}

// TestSettingsPaths: every setting that names a file is relative to the configuration's folder.
func TestSettingsPaths(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "server.yaml")
	const text = `
data: a
tls: {certificate: a, key: a}
seal: {key_file: a, passphrase_file: /elsewhere/a}
snp: {certificates: a, revocation_lists: [a, a]}
tpm: {maker_roots: [a], revocation_lists: [a]}
cca: {trust_anchors: a, reference_values: a}
tokens: {verifiers: [{keys_file: a}, {roots_file: a}]}
collateral: {dir: a, ca_file: a, pcs_api_key_file: a}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := readSettings(path)
	if err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(dir, "a")
	for i, have := range []string{
		s.Data, s.TLS.Certificate, s.TLS.Key, s.Seal.KeyFile, s.SNP.Certificates, s.SNP.RevocationLists[0], s.SNP.RevocationLists[1],
		s.TPM.MakerRoots[0], s.TPM.RevocationLists[0], s.CCA.TrustAnchors, s.CCA.ReferenceValues, s.Tokens.Verifiers[0].KeysFile,
		s.Tokens.Verifiers[1].RootsFile, s.Collateral.Dir, s.Collateral.CAFile, s.Collateral.PCSAPIKey,
	} {
		if have != want {
			t.Errorf("path %d is %s", i, have)
		}
	}
	if s.Seal.PassphraseFile != "/elsewhere/a" {
		t.Error(s.Seal.PassphraseFile)
	}
}

// settingsSeeds are texts that are settings, and some that nearly are.
func settingsSeeds(tb testing.TB) [][]byte {
	tb.Helper()
	sample, err := os.ReadFile("../../deploy/server.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	seeds := [][]byte{sample}
	for _, seed := range []string{"", "data: x\n", "data: x\n---\n", "snp: {minimum_tcb: {Genoa: {snp: 1}}}", "a: &a [*a]", "tls: ~", "? [data]\n: x", "<<: {data: x}", "- 1",
		"kinds: [snp, tdx]", "kinds: [{a: b}]", "tokens: {verifiers: [{name: a, format: ear}]}", "tokens: {verifiers: [1, [a], {b: &c d}]}"} {
		seeds = append(seeds, []byte(seed))
	}
	return seeds
}

// decodeAny: no text makes the reader of settings panic, and what it refuses it says.
func decodeAny(t *testing.T, text []byte) {
	t.Helper()
	var s settings
	if err := decodeSettings(text, &s); err != nil && err.Error() == "" {
		t.Error("an error that says nothing")
	}
}

func TestMutationsSettings(t *testing.T) { mutate.Run(t, settingsSeeds(t), decodeAny) }

func FuzzSettings(f *testing.F) {
	for _, seed := range settingsSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(decodeAny)
}

// TestRevocationLists: a list in DER or PEM, with nothing behind it.
func TestRevocationLists(t *testing.T) {
	encoded := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: testdata.RootCrlBody})
	for name, test := range map[string]struct {
		text []byte
		good bool
	}{
		"DER": {testdata.RootCrlBody, true}, "PEM": {encoded, true}, "DER and more": {append(bytes.Clone(testdata.RootCrlBody), 0), false}, "none": {nil, false},
	} {
		path := filepath.Join(t.TempDir(), "list")
		if err := os.WriteFile(path, test.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if lists, err := readRevocationLists([]string{path}); (err == nil) != test.good || test.good && len(lists) != 1 {
			t.Errorf("%s: %v, %v", name, lists, err)
		}
	}
}
