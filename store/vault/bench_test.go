package vault

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// compare measures by turns an operation of the store and what it does of Vault at the least, and reports the ratio of their medians. Time is that of the wall, since most of
// it is Vault's.
func compare(b *testing.B, run, floor func(i int) error) {
	b.Helper()
	var ours, bare []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		err := run(i)
		between := time.Now()
		err = errors.Join(err, floor(i))
		ours, bare = append(ours, between.Sub(start)), append(bare, time.Since(between))
		if err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(ours)
	slices.Sort(bare)
	b.ReportMetric(float64(ours[len(ours)/2]), "ns/op")
	b.ReportMetric(float64(ours[len(ours)/2])/float64(bare[len(bare)/2]), "x-floor")
}

// BenchmarkGet has as its floor a bare read of the same secret over the same connection.
func BenchmarkGet(b *testing.B) {
	server := vaulttest.Shared(b)
	for name, staleness := range map[string]time.Duration{"strict": 0, "cached": MaxStaleness} {
		b.Run(name, func(b *testing.B) {
			s := open(b, Config{Conn: server.Conn(b), Mount: mount(b, server), Staleness: staleness})
			apply(b, s, store.Write{Key: "default/a", Value: make([]byte, 1000)})
			compare(b, func(int) error {
				_, err := s.Get(b.Context(), "default/a")
				return err
			}, func(int) error {
				_, err := s.conn.Do(b.Context(), vaultconn.Request{Method: http.MethodGet, Path: s.data + "default/a"})
				return err
			})
		})
	}
}

// BenchmarkApply has as its floor a bare write of as much to another secret without check-and-set, in memory and on raft.
func BenchmarkApply(b *testing.B) {
	for name, server := range map[string]*vaulttest.Server{"memory": vaulttest.Shared(b), "raft": vaulttest.Start(b, vaulttest.WithRaft(""))} {
		b.Run(name, func(b *testing.B) {
			s := open(b, Config{Conn: server.Conn(b), Mount: mount(b, server)})
			value := make([]byte, 1000)
			compare(b, func(i int) error {
				return s.Apply(b.Context(), store.Write{Key: "default/a", Version: uint64(i), Value: value})
			}, func(int) error {
				_, err := s.conn.Do(b.Context(), vaultconn.Request{Method: http.MethodPost, Path: s.data + "bare", Body: map[string]any{"data": valueRecord{value}}})
				return err
			})
		})
	}
}

// BenchmarkList lists a page of 100 of 1,000 records; its floor is a bare listing and 100 bare lookups one after the other.
func BenchmarkList(b *testing.B) {
	server := vaulttest.Shared(b)
	s := open(b, Config{Conn: server.Conn(b), Mount: mount(b, server)})
	for i := range 1000 {
		apply(b, s, store.Write{Key: fmt.Sprintf("default/list/%04d", i), Value: []byte("x")})
	}
	compare(b, func(int) error {
		entries, err := s.List(b.Context(), "default/list/", "", 100)
		if len(entries) != 100 {
			return errors.New("no page")
		}
		return err
	}, func(int) error {
		_, err := s.conn.List(b.Context(), s.metadata+"default/list/")
		for i := range 100 {
			_, failed := s.conn.Do(b.Context(), vaultconn.Request{Method: http.MethodGet, Path: fmt.Sprintf("%sdefault/list/%04d", s.subkeys, i)})
			err = errors.Join(err, failed)
		}
		return err
	})
}
