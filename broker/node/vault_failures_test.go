//go:build unix

package node_test

import (
	"context"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	vaultapi "github.com/hashicorp/vault/api"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// vaultFailure is a row of docs/vault-failures.md.
type vaultFailure struct {
	name     string
	harm     func(*vaultRig)
	mend     func(*vaultRig) // nil: it goes on by itself
	during   time.Duration   // how long it lasts, once its metric shows it
	serves   bool            // releases go on, at whatever pace, while it lasts
	metric   string          // series that shows it
	shows    func(before, now float64) bool
	cluster  bool
	notReady bool // /readyz says so
	always   bool // in ordinary runs, too
}

func isDown(_, now float64) bool       { return now == 0 }
func isUp(_, now float64) bool         { return now == 1 }
func rises(before, now float64) bool   { return now > before }
func rises20(before, now float64) bool { return now > before+20 }

const (
	seriesUp          = "vouchsafe_vault_up"
	seriesLogins      = `vouchsafe_vault_logins_total{result="ok"}`
	seriesForbidden   = `vouchsafe_vault_request_seconds_count*result="forbidden"`
	seriesUnavailable = `vouchsafe_vault_request_seconds_count*result="unavailable"`
)

func vaultFailures() []vaultFailure {
	return []vaultFailure{
		{
			name: "killed", always: true, metric: seriesUp, shows: isDown, during: 500 * time.Millisecond,
			harm: func(r *vaultRig) { r.active.Kill(r.t) }, mend: func(r *vaultRig) { r.active.Restart(r.t) },
		},
		{
			name: "sealed", always: true, metric: seriesUp, shows: isDown, during: time.Second, notReady: true,
			harm: func(r *vaultRig) { r.active.Seal(r.t) }, mend: func(r *vaultRig) { r.active.Unseal(r.t) },
		},
		{
			name: "token revoked", always: true, metric: seriesLogins, shows: rises, during: 500 * time.Millisecond, serves: true,
			harm: revokeTokens,
		},
		{
			name: "secret id revoked", metric: seriesUp, shows: isDown, during: time.Second, notReady: true,
			harm: func(r *vaultRig) {
				r.active.Write(r.t, "auth/"+r.role.Mount+"/role/"+r.role.Name+"/secret-id/destroy", map[string]any{"secret_id": r.role.SecretID})
				revokeTokens(r)
			},
			mend: func(r *vaultRig) { r.newSecretID() },
		},
		{
			name: "slow", metric: "vouchsafe_vault_request_seconds_sum", shows: rises20, during: 8 * time.Second, serves: true,
			harm: func(r *vaultRig) { r.proxy.SetLatency(2 * time.Second) }, mend: func(r *vaultRig) { r.proxy.SetLatency(0) },
		},
		{
			name: "frozen", metric: seriesUp, shows: isDown, during: time.Second,
			harm: func(r *vaultRig) { r.active.Freeze(r.t) }, mend: func(r *vaultRig) { r.active.Thaw(r.t) },
		},
		{
			name: "permission removed", metric: seriesForbidden, shows: rises, during: time.Second, notReady: true,
			harm: func(r *vaultRig) { r.permit(noRights) }, mend: func(r *vaultRig) { r.permit(r.rights()) },
		},
		{
			name: "mount moved away", metric: seriesUnavailable, shows: rises, during: time.Second, notReady: true,
			harm: func(r *vaultRig) { r.remount(r.mount, "elsewhere") }, mend: func(r *vaultRig) { r.remount("elsewhere", r.mount) },
		},
		{
			name: "emptied", metric: "vouchsafe_store_lost", shows: isUp, during: time.Second, notReady: true,
			harm: func(r *vaultRig) {
				r.remount(r.mount, "elsewhere")
				input := &vaultapi.MountInput{Type: "kv", Options: map[string]string{"version": "2"}}
				if err := r.active.Client(r.t).Sys().MountWithContext(r.t.Context(), r.mount, input); err != nil {
					r.t.Fatal(err)
				}
			},
			mend: func(r *vaultRig) {
				if err := r.active.Client(r.t).Sys().UnmountWithContext(r.t.Context(), r.mount); err != nil {
					r.t.Fatal(err)
				}
				r.remount("elsewhere", r.mount)
			},
		},
		{
			name: "network cut", metric: seriesUp, shows: isDown, during: time.Second, notReady: true,
			harm: func(r *vaultRig) { r.proxy.Cut() }, mend: func(r *vaultRig) { r.proxy.Restore() },
		},
		{
			name: "failover", metric: seriesUp, shows: isDown, during: 0, cluster: true,
			harm: func(r *vaultRig) { r.active.Kill(r.t) },
		},
	}
}

// revokeTokens revokes every token that was logged in for by the broker's AppRole.
func revokeTokens(r *vaultRig) {
	r.active.Write(r.t, "sys/leases/revoke-prefix/auth/"+r.role.Mount, nil)
}

func (r *vaultRig) remount(from, to string) {
	r.t.Helper()
	if err := r.active.Client(r.t).Sys().RemountWithContext(r.t.Context(), from, to); err != nil {
		r.t.Fatal(err)
	}
}

// TestVaultFailures harms a Vault in every way that docs/vault-failures.md has, under 64 workloads that release over TLS. Each answer is a release, a refusal, or 503 with
// Retry-After. What was answered is recorded, once; nothing was released without a record; nothing piles up; a metric shows it; and all goes on without a restart.
func TestVaultFailures(t *testing.T) {
	for _, f := range vaultFailures() {
		t.Run(f.name, func(t *testing.T) {
			long := os.Getenv("VOUCHSAFE_VAULT_FAILURES") != ""
			if !f.always && !long {
				t.Skip("half a minute: set VOUCHSAFE_VAULT_FAILURES=1, as \"make accept\" does")
			}
			rest := 250 * time.Millisecond // an outage, in which all 64 wait for answers, is the same; the processor has time to spare in between
			if long {
				rest = 0
			}
			f.run(t, rest)
		})
	}
}

// run is a row. Workloads that have their answer rest for a while.
func (f vaultFailure) run(t *testing.T, rest time.Duration) {
	// Not in files, which Vault does not write so that a kill leaves them whole.
	active := vaulttest.Start(t, vaulttest.WithRaft(""))
	server := active
	if f.cluster {
		server = active.Standby(t)
		active.Standby(t) // with which it has a majority
	}
	r := startVaultRig(t, server, active)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	a, all := r.workloads(ctx, rest)
	released := func() int { n, _, _ := a.sum(); return n }
	eventually(t, time.Minute, "releases and refusals before", func() bool {
		n, m, _ := a.sum()
		return n >= 64 && m >= 4
	})
	watching, seen := context.WithTimeout(ctx, 500*time.Millisecond)
	goroutines, memory, _ := r.bounds(watching)
	seen()

	before, _ := r.metric(f.metric)
	_, _, failedBefore := a.sum()
	f.harm(r)
	watching, seen = context.WithCancel(ctx)
	var bounds sync.WaitGroup
	var most, heap, pending float64
	bounds.Go(func() { most, heap, pending = r.bounds(watching) })
	defer bounds.Wait() // also where the test ends early
	defer seen()
	eventually(t, 20*time.Second, f.metric+" shows it", func() bool {
		now, found := r.metric(f.metric)
		return found && f.shows(before, now)
	})
	if f.notReady {
		eventually(t, 20*time.Second, "/readyz says so", func() bool { status, _ := r.get("/readyz"); return status == http.StatusServiceUnavailable })
	}
	time.Sleep(f.during)
	if f.serves {
		n := released()
		eventually(t, 30*time.Second, "releases while it lasts", func() bool { return released() > n })
	} else if f.mend != nil {
		n := released()
		time.Sleep(200 * time.Millisecond)
		if got := released(); got != n {
			t.Errorf("%d releases while it lasts", got-n)
		}
	}
	if f.mend != nil {
		f.mend(r)
	}
	n := released()
	eventually(t, time.Minute, "releases afterwards", func() bool { return released() >= n+20 })
	eventually(t, 20*time.Second, "ready afterwards", func() bool { status, _ := r.get("/readyz"); return status == http.StatusOK })
	seen()
	bounds.Wait()
	stop()
	all.Wait()

	if lost, _ := r.metric("vouchsafe_store_lost"); lost != 0 {
		t.Errorf("afterwards the store is lost")
	}
	if up, _ := r.metric(seriesUp); up != 1 {
		t.Errorf("afterwards %s is %v", seriesUp, up)
	}
	if _, _, failed := a.sum(); !f.serves && failed-failedBefore < 10 {
		t.Errorf("only %d failed: the test does not test", failed-failedBefore)
	}
	// 64 workloads and their connections have goroutines in this process, too. Those that go away and come back leave at most one each that is being ended.
	t.Logf("goroutines %v before, %v at most; heap %.0f and %.0f MiB; %v appends waited", goroutines, most, memory/(1<<20), heap/(1<<20), pending)
	if most > goroutines+1500 || heap > memory+256<<20 || pending > 256 {
		t.Errorf("it piles up: %v goroutines, %.0f MiB, %v appends", most, heap/(1<<20), pending)
	}
	r.addUp(a)
}

// TestVaultFailuresPage holds docs/vault-failures.md to the rows: each is there with its metric, and no other is.
func TestVaultFailuresPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/vault-failures.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{} // name → line
	for line := range strings.Lines(string(page)) {
		if match := regexp.MustCompile("`broker/node\\.TestVaultFailures/(\\w+)`").FindStringSubmatch(line); match != nil {
			told[match[1]] = line
		}
	}
	for _, f := range vaultFailures() {
		name := strings.ReplaceAll(f.name, " ", "_")
		metric := regexp.MustCompile(`^vouchsafe_(store_lost|vault_(up|logins_total|request_seconds))`).FindString(f.metric)
		if metric == "" || !strings.Contains(told[name], metric) {
			t.Errorf("the page does not tell of %s with its metric %s", name, f.metric)
		}
		delete(told, name)
	}
	for name := range told {
		t.Errorf("the page names %s, which there is not", name)
	}
}
