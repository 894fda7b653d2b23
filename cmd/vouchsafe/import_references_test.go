package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var referenceFiles = []string{
	`[{"version":"0.1.0","name":"a","expired":"2031-01-01T00:00:00Z","hash-value":[{"alg":"sha384","value":"x"},{"alg":"sha384","value":"y"}]}]`,
	`[{"version":"0.1.0","name":"a","expiration":"2031-01-01T00:00:00Z","value":["x","y"]}]`,
	`{"version":"0.1.0","name":"a","expiration":"2031-01-01T00:00:00Z","value":["x","y"]}`,
	`{"a":{"version":"0.1.0","name":"a","expiration":"2031-01-01T00:00:00Z","value":["x","y"]}}`,
}

// TestKBSReferences reads the forms that the reference server's provider has had.
func TestKBSReferences(t *testing.T) {
	for _, text := range referenceFiles {
		values, problems, err := parseKBSReferences([]byte(text))
		if err != nil || len(problems) > 0 || len(values) != 1 || string(values["a"].Value) != `["x","y"]` || !values["a"].Expires.Equal(time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: %v, %v, %v", text, values, problems, err)
		}
	}
	values, problems, err := parseKBSReferences([]byte(`{"plain":3,"list":["1"],"object":{"value":1},"null":null}`))
	if err != nil || len(problems) > 0 || len(values) != 4 || string(values["object"].Value) != `{"value":1}` {
		t.Errorf("%v, %v, %v", values, problems, err)
	}
	for text, want := range map[string]int{
		`[{"version":"1","name":"a"}]`:                                                                                1,
		`[{"version":"1","name":"","value":1}]`:                                                                       1,
		`[{"version":"1","name":"a","value":1},{"version":"1","name":"a","value":2}]`:                                 1,
		`[{"version":"1","name":"a","value":1,"hash-value":[]}]`:                                                      1,
		`[{"version":"1","name":"a","value":1,"expired":"x"}]`:                                                        1,
		`[{"version":"1","name":"a","value":1,"expired":"2031-01-01T00:00:00Z","expiration":"2032-01-01T00:00:00Z"}]`: 1,
	} {
		if _, problems, err := parseKBSReferences([]byte(text)); err != nil || len(problems) != want {
			t.Errorf("%s: %v, %v", text, problems, err)
		}
	}
	for _, text := range []string{``, `1`, `"x"`, `null`, `[1]`, `{`, `{}x`} {
		if _, _, err := parseKBSReferences([]byte(text)); err == nil {
			t.Errorf("%q: taken", text)
		}
	}
}

// FuzzKBSReferences holds that what is read can be written as a request.
func FuzzKBSReferences(f *testing.F) {
	for _, text := range referenceFiles {
		f.Add([]byte(text))
	}
	f.Add([]byte(`{"plain":3,"object":{"value":1}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		values, _, err := parseKBSReferences(text)
		if err != nil {
			return
		}
		for name, v := range values {
			if !json.Valid(v.Value) || name == "" && v.Value == nil {
				t.Fatalf("%q is %q", name, v.Value)
			}
		}
	})
}

// TestAdminKeySettings refuses keys that administrators cannot have.
func TestAdminKeySettings(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.pem", "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n")
	s := kbsSettings{AdminKeys: []adminKeySettings{{Name: "ops", PublicKey: good, Roles: []string{"author", "approver"}}}}
	keys, err := s.adminKeys()
	if err != nil || len(keys) != 1 || keys[0].Roles.String() != "author,approver" {
		t.Fatalf("%v, %v", keys, err)
	}
	for name, bad := range map[string]adminKeySettings{
		"no file": {PublicKey: filepath.Join(dir, "none")}, "no PEM": {PublicKey: write("text", "key")}, "a role that is none": {PublicKey: good, Roles: []string{"root"}},
		"another kind of key": {PublicKey: write("ec.pem", "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n-----END PUBLIC KEY-----\n")},
	} {
		s.AdminKeys[0] = bad
		if keys, err := s.adminKeys(); err == nil {
			t.Errorf("%s: %v", name, keys)
		}
	}
}
