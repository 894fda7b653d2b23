package collateral_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/vendortest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/snp/snptest"
)

// fast is how far apart requests to fakes are.
const fast = time.Millisecond

// vendor stands in for AMD. Its certificates take time to make, so there is one.
var vendor = sync.OnceValue(func() *snptest.Vendor { return snptest.NewVendor(&testing.T{}, time.Now()) })

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// open opens a Manager and runs it until the test ends, or the function that it returns is called.
func open(t *testing.T, c collateral.Config) (*collateral.Manager, func()) {
	t.Helper()
	if c.Logger == nil {
		c.Logger = quiet
	}
	m, err := collateral.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop := sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return m, stop
}

// wait returns an item once it is at hand.
func wait(t *testing.T, m *collateral.Manager, name string) *attest.Endorsement {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if e, err := m.Endorsement(t.Context(), name); err == nil {
			return e
		}
	}
	t.Fatalf("%s does not come: %+v", name, m.Wanted())
	return nil
}

// missing fails the test unless an item is unavailable, and returns what is said.
func missing(t *testing.T, m *collateral.Manager, name string) *attest.Unavailable {
	t.Helper()
	_, err := m.Endorsement(t.Context(), name)
	var u *attest.Unavailable
	if !errors.As(err, &u) {
		t.Fatalf("%s: error %v, want that it is unavailable", name, err)
	}
	if u.RetryAfter < time.Second || u.RetryAfter > 2*time.Minute {
		t.Errorf("%s: come back after %v", name, u.RetryAfter)
	}
	return u
}

// problem waits until a name has failed, and returns how.
func problem(t *testing.T, m *collateral.Manager, name string) collateral.Wanted {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		for _, w := range m.Wanted() {
			if w.Name == name && w.Result != "" {
				return w
			}
		}
	}
	t.Fatalf("%s does not fail: %+v", name, m.Wanted())
	return collateral.Wanted{}
}

func TestNames(t *testing.T) {
	chip, tcb := strings.Repeat("0a", 64), "0400000000001608"
	for _, name := range []string{
		"amd/vcek/Milan/" + chip + "-" + tcb, "amd/vcek/Genoa/" + chip + "-" + tcb, "amd/vcek/Turin/0102030405060708-0301001600000008",
		"amd/vlek/Genoa/" + tcb, "amd/crl/Turin", "intel/tcb/sgx/00906ed50000", "intel/tcb/tdx/50806f000000", "intel/identity/qe",
		"intel/identity/tdqe", "intel/crl/processor", "intel/crl/platform", "intel/crl/root", "nvidia/rim/NV_GPU_DRIVER_GH100_535.86.09",
		"nvidia/ocsp/" + strings.Repeat("f", 64), "jwks/ita-eu",
	} {
		n, err := collateral.ParseName(name)
		if err != nil || n.String() != name || !strings.HasPrefix(name, string(n.Type())) || !strings.HasPrefix(name, string(n.Vendor())+"/") {
			t.Errorf("%s: %+v %v", name, n, err)
		}
	}
	for _, name := range []string{
		"", "/", "amd", "amd/", "amd/vcek", "amd/vcek/", "amd/vcek/Milan", "amd/vcek/Milan/", "amd/vcek/milan/" + chip + "-" + tcb,
		"amd/vcek/Milan/" + chip + tcb, "amd/vcek/Milan/" + strings.ToUpper(chip) + "-" + tcb, "amd/vcek/Milan/" + chip + "-" + tcb + "/",
		"amd/vcek/Milan/" + chip + "-" + tcb + "-", "amd/vcek/Turin/" + chip + "-" + tcb, "amd/vcek/Milan/" + chip[2:] + "-" + tcb,
		"amd/vcek/Milan/" + strings.Repeat("0", 128) + "-" + tcb, "amd/vcek/Milan/" + chip + "-0400010000001608", "amd/vcek/Turin/0102030405060708-0301001600010008",
		"amd/vcek/Milan/../Genoa", "amd/crl/Rome", "amd/crl/Milan/", "amd/crl/Milan/x", "AMD/crl/Milan", "intel/tcb/sev/00906ed50000",
		"intel/tcb/sgx/00906ED50000", "intel/tcb/sgx/00906ed5000", "intel/tcb/sgx/00906ed50000&x=1", "intel/identity/qve", "intel/crl/Root",
		"nvidia/rim/", "nvidia/rim/..", "nvidia/rim/.x", "nvidia/rim/a b", "nvidia/rim/a%2f", "nvidia/rim/" + strings.Repeat("a", 129),
		"nvidia/ocsp/" + strings.Repeat("F", 64), "jwks/", "jwks/A", "jwks/a/b", "jwks/-a", "jwks/a.b", "jwks/" + strings.Repeat("a", 64), "jwks",
		"other/x/y", "amd/crl/Milan\n", "amd/crl/Mil\x00an", strings.Repeat("a", 500),
	} {
		var bad *collateral.NameError
		if n, err := collateral.ParseName(name); !errors.As(err, &bad) || n.String() != "" {
			t.Errorf("%.60q is a name: %v", name, err)
		}
	}
}

