package main

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker/vaultplugin"
	"github.com/vouchsafe/vouchsafe/broker/vaultplugin/authmethod"
	"github.com/vouchsafe/vouchsafe/broker/vaultplugin/secretsengine"
)

func backends() map[string]*framework.Backend {
	return map[string]*framework.Backend{
		"secret": secretsengine.New(vaultplugin.Options{}, "v1.0.0"),
		"auth":   authmethod.New(vaultplugin.Options{}, "v1.0.0"),
	}
}

// sentence is how help begins and ends.
var sentence = regexp.MustCompile(`(?s)^[A-Z].*\.$`)

// TestHelpIsComplete walks all paths: each says what it is, what its fields are, what its operations do and how a request looks.
func TestHelpIsComplete(t *testing.T) {
	for name, b := range backends() {
		if !strings.Contains(b.Help, "config") {
			t.Errorf("%s: the root's help does not say where to begin", name)
		}
		for _, p := range b.Paths {
			at := name + " " + p.Pattern
			if !sentence.MatchString(p.HelpSynopsis) || strings.Count(p.HelpSynopsis, "\n") > 0 {
				t.Errorf("%s: the synopsis is %q", at, p.HelpSynopsis)
			}
			if !sentence.MatchString(p.HelpDescription) {
				t.Errorf("%s: the description is %q", at, p.HelpDescription)
			}
			for field, schema := range p.Fields {
				if schema.Description == "" || schema.Type == framework.TypeInvalid {
					t.Errorf("%s: field %s says nothing of itself", at, field)
				}
			}
			if len(p.Operations) == 0 {
				t.Errorf("%s does nothing", at)
			}
			for operation, handler := range p.Operations {
				properties := handler.Properties()
				if properties.Summary == "" || len(properties.Examples) == 0 {
					t.Errorf("%s: %s has no summary or no example", at, operation)
				}
				if !properties.ForwardPerformanceStandby || !properties.ForwardPerformanceSecondary {
					t.Errorf("%s: %s is not passed on to the node that serves", at, operation)
				}
				for _, example := range properties.Examples {
					for field := range example.Data {
						if p.Fields[field] == nil {
							t.Errorf("%s: the example has the field %s, which there is not", at, field)
						}
					}
				}
			}
		}
	}
}

// TestHelpAnswers asks for the help of each path as "vault path-help" does.
func TestHelpAnswers(t *testing.T) {
	for name, b := range backends() {
		if err := b.Setup(context.Background(), logical.TestBackendConfig()); err != nil {
			t.Fatal(err)
		}
		for _, p := range b.Paths {
			path := example(p)
			r, err := b.HandleRequest(t.Context(), &logical.Request{Operation: logical.HelpOperation, Path: path, Storage: &logical.InmemStorage{}})
			if err != nil {
				t.Errorf("%s %s: %v", name, path, err)
				continue
			}
			if text, _ := r.Data["help"].(string); !strings.Contains(text, p.HelpSynopsis) {
				t.Errorf("%s: the help of %s is that of another path:\n%s", name, path, text)
			}
		}
	}
}

// example is the path in a path's own examples.
func example(p *framework.Path) string {
	for _, handler := range p.Operations {
		if e := handler.Properties().Examples; len(e) > 0 {
			return e[0].Description[strings.LastIndex(e[0].Description, " ")+1:]
		}
	}
	return ""
}

// TestUnauthenticated is the list of what needs no token, which is not to grow by accident.
func TestUnauthenticated(t *testing.T) {
	for name, want := range map[string]string{
		"secret": "challenge kinds jwks release v1/challenges v1/releases v1/kinds .well-known/jwks.json log/checkpoint log/key",
		"auth":   "challenge kinds jwks log/checkpoint log/key login reattest",
	} {
		special := backends()[name].SpecialPaths()
		if got := strings.Join(special.Unauthenticated, " "); got != want {
			t.Errorf("%s: %s", name, got)
		}
		if len(special.SealWrapStorage) == 0 {
			t.Errorf("%s wraps nothing", name)
		}
	}
}

// TestLogIsVaults: a line has the members by which Vault knows its level.
func TestLogIsVaults(t *testing.T) {
	var out bytes.Buffer
	newLogger(&out).Warn("a mount is not ready", "cause", "none")
	var line map[string]string
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line["@level"] != "warn" || line["@message"] != "a mount is not ready" || line["cause"] != "none" {
		t.Errorf("%v", line)
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000000Z07:00", line["@timestamp"]); err != nil {
		t.Error(err)
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{nil, {"database"}, {"secret", "auth"}, {""}} {
		if _, err := choose(args, vaultplugin.Options{}); err == nil {
			t.Errorf("%q says what to be", args)
		}
	}
	for _, arg := range []string{"secret", "auth"} {
		if f, err := choose([]string{arg}, vaultplugin.Options{}); err != nil || f == nil {
			t.Errorf("%s: %v", arg, err)
		}
	}
}
