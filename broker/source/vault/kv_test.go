package vault_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/source/vault"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

func stringsReader(s string) io.Reader { return strings.NewReader(s) }

func pathEscape(s string) string { return url.PathEscape(s) }

// values are what is put into Vault and must come out as it was.
func values() map[string]string {
	binary := make([]byte, 4096)
	_, _ = rand.Read(binary)
	return map[string]string{
		"empty":          "",
		"text":           "correct horse battery staple",
		"json":           `{"b": 1, "a": [true, null, 1.50, 1e400], "c": "\u00e9 <&>"}`,
		"number":         "12345678901234567890.10",
		"unicode":        "пароль 密码 🔑 e\u0301 \u00e9 \u202e \ufeff \u2028 \ufffd",
		"controls":       "\x00\x01\x1f\x7f\b\f\v",
		"html":           "<script>&amp;</script> \\u003c \\\\",
		"pem":            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n",
		"crlf":           "a\r\nb\r\n",
		"spaces at ends": " \t\n value \n\t ",
		"only space":     " ",
		"newline":        "\n",
		"quotes":         `"'` + "`" + `\"`,
		"template":       "${claims.kind} {{username}} $${x}",
		"binary":         string(binary),
		"not utf-8":      "\xff\xfe\x00\x80",
		"large":          strings.Repeat("0123456789abcdef", vault.MaxValue/16/2),
	}
}

// TestRoundTrips: values come out of KV byte for byte: as text, and as base64.
func TestRoundTrips(t *testing.T) {
	s := vaulttest.Shared(t)
	w := newWorld(t, s, nil, nil)
	for _, version := range []string{"2", "1"} {
		mount := s.Mount(t, "kv", map[string]string{"version": version})
		for name, value := range values() {
			path, body := mount+"/x", map[string]any{"text": value, "base64": base64.StdEncoding.EncodeToString([]byte(value)), "other": 1}
			if strings.ToValidUTF8(value, "") != value {
				delete(body, "text")
			}
			if name == "large" { // one record holds one of them
				delete(body, "base64")
			}
			kv := 1
			if version == "2" {
				path, body, kv = mount+"/data/x", map[string]any{"data": body}, 2
			}
			w.vault(path, body)
			for _, field := range []string{"text", "base64"} {
				if inner, ok := body["data"].(map[string]any); ok && inner[field] == nil || !ok && body[field] == nil {
					continue
				}
				document := map[string]any{"mount": mount, "path": "x", "field": field, "kv": kv}
				if field == "base64" {
					document["encoding"] = "base64"
				}
				check(t, w.put("a/b", vault.KindKV, document))
				if got := w.open(w.fetch("a/b")); string(got) != value {
					t.Errorf("kv %s, %s as %s: %.100q, want %.100q", version, name, field, got, value)
				}
			}
		}
	}
}

// TestLargest: 1 MiB comes out. Vault takes no longer text, but objects that are larger as a whole: those do not.
func TestLargest(t *testing.T) {
	s := vaulttest.Start(t, vaulttest.WithFile("")) // in memory, records are as small as raft has them
	w := newWorld(t, s, nil, nil)
	value := bytes.Repeat([]byte("0123456789abcdef"), vault.MaxValue/16)
	for _, version := range []string{"1", "2"} {
		mount := s.Mount(t, "kv", map[string]string{"version": version})
		document := map[string]any{"mount": mount, "path": "x", "field": "v", "kv": 1}
		if version == "1" {
			w.vault(mount+"/x", map[string]any{"v": string(value)})
		} else {
			document["kv"] = 2
			w.vault(mount+"/data/x", map[string]any{"data": map[string]any{"v": string(value)}})
		}
		check(t, w.put("a/b", vault.KindKV, document))
		if got := w.open(w.fetch("a/b")); !bytes.Equal(got, value) {
			t.Errorf("kv %s: 1 MiB comes out as %d bytes", version, len(got))
		}
		delete(document, "field")
		check(t, w.put("a/b", vault.KindKV, document))
		r, err := w.fetch("a/b")
		if d := w.decision(r, err); d.Outcome != broker.OutcomeFailed || d.Secrets[0].Code != "source_bad_value" {
			t.Errorf("an object of over 1 MiB: %+v", d)
		}
	}
}

