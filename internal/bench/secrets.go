package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// flatBudget is how much more a release may cost in a large store than in a small one: what a measurement cannot tell from nothing.
const flatBudget = 1.15

// secretsPart measures releases against the number of secrets in the store, with a broker for each number and by turns.
func (b *bench) secretsPart() section {
	s := section{
		Title: "A native release against the number of secrets, 8 clients",
		Note:  "cost: processor time; floor: the same with 100 secrets",
	}
	sizes := []int{100, 10_000, 100_000}
	brokers := make([]*process, len(sizes))
	for i, n := range sizes {
		dir := filepath.Join(b.dir, fmt.Sprint("secrets-", n))
		p := start(dir)
		p.prepare()
		p.stop()
		fill(dir, n)
		brokers[i] = start(dir)
		defer brokers[i].stop()
	}
	const rounds = 7
	costs, waits := make([][]time.Duration, len(sizes)), make([][]time.Duration, len(sizes))
	for range rounds {
		for i, p := range brokers {
			o := p.drive(8, b.time, sizes[i], func() *workload { return p.native(envelope.X25519) })
			costs[i], waits[i] = append(costs[i], o.processor), append(waits[i], o.median)
		}
	}
	smallest := quantile(costs[0], .5)
	for i, p := range brokers {
		r := against(fmt.Sprintf("%d secrets", sizes[i]), quantile(costs[i], .5), smallest, flatBudget)
		r.Note = fmt.Sprintf("waits %s; ready in %s, %d MiB resident afterwards, the pages of the store that were read included",
			short(quantile(waits[i], .5)), short(p.ready), p.resident()>>10)
		s.Rows = append(s.Rows, r)
	}
	return s
}

// fill copies the first secret's records until there are n secrets. It goes past the broker, which would record every one.
func fill(dir string, n int) {
	ctx := context.Background()
	key := must(seal.NewKeyFile(filepath.Join(dir, "seal.key")))
	d := must(data.Open(ctx, data.Config{Dir: filepath.Join(dir, "data"), Purpose: store.Development, Seal: key}))
	first := secretName(0)
	metadata := must(d.Store.Get(ctx, store.Key(store.DefaultNamespace, "secret", first)))
	value := must(d.Store.Get(ctx, store.Key(store.DefaultNamespace, "secret-value", first, "1")))
	var writes []store.Write
	flush := func() {
		if len(writes) > 0 {
			check(d.Store.Apply(ctx, writes...))
		}
		writes = nil
	}
	for i := 1; i < n; i++ {
		name := secretName(i)
		writes = append(writes,
			store.Write{Key: store.Key(store.DefaultNamespace, "secret-value", name, "1"), Value: bytes.Clone(value.Value)},
			store.Write{
				Key:   store.Key(store.DefaultNamespace, "secret", name),
				Value: bytes.ReplaceAll(metadata.Value, []byte(`"`+first+`"`), []byte(`"`+name+`"`)),
			})
		if len(writes) >= 500 {
			flush()
		}
	}
	flush()
	check(d.Close())
}
