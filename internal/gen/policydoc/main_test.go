package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPageIsCurrent(t *testing.T) {
	want, err := render()
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join("..", "..", "..", "docs", "reference", "policy.md")
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/reference/policy.md is stale: go run ./internal/gen/policydoc > docs/reference/policy.md")
	}
}
