package source_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/source"
)

const secret = "payments/db/account"

func request(claims *attest.Claims) source.Request {
	return source.Request{Namespace: "default", Secret: secret, Decision: "0192f0c1-7c3e-7c2b-b2b2-6f1f5ad0c0aa", Claims: claims}
}

// hostile are values that strangers could have a claim say, each with the code of its refusal.
var hostile = map[string]string{
	"":                          source.RefusedEmpty,
	".":                         source.RefusedRelative,
	"..":                        source.RefusedRelative,
	"...":                       source.RefusedRelative,
	".hidden":                   source.RefusedRelative,
	"a..b":                      source.RefusedRelative,
	"a/b":                       source.RefusedByte,
	"/":                         source.RefusedByte,
	"../../sys/policy":          source.RefusedByte,
	`..\..\sys`:                 source.RefusedByte,
	"%2e%2e%2f":                 source.RefusedByte,
	"%2f":                       source.RefusedByte,
	"%252f":                     source.RefusedByte,
	"a?list=true":               source.RefusedByte,
	"a#b":                       source.RefusedByte,
	"a&b=c":                     source.RefusedByte,
	"a;b":                       source.RefusedByte,
	"a,b.example.org":           source.RefusedByte,
	"*":                         source.RefusedByte,
	"+":                         source.RefusedByte,
	"a b":                       source.RefusedByte,
	" ":                         source.RefusedByte,
	"a\x00":                     source.RefusedByte,
	"\x00":                      source.RefusedByte,
	"a\nb":                      source.RefusedByte,
	"a\r\nX-Vault-Token: x":     source.RefusedByte,
	"a\tb":                      source.RefusedByte,
	"\x7f":                      source.RefusedByte,
	"\x1b[2J":                   source.RefusedByte,
	"a'; DROP ROLE x; --":       source.RefusedByte,
	`"`:                         source.RefusedByte,
	"${secret[0]}":              source.RefusedByte,
	"{{.Token}}":                source.RefusedByte,
	"$(id)":                     source.RefusedByte,
	"`id`":                      source.RefusedByte,
	"\u2025":                    source.RefusedByte, // two dot leader
	"\u2024\u2024":              source.RefusedByte, // one dot leaders
	"\uff0e\uff0e":              source.RefusedByte, // fullwidth full stops
	"a\u2215b":                  source.RefusedByte, // division slash
	"a\u2044b":                  source.RefusedByte, // fraction slash
	"a\uff0fb":                  source.RefusedByte, // fullwidth solidus
	"\u202egro":                 source.RefusedByte, // right-to-left override
	"a\u200bb":                  source.RefusedByte, // zero width space
	"a\u00adb":                  source.RefusedByte, // soft hyphen
	"\ufeffa":                   source.RefusedByte, // byte order mark
	"\u0440\u0430yments":        source.RefusedByte, // Cyrillic letters that look Latin
	"\u212a":                    source.RefusedByte, // the Kelvin sign, which folds to k
	"e\u0301":                   source.RefusedByte,
	"a\xff":                     source.RefusedByte,
	"\xc0\xae\xc0\xae":          source.RefusedByte, // overlong dots
	"\xc0\xaf":                  source.RefusedByte,
	"sys":                       source.RefusedReserved,
	"SYS":                       source.RefusedReserved,
	"auth":                      source.RefusedReserved,
	"Identity":                  source.RefusedReserved,
	"cubbyhole":                 source.RefusedReserved,
	strings.Repeat("a", 256):    source.RefusedLong,
	strings.Repeat("../", 1000): source.RefusedLong,
}

