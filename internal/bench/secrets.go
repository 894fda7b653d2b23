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

// flatBudget is how much more a release may cost in a large store than in a small one.
const flatBudget = 1.15

// secretsPart measures releases against the number of secrets in the store.
func (b *bench) secretsPart() section {
	s := section{
		Title: "A native release against the number of secrets, 8 clients",
		Note:  "floor: the same with 100 secrets",
	}
	dir := filepath.Join(b.dir, "secrets")
	p := start(dir)
	p.prepare()
	p.stop()
	have := 1
	var smallest time.Duration
	for _, n := range []int{100, 10_000, 100_000} {
		fill(dir, have, n)
		have = n
		p := start(dir)
		o := p.drive(8, 4*b.time, n, func() *workload { return p.native(envelope.X25519) })
		resident := p.resident()
		p.stop()
		if smallest == 0 {
			smallest = o.processor
		}
		r := against(fmt.Sprintf("%d secrets", n), o.processor, smallest, flatBudget)
		r.Note = fmt.Sprintf("%.0f/s, waits %s, 99%% under %s; ready in %s, %d MiB resident after", o.rate, short(o.median), short(o.slowest),
			short(p.ready), resident>>10)
		s.Rows = append(s.Rows, r)
	}
	return s
}

// fill copies the first secret's records until there are n secrets. It goes past the broker, which would record every one.
func fill(dir string, have, n int) {
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
	for i := have; i < n; i++ {
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
