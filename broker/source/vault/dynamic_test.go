package vault_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/broker/source/vault"
	"github.com/vouchsafe/vouchsafe/internal/pgtest"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// TestDatabase has a real Vault issue accounts of a real PostgreSQL.
func TestDatabase(t *testing.T) {
	vaulttest.Shared(t) // or all is skipped, and no PostgreSQL is needed
	pg := pgtest.Start(t)
	for name, test := range map[string]func(*testing.T, *pgtest.Server){
		"credentials work until they are ended": databaseCredentials,
		"leases are no longer than Vault's":     leaseIsNoLongerThanVaults,
		"what has ended already is no failure":  revocationOfWhatVaultForgot,
		"what no record tells of is found":      orphans,
		"response wrapping":                     wrapped,
		"Vault is sealed, and comes back":       vaultGone,
		"Vault's answer is lost":                lostAnswers,
	} {
		t.Run(name, func(t *testing.T) { test(t, pg) })
	}
}

// database mounts a database engine with a role "reader" over PostgreSQL.
func database(t *testing.T, w *world, pg *pgtest.Server) (mount string) {
	t.Helper()
	mount = w.server.Mount(t, "database", nil)
	w.vault(mount+"/config/pg", map[string]any{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "connection_url": pg.VaultURL(),
		"username": pgtest.Superuser, "password": pg.Password,
	})
	w.vault(mount+"/roles/reader", map[string]any{
		"db_name": "pg", "default_ttl": "1h", "max_ttl": "24h",
		"creation_statements": []string{`CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`},
	})
	return mount
}

// account is what a database engine issues.
type account struct{ Username, Password string }

func (w *world) account(name string) (account, *broker.Lease) {
	w.tb.Helper()
	r, err := w.fetch(name)
	var a account
	check(w.tb, json.Unmarshal(w.open(r, err), &a))
	return a, r.Results[0].Lease
}

// logsIn reports whether an account works.
func logsIn(t *testing.T, pg *pgtest.Server, a account) bool {
	t.Helper()
	out, err := pg.Query(t.Context(), a.Username, a.Password, "SELECT 1")
	return err == nil && strings.TrimSpace(out) == "1"
}

// awaitOut waits until an account works no more.
func awaitOut(t *testing.T, pg *pgtest.Server, a account) {
	t.Helper()
	for range 100 {
		if !logsIn(t, pg, a) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the account still works")
}

// databaseCredentials: what is issued for a real PostgreSQL works, and works no more after each end that it may have. The broker has the rights that
// docs/vault-sources.md tells of, and no others.
func databaseCredentials(t *testing.T, pg *pgtest.Server) {
	s := vaulttest.Shared(t)
	admin := newWorld(t, s, nil, nil)
	mount := database(t, admin, pg)
	w := newWorld(t, s, admin.as(`
path "`+mount+`/creds/*" { capabilities = ["read"] }
path "sys/leases/revoke" { capabilities = ["update"] }
`), nil)
	document := map[string]any{"path": mount + "/creds/reader"}
	check(t, w.put("a/db", vault.KindDynamic, document))
	if probe, err := w.CheckSecret(t.Context(), w.Admin, ns, "a/db", 0); err != nil || !probe.Answers {
		t.Errorf("%+v, %v", probe, err)
	}
	for name, end := range map[string]func(lease *broker.Lease) error{
		"its lease is revoked": func(lease *broker.Lease) error {
			out, err := w.RevokeLease(t.Context(), w.Admin, ns, lease.ID)
			if err == nil && out.Ended != "ended" {
				err = fmt.Errorf("%+v", out)
			}
			return err
		},
		"its policy is retired": func(*broker.Lease) error {
			_, err := w.ActivatePolicy(t.Context(), w.Admin, ns, "allow-virtual", 0)
			return err
		},
		"its secret is destroyed": func(*broker.Lease) error {
			_, err := w.DestroyAll(t.Context(), w.Admin, ns, "a/db")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.ApplyPolicy(brokertest.AllowVirtual("a/*"))
			check(t, w.put("a/db", vault.KindDynamic, document))
			a, lease := w.account("a/db")
			if !logsIn(t, pg, a) {
				t.Fatal("what was issued does not work")
			}
			if lease.Source != vault.KindDynamic || !lease.Revocable || lease.Expires.Sub(lease.Issued) > time.Hour {
				t.Errorf("%+v", lease)
			}
			check(t, end(lease))
			awaitOut(t, pg, a)
			// Who cannot log in any more may know so before the broker does.
			for until := time.Now().Add(20 * time.Second); !strings.Contains(w.Logs(), lease.ID); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(until) {
					t.Fatal("the log does not tell of the lease")
				}
			}
			if strings.Contains(w.Logs(), a.Password) || strings.Contains(w.Logs(), mount+"/creds/reader/") {
				t.Error("the log tells of the password or Vault's lease")
			}
		})
	}
}

