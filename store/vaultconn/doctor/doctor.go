// Package doctor tries a broker's connection to Vault the way the broker uses it and says what is wrong, what it means, and the command that puts it right. It
// changes nothing in Vault but that it logs in, and what it is told of secrets is only whether the token may read them.
//
// The checks go from the outside in: the settings, the way to Vault and its certificate, its seal, version and clock, the login, the token, then each mount, key and
// path that is needed. Where one fails without which the next cannot be tried, that is the last.
package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/store/vaultconn"
	"github.com/vouchsafe/vouchsafe/store/vaultconn/rights"
)

// State is the result of a check.
type State string

// The results of checks.
const (
	OK   State = "ok"
	Warn State = "warn"
	Fail State = "fail"
)

// Check is one thing that was tried.
type Check struct {
	Name   string `json:"check"`
	State  State  `json:"state"`
	Detail string `json:"detail"`
	Run    string `json:"run,omitempty"` // the command that puts it right, for whoever administers Vault
}

// Healthy reports whether no check failed.
func Healthy(checks []Check) bool {
	return !slices.ContainsFunc(checks, func(c Check) bool { return c.State == Fail })
}

// The differences of clocks from which they are told. A JWT is refused at a minute in most places.
const (
	skewWarn = 5 * time.Second
	skewFail = time.Minute
)

// shortTTL is a token's life below which a short outage of Vault ends it.
const shortTTL = 5 * time.Minute

// examination is what the checks share.
type examination struct {
	config vaultconn.Config
	needs  rights.Needs
	conn   *vaultconn.Conn
	checks []Check
}

// Examine makes the checks. now is this machine's clock.
func Examine(ctx context.Context, config vaultconn.Config, needs rights.Needs, now func() time.Time) []Check {
	config.KeepToken = false // the doctor's own has no further use
	e := &examination{config: config, needs: needs}
	if !e.settings() || !e.reach(ctx, now) || !e.login(ctx) {
		return e.checks
	}
	defer e.conn.Close() //nolint:errcheck // it says nothing
	e.token(ctx)
	e.store(ctx)
	e.seal(ctx)
	e.sources(ctx)
	e.rights(ctx)
	return e.checks
}

func (e *examination) add(name string, state State, run, format string, args ...any) {
	e.checks = append(e.checks, Check{Name: name, State: state, Detail: fmt.Sprintf(format, args...), Run: run})
}

func (e *examination) settings() bool {
	if err := errors.Join(e.config.Check(), e.needs.Check()); err != nil {
		e.add("settings", Fail, "", "%v", err)
		return false
	}
	if e.config.CACert == "" {
		e.add("settings", OK, "", "%s; its certificate is to come from an authority that this system trusts", e.config.Address)
	} else {
		e.add("settings", OK, "", "%s; its certificate is to come from %s", e.config.Address, e.config.CACert)
	}
	return true
}

func (e *examination) reach(ctx context.Context, now func() time.Time) bool {
	asked := now()
	health, err := vaultconn.Probe(ctx, e.config)
	took := now().Sub(asked)
	if health == nil {
		var (
			untrusted *tls.CertificateVerificationError
			name      x509.HostnameError
		)
		switch {
		case errors.As(err, &name):
			e.add("tls", Fail, "", "%v. If the name is right, say it as vault.server_name", err)
		case errors.As(err, &untrusted):
			e.add("tls", Fail, "vault read -field=certificate pki/cert/ca  # or wherever Vault's certificate comes from", "%v. vault.ca_cert has to name the authority's certificate", err)
		default:
			e.add("reach", Fail, "", "%v", err)
		}
		return false
	}
	e.add("reach", OK, "", "answered in %v", took.Round(100*time.Microsecond))
	if strings.HasPrefix(e.config.Address, "https") {
		e.add("tls", OK, "", "the certificate is good")
	} else {
		e.add("tls", Warn, "", "plain HTTP, which only development allows")
	}
	edition := ""
	if health.Enterprise {
		edition = ", Enterprise"
	}
	e.version(health.Version, edition)
	switch {
	case !health.Initialized:
		e.add("seal", Fail, "vault operator init", "Vault is not initialised")
		return false
	case health.Sealed:
		e.add("seal", Fail, "vault operator unseal", "Vault is sealed")
		return false
	case health.Standby:
		e.add("seal", OK, "", "unsealed; this node is a standby, which passes requests on to the active one")
	default:
		e.add("seal", OK, "", "unsealed, and active")
	}
	e.clock(health.Date, asked, took)
	return true
}

func (e *examination) version(version, edition string) {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		e.add("version", Warn, "", "%.40q%s is not a version that this program knows", version, edition)
		return
	}
	if major == 1 && minor < 12 {
		e.add("version", Warn, "", "%s%s; it is older than what this program is tried with, 1.12 or newer", version, edition)
		return
	}
	e.add("version", OK, "", "%s%s (OpenBao counts from 2.0)", version, edition)
}