// TestFetchOnce: however many ask at once, there is one request, and then lookups are answered from memory and, after a restart, from disk.
func TestFetchOnce(t *testing.T) {
	kds := vendortest.StartKDS(t, vendor(), time.Now())
	chip := vendor().Chip(snp.Genoa, 1)
	kds.Add(chip)
	dir := t.TempDir()
	c := collateral.Config{Dir: dir, Publishers: []collateral.Publisher{kds.Publisher(t, kds.Client(t, 5*time.Second), fast)}}
	m, stop := open(t, c)
	var asking sync.WaitGroup
	for range 64 {
		asking.Go(func() { wait(t, m, chip.Name()) })
	}
	asking.Wait()
	wait(t, m, "amd/crl/Genoa")
	if n := kds.Count(vendortest.ChipPath(chip)); n != 1 {
		t.Errorf("%d requests for one certificate", n)
	}
	if s := m.Stats(); len(s) != 1 || s[0].Items[collateral.TypeVCEK] != 1 || s[0].Fetches[collateral.ResultOK] < 2 || s[0].Expires.IsZero() {
		t.Errorf("stats %+v", s)
	}
	stop()
	c.Publishers = []collateral.Publisher{kds.Publisher(t, nil, 0)}
	requests := kds.Count("")
	again, _ := open(t, c)
	e, err := again.Endorsement(t.Context(), chip.Name())
	if err != nil || string(e.Data) != string(chip.VCEK()) || e.Fetched.IsZero() || e.Name != chip.Name() {
		t.Errorf("after a restart: %v", err)
	}
	if u := missing(t, again, vendor().Chip(snp.Genoa, 2).Name()); u.RetryAfter != time.Minute {
		t.Errorf("where nothing is fetched: %+v", u)
	}
	if kds.Count("") != requests {
		t.Error("something was fetched though nothing is to be")
	}
}

