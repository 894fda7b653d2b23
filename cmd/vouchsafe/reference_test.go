package main

import (
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/gen/clidoc"
)

func TestReference(t *testing.T) {
	clidoc.Test(t, new(program).root(), "../../docs/reference/cli.md", "cmd/vouchsafe")
}
