package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/fences"
)

// TestDocumentedSettings reads the configuration to begin with, and every one that a page shows, as the server does: strictly.
func TestDocumentedSettings(t *testing.T) {
	const root = "../.."
	if _, err := readSettings(filepath.Join(root, "deploy", "server.yaml")); err != nil {
		t.Error(err)
	}
	var pages []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/reference/*.md", "docs/evidence/*.md", "deploy/*.md", "examples/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	shown := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := fences.Parse(string(text))
		if err != nil {
			t.Fatalf("%s: %v", page, err)
		}
		for _, b := range blocks {
			if b.Language != "yaml" || !strings.HasPrefix(b.Text, "data:") {
				continue
			}
			shown++
			path := filepath.Join(t.TempDir(), "server.yaml")
			if err := os.WriteFile(path, []byte(b.Text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := readSettings(path); err != nil {
				t.Errorf("%s:%d: %v", page, b.Line, err)
			}
		}
	}
	if shown < 2 {
		t.Errorf("only %d configurations were found", shown)
	}
}
