package main

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/localca"
)

// TestCallerSettings: what is configured opens, and what is wrong says what and where.
func TestCallerSettings(t *testing.T) {
	dir := t.TempDir()
	const keys = `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	if err := os.WriteFile(filepath.Join(dir, "keys.json"), []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := localca.Ensure(dir, []string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "none.pem"), pem.EncodeToMemory(&pem.Block{Type: "X", Bytes: []byte("x")}), 0o600); err != nil {
		t.Fatal(err)
	}
	ca := filepath.Base(files.CA)
	const oidc = "{callers: {oidc: [{name: corp, issuer: 'https://i.test', audiences: [v], "
	for name, test := range map[string]struct{ text, problem string }{
		"nothing":       {"{}", ""},
		"issuer":        {oidc + "keys_file: keys.json, rules: [{claims: {a: b}, roles: [author], paths: [x]}]}]}}", ""},
		"certificates":  {"{callers: {certificates: {ca_file: " + ca + ", rules: [{email: a@b, roles: [auditor], namespace: '*'}]}}}", ""},
		"no keys":       {oidc + "rules: [{claims: {a: b}, roles: [author]}]}]}}", "one of keys_file, jwks_url and discovery"},
		"two keys":      {oidc + "keys_file: keys.json, discovery: true, rules: [{claims: {a: b}, roles: [author]}]}]}}", "2 are given"},
		"hosts":         {oidc + "keys_file: keys.json, jwks_hosts: [x], rules: [{claims: {a: b}, roles: [author]}]}]}}", "jwks_hosts"},
		"everyone":      {oidc + "keys_file: keys.json, rules: [{roles: [author]}]}]}}", "rule 1"},
		"no such role":  {oidc + "keys_file: keys.json, rules: [{claims: {a: b}, roles: [king]}]}]}}", "king"},
		"wildcard path": {oidc + "keys_file: keys.json, rules: [{claims: {a: b}, roles: [author], paths: ['x/*']}]}]}}", "x/*"},
		"a member":      {oidc + "key_file: keys.json}]}}", "key_file"},
		"not keys":      {oidc + "keys_file: " + ca + ", rules: [{claims: {a: b}, roles: [author]}]}]}}", "keys"},
		"no authority":  {"{callers: {certificates: {rules: [{email: a@b, roles: [auditor]}]}}}", "ca_file"},
		"no rules":      {"{callers: {certificates: {ca_file: " + ca + "}}}", "rules"},
		"not PEM":       {"{callers: {certificates: {ca_file: none.pem, rules: [{email: a@b, roles: [auditor]}]}}}", "callers.certificates"},
		"two names":     {"{callers: {certificates: {ca_file: " + ca + ", rules: [{email: a@b, dns: c, roles: [auditor]}]}}}", "2 of dns"},
		"no list":       {"{callers: {certificates: {ca_file: " + ca + ", revocation_lists: [nowhere.crl], rules: [{email: a@b, roles: [auditor]}]}}}", "nowhere.crl"},
	} {
		path := filepath.Join(dir, "server.yaml")
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := readSettings(path)
		if err == nil {
			_, _, err = s.Callers.open(nil)
		}
		if test.problem == "" && err != nil || test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