// TestVendorThatLies: nothing that is not the item gets to be at hand, whatever the vendor answers.
func TestVendorThatLies(t *testing.T) {
	now := time.Now()
	chip, other := vendor().Chip(snp.Genoa, 1), vendor().Chip(snp.Genoa, 2)
	turin := vendor().Chip(snp.Turin, 1)
	forged := append([]byte(nil), chip.VCEK()...)
	forged[len(forged)-1] ^= 1
	for what, tt := range map[string]struct {
		name   string
		answer vendortest.Answer
		result collateral.Result
	}{
		"another chip's":    {chip.Name(), vendortest.Answer{Body: other.VCEK()}, collateral.ResultInvalid},
		"another product's": {chip.Name(), vendortest.Answer{Body: turin.VCEK()}, collateral.ResultInvalid},
		"garbage":           {chip.Name(), vendortest.Answer{Body: []byte("<html>sorry</html>")}, collateral.ResultInvalid},
		"empty":             {chip.Name(), vendortest.Answer{}, collateral.ResultInvalid},
		"bad signature":     {chip.Name(), vendortest.Answer{Body: forged}, collateral.ResultInvalid},
		"trailing bytes":    {chip.Name(), vendortest.Answer{Body: append(append([]byte(nil), chip.VCEK()...), 0)}, collateral.ResultInvalid},
		"cut":               {chip.Name(), vendortest.Answer{Body: chip.VCEK(), Cut: true}, collateral.ResultFailed},
		"endless":           {chip.Name(), vendortest.Answer{Body: chip.VCEK(), Endless: true}, collateral.ResultInvalid},
		"not found":         {chip.Name(), vendortest.Answer{Status: 404}, collateral.ResultNotFound},
		"fails":             {chip.Name(), vendortest.Answer{Status: 500}, collateral.ResultFailed},
		"forbidden":         {chip.Name(), vendortest.Answer{Status: 403}, collateral.ResultFailed},
		"throttles":         {chip.Name(), vendortest.Answer{Status: 429, RetryAfter: "77"}, collateral.ResultThrottled},
		"hangs":             {chip.Name(), vendortest.Answer{Hang: true}, collateral.ResultTimeout},
		"elsewhere":         {chip.Name(), vendortest.Answer{Redirect: "https://localhost/vcek"}, collateral.ResultFailed},
		"in clear":          {chip.Name(), vendortest.Answer{Redirect: "http://127.0.0.1/vcek"}, collateral.ResultFailed},
		"expired list": {"amd/crl/Genoa", vendortest.Answer{Body: vendor().RevocationList(snp.Genoa, now.Add(-48*time.Hour), now.Add(-time.Hour))},
			collateral.ResultInvalid},
		"list of the future": {"amd/crl/Genoa", vendortest.Answer{Body: vendor().RevocationList(snp.Genoa, now.Add(48*time.Hour), now.Add(96*time.Hour))},
			collateral.ResultInvalid},
		"another's list": {"amd/crl/Genoa", vendortest.Answer{Body: vendor().RevocationList(snp.Milan, now.Add(-time.Hour), now.Add(time.Hour))},
			collateral.ResultInvalid},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			kds := vendortest.StartKDS(t, vendor(), now)
			path := vendortest.ChipPath(chip)
			if tt.name != chip.Name() {
				path = "/vcek/v1/Genoa/crl"
			}
			kds.Set(path, tt.answer)
			dir := t.TempDir()
			m, stop := open(t, collateral.Config{Dir: dir, Publishers: []collateral.Publisher{kds.Publisher(t, kds.Client(t, 500*time.Millisecond), fast)}})
			missing(t, m, tt.name)
			w := problem(t, m, tt.name)
			if w.Result != tt.result || w.Problem == "" {
				t.Errorf("%+v, want %s", w, tt.result)
			}
			missing(t, m, tt.name)
			if tt.result == collateral.ResultThrottled && time.Until(w.Next) < time.Minute {
				t.Errorf("the vendor asked to be left alone for 77 s and is asked again at %v", w.Next)
			}
			if n := kds.Count(path); n != 1 {
				t.Errorf("asked %d times at once", n)
			}
			stop()
			if m.Item(tt.name) != nil {
				t.Error("it was kept")
			}
			if _, err := os.Stat(filepath.Join(dir, tt.name+".item")); err == nil {
				t.Error("it is on disk")
			}
		})
	}
}

// TestVendorRecovers: what failed comes by itself when the vendor is well again.
func TestVendorRecovers(t *testing.T) {
	kds := vendortest.StartKDS(t, vendor(), time.Now())
	chip := vendor().Chip(snp.Milan, 3)
	kds.Add(chip)
	kds.Every(1, vendortest.Answer{Status: 429, RetryAfter: "1"})
	m, _ := open(t, collateral.Config{
		Publishers: []collateral.Publisher{kds.Publisher(t, kds.Client(t, time.Second), fast)}, Jitter: func() float64 { return 0.999 },
	})
	missing(t, m, chip.Name())
	times := func() int { return len(kds.Times()) }
	for end := time.Now().Add(20 * time.Second); times() < 2 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
	}
	at := kds.Times()
	if len(at) < 2 || at[1].Sub(at[0]) < 900*time.Millisecond {
		t.Errorf("asked at %v though the first answer was to come back after a second", at)
	}
	wait(t, m, chip.Name())
}

// TestRateOfRequests: requests to a vendor are an interval apart, whatever is wanted.
func TestRateOfRequests(t *testing.T) {
	const interval = 60 * time.Millisecond
	kds := vendortest.StartKDS(t, vendor(), time.Now())
	m, _ := open(t, collateral.Config{Publishers: []collateral.Publisher{kds.Publisher(t, kds.Client(t, time.Second), interval)}})
	for i := range 8 {
		missing(t, m, vendor().Chip(snp.Turin, i).Name())
	}
	for end := time.Now().Add(20 * time.Second); len(kds.Times()) < 11 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
	}
	at := kds.Times()
	if len(at) != 11 {
		t.Fatalf("%d requests for 8 chips and 3 lists", len(at))
	}
	if took := at[10].Sub(at[0]); took < 9*interval {
		t.Errorf("11 requests in %v", took)
	}
}