// leaseIsNoLongerThanVaults: the lease that the workload is told ends no later than what it got, and what it got ends with it.
func leaseIsNoLongerThanVaults(t *testing.T, pg *pgtest.Server) {
	s := vaulttest.Shared(t)
	c := &clock{}
	w := newWorld(t, s, nil, c.now)
	mount := database(t, w, pg)
	check(t, w.put("a/db", vault.KindDynamic, map[string]any{"path": mount + "/creds/reader"}))
	w.vault(mount+"/roles/reader", map[string]any{
		"db_name": "pg", "default_ttl": "10m", "max_ttl": "24h",
		"creation_statements": []string{`CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`},
	})
	if _, lease := w.account("a/db"); lease.Expires.Sub(lease.Issued).Round(time.Minute) != 10*time.Minute {
		t.Errorf("%s", lease.Expires.Sub(lease.Issued)) // from when it was asked for
	}
	w.vault(mount+"/roles/reader", map[string]any{
		"db_name": "pg", "default_ttl": "4h", "max_ttl": "24h",
		"creation_statements": []string{`CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`},
	})
	a, lease := w.account("a/db")
	if lease.Expires.Sub(lease.Issued) != time.Hour || !logsIn(t, pg, a) {
		t.Errorf("%s", lease.Expires.Sub(lease.Issued))
	}
	c.add(time.Hour + time.Minute)
	awaitOut(t, pg, a)
}

// revocationOfWhatVaultForgot: that something has ended already is no failure.
func revocationOfWhatVaultForgot(t *testing.T, pg *pgtest.Server) {
	s := vaulttest.Shared(t)
	w := newWorld(t, s, nil, nil)
	mount := database(t, w, pg)
	check(t, w.put("a/db", vault.KindDynamic, map[string]any{"path": mount + "/creds/reader"}))
	a, lease := w.account("a/db")
	// An administrator of Vault was quicker.
	check(t, w.root.Sys().RevokePrefixWithContext(t.Context(), mount+"/creds"))
	awaitOut(t, pg, a)
	if out, err := w.RevokeLease(t.Context(), w.Admin, ns, lease.ID); err != nil || out.Ended != "ended" {
		t.Errorf("%+v, %v", out, err)
	}
}

// orphans: what Vault issued, and no record of a release tells of, is found at an exclusive place and ended; what a record tells of is not.
func orphans(t *testing.T, pg *pgtest.Server) {
	s := vaulttest.Shared(t)
	w := newWorld(t, s, nil, nil)
	mount := database(t, w, pg)
	d := vault.NewDynamic(s.Conn(t), nil)
	parameters, err := d.Check(json.RawMessage(`{"path": "`+mount+`/creds/reader", "exclusive": true}`), source.Request{Namespace: ns, Secret: "a/db"})
	check(t, err)
	place, err := d.Place(parameters, source.Request{Secret: "a/db"})
	check(t, err)
	if !place.Exclusive {
		t.Error("it is not exclusive")
	}
	if all, err := d.Issued(t.Context(), place, time.Now().Add(-time.Minute), time.Now()); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	from := time.Now().Add(-time.Second)
	value, err := d.Fetch(t.Context(), parameters, source.Request{Secret: "a/db"})
	check(t, err)
	var a account
	check(t, json.Unmarshal(value.Bytes, &a))
	all, err := d.Issued(t.Context(), place, from, time.Now().Add(time.Second))
	if err != nil || len(all) != 1 || all[0] != value.Lease.Handle {
		t.Fatalf("%v, %v, want %s", all, err, value.Lease.Handle)
	}
	if all, err := d.Issued(t.Context(), place, from.Add(-time.Hour), from); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	for range 2 { // a second time is no error
		check(t, d.Revoke(t.Context(), value.Lease.Handle))
	}
	if logsIn(t, pg, a) {
		t.Error("it still works")
	}
}

