//go:build unix

package node_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/vendortest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/snp/snptest"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/localca"
	"github.com/vouchsafe/vouchsafe/client"
)

// The guests of these tests, and how long a service that hangs is waited for.
const (
	guests     = 64
	knownChips = 8
	vendorWait = 45 * time.Second
	secretName = "payments/db/password"
	secretText = "correct horse"
)

const snpPolicy = `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: snp-guests}
spec:
  secrets: ["payments/db/*"]
  require:
    - {name: checked, that: claims.kind == "snp" && claims.collateral.revocation_checked}
`

// scene is a production broker over TLS whose AMD is a fake, with the collateral of known chips on its disk.
type scene struct {
	t     *testing.T
	kds   *vendortest.KDS
	pcs   *vendortest.PCS
	m     *collateral.Manager
	url   string
	ca    []byte
	known []client.Collector // guests whose collateral is at hand
}

// stage are what scenes share, since certificates take time to make: chips, and a bundle with what is known of them.
type stage struct {
	vendor *snptest.Vendor
	known  []*snptest.Chip
	carried
}

func newStage(t *testing.T) *stage {
	t.Helper()
	now := time.Now()
	s := &stage{vendor: snptest.NewVendor(t, now)}
	kds := vendortest.StartKDS(t, s.vendor, now)
	var names []string
	for i := range knownChips {
		chip := s.vendor.Chip(snp.Genoa, i)
		kds.Add(chip)
		s.known, names = append(s.known, chip), append(names, chip.Name())
	}
	for _, p := range snp.Products() {
		names = append(names, snp.CRLName(p))
	}
	s.carried = carry(t, kds.Publisher(t, kds.Client(t, time.Second), time.Microsecond), names, now)
	return s
}

// carried is a bundle of collateral, as an operator carries it to where there is no network, and the key that signed it.
type carried struct {
	bundle []byte
	key    note.Verifier
}

