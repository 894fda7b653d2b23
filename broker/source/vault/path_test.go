package vault_test

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/broker/source/vault"
)

// strange are values that a stranger could have a claim say to get somewhere else.
var strange = []string{
	"", ".", "..", "../..", "../../sys/policies/acl/x", "/", "//", "a/", "/a", "a/b", "a/../b", `..\..`, "%2e%2e", "%2F", "%252F", "..%2f", "a%00",
	"?", "?list=true", "a?version=1", "#", "a#", "&", ";", ",", "*", "+", " ", "a b", "\x00", "a\x00", "\n", "a\r\nX: y", "\t", "\x7f", "\x1b", "'", `"`,
	"'; DROP ROLE postgres; --", "{{name}}", "${secret}", "$(id)", "\u2025", "\uff0e\uff0e", "\u2215", "\u2044", "\uff0f", "\u202e", "\u200b", "\ufeff", "\u00ad",
	"\u0440aul", "\u212a", "e\u0301", "\xff", "\xc0\xae", "\xc0\xaf", "sys", "Sys", "auth", "identity", "cubbyhole", "a..b", ".a",
	strings.Repeat("a", 256), strings.Repeat("a/", 1000), "creds/../../admin", "reader/../admin", "ys", "uth", "a",
}

// TestPathsStayBelowTheirPrefix: whatever claims say, a path is one that the template could have been written as, with the same segments before and behind.
func TestPathsStayBelowTheirPrefix(t *testing.T) {
	d := vault.NewDynamic(nil, nil)
	refused, made := 0, 0
	for _, path := range []string{
		"database/creds/${claims.init_data_claims[\"role\"]}",
		"database/${claims.init_data_claims[\"role\"]}/x",
		"team/${claims.init_data_claims[\"role\"]}/creds/x",
		"team/s${claims.init_data_claims[\"role\"]}/creds",
		"team/a${claims.init_data_claims[\"role\"]}",
		"pki/issue/app-${claims.init_data_claims[\"role\"]}.x",
		"a/b.${claims.init_data_claims[\"role\"]}",
		"a/${claims.init_data_claims[\"role\"]}${claims.init_data_claims[\"role\"]}/b",
		"a/" + strings.Repeat("x", 250) + "${claims.init_data_claims[\"role\"]}",
	} {
		text, err := json.Marshal(map[string]any{
			"path": path, "method": "write", "body": map[string]any{"x": map[string]any{"l": []string{"${claims.init_data_claims[\"role\"]}"}}},
		})
		check(t, err)
		parameters, err := d.Check(text, source.Request{Namespace: ns, Secret: "a/b"})
		check(t, err)
		before, rest, _ := strings.Cut(path, "${")
		after := rest[strings.LastIndexByte(rest, '}')+1:]
		for _, value := range strange {
			r := source.Request{Namespace: ns, Secret: "a/b", Decision: "d", Claims: &attest.Claims{InitDataClaims: map[string]string{"role": value}}}
			place, err := d.Place(parameters, r)
			if err != nil {
				var refusal *source.Refusal
				if !errors.As(err, &refusal) {
					t.Errorf("%s with %q: %v", path, value, err)
				}
				refused++
				continue
			}
			made++
			plain, err := url.PathUnescape(place.Name)
			if err != nil || plain != place.Name {
				t.Errorf("%s with %q: %s is escaped", path, value, place.Name)
			}
			inner, ok := strings.CutPrefix(place.Name, before)
			if inner, ok2 := strings.CutSuffix(inner, after); !ok || !ok2 || strings.ContainsAny(inner, "/?#%\\ ") || inner == "" {
				t.Errorf("%s with %q is %s", path, value, place.Name)
			}
			for segment := range strings.SplitSeq(place.Name, "/") {
				if source.IsReserved(segment) || strings.Contains(segment, "..") || len(segment) > 255 || segment == "" {
					t.Errorf("%s with %q is %s", path, value, place.Name)
				}
			}
		}
	}
	if refused < 400 || made < 10 {
		t.Errorf("%d refused, %d made", refused, made)
	}
}

