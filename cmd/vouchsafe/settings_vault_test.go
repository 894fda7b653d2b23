package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/broker/source/vault"
)

// TestSourcePaths: what the settings list is what secrets may name, an empty list is a list, and what the store and its seal have is never in it.
func TestSourcePaths(t *testing.T) {
	const here = "store: {kind: vault, mount: team/kv}\nseal: {transit: {key: k}}\n"
	kv := func(mount, path string) json.RawMessage {
		return json.RawMessage(`{"mount":"` + mount + `","path":"` + path + `"}`)
	}
	for name, x := range map[string]struct {
		text, namespace string
		parameters      json.RawMessage
		want            string // "" for allowed
	}{
		"no list":                      {"", "default", kv("a", "b"), ""},
		"no list, another namespace":   {"", "x", kv("a", "b"), ""},
		"an empty list":                {"vault: {sources: {}}", "default", kv("a", "b"), "not among"},
		"a namespace without paths":    {"vault: {sources: {default: }}", "default", kv("a", "b"), "not among"},
		"listed":                       {"vault: {sources: {default: [a/data/*]}}", "default", kv("a", "b"), ""},
		"listed for another namespace": {"vault: {sources: {x: [a/data/*]}}", "default", kv("a", "b"), "not among"},
		"the store's records":          {here, "default", kv("team/kv", "vouchsafe/=header"), "its own"},
		"the store's folder":           {here, "default", kv("team/kv", "vouchsafe"), "its own"},
		"beside the store":             {here, "default", kv("team/kv", "vouchsafe-apps/x"), ""},
		"the store's records, listed":  {here + "vault: {sources: {default: [team/kv/**]}}", "default", kv("team/kv", "vouchsafe/=header"), "its own"},
		"another prefix":               {"store: {kind: vault, mount: kv, prefix: a/b}", "default", kv("kv", "a/b/c"), "its own"},
		"above another prefix":         {"store: {kind: vault, mount: kv, prefix: a/b}", "default", kv("kv", "a/c"), ""},
		"the seal's engine":            {here, "default", json.RawMessage(`{"mount":"transit","path":"backup/k","kv":1}`), "its own"},
		"the seal's engine elsewhere":  {"seal: {transit: {mount: m/t, key: k}}", "default", json.RawMessage(`{"mount":"m","path":"t/backup/k","kv":1}`), "its own"},
		"a file and its key":           {"seal: {key_file: k}", "default", kv("transit", "x"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "server.yaml")
			if err := os.WriteFile(path, []byte(x.text), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := readSettings(path)
			if err != nil {
				t.Fatal(err)
			}
			paths, err := s.sourcePaths()
			if err != nil {
				t.Fatal(err)
			}
			_, err = vault.NewKV(nil, paths).Check(x.parameters, source.Request{Namespace: x.namespace, Secret: "a"})
			if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
				t.Errorf("%v, want %q", err, x.want)
			}
		})
	}
}

// TestSourcePathsRefused: a list that might not mean what it says is an error at the start.
func TestSourcePathsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"vault:\n  sources:\n":                     "2: vault.sources has nothing in it",
		"vault: {sources: ~}":                      "1: vault.sources has nothing in it",
		"vault: {sources: {sys: [a/b]}}":           "cannot be a namespace",
		"vault: {sources: {a/b: [a/b]}}":           "cannot be a namespace",
		"vault: {sources: {a: [a/b*]}}":            "whole segment",
		"vault: {sources: {a: [x/b], a: [x/c]}}":   "there twice",
		"vault: {sources: {a: x/b}}":               "cannot unmarshal",
		"vault: {sources: [x/b]}":                  "holds no members",
		"vault: {sources: {a: [{mount: secret}]}}": "cannot unmarshal",
	} {
		path := filepath.Join(t.TempDir(), "server.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := readSettings(path)
		if err == nil {
			_, err = s.sourcePaths()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v does not say %q", text, err, want)
		}
	}
}