// TestStrangersNames: made-up names cost bounded memory, and no requests but those that the interval allows; what is at hand is not touched.
func TestStrangersNames(t *testing.T) {
	kds := vendortest.StartKDS(t, vendor(), time.Now())
	m, _ := open(t, collateral.Config{Publishers: []collateral.Publisher{kds.Publisher(t, kds.Client(t, time.Second), time.Hour)}})
	tcb := "0400000000001608"
	for i := range 5000 {
		_, err := m.Endorsement(t.Context(), fmt.Sprintf("amd/vcek/Genoa/%0128x-%s", i+1, tcb))
		var u *attest.Unavailable
		if !errors.As(err, &u) || u.RetryAfter > 2*time.Minute {
			t.Fatal(err)
		}
	}
	if n := len(m.Wanted()); n > 64+3 {
		t.Errorf("%d names are wanted", n)
	}
	for _, name := range []string{"", "..", "amd/vcek/Genoa/x", "amd/crl/" + strings.Repeat("x", 1000), "intel/crl/root"} {
		missing(t, m, name)
	}
	if n := kds.Count(""); n > 1 {
		t.Errorf("%d requests in one interval", n)
	}
}

// TestRefresh: what is at hand is made newer in time, stays while the vendor is down, and never becomes older.
func TestRefresh(t *testing.T) {
	start := time.Now()
	var mu sync.Mutex
	var ahead time.Duration
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(ahead) }
	set := func(d time.Duration) { mu.Lock(); ahead = d; mu.Unlock() }

	kds := vendortest.StartKDS(t, vendor(), start)
	c := collateral.Config{Dir: t.TempDir(), Now: clock, Publishers: []collateral.Publisher{kds.Publisher(t, kds.Client(t, time.Second), fast)}}
	m, stop := open(t, c)
	first := wait(t, m, "amd/crl/Genoa")
	wait(t, m, "amd/crl/Milan")
	wait(t, m, "amd/crl/Turin")
	stop()

	set(25 * time.Hour) // a day later there is a newer list
	newer := vendor().RevocationList(snp.Genoa, start.Add(24*time.Hour), start.AddDate(0, 1, 1), 2)
	kds.SetList(snp.Genoa, newer)
	m, stop = open(t, c)
	if at := m.Item("amd/crl/Genoa").Refresh(); !at.Equal(first.Fetched.Add(24 * time.Hour)) {
		t.Errorf("refresh at %v", at)
	}
	for end := time.Now().Add(10 * time.Second); string(wait(t, m, "amd/crl/Genoa").Data) != string(newer) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if string(wait(t, m, "amd/crl/Genoa").Data) != string(newer) {
		t.Fatal("the newer list was not fetched")
	}
	stop()

	set(50 * time.Hour) // the vendor, or somebody on the way, answers with the old list
	kds.SetList(snp.Genoa, first.Data)
	m, stop = open(t, c)
	if w := problem(t, m, "amd/crl/Genoa"); w.Result != collateral.ResultOlder || !w.Held {
		t.Errorf("an old list: %+v", w)
	}
	if string(wait(t, m, "amd/crl/Genoa").Data) != string(newer) {
		t.Error("an old list took the place of a newer one")
	}
	stop()

	set(60 * 24 * time.Hour) // the vendor is down for two months: what is at hand is served
	kds.Every(-1, vendortest.Answer{Status: 500})
	m, _ = open(t, c)
	if w := problem(t, m, "amd/crl/Genoa"); w.Result != collateral.ResultFailed || !w.Held {
		t.Errorf("a vendor that is down: %+v", w)
	}
	if string(wait(t, m, "amd/crl/Genoa").Data) != string(newer) {
		t.Error("a list was not served because it is late")
	}
	if s := m.Stats()[0]; s.Failing == 0 || !s.Expires.Before(clock()) {
		t.Errorf("stats %+v", s)
	}
}

// TestSync fetches on demand, as a command does.
func TestSync(t *testing.T) {
	kds := vendortest.StartKDS(t, vendor(), time.Now())
	good, unknown := vendor().Chip(snp.Turin, 1), vendor().Chip(snp.Turin, 2)
	kds.Add(good)
	kds.Every(2, vendortest.Answer{Status: 500})
	m, _ := open(t, collateral.Config{
		Dir: t.TempDir(), Jitter: func() float64 { return 0.99 },
		Publishers: []collateral.Publisher{kds.Publisher(t, kds.Client(t, time.Second), fast)},
	})
	got := map[string]collateral.Outcome{}
	names := []string{good.Name(), unknown.Name(), "amd/crl/Turin", "amd/vlek/Genoa/0400000000001608", "intel/crl/root"}
	if err := m.Fetch(t.Context(), names, func(o collateral.Outcome) { got[o.Name] = o }); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]collateral.Result{
		good.Name(): collateral.ResultOK, unknown.Name(): collateral.ResultNotFound,
		"amd/vlek/Genoa/0400000000001608": collateral.ResultNotFetched, "intel/crl/root": collateral.ResultNotFetched,
	} {
		if o := got[name]; o.Result != want || (o.Err == nil) != (want == collateral.ResultOK) {
			t.Errorf("%s: %+v", name, o)
		}
	}
	if o := got["amd/crl/Turin"]; o.Err != nil {
		t.Errorf("list: %+v", o)
	}
	if !m.Item(good.Name()).Kept {
		t.Error("what an operator asked for may be dropped")
	}
	if err := m.Fetch(t.Context(), []string{"amd/crl/Rome"}, nil); err == nil {
		t.Error("a name that is none was accepted")
	}
}