// carry fetches items from a publisher into a bundle.
func carry(t *testing.T, from collateral.Publisher, names []string, now time.Time) carried {
	t.Helper()
	m, err := collateral.Open(collateral.Config{Logger: slog.New(slog.DiscardHandler), Publishers: []collateral.Publisher{from}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	if err := m.Fetch(ctx, names, func(o collateral.Outcome) {
		if o.Err != nil {
			t.Error(o.Err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	private, public, err := note.GenerateKey(rand.Reader, "operator.test")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	var bundle bytes.Buffer
	if err := collateral.Export(t.Context(), &bundle, m.Items(), signer, now); err != nil {
		t.Fatal(err)
	}
	key, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return carried{bundle.Bytes(), key}
}

// open starts a broker that has imported the bundle, and fetches or does not.
func (s *stage) open(t *testing.T, online bool) *scene {
	t.Helper()
	now := time.Now()
	x := &scene{t: t, known: collectors(s.known), kds: vendortest.StartKDS(t, s.vendor, now), pcs: vendortest.StartPCS(t, now)}
	amd, intel := x.kds.Client(t, vendorWait), x.pcs.Client(t, vendorWait)
	if !online {
		amd, intel = nil, nil
	}
	publishers := []collateral.Publisher{x.kds.Publisher(t, amd, time.Millisecond), x.pcs.Publisher(intel, time.Millisecond)}
	x.start(publishers, s.bundle, s.key, knownChips+3, snpPolicy, func() attest.Verifier {
		return s.vendor.Verifier(snp.Config{
			Endorsements: x.m, RequireLists: true, MinimumTCB: map[snp.Product]snp.TCB{snp.Genoa: {Bootloader: 4, SNP: 22}},
		})
	})
	return x
}

// start starts a broker on collateral that was imported from a bundle of so many items, with a policy and a verifier.
func (x *scene) start(publishers []collateral.Publisher, bundle []byte, key note.Verifier, items int, rules string, verifier func() attest.Verifier) {
	t := x.t
	t.Helper()
	c := production(t)
	cc := collateral.Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Publishers: publishers}
	first, err := collateral.Open(cc)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := first.Import(t.Context(), bytes.NewReader(bundle), key, nil); err != nil || got.Added != items {
		t.Fatalf("%+v %v", got, err)
	}
	if x.m, err = collateral.Open(cc); err != nil { // what is used is what is on disk
		t.Fatal(err)
	}
	c.Collateral = x.m
	c.Verifiers = func(*data.Data) ([]attest.Verifier, error) {
		return []attest.Verifier{verifier()}, nil
	}
	files, err := localca.Ensure(t.TempDir(), []string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if x.ca, err = os.ReadFile(files.CA); err != nil {
		t.Fatal(err)
	}
	c.HTTP, c.Certificate, c.Key, c.Listen = false, files.Certificate, files.Key, "localhost:0"
	n := running(t, c)
	x.url = n.URL
	token, _, err := n.Broker.FirstToken(t.Context(), "administrator", 0)
	if err != nil {
		t.Fatal(err)
	}
	a, err := admin.New(admin.Config{Address: x.url, Token: token.Reveal(), CACert: x.ca})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.PutSecret(t.Context(), wire.SecretPut{SecretName: wire.SecretName{Name: secretName}, Value: []byte(secretText), Activate: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.ApplyPolicy(t.Context(), wire.PolicyApply{Source: rules}); err != nil {
		t.Fatal(err)
	}
}

// collector makes evidence of a chip, without its certificate. spoil changes the report after it was signed.
type collector struct {
	chip  *snptest.Chip
	spoil func([]byte)
}

// collectors make evidence of chips.
func collectors(chips []*snptest.Chip) (all []client.Collector) {
	for _, chip := range chips {
		all = append(all, collector{chip: chip})
	}
	return all
}

func (c collector) Kind() attest.Kind { return attest.SNP }

func (c collector) Evidence(_ context.Context, digest []byte) ([]byte, error) {
	report := c.chip.Report(digest)
	if c.spoil != nil {
		c.spoil(report)
	}
	return report, nil
}

// guest is a client that keeps its connection, and counts the answers that tell it to come back and those that do not say when.
type guest struct {
	x          *scene
	http       *http.Transport
	busy, late atomic.Int64
}

func (x *scene) guest() *guest {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(x.ca)
	return &guest{x: x, http: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}}
}

// RoundTrip implements http.RoundTripper.
func (g *guest) RoundTrip(q *http.Request) (*http.Response, error) {
	answer, err := g.http.RoundTrip(q)
	if err == nil && answer.StatusCode == http.StatusServiceUnavailable {
		g.busy.Add(1)
		if n, err := strconv.Atoi(answer.Header.Get("Retry-After")); err != nil || n < 1 {
			g.late.Add(1)
		}
	}
	return answer, err
}

// fetch asks once. A connection that a busy machine did not get done in time is made again: that says nothing about collateral.
func (g *guest) fetch(c client.Collector) (got string, err error) {
	w, err := client.New(client.Config{
		URL: g.x.url, Collector: c, HTTP: &http.Client{Transport: g, Timeout: 60 * time.Second}, KeyType: envelope.P256, Retry: client.Retry{Max: 1},
	})
	if err != nil {
		return "", err
	}
	for range 5 {
		before := g.busy.Load()
		secrets, err := w.Fetch(context.Background(), secretName)
		switch {
		case err == nil:
			return string(secrets[0].Value), nil
		case !errors.Is(err, client.ErrUnavailable) || g.busy.Load() > before:
			return "", err
		}
	}
	return "", errors.New("no connection")
}

func (x *scene) fetch(c client.Collector) (string, error) {
	g := x.guest()
	defer g.http.CloseIdleConnections()
	return g.fetch(c)
}

// load has all guests ask at once: every second one with a chip whose certificate is at hand, twice; the others with chips of strangers, once. It returns
// how long those with known chips took.
func (x *scene) load(strangers []client.Collector) []time.Duration {
	x.t.Helper()
	var (
		mu   sync.Mutex
		took []time.Duration
		all  sync.WaitGroup
	)
	for i := range guests {
		all.Go(func() {
			g := x.guest()
			defer g.http.CloseIdleConnections()
			if i%2 == 1 {
				got, err := g.fetch(strangers[i/2])
				if !errors.Is(err, client.ErrUnavailable) || got != "" || g.busy.Load() != 1 || g.late.Load() != 0 {
					x.t.Errorf("a chip whose certificate is not at hand: %q %v, %d answers of 503, %d without Retry-After", got, err, g.busy.Load(), g.late.Load())
				}
				return
			}
			for range 2 {
				start := time.Now()
				got, err := g.fetch(x.known[i/2%len(x.known)])
				if err != nil || got != secretText {
					x.t.Errorf("a chip whose certificate is at hand: %q %v", got, err)
				}
				mu.Lock()
				took = append(took, time.Since(start))
				mu.Unlock()
			}
		})
	}
	all.Wait()
	slices.Sort(took)
	return took
}

// notWaited holds that no release took as long as vendors are waited for. How much slower releases are beside vendors that are not well is
// said, and is for a quiet machine to judge.
func (x *scene) notWaited(took, baseline []time.Duration) {
	x.t.Helper()
	longest, usual := took[len(took)-1], baseline[len(baseline)-1]
	x.t.Logf("%d releases: median %v, %.2f × that beside vendors that are well; longest %v", len(took), took[len(took)/2],
		float64(took[len(took)/2])/float64(baseline[len(baseline)/2]), longest)
	if longest > usual+vendorWait {
		x.t.Errorf("one release took %v, as long as vendors are waited for", longest)
	}
}

// TestCollateralOutage is what a broker does while its vendors throttle, fail, hang and lie, and 64 guests attest: those whose collateral is on disk are
// served as ever, the others are told when to come back, nothing is released without verification, and no vendor is asked twice for one item at a time.
func TestCollateralOutage(t *testing.T) {
	s := newStage(t)
	var strangers []*snptest.Chip
	for i := range guests / 2 {
		strangers = append(strangers, s.vendor.Chip(snp.Genoa, 1000+i))
	}
	calm := s.open(t, true)
	baseline := calm.load(collectors(strangers))
	for what, answer := range map[string]vendortest.Answer{
		"throttle": {Status: 429, RetryAfter: "5"},
		"fail":     {Status: 500},
		"hang":     {Hang: true},
		"lie":      {Body: s.known[0].VCEK()}, // a genuine certificate, of another chip; package collateral tests every other kind of lie
	} {
		t.Run(what, func(t *testing.T) {
			x := s.open(t, true)
			x.kds.Every(-1, answer)
			x.pcs.Every(-1, answer)
			start := time.Now()
			took := x.load(collectors(strangers))
			x.notWaited(took, baseline)
			for _, chip := range strangers {
				// The first retry is after five seconds at the earliest.
				if n := x.kds.Count(vendortest.ChipPath(chip)); n > 1+int(time.Since(start)/(5*time.Second)) {
					t.Errorf("a chip was asked for %d times in %v", n, time.Since(start))
				}
				if x.m.Item(chip.Name()) != nil {
					t.Error("what is no certificate of the chip was kept")
				}
			}
			// What is at hand makes no evidence good.
			_, err := x.fetch(collector{chip: s.known[0], spoil: func(report []byte) { report[0x90] ^= 1 }})
			var refused *client.Refused
			if !errors.As(err, &refused) {
				t.Errorf("a forged report: %v", err)
			}
		})
	}
}

// served has all guests ask at once with the same collector's evidence, and come back until they are served.
func (x *scene) served(c client.Collector) {
	var all sync.WaitGroup
	for range guests {
		all.Go(func() {
			g := x.guest()
			defer g.http.CloseIdleConnections()
			for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
				got, err := g.fetch(c)
				if got == secretText {
					return
				}
				if !errors.Is(err, client.ErrUnavailable) || time.Now().After(end) {
					x.t.Errorf("%q %v", got, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// TestCollateralArrives: a chip that nobody knew is asked for once, however many of its guests attest, and then they are served; and a list that revokes
// counts without a restart.
func TestCollateralArrives(t *testing.T) {
	s := newStage(t)
	x := s.open(t, true)
	chip := s.vendor.Chip(snp.Genoa, 77)
	x.kds.Add(chip)
	x.served(collector{chip: chip})
	if n := x.kds.Count(vendortest.ChipPath(chip)); n != 1 {
		t.Errorf("the vendor was asked %d times for one certificate", n)
	}
	if got := metricsOf(t, x); !strings.Contains(got, `vouchsafe_collateral_fetches_total{result="ok",vendor="amd"}`) ||
		!strings.Contains(got, `vouchsafe_collateral_items{type="amd/vcek",vendor="amd"} `+fmt.Sprint(knownChips+1)) ||
		!strings.Contains(got, `vouchsafe_collateral_expires_seconds{vendor="amd"}`) || !strings.Contains(got, `vouchsafe_collateral_wanted{vendor="intel"}`) {
		t.Errorf("metrics:\n%s", got)
	}
	x.kds.SetList(snp.Genoa, s.vendor.RevocationList(snp.Genoa, time.Now(), time.Now().AddDate(0, 1, 0), 2))
	if err := x.m.Fetch(t.Context(), []string{snp.CRLName(snp.Genoa)}, func(o collateral.Outcome) {
		if o.Err != nil {
			t.Error(o.Err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	var refused *client.Refused
	if _, err := x.fetch(collector{chip: chip}); !errors.As(err, &refused) {
		t.Errorf("after its intermediate was revoked: %v", err)
	}
}

// TestCollateralOffline: with the network off, what was imported serves, and what was not is wanted.
func TestCollateralOffline(t *testing.T) {
	s := newStage(t)
	x := s.open(t, false)
	var strangers []*snptest.Chip
	for i := range guests / 2 {
		strangers = append(strangers, s.vendor.Chip(snp.Genoa, 1000+i))
	}
	x.load(collectors(strangers))
	if n := x.kds.Count("") + x.pcs.Count(""); n != 0 {
		t.Errorf("%d requests with the network off", n)
	}
	if n := len(x.m.Wanted()); n != guests/2 {
		t.Errorf("%d items are noted as wanted", n)
	}
}

func metricsOf(t *testing.T, x *scene) string {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(x.ca)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}
	defer tr.CloseIdleConnections()
	answer, err := (&http.Client{Transport: tr}).Get(x.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(answer.Body); err != nil {
		t.Fatal(err)
	}
	return text.String()
}
