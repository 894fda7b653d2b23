package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestFresh fails when the documents in the repository are not what the code gives.
func TestFresh(t *testing.T) {
	for name, want := range Files() {
		have, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "reference", name))
		if err != nil || !bytes.Equal(have, want) {
			t.Errorf("docs/reference/%s is not what the code gives (%v): run go generate ./attest", name, err)
		}
	}
}