// TestWholeObject: the object is what Vault answers, to the byte.
func TestWholeObject(t *testing.T) {
	s := vaulttest.Shared(t)
	w := newWorld(t, s, nil, nil)
	mount := s.Mount(t, "kv", map[string]string{"version": "2"})
	w.raw(mount+"/data/x", `{"data": {"b": 1.50, "a": "é <&> \u2028", "n": 9007199254740993, "l": [1, {"z": null, "y": false}], "e": {}}}`)
	check(t, w.put("a/b", vault.KindKV, map[string]any{"mount": mount, "path": "x"}))
	got := w.open(w.fetch("a/b"))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Address+"/v1/"+mount+"/data/x", nil)
	check(t, err)
	request.Header.Set("X-Vault-Token", s.RootToken)
	answer, err := http.DefaultClient.Do(request)
	check(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	check(t, err)
	var want struct {
		Data struct {
			Data json.RawMessage `json:"data"`
		} `json:"data"`
	}
	check(t, json.Unmarshal(body, &want))
	if !bytes.Equal(got, want.Data.Data) || !bytes.Contains(body, got) {
		t.Errorf("%s, want %s", got, want.Data.Data)
	}
	t.Logf("Vault answers %s", got)
	// Fields that are no texts are released as their JSON.
	var members map[string]json.RawMessage
	check(t, json.Unmarshal(got, &members))
	for _, field := range []string{"b", "n", "l", "e"} {
		check(t, w.put("a/b", vault.KindKV, map[string]any{"mount": mount, "path": "x", "field": field}))
		if got := w.open(w.fetch("a/b")); !bytes.Equal(got, members[field]) {
			t.Errorf("%s: %s, want %s", field, got, members[field])
		}
	}
}

// TestVersionsOfKV: pinned and latest, deleted and destroyed, and what the record says of each.
func TestVersionsOfKV(t *testing.T) {
	s := vaulttest.Shared(t)
	w := newWorld(t, s, nil, nil)
	mount := s.Mount(t, "kv", map[string]string{"version": "2"})
	for _, v := range []string{"one", "two", "three", "four"} {
		w.vault(mount+"/data/db/user", map[string]any{"data": map[string]any{"p": v}})
	}
	w.vault(mount+"/delete/db/user", map[string]any{"versions": []int{2}})
	w.vault(mount+"/destroy/db/user", map[string]any{"versions": []int{3}})
	base := map[string]any{"mount": mount, "path": "db/user", "field": "p"}
	for name, test := range map[string]struct {
		document map[string]any
		value    string // "" for none
		version  string
		answers  bool
	}{
		"latest":        {with(base, "version", "latest"), "four", "4", true},
		"no version":    {base, "four", "4", true},
		"pinned":        {with(base, "version", "1"), "one", "1", true},
		"as a number":   {with(base, "version", 1), "one", "1", true},
		"deleted":       {with(base, "version", "2"), "", "", false},
		"destroyed":     {with(base, "version", "3"), "", "", false},
		"not there yet": {with(base, "version", "9"), "", "", false},
		"no field":      {with(base, "field", "q"), "", "4", false},
		"no secret":     {with(base, "path", "db/none"), "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, w.put("a/b", vault.KindKV, test.document))
			probe, err := w.CheckSecret(t.Context(), w.Admin, ns, "a/b", 0)
			if err != nil || probe.Answers != test.answers || strings.Contains(probe.Detail, "four") {
				t.Errorf("%+v, %v", probe, err)
			}
			r, err := w.fetch("a/b")
			d := w.decision(r, err)
			got := d.Secrets[0]
			if test.value == "" {
				if err != nil || got.Outcome != broker.OutcomeNotFound || got.Source.Code != "not_found" {
					t.Errorf("%v, %+v, %+v", err, got, got.Source)
				}
				return
			}
			if value := w.open(r, err); string(value) != test.value || got.Source.Kind != vault.KindKV || got.Source.Version != test.version || got.Source.Code != "answered" {
				t.Errorf("%q, %+v", value, got.Source)
			}
		})
	}
	// The latest one was deleted.
	check(t, w.put("a/b", vault.KindKV, base))
	_, err := w.root.Logical().DeleteWithContext(t.Context(), mount+"/data/db/user")
	check(t, err)
	if r, err := w.fetch("a/b"); err != nil || r.Results[0].Outcome != broker.OutcomeNotFound {
		t.Errorf("%+v, %v", r, err)
	}
	// What rotates in Vault rotates here.
	w.vault(mount+"/data/db/user", map[string]any{"data": map[string]any{"p": "five"}})
	if got := w.open(w.fetch("a/b")); string(got) != "five" {
		t.Errorf("%q", got)
	}
}

