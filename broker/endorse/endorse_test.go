package endorse_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/jwks"
	"github.com/vouchsafe/vouchsafe/attest/collateral/vendortest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/snp/snptest"
	"github.com/vouchsafe/vouchsafe/broker/endorse"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
)

func openStore(t *testing.T) store.Store {
	t.Helper()
	s, err := bolt.Open(bolt.Config{Path: filepath.Join(t.TempDir(), "store.db"), Purpose: store.Production, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// replica opens a manager with a folder of its own that shares over the store, and runs it until the test ends.
func replica(t *testing.T, s store.Store, p collateral.Publisher) *collateral.Manager {
	t.Helper()
	m, err := collateral.Open(collateral.Config{
		Dir: t.TempDir(), Shared: endorse.New(s), Publishers: []collateral.Publisher{p}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return m
}

func wait(t *testing.T, m *collateral.Manager, name string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if _, err := m.Endorsement(t.Context(), name); err == nil {
			return
		}
	}
	t.Fatalf("%s does not come: %+v", name, m.Wanted())
}

// TestReplicas: what one fetched, the other uses, also without a network; and both together ask the vendor once for each item.
func TestReplicas(t *testing.T) {
	v := snptest.NewVendor(t, time.Now())
	kds := vendortest.StartKDS(t, v, time.Now())
	s := openStore(t)
	client := kds.Client(t, 5*time.Second)
	a := replica(t, s, kds.Publisher(t, client, time.Millisecond))
	b := replica(t, s, kds.Publisher(t, client, time.Millisecond))
	offline := replica(t, s, kds.Publisher(t, nil, 0))
	var chips []*snptest.Chip
	for i := range 6 {
		chips = append(chips, v.Chip(snp.Turin, i))
		kds.Add(chips[i])
	}
	var asking sync.WaitGroup
	for _, m := range []*collateral.Manager{a, b, offline} {
		for _, chip := range chips {
			asking.Go(func() { wait(t, m, chip.Name()) })
		}
		asking.Go(func() { wait(t, m, "amd/crl/Genoa") })
	}
	asking.Wait()
	for _, chip := range chips {
		if n := kds.Count(vendortest.ChipPath(chip)); n != 1 {
			t.Errorf("two replicas asked %d times for one certificate", n)
		}
	}
	// One that comes later has everything from the store.
	requests := kds.Count("")
	late := replica(t, s, kds.Publisher(t, nil, 0))
	for _, chip := range chips {
		wait(t, late, chip.Name())
	}
	if kds.Count("") != requests {
		t.Error("the vendor was asked for what is shared")
	}
}

// TestSharedIsChecked: what is in the store counts for no more than what a vendor answers.
func TestSharedIsChecked(t *testing.T) {
	v := snptest.NewVendor(t, time.Now())
	kds := vendortest.StartKDS(t, v, time.Now())
	s := openStore(t)
	shared := endorse.New(s)
	good, other := v.Chip(snp.Turin, 1), v.Chip(snp.Turin, 2)
	first := replica(t, s, kds.Publisher(t, kds.Client(t, time.Second), time.Millisecond))
	kds.Add(good)
	wait(t, first, good.Name())
	var encoded []byte
	for end := time.Now().Add(10 * time.Second); encoded == nil && time.Now().Before(end); time.Sleep(time.Millisecond) {
		encoded, _ = shared.Get(t.Context(), good.Name())
	}
	always := func([]byte) bool { return true }
	for name, value := range map[string][]byte{other.Name(): encoded, "amd/crl/Milan": []byte("x"), "other/x": encoded, "amd/crl/Rome": encoded} {
		if err := shared.Put(t.Context(), name, value, always); err != nil {
			t.Fatal(err)
		}
	}
	m := replica(t, s, kds.Publisher(t, nil, 0))
	wait(t, m, good.Name())
	for _, name := range []string{other.Name(), "amd/crl/Milan"} {
		if m.Item(name) != nil {
			t.Errorf("%s was taken from the store as it is", name)
		}
	}
}

func TestClaims(t *testing.T) {
	shared, now, ctx := endorse.New(openStore(t)), time.Now().Truncate(time.Second), t.Context()
	claim := func(name string, now time.Time, want bool) {
		t.Helper()
		if got, err := shared.Claim(ctx, name, now, now.Add(30*time.Second)); got != want || err != nil {
			t.Errorf("claim of %s at %v: %v %v", name, now, got, err)
		}
	}
	claim("amd/crl/Genoa", now, true)
	claim("amd/crl/Genoa", now, false)
	claim("amd/crl/Milan", now, true)
	claim("amd/crl/Genoa", now.Add(29*time.Second), false)
	claim("amd/crl/Genoa", now.Add(31*time.Second), true) // whoever had it is gone
	claim("amd/crl/Genoa", now.Add(-time.Hour), true)     // a clock that was an hour ahead does not count for an hour
	if err := shared.Put(ctx, "amd/crl/Milan", []byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	claim("amd/crl/Milan", now, true) // putting it let go
	if _, err := shared.Get(ctx, "amd/crl/Turin"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an item that is not there: %v", err)
	}
	if err := shared.Put(ctx, "amd/crl/Milan", []byte("y"), func(held []byte) bool { return string(held) != "x" }); err != nil {
		t.Fatal(err)
	}
	if got, err := shared.Get(ctx, "amd/crl/Milan"); string(got) != "x" || err != nil {
		t.Errorf("an item that was not to be replaced: %s %v", got, err)
	}
	if names, err := shared.List(ctx, 10); err != nil || len(names) != 1 || names[0] != "amd/crl/Milan" {
		t.Errorf("list %v %v", names, err)
	}
}

// TestKeySetsAreNotShared: a key set is signed by nobody, so one that somebody put into the store would make every token of his a good one. Each replica
// gets it from the verifier itself.
func TestKeySetsAreNotShared(t *testing.T) {
	set := func() collateral.Publisher {
		p, err := jwks.New(jwks.Config{Verifiers: []jwks.Verifier{{Name: "cloud", URL: "https://cloud.example/keys"}}})
		if err != nil {
			t.Fatal(err)
		}
		p.Always, p.Source, p.Interval = []string{"jwks/cloud"}, fixed(`{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`), time.Millisecond
		return p
	}
	name, err := collateral.ParseName("jwks/cloud")
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t)
	shared := endorse.New(s)
	// The attacker's, in the form in which a replica would have put it, fetched later than any.
	planted := []byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`)
	item := &collateral.Item{Name: name, Endorsement: &attest.Endorsement{
		Name: "jwks/cloud", Data: planted, Digest: sha256.Sum256(planted), Fetched: time.Now().Add(time.Minute),
	}}
	encoded, err := item.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.Put(t.Context(), "jwks/cloud", encoded, nil); err != nil {
		t.Fatal(err)
	}
	m := replica(t, s, set())
	wait(t, m, "jwks/cloud")
	for range 100 { // the exchange at the start, and what is watched
		if e, err := m.Endorsement(t.Context(), "jwks/cloud"); err != nil || bytes.Equal(e.Data, planted) {
			t.Fatalf("a key set was taken from the store: %v", err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	if held, err := shared.Get(t.Context(), "jwks/cloud"); err != nil || !bytes.Equal(held, encoded) {
		t.Errorf("a key set was given to the store: %v", err)
	}
}

// fixed is a vendor that always answers the same.
type fixed string

func (f fixed) Fetch(context.Context, collateral.Name) (*collateral.Fetched, error) {
	return &collateral.Fetched{Data: []byte(f), URL: "https://cloud.example/keys"}, nil
}

// listless is a store that watches well and cannot list, which shows each watch that it was asked for.
type listless struct {
	store.Store
	watches chan context.Context
}

func (l listless) Watch(ctx context.Context, prefix string) (<-chan store.Event, error) {
	select {
	case l.watches <- ctx:
	default:
	}
	return l.Store.Watch(ctx, prefix)
}

func (listless) List(context.Context, string, string, int) ([]store.Entry, error) {
	return nil, store.ErrUnavailable
}

// TestWatchThatIsGivenUp: a replica that cannot list what is shared tries again, and leaves no watch behind each time.
func TestWatchThatIsGivenUp(t *testing.T) {
	s := listless{openStore(t), make(chan context.Context, 1)}
	kds := vendortest.StartKDS(t, snptest.NewVendor(t, time.Now()), time.Now())
	replica(t, s, kds.Publisher(t, nil, time.Second))
	within := time.After(20 * time.Second)
	select {
	case watch := <-s.watches:
		select {
		case <-watch.Done():
		case <-within:
			t.Error("the watch goes on")
		}
	case <-within:
		t.Error("nothing is watched")
	}
}