func (e *examination) clock(theirs, asked time.Time, took time.Duration) {
	if theirs.IsZero() {
		e.add("clock", Warn, "", "Vault does not say what time it is")
		return
	}
	// Vault says whole seconds, cut off, at some moment of the request.
	skew := theirs.Sub(asked)
	switch {
	case skew < -time.Second:
		skew += time.Second
	case skew > took:
		skew -= took
	default:
		skew = 0
	}
	skew = skew.Round(time.Second)
	const run = "timedatectl status  # on both machines"
	switch {
	case skew.Abs() >= skewFail:
		e.add("clock", Fail, run, "this machine's clock and Vault's differ by %v: certificates and JWTs will be refused", skew.Abs())
	case skew.Abs() >= skewWarn:
		e.add("clock", Warn, run, "this machine's clock and Vault's differ by %v", skew.Abs())
	default:
		e.add("clock", OK, "", "it agrees with Vault's")
	}
}

func (e *examination) login(ctx context.Context) bool {
	conn, err := vaultconn.Open(ctx, e.config)
	if err == nil {
		e.conn = conn
		e.add("login", OK, "", "by %s", e.config.Auth.Method)
		return true
	}
	a := &e.config.Auth
	mount := a.Mount
	if mount == "" {
		mount = a.Method
	}
	run := map[string]string{
		vaultconn.MethodToken:      "vault token create -orphan -period=24h -policy=vouchsafe -field=token",
		vaultconn.MethodAppRole:    fmt.Sprintf("vault write -f -field=secret_id auth/%s/role/%s/secret-id", mount, orName(a.Role)),
		vaultconn.MethodKubernetes: fmt.Sprintf("vault read auth/%s/role/%s", mount, a.Role),
		vaultconn.MethodJWT:        fmt.Sprintf("vault read auth/%s/role/%s", mount, a.Role),
		vaultconn.MethodCert:       fmt.Sprintf("vault read auth/%s/certs/%s", mount, orName(a.Role)),
	}[a.Method]
	if errors.Is(err, vaultconn.ErrNoMount) {
		run = fmt.Sprintf("vault auth enable -path=%s %s", mount, a.Method)
	}
	e.add("login", Fail, run, "%v", err)
	return false
}

func orName(role string) string {
	if role == "" {
		return "NAME"
	}
	return role
}

func (e *examination) token(ctx context.Context) {
	t, err := e.conn.Token(ctx)
	if err != nil {
		e.add("token", Fail, policyCommand, "it cannot be looked at, so that a token that is gone and a right that is missing cannot be told apart: %v", err)
		return
	}
	policies := strings.Join(t.Policies, ", ")
	switch {
	case slices.Contains(t.Policies, "root"):
		e.add("token", Warn, policyCommand, "it is a root token, which may do anything: a broker needs very little")
	case t.TTL == 0:
		e.add("token", Warn, "", "policies %s; it never ends, so neither does one that was stolen", policies)
	case t.Uses > 0:
		e.add("token", Warn, "", "policies %s; it ends after %d uses, which requests and renewals count as", policies, t.Uses)
	case t.TTL < shortTTL && t.Renewable:
		e.add("token", Warn, "", "policies %s; good for %v, so that a Vault that is away for longer costs a login", policies, t.TTL)
	case !t.Renewable && e.config.Auth.Method == vaultconn.MethodToken:
		e.add("token", Warn, "vault token create -orphan -period=24h -policy=vouchsafe", "policies %s; good for %v and not renewable: it needs another in time", policies, t.TTL)
	case t.Period == 0 && len(e.needs.Issuers) > 0:
		e.add("token", Warn, "", "policies %s; it has a maximum TTL, at which everything ends that was issued to it: set token_period on the role", policies)
	default:
		e.add("token", OK, "", "policies %s; good for %v, renewable: %t", policies, t.TTL, t.Renewable)
	}
}

const policyCommand = "vouchsafe vault policy | vault policy write vouchsafe -"

// mount looks at a mount, as a token may that has any right in it.
func (e *examination) mount(ctx context.Context, path, engine, version, run string) bool {
	name := "mount " + path
	got, err := e.conn.Do(ctx, vaultconn.Request{Method: http.MethodGet, Path: "sys/internal/ui/mounts/" + vaultconn.Mount(path)})
	if err != nil || got == nil {
		e.add(name, Fail, run, "it is not there, or the token has no right in it: %v", err)
		return false
	}
	var m struct {
		Type    string            `json:"type"`
		Path    string            `json:"path"`
		Options map[string]string `json:"options"`
	}
	if err := json.Unmarshal(got.Data, &m); err != nil {
		e.add(name, Fail, "", "Vault's answer does not describe a mount")
		return false
	}
	switch {
	case strings.Trim(m.Path, "/") != strings.Trim(path, "/"):
		e.add(name, Fail, run, "it is not there: the path belongs to the mount %s", m.Path)
		return false
	case m.Type != engine:
		e.add(name, Fail, run, "it is a mount of %s, not %s", m.Type, engine)
		return false
	case version != "" && m.Options["version"] != version:
		e.add(name, Fail, "vault kv enable-versioning "+path, "it is %s of version %s, not %s", engine, orOne(m.Options["version"]), version)
		return false
	}
	e.add(name, OK, "", "%s %s", engine, version)
	return true
}

func orOne(version string) string {
	if version == "" {
		return "1"
	}
	return version
}