// TestKVNames: every name that Vault takes for a secret is reached, and no other.
func TestKVNames(t *testing.T) {
	s := vaulttest.Shared(t)
	w := newWorld(t, s, nil, nil)
	mount := s.Mount(t, "kv", map[string]string{"version": "2"})
	for _, path := range []string{"with space", "per%cent", "que?ry", "ha#sh", "ü/密", "a&b=c", "a+b", "100%2fx", "a:b@c"} {
		escaped := ""
		for i, segment := range strings.Split(path, "/") {
			if i > 0 {
				escaped += "/"
			}
			escaped += pathEscape(segment)
		}
		w.raw(mount+"/data/"+escaped, `{"data": {"v": "`+path+`"}}`)
		check(t, w.put("a/b", vault.KindKV, map[string]any{"mount": mount, "path": path, "field": "v"}))
		if got := w.open(w.fetch("a/b")); string(got) != path {
			t.Errorf("%q: %q", path, got)
		}
		if probe, err := w.CheckSecret(t.Context(), w.Admin, ns, "a/b", 0); err != nil || !probe.Answers {
			t.Errorf("%q: %+v, %v", path, probe, err)
		}
	}
}

// TestKVFails: what Vault does not allow, and an engine that is gone, are the operator's to see.
func TestKVFails(t *testing.T) {
	s := vaulttest.Shared(t)
	admin := newWorld(t, s, nil, nil)
	mount := s.Mount(t, "kv", map[string]string{"version": "2"})
	admin.vault(mount+"/data/x", map[string]any{"data": map[string]any{"v": "1", "bad": "not base64!", "lf": "YQ==\n", "null": nil}})
	w := newWorld(t, s, admin.as(`path "`+mount+`/data/allowed" { capabilities = ["read"] }`), nil)
	base := map[string]any{"mount": mount, "path": "x", "field": "v"}
	for name, test := range map[string]struct {
		w        *world
		document map[string]any
		code     string
	}{
		"no right":       {w, base, "source_forbidden"},
		"no engine":      {admin, with(base, "mount", "none-"+mount), "source_rejected"},
		"not base64":     {admin, with(base, "field", "bad", "encoding", "base64"), "source_bad_value"},
		"base64 with lf": {admin, with(base, "field", "lf", "encoding", "base64"), "source_bad_value"},
		"null":           {admin, with(base, "field", "null"), "source_bad_value"},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, test.w.put("a/b", vault.KindKV, test.document))
			r, err := test.w.fetch("a/b")
			var e *broker.Error
			if r != nil || !errors.As(err, &e) || e.Code != broker.CodeUnavailable || e.RetryAfter == 0 || e.Decision == "" {
				t.Fatalf("%+v, %v", r, err)
			}
			d := test.w.decision(r, err)
			if d.Outcome != broker.OutcomeFailed || d.Secrets[0].Code != test.code || d.Secrets[0].Source.Detail == "" {
				t.Errorf("%+v, %+v", d.Secrets[0], d.Secrets[0].Source)
			}
		})
	}
	probe, err := w.CheckSecret(t.Context(), w.Admin, ns, "a/b", 0)
	if err != nil || probe.Answers || !strings.Contains(probe.Detail, "lacks the right read") {
		t.Errorf("%+v, %v", probe, err)
	}
	check(t, w.put("a/b", vault.KindKV, with(base, "path", "allowed")))
	if probe, err := w.CheckSecret(t.Context(), w.Admin, ns, "a/b", 0); err != nil || !probe.Answers || !strings.Contains(probe.Detail, "subkeys") {
		t.Errorf("%+v, %v", probe, err)
	}
	if strings.Contains(w.Logs()+admin.Logs(), "not base64!") {
		t.Error("a value was logged")
	}
	for _, role := range access.Roles() {
		_, err := w.CheckSecret(t.Context(), access.Caller{Name: "x", Roles: access.SetOf(role), Namespace: ns}, ns, "a/b", 0)
		if (err == nil) != (role == access.Custodian) {
			t.Errorf("%s: %v", role, err)
		}
	}
}
