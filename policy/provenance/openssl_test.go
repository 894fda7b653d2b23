package provenance

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/fences"
)

// TestOpenSSL has OpenSSL make a key and sign, with the commands and the statement that the guide shows, and reads what comes of them.
func TestOpenSSL(t *testing.T) {
	for _, program := range []string{"openssl", "bash", "base64"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s here", program)
		}
	}
	page, err := os.ReadFile("../../docs/provenance.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := fences.Parse(string(page))
	if err != nil {
		t.Fatal(err)
	}
	dir, script := t.TempDir(), ""
	for _, b := range blocks {
		switch {
		case b.Language == "json" && strings.Contains(b.Text, `"_type"`):
			if err := os.WriteFile(filepath.Join(dir, "statement.json"), []byte(b.Text), 0o600); err != nil {
				t.Fatal(err)
			}
		case b.Language == "sh" && strings.Contains(b.Text, "openssl"):
			script = regexp.MustCompile(`(?m)^vouchsafe .*$`).ReplaceAllString(b.Text, "")
		}
	}
	run := exec.CommandContext(t.Context(), "bash", "-euc", script)
	run.Dir = dir
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public, err := os.ReadFile(filepath.Join(dir, "release.pub"))
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile(filepath.Join(dir, "provenance.json"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseKey(public)
	if err != nil {
		t.Fatal(err)
	}
	result, err := checked(t, Key{
		ID: "release", Public: key, Sets: []string{"payments-image"}, Builders: []string{repository + "/actions"}, Repository: repository,
		Refs: []string{mainRef}, Workflows: []string{workflow},
	}).Statement(document, Want{Set: "payments-image", Now: time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)})
	if err != nil || len(result.Values) != 1 || !strings.HasPrefix(result.Values[0], "6a6519d7") {
		t.Errorf("%+v, %v", result, err)
	}
}