// wrapped: the workload gets a token that unwraps what was issued, once; and the lease of it is the broker's to end.
func wrapped(t *testing.T, pg *pgtest.Server) {
	s := vaulttest.Shared(t)
	w := newWorld(t, s, nil, nil)
	mount := database(t, w, pg)
	for field, document := range map[string]map[string]any{
		"":         {"path": mount + "/creds/reader", "wrap": "5m"},
		"password": {"path": mount + "/creds/reader", "wrap": "5m", "field": "password"},
	} {
		check(t, w.put("a/db", vault.KindDynamic, document))
		r, err := w.fetch("a/db")
		token := string(w.open(r, err))
		stranger, err := api.NewClient(&api.Config{Address: s.Address})
		check(t, err)
		stranger.SetToken(token)
		secret, err := stranger.Logical().UnwrapWithContext(t.Context(), "")
		check(t, err)
		password, _ := secret.Data["password"].(string)
		user, _ := secret.Data["username"].(string)
		if field != "" {
			if len(secret.Data) != 1 || password == "" {
				t.Errorf("%d members", len(secret.Data))
			}
		} else if !logsIn(t, pg, account{user, password}) {
			t.Error("what was unwrapped does not work")
		}
		if _, err := stranger.Logical().UnwrapWithContext(t.Context(), ""); err == nil {
			t.Error("it unwraps twice")
		}
		check(t, func() error { _, err := w.RevokeLease(t.Context(), w.Admin, ns, r.Results[0].Lease.ID); return err }())
		if field == "" && logsIn(t, pg, account{user, password}) {
			t.Error("it still works")
		}
	}
}

