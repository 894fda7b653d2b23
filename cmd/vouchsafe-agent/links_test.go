//go:build linux

package main

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestLinksNoBroker: what runs in every guest is small, and has no part of the broker in it but the envelopes it
// opens, nor a store, a policy engine, a development broker's means to start a server, or a dynamic linker.
func TestLinksNoBroker(t *testing.T) {
	list, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Skipf("the packages cannot be listed: %v", err)
	}
	foreign := regexp.MustCompile(`^github\.com/vouchsafe/vouchsafe/(broker|store|policy)|cel-go|bbolt|yaml|purego`)
	for name := range strings.Lines(string(list)) {
		name = strings.TrimSuffix(name, "\n")
		if foreign.MatchString(name) && name != "github.com/vouchsafe/vouchsafe/broker/envelope" {
			t.Errorf("the agent links %s", name)
		}
	}
}
