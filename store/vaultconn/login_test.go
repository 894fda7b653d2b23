package vaultconn_test

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// These tests run on a real Vault.

// rights let a token read and write below kv/, which each test puts on a mount of its own.
func rights(mount string) string {
	return `path "` + mount + `/*" { capabilities = ["create", "update", "read", "list", "delete"] }`
}

// scene is a mount and the way to it.
type scene struct {
	*vaulttest.Server
	mount string
	told  *logged
}

func newScene(t *testing.T, s *vaulttest.Server) *scene {
	t.Helper()
	return &scene{Server: s, mount: s.Mount(t, "kv", map[string]string{"version": "2"}), told: &logged{}}
}

func (s *scene) config(auth vaultconn.Auth) vaultconn.Config {
	return vaultconn.Config{Address: s.Address, CACert: s.CAFile, Development: s.CAFile == "", Logger: s.told.logger(), Auth: auth}
}

// works fails unless a connection writes and reads.
func (s *scene) works(t *testing.T, c *vaultconn.Conn) {
	t.Helper()
	if err := s.try(t, c); err != nil {
		t.Fatal(err)
	}
}

func (s *scene) try(t *testing.T, c *vaultconn.Conn) error {
	t.Helper()
	_, err := c.Do(t.Context(), vaultconn.Request{
		Method: http.MethodPost, Path: vaultconn.Path(s.mount, "data", "a b"), Body: map[string]any{"data": map[string]string{"x": "y"}},
	})
	return err
}

// revoke ends the token of a connection, as an operator does who knows its accessor: all tokens of an auth mount.
func (s *scene) revoke(t *testing.T, mount string) {
	t.Helper()
	s.Write(t, "sys/leases/revoke-prefix/auth/"+mount+"/login", nil)
}

func TestAppRole(t *testing.T) {
	t.Parallel()
	s := newScene(t, vaulttest.Shared(t))
	role := s.AppRole(t, rights(s.mount), nil)
	file := write(t, "secret-id", role.SecretID+"\n")
	c := open(t, s.config(vaultconn.Auth{Method: vaultconn.MethodAppRole, Mount: role.Mount, RoleID: role.RoleID, SecretIDFile: file}))
	s.works(t, c)
	if st := c.Status(); !st.LoggedIn || !st.Up || st.Logins != 1 || time.Until(st.Expires) < 59*time.Minute || !st.Renewable {
		t.Errorf("%+v", st)
	}

	// The token is revoked under us: the next request logs in at once and is made.
	s.revoke(t, role.Mount)
	s.works(t, c)
	if st := c.Status(); st.Logins != 2 {
		t.Errorf("%d logins", st.Logins)
	}

	// The secret id is revoked, and then the token: no login, until there is another secret id, and then without a restart.
	s.Write(t, "auth/"+role.Mount+"/role/"+role.Name+"/secret-id/destroy", map[string]any{"secret_id": role.SecretID})
	s.works(t, c) // the token is good still
	s.revoke(t, role.Mount)
	until(t, "requests fail", func() bool { return s.try(t, c) != nil })
	until(t, "the login fails", func() bool { return errors.Is(c.Status().LoginError, vaultconn.ErrLogin) })
	if err := s.try(t, c); err == nil {
		t.Error("a request without a token was made")
	}
	if err := c.Ready(t.Context()); err == nil {
		t.Error("ready without a token")
	}
	replace(t, file, s.Write(t, "auth/"+role.Mount+"/role/"+role.Name+"/secret-id", nil)["secret_id"].(string))
	until(t, "it comes back", func() bool { return s.try(t, c) == nil })
	until(t, "it is ready", func() bool { return c.Ready(t.Context()) == nil })
	holdsNone(t, s.told.String(), role.SecretID)
}