// TestHostileClaims gives every claim that is a text, in every kind of evidence, each hostile value.
func TestHostileClaims(t *testing.T) {
	claims, reached := 0, 0
	for _, f := range attest.Schema() {
		key := ""
		switch f.CEL {
		case "string":
		case "map(string, string)":
			key = `["x.toml"]`
		case "map(int, string)":
			key = "[7]"
		default:
			continue
		}
		claims++
		placeholder := "claims." + f.Path + key
		tpl, err := source.Parse("database/creds/${"+placeholder+"}", secret)
		if err != nil {
			t.Errorf("%s: %v", placeholder, err)
			continue
		}
		var refusal *source.Refusal
		if out, err := tpl.Render(request(&attest.Claims{})); f.Path != "kind" && (!errors.As(err, &refusal) || refusal.Code != source.RefusedAbsent) {
			t.Errorf("%s that is not there: %q, %v", placeholder, out, err)
		}
		for value, code := range hostile {
			c := new(attest.Claims)
			set(t, reflect.ValueOf(c).Elem(), f.Path, value)
			out, err := tpl.Render(request(c))
			// An absent text is an empty one.
			if absent := value == "" && errors.As(err, &refusal) && refusal.Code == source.RefusedAbsent; absent {
				continue
			}
			if !errors.As(err, &refusal) || refusal.Code != code || refusal.Placeholder != placeholder {
				t.Errorf("%s is %q: %q, %v, want %s", placeholder, value, out, err, code)
			}
			if value != "" && len(value) > 3 && strings.Contains(refusal.Error(), value) && !strings.Contains("sys, auth, identity, cubbyhole", strings.ToLower(value)) {
				t.Errorf("%q is repeated in the message: %s", value, refusal)
			}
			reached++
		}
		good := new(attest.Claims)
		set(t, reflect.ValueOf(good).Elem(), f.Path, "Good-1_2.x")
		if out, err := tpl.Render(request(good)); err != nil || out != "database/creds/Good-1_2.x" {
			t.Errorf("%s: %q, %v", placeholder, out, err)
		}
	}
	if claims < 40 || reached < 40*40 {
		t.Errorf("only %d claims are texts, and %d values were tried", claims, reached)
	}
}

// set sets a claim of text, or an entry of one that is a map.
func set(t *testing.T, v reflect.Value, path, value string) {
	t.Helper()
	for name := range strings.SplitSeq(path, ".") {
		found := false
		for i := range v.NumField() {
			if tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ","); tag == name {
				v, found = v.Field(i), true
				break
			}
		}
		if !found {
			t.Fatalf("there is no %s in %s", name, path)
		}
		if v.Kind() == reflect.Pointer {
			v.Set(reflect.New(v.Type().Elem()))
			v = v.Elem()
		}
	}
	if v.Kind() != reflect.Map {
		v.SetString(value)
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	key := reflect.New(v.Type().Key()).Elem()
	if key.Kind() == reflect.String {
		key.SetString("x.toml")
	} else {
		key.SetInt(7)
	}
	v.SetMapIndex(key, reflect.ValueOf(value).Convert(v.Type().Elem()))
}

func TestRender(t *testing.T) {
	claims := &attest.Claims{
		Kind: "snp", Debug: attest.Ptr(false), VMPL: attest.Ptr(0), InitDataClaims: map[string]string{"role": "reader", "empty": ""},
		TPM: &attest.TPMClaims{Host: "host-1", Enrolled: true, Clock: -5, PCRs: map[int]string{7: "ab"}},
	}
	for text, want := range map[string]string{
		"plain":                                         "plain",
		"":                                              "",
		"${claims.kind}":                                "snp",
		"${claims.vmpl}-${claims.debug}":                "0-false",
		"${claims.tpm.host}.x":                          "host-1.x",
		"${claims.tpm.clock}":                           "-5",
		"${claims.tpm.pcrs[7]}":                         "ab",
		`${claims.init_data_claims["role"]}`:            "reader",
		"${secret[0]}/${secret[2]}":                     "payments/account",
		"${namespace}":                                  "default",
		"${decision}":                                   "0192f0c1-7c3e-7c2b-b2b2-6f1f5ad0c0aa",
		"$${secret} costs $5 {}":                        "${secret} costs $5 {}",
		"$$${claims.kind}":                              "$${claims.kind}",
		"a$${b}${claims.kind}":                          "a${b}snp",
		`x${claims.init_data_claims["empty"]}`:          "!" + source.RefusedEmpty,
		`x${claims.init_data_claims["none"]}`:           "!" + source.RefusedAbsent,
		"${claims.snp.chip_id}":                         "!" + source.RefusedAbsent,
		"${claims.measurement}":                         "!" + source.RefusedAbsent,
		"${claims.tpm.pcrs[8]}":                         "!" + source.RefusedAbsent,
		"${claims.migration_agent}":                     "!" + source.RefusedAbsent,
		"${claims.init_data_bound}${claims.debug}":      "!" + source.RefusedAbsent,
		"${claims.debug}${claims.boot.command_line}end": "!" + source.RefusedAbsent,
	} {
		tpl, err := source.Parse(text, secret)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		out, err := tpl.Render(request(claims))
		if code, bad := strings.CutPrefix(want, "!"); bad {
			var refusal *source.Refusal
			if !errors.As(err, &refusal) || refusal.Code != code || out != "" {
				t.Errorf("%s: %q, %v, want %s", text, out, err, code)
			}
			continue
		}
		if err != nil || out != want || tpl.String() != text {
			t.Errorf("%s: %q, %v, want %q", text, out, err, want)
		}
	}
}

