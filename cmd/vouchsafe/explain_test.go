package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/policy"
)

// TestTerminalsAreNotSteered explains a decision about evidence whose claims a guest chose: they print as text, and steer no terminal.
func TestTerminalsAreNotSteered(t *testing.T) {
	const steering = "quiet\x1b[2J splash\u009b31m\x7f\r"
	d := broker.Decision{
		Refusal: &broker.Refusal{Detail: steering},
		Secrets: []broker.SecretDecision{{Secret: "a/b", Policies: []policy.Result{{
			Rules: []policy.RuleResult{{Rule: "r", Saw: policy.Seen{{Path: "claims.boot.command_line", Value: steering}}}},
		}}}},
	}
	var out, errOut strings.Builder
	if err := explain(&out, broker.Explanation{Decision: d}, true); err != nil {
		t.Fatal(err)
	}
	p := &program{errOut: &errOut, format: "table"}
	p.printError(errors.New(steering + "\n" + steering))
	for name, text := range map[string]string{"an explanation": out.String(), "an error": errOut.String()} {
		if strings.ContainsAny(text, "\x1b\u009b\x7f\r") || !strings.Contains(text, "quiet") {
			t.Errorf("%s: %q", name, text)
		}
	}
	if lines := strings.Count(errOut.String(), "\n"); lines != 2 {
		t.Errorf("%q", errOut.String())
	}
}