// TestPKI issues a certificate, whose name is a template over the request.
func TestPKI(t *testing.T) {
	s := vaulttest.Shared(t)
	w := newWorld(t, s, nil, nil)
	mount := s.Mount(t, "pki", nil)
	w.vault(mount+"/root/generate/internal", map[string]any{"common_name": "test", "ttl": "24h"})
	w.vault(mount+"/roles/workload", map[string]any{"allowed_domains": "example.org", "allow_subdomains": true, "ttl": "30m", "generate_lease": true})
	check(t, w.put("a/tls/server", vault.KindDynamic, map[string]any{
		"path": mount + "/issue/workload", "method": "write",
		"body": map[string]any{"common_name": "${secret[2]}-${claims.kind}.example.org", "ttl": "20m", "exclude_cn_from_sans": false},
	}))
	w.ApplyPolicy(brokertest.AllowVirtual("a/**"))
	r, err := w.fetch("a/tls/server")
	var issued struct {
		Certificate string   `json:"certificate"`
		Key         string   `json:"private_key"`
		Chain       []string `json:"ca_chain"`
		Serial      string   `json:"serial_number"`
	}
	check(t, json.Unmarshal(w.open(r, err), &issued))
	block, _ := pem.Decode([]byte(issued.Certificate))
	if block == nil || issued.Key == "" || len(issued.Chain) == 0 {
		t.Fatalf("%+v", issued)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	check(t, err)
	if certificate.Subject.CommonName != "server-virtual.example.org" {
		t.Errorf("%s", certificate.Subject)
	}
	lease := r.Results[0].Lease
	if d := lease.Expires.Sub(lease.Issued); d.Round(time.Minute) != 20*time.Minute {
		t.Errorf("a lease of %s", d)
	}
	_, err = w.RevokeLease(t.Context(), w.Admin, ns, lease.ID)
	check(t, err)
	secret, err := w.root.Logical().ReadWithContext(t.Context(), mount+"/cert/"+issued.Serial)
	check(t, err)
	if at, ok := secret.Data["revocation_time"].(json.Number); !ok || at.String() == "0" {
		t.Errorf("the certificate is not revoked: %v", secret.Data["revocation_time"])
	}
	// Without leases there is nothing to end, and a field may be the value.
	w.vault(mount+"/roles/workload", map[string]any{"allowed_domains": "example.org", "allow_subdomains": true, "ttl": "30m"})
	check(t, w.put("a/tls/server", vault.KindDynamic, map[string]any{
		"path": mount + "/issue/workload", "method": "write", "body": map[string]any{"common_name": "x.example.org"}, "field": "private_key",
	}))
	r, err = w.fetch("a/tls/server")
	if key := string(w.open(r, err)); !strings.HasPrefix(key, "-----BEGIN RSA PRIVATE KEY-----\n") || r.Results[0].Lease.Revocable {
		t.Errorf("%.40q, %+v", key, r.Results[0].Lease)
	}
	// Vault refuses a name that its role does not allow.
	check(t, w.put("a/tls/server", vault.KindDynamic, map[string]any{
		"path": mount + "/issue/workload", "method": "write", "body": map[string]any{"common_name": "x.example.com"},
	}))
	r, err = w.fetch("a/tls/server")
	if d := w.decision(r, err); d.Outcome != broker.OutcomeFailed || d.Secrets[0].Code != "source_rejected" {
		t.Errorf("%+v", d)
	}
	for range 100 {
		entries, err := w.Data.Store.List(t.Context(), "sys/issued/", "", 10)
		check(t, err)
		if len(entries) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("a record is left of what was not issued")
}

// vaultGone: a source that cannot be asked is unavailable, and what was issued is ended when it can be asked again.
func vaultGone(t *testing.T, pg *pgtest.Server) {
	s := vaulttest.Start(t, vaulttest.WithFile(""))
	w := newWorld(t, s, nil, nil)
	mount := database(t, w, pg)
	check(t, w.put("a/db", vault.KindDynamic, map[string]any{"path": mount + "/creds/reader"}))
	a, lease := w.account("a/db")
	s.Seal(t)
	r, err := w.fetch("a/db")
	if d := w.decision(r, err); d.Outcome != broker.OutcomeFailed || d.Secrets[0].Code != "source_unavailable" {
		t.Errorf("%+v", d)
	}
	out, err := w.RevokeLease(t.Context(), w.Admin, ns, lease.ID)
	if err != nil || out.Ended != "pending" {
		t.Errorf("%+v, %v", out, err)
	}
	if !logsIn(t, pg, a) {
		t.Error("it works no more, without Vault")
	}
	s.Unseal(t)
	awaitOut(t, pg, a)
	if a, _ := w.account("a/db"); !logsIn(t, pg, a) {
		t.Error("after the outage nothing that works is issued")
	}
	if probe, err := w.CheckSecret(t.Context(), w.Admin, ns, "a/db", 0); err != nil || !probe.Answers {
		t.Errorf("%+v, %v", probe, err)
	}
}

// clock is the time, and as much more as was added.
type clock struct {
	mu   sync.Mutex
	more time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.more)
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.more += d
}

// lostAnswers: Vault issues, and its answer does not come. At an exclusive path what was issued is found and ended; at another it is told of.
func lostAnswers(t *testing.T, pg *pgtest.Server) {
	s := vaulttest.Shared(t)
	for _, exclusive := range []bool{true, false} {
		t.Run(fmt.Sprint("exclusive ", exclusive), func(t *testing.T) {
			proxy, c := vaulttest.NewProxy(t, s.Address), &clock{}
			conn, err := vaultconn.Open(t.Context(), vaultconn.Config{
				Address: proxy.Address, Development: true, Timeout: time.Second, Auth: vaultconn.Auth{Method: vaultconn.MethodToken, Token: s.RootToken},
			})
			check(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			w := newWorld(t, s, conn, c.now)
			mount := database(t, w, pg)
			check(t, w.put("a/db", vault.KindDynamic, map[string]any{"path": mount + "/creds/reader", "exclusive": exclusive}))
			kept, lease := w.account("a/db")
			accounts := func() string {
				return strings.TrimSpace(pg.Exec(t, `SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'`))
			}
			before, err := strconv.Atoi(accounts())
			check(t, err)
			proxy.SetLatency(3 * time.Second)
			r, err := w.fetch("a/db")
			if d := w.decision(r, err); d.Outcome != broker.OutcomeFailed || d.Secrets[0].Code != "source_unavailable" {
				t.Errorf("%+v", d)
			}
			for range 100 {
				if accounts() == strconv.Itoa(before+1) {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			if n := accounts(); n != strconv.Itoa(before+1) {
				t.Fatalf("%s accounts", n)
			}
			proxy.SetLatency(0)
			proxy.Cut()
			proxy.Restore()
			c.add(6 * time.Minute)
			want := strconv.Itoa(before)
			if !exclusive {
				want = strconv.Itoa(before + 1)
			}
			for range 200 {
				entries, err := w.Data.Store.List(t.Context(), "sys/issued/", "", 10)
				check(t, err)
				if len(entries) == 1 && accounts() == want {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			if n := accounts(); n != want || !logsIn(t, pg, kept) {
				t.Errorf("%s accounts, or the one that was released works no more: want %s", n, want)
			}
			if told := strings.Contains(w.Logs(), "that nobody has"); told == exclusive {
				t.Errorf("told: %v", told)
			}
			if out, err := w.RevokeLease(t.Context(), w.Admin, ns, lease.ID); err != nil || out.Ended != "ended" {
				t.Errorf("%+v, %v", out, err)
			}
			if logsIn(t, pg, kept) {
				t.Error("it works after its lease was revoked")
			}
		})
	}
}
