package vaultconn

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

func TestTokenIsTendedBeforeItsEnd(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, spread := range []float64{0, 0.5, 0.999} {
		got := (&token{}).leased(began, time.Hour, spread)
		if at := got.tend.Sub(began); at < 36*time.Minute || at > 42*time.Minute {
			t.Errorf("spread %v: tended after %v", spread, at)
		}
		if got.ended(began.Add(time.Hour-1)) || !got.ended(began.Add(time.Hour)) {
			t.Errorf("spread %v: it ends at %v", spread, got.expires)
		}
	}
	forever := (&token{}).leased(began, 0, 0)
	if !forever.tend.IsZero() || forever.ended(began.AddDate(100, 0, 0)) {
		t.Errorf("a token without an end: %+v", forever)
	}
	renewed := (&token{}).leased(began, time.Hour, 0).leased(began.Add(40*time.Minute), time.Hour, 0)
	if !renewed.since.Equal(began) {
		t.Errorf("a renewal counts as a login: %v", renewed.since)
	}
}

func TestMaximumTTLShows(t *testing.T) {
	full := &token{full: time.Hour}
	for lease, want := range map[time.Duration]bool{
		time.Hour: false, 40 * time.Minute: false, 30 * time.Minute: false, 29 * time.Minute: true, time.Second: true, 0: false,
	} {
		if got := full.capped(lease); got != want {
			t.Errorf("%v of an hour: %t", lease, got)
		}
	}
}

func TestPauses(t *testing.T) {
	var last time.Duration
	for failures := 1; failures < 100; failures++ {
		least, most := pause(failures, 0), pause(failures, 1)
		if least < firstPause/2 || most > lastPause || least*2 != most || most < last {
			t.Fatalf("after %d failures: %v to %v", failures, least, most)
		}
		last = most
	}
	if last != lastPause {
		t.Errorf("pauses grow to %v", last)
	}
}

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		path, want string
		err        error
	}{
		{Path("kv", "data", "a b", "50%?#"), "kv/data/a b/50%?#", nil},
		{Mount("team/kv/", "data", "ü"), "team/kv/data/ü", nil},
		{"kv/metadata/x/", "kv/metadata/x/", nil},
		{Path("kv", "a/b"), "", errSlash},
		{Path("kv", ".."), "", errSegment},
		{"kv/%2e%2E/sys", "", errSegment},
		{"kv/%2fx", "", errSlash},
		{Path("kv", ".", "x"), "", errSegment},
		{Path("kv", "", "x"), "", errSegment},
		{Path(""), "", errSegment},
		{"kv//", "", errSegment},
		{"/kv", "", errSegment},
		{"kv/%zz", "", errEscape},
		{"kv/x?list=true", "", errSymbol},
		{"kv/x#y", "", errSymbol},
		{Path("kv", "...", "..a"), "kv/.../..a", nil},
	} {
		got, err := unescape(c.path)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%q: %q, %v; not %q, %v", c.path, got, err, c.want, c.err)
		}
	}
}

func TestAnswersAreClassified(t *testing.T) {
	for _, c := range []struct {
		status  int
		message string
		want    error
	}{
		{400, "", ErrRejected},
		{400, "check-and-set parameter did not match the current version", ErrCAS},
		{400, "check-and-set parameter required for this call", ErrRejected},
		{403, "permission denied", ErrForbidden},
		{404, "", ErrNotFound},
		{404, `no handler for route "kv/data/x". route entry not found.`, ErrNoMount},
		{405, "", ErrRejected},
		{412, "", store.ErrUnavailable},
		{413, "", ErrRejected},
		{429, "", store.ErrUnavailable},
		{472, "", store.ErrUnavailable},
		{473, "", store.ErrUnavailable},
		{500, "", store.ErrUnavailable},
		{501, "", store.ErrUnavailable},
		{503, "Vault is sealed", store.ErrUnavailable},
	} {
		if got := kindOf(c.status, []string{c.message}); !errors.Is(got, c.want) {
			t.Errorf("%d %q: %v", c.status, c.message, got)
		}
	}
	for _, err := range []error{ErrNoMount, ErrLogin, ErrOverload} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%v is not store.ErrUnavailable", err)
		}
	}
	for _, err := range []error{ErrNotFound, ErrForbidden, ErrCAS, ErrRejected} {
		if errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%v is store.ErrUnavailable", err)
		}
	}
}