// TestDocuments: what is wrong with a document is said when it is put.
func TestDocuments(t *testing.T) {
	dynamic, kv := vault.NewDynamic(nil, nil), vault.NewKV(nil, nil)
	for text, want := range map[string]string{
		`{}`:                                                                   "has 1 segments",
		`{"path": "x"}`:                                                        "has 1 segments",
		`{"path": "sys/policies/acl/x"}`:                                       "nothing below sys",
		`{"path": "SYS/x"}`:                                                    "nothing below sys",
		`{"path": "auth/token/create"}`:                                        "nothing below sys",
		`{"path": "identity/oidc/token/x"}`:                                    "nothing below sys",
		`{"path": "cubbyhole/x"}`:                                              "nothing below sys",
		`{"path": "team/sys/policies/acl/x"}`:                                  "nothing below sys",
		`{"path": "team/auth/token/create"}`:                                   "nothing below sys",
		`{"path": "${claims.kind}/creds/x"}`:                                   "first segment",
		`{"path": "a${claims.kind}/creds/x"}`:                                  "first segment",
		`{"path": "/database/creds/x"}`:                                        "slash",
		`{"path": "database/creds/"}`:                                          "slash",
		`{"path": "database//x"}`:                                              "slash",
		`{"path": "database/../sys/x"}`:                                        "relative",
		`{"path": "database/./x"}`:                                             "relative",
		`{"path": "database/creds/x?list=true"}`:                               "one of ?",
		`{"path": "database/creds/x%2fy"}`:                                     "one of ?",
		`{"path": "database/creds/x#y"}`:                                       "one of ?",
		`{"path": "database/creds/\u0000"}`:                                    "cannot be seen",
		`{"path": "database/creds/a\u202eb"}`:                                  "cannot be seen",
		`{"path": "d/.${claims.kind}"}`:                                        "begins with a dot",
		`{"path": "d/a..${claims.kind}"}`:                                      "two dots",
		`{"path": "d/a b${claims.kind}"}`:                                      "beside a placeholder",
		`{"path": "d/%${claims.kind}"}`:                                        "beside a placeholder",
		`{"path": "d/${claims.knd}"}`:                                          "did you mean claims.kind?",
		`{"path": "d/${secret}"}`:                                              "${secret[0]} to ${secret[1]}",
		`{"path": "d/x", "method": "delete"}`:                                  "neither read nor write",
		`{"path": "d/x", "body": {}}`:                                          "say method write",
		`{"path": "d/x", "method": "write", "body": []}`:                       "no object",
		`{"path": "d/x", "method": "write", "body": {"a": "${claims.hots}"}}`:  "body.a: there is no claim",
		`{"path": "d/x", "method": "write", "body": {"a": [1, "${nothing}"]}}`: "body.a[1]",
		`{"path": "d/x", "method": "write", "body": {"a": 1, "a": 2}}`:         "a",
		`{"path": "d/x", "wrap": "1ms"}`:                                       "not a duration",
		`{"path": "d/x", "wrap": "5m", "field": "f", "encoding": "base64"}`:    "exclude each other",
		`{"path": "d/x", "wrap": "48h"}`:                                       "not a duration",
		`{"path": "d/x", "wrap": "soon"}`:                                      "not a duration",
		`{"path": "d/x", "encoding": "base64"}`:                                "name the field",
		`{"path": "d/x", "field": "f", "encoding": "hex"}`:                     "not base64",
		`{"path": "d/x", "mount": "d"}`:                                        "mount",
		`{"path": "d/x", "path": "d/y"}`:                                       "path",
		`{"Path": "d/x"}`:                                                      "Path",
		`[]`:                                                                   "",
		`{"path": "` + strings.Repeat("a/", 40) + `x"}`:                        "segments",
	} {
		if out, err := dynamic.Check(json.RawMessage(text), source.Request{Namespace: ns, Secret: "a/b"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v, want %q", text, out, err, want)
		}
	}
	for text, want := range map[string]string{
		`{}`:                                                      "mount is empty",
		`{"mount": "secret"}`:                                     "path is empty",
		`{"mount": "sys", "path": "x"}`:                           "hold no secrets",
		`{"mount": "team/auth", "path": "x"}`:                     "hold no secrets",
		`{"mount": "secret", "path": "../x"}`:                     "relative",
		`{"mount": "secret", "path": "x/"}`:                       "slash",
		`{"mount": "secret/", "path": "x"}`:                       "slash",
		`{"mount": "secret", "path": "a\nb"}`:                     "cannot be seen",
		`{"mount": "secret", "path": "x", "version": "0"}`:        "version",
		`{"mount": "secret", "path": "x", "version": "-1"}`:       "version",
		`{"mount": "secret", "path": "x", "version": "01"}`:       "version",
		`{"mount": "secret", "path": "x", "version": 1.5}`:        "version",
		`{"mount": "secret", "path": "x", "version": null}`:       "version",
		`{"mount": "secret", "path": "x", "version": "new"}`:      "version",
		`{"mount": "secret", "path": "x", "kv": 3}`:               "kv is 3",
		`{"mount": "secret", "path": "x", "kv": 1, "version": 2}`: "no versions",
		`{"mount": "secret", "path": "x", "method": "read"}`:      "method",
	} {
		if out, err := kv.Check(json.RawMessage(text), source.Request{Namespace: ns, Secret: "a/b"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v, want %q", text, out, err, want)
		}
	}
	for text, want := range map[string]string{
		`{"path":"d/x"}`:                 `{"path":"d/x","method":"read"}`,
		`{"path":"database/creds/auth"}`: `{"path":"database/creds/auth","method":"read"}`,
		`{"wrap": "5m", "path": "d/${claims.kind}", "field": "<p>", "method": "write", "exclusive": true}`: `{"path":"d/${claims.kind}","method":"write","wrap":"5m","exclusive":true,"field":"<p>"}`,
	} {
		got, err := dynamic.Check(json.RawMessage(text), source.Request{Namespace: ns, Secret: "a/b"})
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
		if again, err := dynamic.Check(got, source.Request{Namespace: ns, Secret: "a/b"}); err != nil || string(again) != string(got) {
			t.Errorf("%s is not canonical: %s, %v", got, again, err)
		}
	}
	got, err := kv.Check(json.RawMessage(`{"version": "latest", "kv": 2, "mount": "team/secret", "path": "a b/c"}`), source.Request{Namespace: ns, Secret: "a/b"})
	if err != nil || string(got) != `{"mount":"team/secret","path":"a b/c"}` {
		t.Errorf("%s, %v", got, err)
	}
}

// TestTwoClaimsAreToldApart: two workloads whose claims differ never come to one place, whatever one of them says of itself.
func TestTwoClaimsAreToldApart(t *testing.T) {
	d := vault.NewDynamic(nil, nil)
	const host, role = "${claims.tpm.host}", `${claims.init_data_claims["role"]}`
	for between, good := range map[string]bool{
		"": false, "-": false, ".": false, "_x-": false, "${secret[0]}": false, "${decision}": false,
		"/": true, ":": true, "-@-": true, "/a/": true,
	} {
		for where, document := range map[string]map[string]any{
			"path": {"path": "db/creds/" + host + between + role},
			"body": {"path": "db/creds/x", "method": "write", "body": map[string]any{"a": []string{host + between + role}}},
		} {
			text, err := json.Marshal(document)
			check(t, err)
			if _, err := d.Check(text, source.Request{Namespace: ns, Secret: "a/b"}); (err == nil) != good {
				t.Errorf("%s, %q between: %v", where, between, err)
			}
		}
	}
	text, err := json.Marshal(map[string]any{"path": "db/creds/" + host + "-${secret[0]}-" + host})
	check(t, err)
	if _, err := d.Check(text, source.Request{Namespace: ns, Secret: "a/b"}); err != nil {
		t.Errorf("one claim twice: %v", err)
	}
}