// TestCloseRevokes: a token that was got by logging in ends with the connection, unless it is to be kept, and one that was given does not.
func TestCloseRevokes(t *testing.T) {
	t.Parallel()
	s := newScene(t, vaulttest.Shared(t))
	for _, keep := range []bool{false, true} {
		role := s.AppRole(t, rights(s.mount), nil)
		config := s.config(vaultconn.Auth{
			Method: vaultconn.MethodAppRole, Mount: role.Mount, RoleID: role.RoleID, SecretIDFile: write(t, "secret-id", role.SecretID),
		})
		config.KeepToken = keep
		c := open(t, config)
		count := func() int {
			list, err := s.Client(t).Logical().ListWithContext(t.Context(), "sys/leases/lookup/auth/"+role.Mount+"/login")
			if err != nil {
				t.Fatal(err)
			}
			if list == nil {
				return 0
			}
			return len(list.Data["keys"].([]any))
		}
		if n := count(); n != 1 {
			t.Fatalf("%d tokens", n)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		want := 0
		if keep {
			want = 1
		}
		until(t, "tokens of the role", func() bool { return count() == want })
	}
	token := s.Token(t, rights(s.mount)+self, time.Hour)
	for range 2 {
		c := open(t, s.config(vaultconn.Auth{Method: vaultconn.MethodToken, Token: token}))
		s.works(t, c)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// self is what a token without the policy default needs for itself.
const self = `
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }`

// TestRenewal: a lease of two seconds lasts for as long as it is renewed; where a maximum TTL ends that, a login comes before it.
func TestRenewal(t *testing.T) {
	t.Parallel()
	s := newScene(t, vaulttest.Shared(t))
	type subject struct {
		conn   *vaultconn.Conn
		logins uint64
	}
	subjects := map[string]subject{}
	for name, x := range map[string]struct {
		role   map[string]any
		logins uint64
	}{
		"periodic":    {map[string]any{"token_period": "2s", "token_ttl": "2s"}, 1},
		"maximum":     {map[string]any{"token_ttl": "2s", "token_max_ttl": "4s"}, 2},
		"batch":       {map[string]any{"token_ttl": "2s", "token_type": "batch"}, 2},
		"limited use": {map[string]any{"token_ttl": "1h", "token_num_uses": 8}, 2},
	} {
		role := s.AppRole(t, rights(s.mount), x.role)
		file := write(t, "secret-id", role.SecretID)
		c := open(t, s.config(vaultconn.Auth{Method: vaultconn.MethodAppRole, Mount: role.Mount, RoleID: role.RoleID, SecretIDFile: file}))
		subjects[name] = subject{c, x.logins}
	}
	for end := time.Now().Add(6 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for name, x := range subjects {
			if err := s.try(t, x.conn); err != nil && name != "limited use" {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	for name, x := range subjects {
		st := x.conn.Status()
		if x.logins == 1 && (st.Logins != 1 || st.Renewals < 3) || st.Logins < x.logins || st.Logins > 12 {
			t.Errorf("%s: %d logins and %d renewals", name, st.Logins, st.Renewals)
		}
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	s := newScene(t, vaulttest.Shared(t))
	file := write(t, "token", s.Token(t, rights(s.mount)+self, 2*time.Second)+"\n")
	c := open(t, s.config(vaultconn.Auth{Method: vaultconn.MethodToken, TokenFile: file}))
	for range 4 {
		s.works(t, c)
		time.Sleep(time.Second)
	}
	if st := c.Status(); st.Renewals < 2 {
		t.Errorf("%d renewals", st.Renewals)
	}
	// Another token in the file, as Vault's agent writes it, is used without being asked for.
	c.LookAtFiles(20 * time.Millisecond)
	other := s.Token(t, rights(s.mount)+self, time.Hour)
	replace(t, file, other)
	until(t, "the new token is used", func() bool { return time.Until(c.Status().Expires) > time.Minute })
	s.works(t, c)
	// It is revoked: nothing works until there is another.
	s.Write(t, "auth/token/revoke", map[string]any{"token": other})
	until(t, "it fails", func() bool { return s.try(t, c) != nil })
	replace(t, file, s.Token(t, rights(s.mount)+self, time.Hour))
	until(t, "it comes back", func() bool { return s.try(t, c) == nil })
	holdsNone(t, s.told.String(), other)

	_, err := vaultconn.Open(t.Context(), s.config(vaultconn.Auth{Method: vaultconn.MethodToken, Token: other}))
	if !errors.Is(err, vaultconn.ErrLogin) {
		t.Errorf("a revoked token: %v", err)
	}
	holdsNone(t, err.Error(), other)
}

// TestTokenThatMayNotLook: a token that has no right to look itself up works, and a right that is missing is no reason to log in again and again.
func TestTokenThatMayNotLook(t *testing.T) {
	t.Parallel()
	s := newScene(t, vaulttest.Shared(t))
	role := s.AppRole(t, rights(s.mount), map[string]any{"token_no_default_policy": true})
	file := write(t, "secret-id", role.SecretID)
	c := open(t, s.config(vaultconn.Auth{Method: vaultconn.MethodAppRole, Mount: role.Mount, RoleID: role.RoleID, SecretIDFile: file}))
	s.works(t, c)
	if err := c.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	for range 200 {
		if _, err := c.Do(t.Context(), vaultconn.Request{Method: http.MethodGet, Path: "sys/policies/acl/root"}); !errors.Is(err, vaultconn.ErrForbidden) {
			t.Fatal(err)
		}
	}
	if st := c.Status(); st.Logins != 1 || !strings.Contains(s.told.String(), "lookup-self") {
		t.Errorf("%d logins", st.Logins)
	}
}

func TestJWT(t *testing.T) {
	t.Parallel()
	s := newScene(t, vaulttest.Shared(t))
	role := s.JWT(t, rights(s.mount), nil)
	file := write(t, "jwt", role.Sign(t, "broker", time.Minute))
	auth := vaultconn.Auth{Method: vaultconn.MethodJWT, Mount: role.Mount, Role: role.Role, JWTFile: file}
	c := open(t, s.config(auth))
	s.works(t, c)
	// The file is read at each login.
	first := role.Sign(t, "broker", time.Minute)
	replace(t, file, first)
	s.revoke(t, role.Mount)
	s.works(t, c)
	if st := c.Status(); st.Logins != 2 {
		t.Errorf("%d logins", st.Logins)
	}
	for name, jwt := range map[string]string{"expired": role.Sign(t, "broker", -time.Hour), "of somebody else": s.JWT(t, rights(s.mount), nil).Sign(t, "broker", time.Minute)} {
		auth.JWTFile = write(t, "jwt", jwt)
		_, err := vaultconn.Open(t.Context(), s.config(auth))
		if !errors.Is(err, vaultconn.ErrLogin) {
			t.Errorf("%s: %v", name, err)
		}
		holdsNone(t, err.Error()+s.told.String(), jwt, first)
	}
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	s := newScene(t, vaulttest.Start(t, vaulttest.WithTLS()))
	role := s.Cert(t, rights(s.mount), nil)
	folder := t.TempDir()
	auth := vaultconn.Auth{Method: vaultconn.MethodCert, Mount: role.Mount, Role: role.Role, Cert: folder + "/c.pem", Key: folder + "/k.pem"}
	install := func(cert, key string) {
		for from, to := range map[string]string{cert: auth.Cert, key: auth.Key} {
			text, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			replace(t, to, string(text))
		}
	}
	install(role.CertFile, role.KeyFile)
	c := open(t, s.config(auth))
	s.works(t, c)

	// Both files are replaced: the new certificate is used, and for the old one's token another is got.
	c.LookAtFiles(20 * time.Millisecond)
	install(role.Authority.Issue(t, "client"))
	until(t, "the new certificate is used", func() bool { return c.Status().Logins >= 2 && s.try(t, c) == nil })

	// One of somebody else is not taken, and a pair that does not fit leaves the one before.
	stranger, strangerKey := vaulttest.NewAuthority(t).Issue(t, "client")
	other := auth
	other.Cert, other.Key = stranger, strangerKey
	if _, err := vaultconn.Open(t.Context(), s.config(other)); !errors.Is(err, vaultconn.ErrLogin) {
		t.Errorf("a stranger: %v", err)
	}
	logins := c.Status().Logins
	install(role.CertFile, strangerKey)
	until(t, "the pair is refused", func() bool { return strings.Contains(s.told.String(), "cannot be used") })
	s.works(t, c)
	if c.Status().Logins != logins {
		t.Errorf("%d logins", c.Status().Logins)
	}
	if err := os.Chmod(auth.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := vaultconn.Open(t.Context(), s.config(auth)); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key for everybody: %v", err)
	}
}

// TestSealedAndBack: what a sealed or killed Vault means, and that nothing needs a restart.
func TestSealedAndBack(t *testing.T) {
	t.Parallel()
	s := newScene(t, vaulttest.Start(t, vaulttest.WithFile("")))
	role := s.AppRole(t, rights(s.mount), map[string]any{"token_ttl": "3s", "token_period": "3s"})
	file := write(t, "secret-id", role.SecretID)
	config := s.config(vaultconn.Auth{Method: vaultconn.MethodAppRole, Mount: role.Mount, RoleID: role.RoleID, SecretIDFile: file})
	config.Timeout = 2 * time.Second
	c := open(t, config)
	down := func(what string) {
		t.Helper()
		if err := s.try(t, c); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
		until(t, what+" shows", func() bool { return c.Ready(t.Context()) != nil && !c.Status().Up })
	}
	back := func(what string) {
		t.Helper()
		until(t, "back after "+what, func() bool { return s.try(t, c) == nil && c.Ready(t.Context()) == nil && c.Status().Up })
	}
	s.works(t, c)
	s.Seal(t)
	down("sealed")
	health, err := vaultconn.Probe(t.Context(), config)
	if health == nil || !health.Sealed || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("sealed: %+v, %v", health, err)
	}
	if _, err := vaultconn.Open(t.Context(), config); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, vaultconn.ErrLogin) {
		t.Errorf("Open while sealed: %v", err)
	}
	s.Unseal(t)
	back("the seal")
	s.Kill(t)
	down("killed")
	time.Sleep(4 * time.Second) // the token ends meanwhile
	s.Restart(t)
	back("a restart")
	s.Freeze(t)
	down("frozen")
	s.Thaw(t)
	back("the frost")

	// A mount that is gone is not a place where there is nothing.
	if err := s.Client(t).Sys().UnmountWithContext(t.Context(), s.mount); err != nil {
		t.Fatal(err)
	}
	_, err = c.Do(t.Context(), vaultconn.Request{Method: http.MethodGet, Path: vaultconn.Path(s.mount, "data", "x")})
	if errors.Is(err, vaultconn.ErrNotFound) || err == nil {
		t.Errorf("without the mount: %v", err)
	}
	root := s.Conn(t)
	if _, err := root.Do(t.Context(), vaultconn.Request{Method: http.MethodGet, Path: vaultconn.Path(s.mount, "data", "x")}); !errors.Is(err, vaultconn.ErrNoMount) {
		t.Errorf("without the mount, as root: %v", err)
	}
	holdsNone(t, s.told.String(), role.SecretID)
}

// TestStandby: a standby passes requests on to the active node, and without one, requests fail in time.
func TestStandby(t *testing.T) {
	t.Parallel()
	active := newScene(t, vaulttest.Start(t, vaulttest.WithRaft("")))
	role := active.AppRole(t, rights(active.mount), nil)
	standby := &scene{Server: active.Standby(t), mount: active.mount, told: active.told}
	config := standby.config(vaultconn.Auth{
		Method: vaultconn.MethodAppRole, Mount: role.Mount, RoleID: role.RoleID, SecretIDFile: write(t, "secret-id", role.SecretID),
	})
	config.Timeout = 2 * time.Second
	c := open(t, config)
	standby.works(t, c)
	if err := c.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if health, err := vaultconn.Probe(t.Context(), config); err != nil || !health.Standby || health.Version == "" || health.Date.IsZero() {
		t.Errorf("%+v, %v", health, err)
	}
	active.Kill(t)
	for range 3 {
		started := time.Now()
		if err := standby.try(t, c); !errors.Is(err, store.ErrUnavailable) || time.Since(started) > 4*time.Second {
			t.Errorf("without an active node: %v after %v", err, time.Since(started))
		}
	}
	until(t, "it shows that there is no active node", func() bool { return c.Ready(t.Context()) != nil })
}