func TestMessagesAreScrubbed(t *testing.T) {
	const secretID = "0d9b4f3a-1111-2222-3333-444455556666"
	got := scrub([]string{
		"2 errors occurred:\n\t* permission denied\n\t* invalid token hvs.CAESIJk3v_abc-DEF0123456789\n\n",
		"error converting input s3cr3t value for field \"ttl\": expected type",
		"bad " + secretID + " and s.Ab3dEf6hIj9lMn2pQr5tUv8x",
		strings.Repeat("x", 10_000),
		"a fifth",
	}, secretID)
	text := strings.Join(got, "|")
	for _, leaked := range []string{"hvs.CAES", "s3cr3t", secretID, "s.Ab3d", "\n", "\t", "a fifth"} {
		if strings.Contains(text, leaked) {
			t.Errorf("%q is in %q", leaked, text)
		}
	}
	for _, kept := range []string{"permission denied", `for field "ttl"`} {
		if !strings.Contains(text, kept) {
			t.Errorf("%q is not in %q", kept, text)
		}
	}
	if len(text) > 2000 {
		t.Errorf("%d bytes are kept", len(text))
	}
}

func TestConfigurationIsCheckedAsAWhole(t *testing.T) {
	token := Auth{Method: MethodToken, Token: "hvs.x"}
	const https, loop = "https://vault.example:8200", "http://127.0.0.1:8200"
	for i, c := range []struct {
		config Config
		want   string // in the error; empty for none
	}{
		{Config{Address: https, Auth: token}, ""},
		{Config{Address: https + "/", Namespace: "team/a/", Auth: token}, ""},
		{Config{Address: loop, Auth: token, Development: true}, ""},
		{Config{Address: "http://[::1]:1", Auth: token, Development: true}, ""},
		{Config{Address: "http://localhost:1", Auth: token, Development: true}, ""},
		{Config{Auth: token}, "no address"},
		{Config{Address: loop, Auth: token}, "plain HTTP"},
		{Config{Address: "http://10.0.0.1", Auth: token, Development: true}, "not on this machine"},
		{Config{Address: "http://localhost.evil.example", Auth: token, Development: true}, "not on this machine"},
		{Config{Address: loop, CACert: "x", Auth: token, Development: true}, "no use"},
		{Config{Address: "https://user:hvs.pass@vault", Auth: token}, "has a user"},
		{Config{Address: "vault:8200", Auth: token}, "https://HOST"},
		{Config{Address: "unix:///run/vault", Auth: token}, "https://HOST"},
		{Config{Address: "https://", Auth: token}, "https://HOST"},
		{Config{Address: https + "/v1", Auth: token}, "more than"},
		{Config{Address: https + "?x", Auth: token}, "more than"},
		{Config{Address: https, Namespace: "a/../b", Auth: token}, "namespace"},
		{Config{Address: https, Auth: token, Timeout: -1}, "timeout"},
		{Config{Address: https, Auth: token, Timeout: time.Hour}, "timeout"},
		{Config{Address: https, Auth: token, MaxInFlight: -1}, "in flight"},
		{Config{Address: https, Auth: token, MaxInFlight: 1 << 20}, "in flight"},
		{Config{Address: https}, "no method"},
		{Config{Address: https, Auth: Auth{Method: "userpass"}}, "no method"},
		{Config{Address: https, Auth: Auth{Method: MethodToken}}, "token or a token file"},
		{Config{Address: https, Auth: Auth{Method: MethodToken, Token: "a", TokenFile: "b"}}, "token or a token file"},
		{Config{Address: https, Auth: Auth{Method: MethodToken, Token: "a b"}}, "not one line"},
		{Config{Address: https, Auth: Auth{Method: MethodToken, Token: "a", Mount: "m"}}, "no use for a mount"},
		{Config{Address: https, Auth: Auth{Method: MethodToken, Token: "a", RoleID: "r", JWTFile: "f"}}, "no use for a jwt file, role id"},
		{Config{Address: https, Auth: Auth{Method: MethodAppRole, RoleID: "r"}}, "needs a secret id file"},
		{Config{Address: https, Auth: Auth{Method: MethodAppRole, SecretIDFile: "r"}}, "needs a role id"},
		{Config{Address: https, Auth: Auth{Method: MethodAppRole, RoleID: "r", SecretIDFile: "f"}}, ""},
		{Config{Address: https, Auth: Auth{Method: MethodAppRole, RoleID: "r", SecretIDFile: "f", Role: "x"}}, "only with a wrapped"},
		{Config{Address: https, Auth: Auth{Method: MethodAppRole, RoleID: "r", SecretIDFile: "f", SecretIDWrapped: true}}, "name of its role"},
		{Config{Address: https, Auth: Auth{Method: MethodAppRole, RoleID: "r", SecretIDFile: "f", SecretIDWrapped: true, Role: "x"}}, ""},
		{Config{Address: https, Auth: Auth{Method: MethodAppRole, Mount: "a/../../sys", RoleID: "r", SecretIDFile: "f"}}, "mount"},
		{Config{Address: https, Auth: Auth{Method: MethodKubernetes}}, "needs a role"},
		{Config{Address: https, Auth: Auth{Method: MethodKubernetes, Role: "r"}}, ""},
		{Config{Address: https, Auth: Auth{Method: MethodJWT, Role: "r"}}, "needs a jwt file"},
		{Config{Address: https, Auth: Auth{Method: MethodCert}}, "needs a certificate"},
		{Config{Address: https, Auth: Auth{Method: MethodCert, Cert: "c"}}, "needs its key"},
		{Config{Address: https, Auth: Auth{Method: MethodCert, Cert: "c", Key: "k"}}, ""},
		{Config{Address: loop, Development: true, Auth: Auth{Method: MethodCert, Cert: "c", Key: "k"}}, "no use"},
	} {
		got, err := c.config.withDefaults()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%d: %v; expected %q", i, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hvs.") {
			t.Errorf("%d: a credential is in %v", i, err)
		}
		if err == nil && (got.Timeout != DefaultTimeout || got.MaxInFlight != DefaultInFlight || got.Auth.Mount == "" || strings.HasSuffix(got.Address, "/")) {
			t.Errorf("%d: defaults: %+v", i, got)
		}
	}
	got, err := Auth{Method: MethodJWT, Role: "r", JWTFile: "f", Mount: "/auth/team/oidc/"}.withDefaults()
	if err != nil || got.Mount != "team/oidc" {
		t.Errorf("mount %q, %v", got.Mount, err)
	}
}

func TestConfigurationsCanBePrinted(t *testing.T) {
	c := Config{Address: "https://vault", Auth: Auth{Method: MethodToken, Token: "hvs.secret"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, c) + fmt.Sprintf(format, &c) + fmt.Sprintf(format, c.Auth); strings.Contains(text, "hvs.") {
			t.Errorf("%s: %s", format, text)
		}
	}
}

func TestErrorsNameWhatFailed(t *testing.T) {
	err := fmt.Errorf("policy: %w", &Error{Method: "GET", Path: "kv/data/x", Status: 403, Messages: []string{"permission denied"}, Err: ErrForbidden})
	if !errors.Is(err, ErrForbidden) || err.Error() != "policy: vault: GET kv/data/x: Vault does not allow this: permission denied" {
		t.Error(err)
	}
}
