package snp

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-sev-guest/verify/testdata"

	"github.com/vouchsafe/vouchsafe/attest"
)

// shelf is what a broker has fetched: items by their names.
type shelf struct {
	mu    sync.Mutex
	items map[string]*attest.Endorsement
	asked map[string]int
}

func newShelf() *shelf {
	return &shelf{items: map[string]*attest.Endorsement{}, asked: map[string]int{}}
}

func (s *shelf) put(name string, data []byte, fetched time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items[name] = &attest.Endorsement{Name: name, Data: data, Digest: sha256.Sum256(data), Fetched: fetched}
}

// Endorsement implements attest.Endorsements.
func (s *shelf) Endorsement(_ context.Context, name string) (*attest.Endorsement, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[name]++
	if e := s.items[name]; e != nil {
		return e, nil
	}
	return nil, &attest.Unavailable{What: name, RetryAfter: 12 * time.Second}
}

// wantUnavailable fails unless err is an Unavailable of that item.
func wantUnavailable(tb testing.TB, err error, what string) {
	tb.Helper()
	var u *attest.Unavailable
	if !errors.As(err, &u) || u.What != what {
		tb.Errorf("error %v, want that %s is unavailable", err, what)
	}
}

func TestEndorsedCertificates(t *testing.T) {
	for _, p := range Products() {
		for _, key := range []SigningKey{VCEK, VLEK} {
			a, s := authorities()[p], newShelf()
			r := a.sign(t, report(p, 3, key))
			v := testVerifier(t, Config{Endorsements: s})
			names, err := EndorsementNames(r)
			if err != nil || len(names) != 1 {
				t.Fatalf("names %q, %v", names, err)
			}
			_, err = verify(t, v, r.Marshal())
			wantUnavailable(t, err, names[0])
			if u := err.(*attest.Unavailable); u.RetryAfter != 12*time.Second {
				t.Errorf("retry after %v", u.RetryAfter)
			}
			s.put(names[0], a.leaf(t, r, leafOptions{}), appraisal.Add(-time.Minute))
			claims, err := verify(t, v, r.Marshal())
			if err != nil {
				t.Fatalf("%s %v: %v", p, key, err)
			}
			if c := claims.Collateral; c.Source != "local" || *c.Age != 60 || c.RevocationChecked || !c.Current {
				t.Errorf("%s %v: collateral %+v", p, key, c)
			}
		}
	}
}

// TestEndorsedCertificatesThatAreBad: what is kept under a name and is not that item is the broker's trouble, never the guest's.
func TestEndorsedCertificatesThatAreBad(t *testing.T) {
	genoa, milan := authorities()[Genoa], authorities()[Milan]
	r := genoa.sign(t, report(Genoa, 3, VCEK))
	name := must(EndorsementNames(r))[0]
	forgedLeaf := genoa.leaf(t, r, leafOptions{})
	forgedLeaf[len(forgedLeaf)-1] ^= 1
	for what, der := range map[string][]byte{
		"garbage":    []byte("<html>"),
		"nothing":    nil,
		"other root": milan.leaf(t, report(Milan, 3, VCEK), leafOptions{}),
		"other chip": genoa.leaf(t, r, leafOptions{endorsement: func(e *Endorsement) { e.HWID = make([]byte, 64) }}),
		"other TCB":  genoa.leaf(t, r, leafOptions{endorsement: func(e *Endorsement) { e.TCB.SNP-- }}),
		"forged":     forgedLeaf,
		"cut":        genoa.leaf(t, r, leafOptions{})[:800],
	} {
		s := newShelf()
		s.put(name, der, appraisal)
		_, err := verify(t, testVerifier(t, Config{Endorsements: s}), r.Marshal())
		t.Run(what, func(t *testing.T) { wantUnavailable(t, err, name) })
	}
	// A right certificate and a report that the key did not sign is the evidence's fault.
	s := newShelf()
	s.put(name, genoa.leaf(t, r, leafOptions{}), appraisal)
	forged := *r
	forged.Measurement[0]++
	_, err := verify(t, testVerifier(t, Config{Endorsements: s}), forged.Marshal())
	wantCode(t, err, attest.CodeSignature)
}