// TestRoom: over the limits, what nobody asked for longest goes, from memory and from disk, and never what an operator wants.
func TestRoom(t *testing.T) {
	kds := vendortest.StartKDS(t, vendor(), time.Now())
	start := time.Now()
	var mu sync.Mutex
	now := start
	dir := t.TempDir()
	publisher := kds.Publisher(t, kds.Client(t, time.Second), fast)
	publisher.Always = nil
	c := collateral.Config{
		Dir: dir, MaxItems: 3, Publishers: []collateral.Publisher{publisher},
		Now: func() time.Time { mu.Lock(); defer mu.Unlock(); now = now.Add(10 * time.Second); return now },
	}
	m, _ := open(t, c)
	var chips []*snptest.Chip
	for i := range 5 {
		chips = append(chips, vendor().Chip(snp.Turin, 10+i))
		kds.Add(chips[i])
	}
	if err := m.Fetch(t.Context(), []string{chips[0].Name()}, func(collateral.Outcome) {}); err != nil {
		t.Fatal(err)
	}
	for _, chip := range chips[1:] {
		wait(t, m, chip.Name())
	}
	if n := len(m.Items()); n != 3 {
		t.Errorf("%d items at hand", n)
	}
	for i, want := range []bool{true, false, false, true, true} {
		_, err := os.Stat(filepath.Join(dir, chips[i].Name()+".item"))
		if (m.Item(chips[i].Name()) != nil) != want || (err == nil) != want {
			t.Errorf("chip %d: at hand and on disk should be %v", i, want)
		}
	}
	// Three are wanted by an operator, and there is room for two more: whichever comes last is not taken.
	refused := 0
	if err := m.Fetch(t.Context(), []string{chips[3].Name(), chips[4].Name(), chips[1].Name()}, func(o collateral.Outcome) {
		if o.Result == collateral.ResultNotKeepable && errors.Is(o.Err, collateral.ErrFull) {
			refused++
		} else if o.Err != nil {
			t.Errorf("%+v", o)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if n := len(m.Items()); n != 3 || refused != 1 || m.Item(chips[0].Name()) == nil {
		t.Errorf("%d items at hand though three are allowed, %d refused", n, refused)
	}
}

func TestOpenRefuses(t *testing.T) {
	ok := func(collateral.Name, *attest.Endorsement, time.Time) (collateral.Validity, error) {
		return collateral.Validity{}, nil
	}
	amd := collateral.Publisher{Vendor: collateral.AMD, Check: ok}
	for what, c := range map[string]collateral.Config{
		"no check":       {Publishers: []collateral.Publisher{{Vendor: collateral.AMD}}},
		"unknown vendor": {Publishers: []collateral.Publisher{{Vendor: "arm", Check: ok}}},
		"twice":          {Publishers: []collateral.Publisher{amd, amd}},
		"many workers":   {Publishers: []collateral.Publisher{{Vendor: collateral.AMD, Check: ok, Workers: 1000}}},
		"never":          {Publishers: []collateral.Publisher{{Vendor: collateral.AMD, Check: ok, Interval: -1}}},
		"always another": {Publishers: []collateral.Publisher{{Vendor: collateral.AMD, Check: ok, Always: []string{"intel/crl/root"}}}},
		"always nothing": {Publishers: []collateral.Publisher{{Vendor: collateral.AMD, Check: ok, Always: []string{"amd/crl/Rome"}}}},
		"no items":       {MaxItems: -1},
		"many items":     {MaxItems: 1 << 30},
		"few bytes":      {MaxBytes: 10},
		"rescan":         {Rescan: -1},
	} {
		if _, err := collateral.Open(c); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	for _, base := range []string{"http://kds", "https://", "https://u:p@kds", "https://kds?x", "https://kds#x", "kds", "file:///x", "https:kds", "::"} {
		if _, err := collateral.Base(base); err == nil {
			t.Errorf("%s was accepted", base)
		}
	}
}

// key makes a signing key for bundles.
func key(t testing.TB) (note.Signer, note.Verifier) {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, "operator.test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}
