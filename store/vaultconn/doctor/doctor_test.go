package doctor_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
	"github.com/vouchsafe/vouchsafe/store/vaultconn/doctor"
	"github.com/vouchsafe/vouchsafe/store/vaultconn/rights"
)

// expect holds the checks against what they should be: "NAME": "STATE", with a part of the command that is to be run after a space.
func expect(t *testing.T, checks []doctor.Check, want map[string]string) {
	t.Helper()
	for name, is := range want {
		state, run, _ := strings.Cut(is, " ")
		found := false
		for _, c := range checks {
			if c.Name == name {
				found = true
				if string(c.State) != state || !strings.Contains(c.Run, run) {
					t.Errorf("%s: %s, %s, run %q; expected %s", name, c.State, c.Detail, c.Run, is)
				}
			}
		}
		if !found {
			t.Errorf("%s is not there: %+v", name, checks)
		}
	}
}

func TestExamination(t *testing.T) {
	s := vaulttest.Start(t, vaulttest.WithTLS())
	kv, old, transit := s.Mount(t, "kv", map[string]string{"version": "2"}), s.Mount(t, "kv", map[string]string{"version": "1"}), s.Mount(t, "transit", nil)
	s.Write(t, transit+"/keys/seal", nil)
	s.Write(t, transit+"/keys/rsa", map[string]any{"type": "rsa-2048"})
	needs := rights.Needs{
		Store: &rights.Store{Mount: kv, Prefix: "vouchsafe"}, Seal: &rights.Transit{Mount: transit, Key: "seal"}, KV: []rights.KV{{Mount: kv, Path: "apps/*"}},
		Issuers: []rights.Issuer{{Path: "database/creds/app"}}, Given: true,
	}
	config := func(policy string) vaultconn.Config {
		return vaultconn.Config{
			Address: s.Address, CACert: s.CAFile, Logger: slog.New(slog.DiscardHandler),
			Auth: vaultconn.Auth{Method: vaultconn.MethodToken, Token: s.Token(t, policy, time.Hour)},
		}
	}
	policy := rights.HCL(needs.Rights())

	checks := doctor.Examine(t.Context(), config(policy), needs, time.Now)
	expect(t, checks, map[string]string{
		"settings": "ok", "reach": "ok", "tls": "ok", "seal": "ok", "clock": "ok", "login": "ok",
		"mount " + kv: "ok", "versions " + kv: "fail max_versions=1", "mount " + transit: "ok", "key " + transit + "/seal": "ok",
		"right " + kv + "/data/vouchsafe/*": "ok", "right sys/leases/lookup/database/creds/app/*": "ok",
	})
	if doctor.Healthy(checks) {
		t.Error("it is healthy without max_versions")
	}
	s.Write(t, kv+"/config", map[string]any{"max_versions": 1})
	if checks = doctor.Examine(t.Context(), config(policy), needs, time.Now); !doctor.Healthy(checks) {
		t.Errorf("%+v", checks)
	}

	// Each right that is missing is named, with what it is for.
	few := rights.Needs{Given: true}
	checks = doctor.Examine(t.Context(), config(rights.HCL(few.Rights())), needs, time.Now)
	expect(t, checks, map[string]string{
		"mount " + kv: "fail vault secrets enable", "right " + kv + "/data/vouchsafe/*": "fail vault policy write", "right auth/token/lookup-self": "ok",
	})

	wrong := needs
	wrong.Store, wrong.Seal = &rights.Store{Mount: old, Prefix: "vouchsafe"}, &rights.Transit{Mount: transit, Key: "rsa"}
	root := config(policy)
	root.Auth.Token = s.RootToken
	expect(t, doctor.Examine(t.Context(), root, wrong, time.Now), map[string]string{
		"token": "warn", "mount " + old: "fail enable-versioning", "key " + transit + "/rsa": "fail type=aes256",
	})
	wrong.Store, wrong.Seal = &rights.Store{Mount: transit, Prefix: "vouchsafe"}, nil
	expect(t, doctor.Examine(t.Context(), root, wrong, time.Now), map[string]string{"mount " + transit: "fail vault secrets enable"})
	// A key is judged as the seal judges it.
	for key, is := range map[string]struct {
		options map[string]any
		want    string
	}{
		"derived":   {map[string]any{"derived": true}, "fail type=aes256"},
		"weak":      {map[string]any{"exportable": true, "allow_plaintext_backup": true}, "warn"},
		"deletable": {nil, "warn deletion_allowed=false"},
	} {
		s.Write(t, transit+"/keys/"+key, is.options)
		if key == "deletable" {
			s.Write(t, transit+"/keys/"+key+"/config", map[string]any{"deletion_allowed": true})
		}
		wrong.Store, wrong.Seal = nil, &rights.Transit{Mount: transit, Key: key}
		expect(t, doctor.Examine(t.Context(), root, wrong, time.Now), map[string]string{"key " + transit + "/" + key: is.want})
	}
	wrong.Store, wrong.Seal = nil, &rights.Transit{Mount: transit, Key: "none"}
	expect(t, doctor.Examine(t.Context(), root, wrong, time.Now), map[string]string{"key " + transit + "/none": "fail vault write -f " + transit + "/keys/none"})

	late := func() time.Time { return time.Now().Add(3 * time.Minute) }
	expect(t, doctor.Examine(t.Context(), root, rights.Needs{}, late), map[string]string{"clock": "fail"})
	bad := root
	bad.Auth.Token = "hvs.nobody-has-this-token"
	checks = doctor.Examine(t.Context(), bad, needs, time.Now)
	expect(t, checks, map[string]string{"login": "fail vault token create"})
	if last := checks[len(checks)-1]; last.Name != "login" || strings.Contains(last.Detail, bad.Auth.Token) {
		t.Errorf("after a login that failed: %+v", last)
	}
	bad = root
	bad.CACert = vaulttest.NewAuthority(t).File
	expect(t, doctor.Examine(t.Context(), bad, needs, time.Now), map[string]string{"tls": "fail"})
	bad = root
	bad.ServerName = "vault.elsewhere"
	expect(t, doctor.Examine(t.Context(), bad, needs, time.Now), map[string]string{"tls": "fail"})
	bad.Address = "http://127.0.0.1:1"
	expect(t, doctor.Examine(t.Context(), bad, needs, time.Now), map[string]string{"settings": "fail"})
	bad = root
	bad.Address = "https://127.0.0.1:1"
	expect(t, doctor.Examine(t.Context(), bad, needs, time.Now), map[string]string{"reach": "fail"})

	s.Seal(t)
	expect(t, doctor.Examine(t.Context(), root, needs, time.Now), map[string]string{"seal": "fail vault operator unseal"})
}