func TestEndorsedLists(t *testing.T) {
	a := authorities()[Genoa]
	r := a.sign(t, report(Genoa, 3, VCEK))
	evidence := extended(r, a.leaf(t, r, leafOptions{}))
	s := newShelf()
	v := testVerifier(t, Config{Endorsements: s, Grace: 24 * time.Hour, RequireLists: true})
	_, err := verify(t, v, evidence)
	wantUnavailable(t, err, "amd/crl/Genoa")

	day := 24 * time.Hour
	for _, tt := range []struct {
		next           time.Duration
		current, stale bool
	}{{day, true, false}, {-time.Hour, true, true}, {-25 * time.Hour, false, true}, {2 * day, true, false}} {
		s.put("amd/crl/Genoa", a.revocationList(appraisal.Add(tt.next), 77), appraisal.Add(-time.Hour))
		claims, err := verify(t, v, evidence)
		if err != nil {
			t.Fatal(err)
		}
		if c := claims.Collateral; c.Current != tt.current || c.Stale != tt.stale || !c.RevocationChecked || *c.Age != 3600 {
			t.Errorf("next update in %v: %+v", tt.next, c)
		}
	}
	// A list that arrives counts at once, also for a chain that is cached, and a list that is late still revokes.
	s.put("amd/crl/Genoa", a.revocationList(appraisal.Add(-48*time.Hour), 2), appraisal)
	_, err = verify(t, v, evidence)
	wantCode(t, err, attest.CodeCertRevoked)
	for what, list := range map[string][]byte{
		"garbage": []byte("x"), "another root's": authorities()[Milan].revocationList(appraisal.Add(day)), "nothing": {},
	} {
		s.put("amd/crl/Genoa", list, appraisal)
		for range 2 { // the second time from the cache
			_, err := verify(t, v, evidence)
			t.Run(what, func(t *testing.T) { wantUnavailable(t, err, "amd/crl/Genoa") })
		}
	}
	// Lists of the configuration count beside: either revokes.
	s.put("amd/crl/Genoa", a.revocationList(appraisal.Add(day)), appraisal)
	v = testVerifier(t, Config{Endorsements: s, RevocationLists: [][]byte{a.revocationList(appraisal.Add(-day), 2)}})
	_, err = verify(t, v, evidence)
	wantCode(t, err, attest.CodeCertRevoked)
}

func TestEndorsementNames(t *testing.T) {
	r := report(Genoa, 2, VCEK)
	if names := must(EndorsementNames(r)); len(names) != 2 || names[0][:15] != "amd/vcek/Milan/" || names[1][:15] != "amd/vcek/Genoa/" {
		t.Errorf("an old report: %q", names)
	}
	clear(r.ChipID[8:])
	if names := must(EndorsementNames(r)); len(names) != 1 || names[0] != "amd/vcek/Turin/0102030405060708-04010000000016d5" {
		t.Errorf("an old report of a chip with a short name: %q", names)
	}
	clear(r.ChipID[:])
	_, err := EndorsementNames(r)
	wantCode(t, err, attest.CodeCertMissing)
}

func TestCollateralCheck(t *testing.T) {
	var anchors []anchor
	for _, p := range Products() {
		anchors = append(anchors, authorities()[p].anchor)
	}
	c := &Collateral{anchors}
	for _, p := range Products() {
		for _, key := range []SigningKey{VCEK, VLEK} {
			r := report(p, 3, key)
			leaf := authorities()[p].leaf(t, r, leafOptions{})
			name := must(EndorsementNames(r))[0]
			from, until, err := c.Check(name, leaf)
			if err != nil || !from.Equal(appraisal.AddDate(0, -1, 0)) || !until.Equal(appraisal.AddDate(7, 0, 0)) {
				t.Errorf("%s: %v %v %v", name, from, until, err)
			}
			for _, other := range []string{
				name[:len(name)-1] + "0", name + "0", "amd/vcek/" + string(p) + "/", CRLName(p), "amd/vcek/Rome/00", "intel/crl/root", "",
			} {
				if _, _, err := c.Check(other, leaf); err == nil {
					t.Errorf("the item %s was taken for %q", name, other)
				}
			}
		}
		list := authorities()[p].revocationList(appraisal.Add(time.Hour), 9)
		if _, until, err := c.Check(CRLName(p), list); err != nil || !until.Equal(appraisal.Add(time.Hour)) {
			t.Errorf("list of %s: %v %v", p, until, err)
		}
		for _, q := range Products() {
			if _, _, err := c.Check(CRLName(q), list); (err == nil) != (p == q) {
				t.Errorf("list of %s as %s: %v", p, q, err)
			}
		}
		for i := range list {
			list[i] ^= 0x10
			if _, _, err := c.Check(CRLName(p), list); err == nil {
				t.Fatalf("list of %s with byte %d changed was taken", p, i)
			}
			list[i] ^= 0x10
		}
	}
}

// TestCollateralCheckReal checks a real VCEK against AMD's own root, and the synthetic ones against it too.
func TestCollateralCheckReal(t *testing.T) {
	c, err := NewCollateral()
	if err != nil {
		t.Fatal(err)
	}
	ev := must(Parse(milanDebug()))
	var taken []string
	for _, name := range must(EndorsementNames(&ev.Report)) {
		if _, _, err := c.Check(name, testdata.VcekBytes); err == nil {
			taken = append(taken, name)
		}
	}
	if len(taken) != 1 || taken[0][:15] != "amd/vcek/Milan/" {
		t.Errorf("the real certificate was taken for %q", taken)
	}
	r := report(Genoa, 3, VCEK)
	if _, _, err := c.Check(must(EndorsementNames(r))[0], authorities()[Genoa].leaf(t, r, leafOptions{})); err == nil {
		t.Error("AMD's root vouches for a test key")
	}
}