// TestUnknown: what is not known is said when the template is read, with the nearest name.
func TestUnknown(t *testing.T) {
	for text, want := range map[string]string{
		"${claims.mesurement}":             "did you mean claims.measurement?",
		"${claims.tpm.hosst}":              "did you mean claims.tpm.host?",
		"${claim.kind}":                    "there is no placeholder",
		"${secrets}":                       "did you mean secret?",
		"${namspace}":                      "did you mean namespace?",
		"${}":                              "there is no placeholder",
		"${ claims.kind }":                 "there is no placeholder",
		"${claims.kind":                    "has no end",
		"${claims.tpm}":                    "only a text, a number or a truth value",
		"${claims.devices}":                "only a text, a number or a truth value",
		"${claims.collateral.expires}":     "only a text, a number or a truth value",
		"${claims.boot.boot_loaders}":      "only a text, a number or a truth value",
		"${claims.init_data_claims}":       "name an entry",
		`${claims.init_data_claims[role]}`: "double quotes",
		`${claims.init_data_claims["a]}`:   "not closed",
		`${claims.init_data_claims["a"]x}`: "does not end with one ]",
		`${claims.tpm.pcrs["x"]}`:          "keys are numbers",
		`${claims.kind["x"]}`:              "is no map",
		"${secret}":                        "${secret[0]} to ${secret[2]}",
		"${secret[3]}":                     "segments 0 to 2",
		"${secret[-1]}":                    "double quotes",
		"${secret[00]}":                    "segments 0 to 2",
		"${namespace[0]}":                  "only claims that are maps",
		"${claims.devices[0]}":             "is no map",
	} {
		if tpl, err := source.Parse(text, secret); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want %q", text, tpl, err, want)
		}
	}
	if tpl, err := source.Parse("${secret}", "one"); err != nil {
		t.Error(err)
	} else if out, err := tpl.Render(request(nil)); out != "one" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

// FuzzTemplate: whatever a claim says, a path has as many segments as it was written with, and the first are those that are written out.
func FuzzTemplate(f *testing.F) {
	for value := range hostile {
		f.Add("database/creds/${claims.tpm.host}", value)
		f.Add("a/x-${claims.tpm.host}.y/z", value)
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		tpl, err := source.Parse(text, secret)
		if err != nil {
			return
		}
		out, err := tpl.Render(request(&attest.Claims{TPM: &attest.TPMClaims{Host: value}}))
		if err != nil {
			return
		}
		segments := tpl.Split("/")
		parts := strings.Split(out, "/")
		if len(parts) != len(segments) {
			t.Fatalf("%q with %q is %q", text, value, out)
		}
		for i, s := range segments {
			if fixed, ok := s.Fixed(); ok && parts[i] != fixed {
				t.Fatalf("%q with %q is %q", text, value, out)
			}
			again, err := source.Parse(s.String(), secret)
			if err != nil {
				t.Fatalf("%q: %q: %v", text, s, err)
			}
			if fixed, ok := again.Fixed(); ok && fixed != parts[i] {
				t.Fatalf("%q: %q reads as %q", text, s, fixed)
			}
		}
	})
}

func TestErrors(t *testing.T) {
	for err, want := range map[error]struct {
		code     string
		definite bool
	}{
		&source.Refusal{Code: source.RefusedEmpty}:                                          {"refused", true},
		&source.Failure{Err: source.ErrNotFound}:                                            {"not_found", true},
		&source.Failure{Err: source.ErrForbidden}:                                           {"forbidden", true},
		&source.Failure{Err: source.ErrRejected}:                                            {"rejected", true},
		&source.Failure{Err: source.ErrValue}:                                               {"bad_value", true},
		&source.Failure{Err: source.ErrUnavailable}:                                         {"unavailable", true},
		&source.Failure{Err: source.ErrUnavailable, Unknown: true}:                          {"unavailable", false},
		&source.Failure{Err: source.ErrUnavailable, Cause: source.ErrNotFound, Detail: "d"}: {"not_found", true},
		errors.New("anything"):                                                              {"unavailable", false},
	} {
		if source.CodeOf(err) != want.code || source.Definite(err) != want.definite {
			t.Errorf("%v: %s %v", err, source.CodeOf(err), source.Definite(err))
		}
	}
	if source.CodeOf(nil) != "answered" || source.Definite(nil) {
		t.Error("no error is one")
	}
	d, err := json.Marshal(source.Document{Kind: "k"})
	if err != nil || string(d) != `{"kind":"k"}` {
		t.Errorf("%s, %v", d, err)
	}
}
