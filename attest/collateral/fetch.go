package collateral

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// How long items that are at hand are good for before they are fetched again.
const (
	// listAge is for what changes when something is wrong with a platform: lists and TCB levels. Their next update may be weeks ahead, and
	// operators want to know of a revocation the same day.
	listAge = 24 * time.Hour
	// keysAge is for key sets, which their owners change without notice.
	keysAge = time.Hour
	// manifestAge is for what hardly ever changes.
	manifestAge = 7 * 24 * time.Hour
	// minAge is the least time between two fetches of an item that is at hand, also when it is about to expire.
	minAge = 10 * time.Minute
	// certificateLead is how long before its end a certificate is fetched again.
	certificateLead = 30 * 24 * time.Hour
	// unused is after how long nobody asked for it an item is no longer made newer, unless an operator wants it.
	unused = 30 * 24 * time.Hour
	// fetchFor is how long one fetch may take with all that belongs to it: a client has its own, shorter time for each request.
	fetchFor = 2 * time.Minute
	// refreshEvery is how often items are looked through for what is to be made newer.
	refreshEvery = 30 * time.Second
	// recheckEvery is how far apart items are verified again after a start. Each takes about a millisecond.
	recheckEvery = 5 * time.Millisecond
	// warnAhead is how long before its end an item that should have been replaced by now is warned of, and warnAgain how often.
	warnAhead = 7 * 24 * time.Hour
	warnAgain = 12 * time.Hour
)

// Refresh returns when an item at hand is to be fetched again.
func (i *Item) Refresh() time.Time {
	fetched := i.Endorsement.Fetched
	var at time.Time
	switch i.Name.Type() {
	case TypeVCEK, TypeVLEK:
		at = i.Expires.Add(-certificateLead)
	case TypeJWKS:
		at = fetched.Add(keysAge)
	case TypeRIM, TypeHSKCEK:
		at = fetched.Add(manifestAge)
	default:
		at = fetched.Add(listAge)
		// A list of a few hours is fetched at two thirds of its time.
		if life := i.Expires.Sub(fetched); !i.Expires.IsZero() && life < listAge*3/2 {
			at = fetched.Add(life * 2 / 3)
		}
	}
	if least := fetched.Add(minAge); at.Before(least) {
		return least
	}
	return at
}

// Run fetches what is wanted, keeps what is at hand fresh, takes in what other processes and replicas put where this Manager looks, and warns of what
// is about to expire, until ctx ends. It runs once.
func (m *Manager) Run(ctx context.Context) error {
	m.mu.Lock()
	if m.running {
		m.mu.Unlock()
		return errors.New("collateral: it runs already")
	}
	m.running = true
	m.mu.Unlock()
	var workers sync.WaitGroup
	for _, l := range m.lanes {
		if l.publisher.Source == nil {
			continue
		}
		for range l.publisher.Workers {
			workers.Go(func() { m.work(ctx, l) })
		}
	}
	workers.Go(func() {
		// At its leisure: requests come first, and whoever uses an item verifies it.
		_, _ = m.Recheck(ctx, func(int, int) { pause(ctx, recheckEvery) })
	})
	if m.config.Shared != nil {
		workers.Go(func() { m.follow(ctx) })
	}
	m.keepUp(ctx)
	workers.Wait()
	m.saveWanted()
	return nil
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// keepUp does what is due every half minute and at every scan.
func (m *Manager) keepUp(ctx context.Context) {
	refresh, rescan := time.NewTicker(refreshEvery), time.NewTicker(m.config.Rescan)
	defer refresh.Stop()
	defer rescan.Stop()
	m.refresh()
	for {
		select {
		case <-ctx.Done():
			return
		case <-refresh.C:
			m.refresh()
		case <-rescan.C:
			news, err := m.rescan(true)
			if err != nil {
				m.config.Logger.Error("the folder of collateral cannot be read", "error", err)
			}
			for _, i := range news {
				m.toShared(ctx, i)
			}
		}
		m.saveWanted()
	}
}

// refresh notes what is to be fetched again, and warns of what should have been.
func (m *Manager) refresh() {
	now := m.config.Now()
	for _, h := range *m.current.Load() {
		used := h.Kept || now.Unix()-h.asked.Load() < int64(unused/time.Second)
		if l := m.lanes[h.Name.Vendor()]; l != nil && used && !now.Before(h.Refresh()) {
			l.renew(h.Name, h.Kept, now)
		}
		if used && !h.Expires.IsZero() {
			m.warn(h.Item, now)
		}
	}
}

// warn tells of an item that is about to expire or has expired although it should have been made newer by now. Certificates and lists with a
// short life are warned of in their last quarter.
func (m *Manager) warn(i *Item, now time.Time) {
	ahead := min(warnAhead, i.Expires.Sub(i.Issued)/4)
	left := i.Expires.Sub(now)
	if left > ahead {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.warned[i.Name.text]) < warnAgain {
		return
	}
	if len(m.warned) > m.config.MaxItems {
		clear(m.warned)
	}
	m.warned[i.Name.text] = now
	text := "collateral is about to expire"
	if left <= 0 {
		text = "collateral has expired"
	}
	attrs := []any{"name", i.Name.text, "expires", i.Expires.UTC(), "fetched", i.Endorsement.Fetched.UTC()}
	if l := m.lanes[i.Name.Vendor()]; l == nil || l.publisher.Source == nil {
		attrs = append(attrs, "reason", "nothing is fetched from its vendor: import a newer one")
	} else if err := l.failure(i.Name.text); err != nil {
		attrs = append(attrs, "reason", err.Error())
	}
	m.config.Logger.Warn(text, attrs...)
}

// failure returns why a name was not fetched last.
func (l *lane) failure(text string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.wants[text]; w != nil {
		return w.err
	}
	return nil
}

// work is one worker of a vendor.
func (m *Manager) work(ctx context.Context, l *lane) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-timer.C:
		}
		w, wait := l.next(m.config.Now())
		if w == nil {
			timer.Reset(wait)
			continue
		}
		asked, result, err := m.fetch(ctx, l, w)
		if ctx.Err() != nil {
			return
		}
		if asked || result == ResultFromShared {
			m.counts.add(l.publisher.Vendor, result)
		}
		l.finished(w, asked, result, err, m.config.Now(), m.config.Jitter())
		switch {
		case err != nil && result == ResultNotFound: // a stranger may have made the name up
			m.config.Logger.Info("there is no such collateral", "name", w.name.text, "error", err)
		case err != nil:
			m.config.Logger.Warn("collateral was not fetched", "name", w.name.text, "result", string(result), "error", err)
		case result == ResultOK || result == ResultFromShared:
			m.config.Logger.Info("collateral was fetched", "name", w.name.text, "result", string(result))
		}
		timer.Reset(0)
	}
}

// fetch gets one item that is wanted, from another replica or its vendor, checks it and keeps it. asked says whether the vendor was asked.
func (m *Manager) fetch(ctx context.Context, l *lane, w *want) (asked bool, result Result, err error) {
	before := m.Item(w.name.text)
	l.mu.Lock()
	kept, again := w.kept, w.refresh || len(w.waiting) > 0
	l.mu.Unlock()
	if before != nil && !again && (before.Kept || !kept) {
		return false, ResultUnchanged, nil // it has come meanwhile
	}
	ctx, cancel := context.WithTimeout(ctx, fetchFor)
	defer cancel()
	if m.config.Shared != nil {
		if result, err := m.fromShared(ctx, w.name, before); result != "" {
			return false, result, err
		}
	}
	result, err = m.fromVendor(ctx, l, w.name, kept)
	if err == nil && result != ResultOlder {
		m.toShared(ctx, m.Item(w.name.text))
	} else {
		m.letGo(ctx, w.name)
	}
	return true, result, err
}

// fromVendor asks the vendor and keeps what it answers, if that is the item.
func (m *Manager) fromVendor(ctx context.Context, l *lane, name Name, kept bool) (Result, error) {
	got, err := l.publisher.Source.Fetch(ctx, name)
	if err != nil {
		return resultOf(err), err
	}
	return m.accept(name, got, kept)
}

// accept checks what a vendor answered and keeps it.
func (m *Manager) accept(name Name, got *Fetched, kept bool) (Result, error) {
	now := m.config.Now()
	if len(got.Data) > MaxData || len(got.Chain) > MaxChain {
		return ResultInvalid, Invalid(got.URL, "%d bytes with a chain of %d are over the limit", len(got.Data), len(got.Chain))
	}
	i := newItem(name, got.Data, got.Chain, now)
	i.Source, i.Kept = got.URL[:min(len(got.URL), maxSource)], kept
	if err := m.verify(i); err != nil {
		return ResultInvalid, Invalid(got.URL, "%w", err)
	}
	if !i.Expires.IsZero() && !now.Before(i.Expires) {
		return ResultInvalid, Invalid(got.URL, "what its vendor gave has expired at %s", i.Expires.UTC().Format(time.RFC3339))
	}
	switch what, err := m.put(i, true); {
	case err != nil:
		return ResultNotKeepable, err
	case what == older:
		return ResultOlder, nil
	case what == unchanged:
		return ResultUnchanged, nil
	}
	return ResultOK, nil
}

// Outcome is how an attempt to fetch an item ended.
type Outcome struct {
	Name   string
	Result Result
	Err    error // nil when the item is at hand
}

// maxAttempts is how often Fetch tries an item whose vendor does not answer well.
const maxAttempts = 4

// downAfter is after how many failures in a row, of whatever names, a vendor is taken to be down.
const downAfter = 2 * maxAttempts

// isDown reports whether the vendor has failed so often in a row that an operator need not wait for more.
func (l *lane) isDown() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failures >= downAfter
}

// maxThrottled is how often it is asked again because the vendor throttles.
const maxThrottled = 16

// Fetch has items fetched now, whether they are at hand or not, and marks them as wanted by an operator. It calls done for each as it ends: with a nil error
// when the item is at hand. Where the vendor throttles, fails or does not answer, it is tried again until ctx ends or four attempts have been
// made, fewer when the vendor seems to be down. Run must be running. It fails with the first name that no item can have, before anything is fetched.
func (m *Manager) Fetch(ctx context.Context, names []string, done func(Outcome)) error {
	parsed := make([]Name, len(names))
	for i, text := range names {
		name, err := ParseName(text)
		if err != nil {
			return err
		}
		parsed[i] = name
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	for _, name := range parsed {
		l := m.lanes[name.Vendor()]
		if l == nil || l.publisher.Source == nil {
			mu.Lock()
			done(Outcome{name.text, ResultNotFetched, fmt.Errorf("nothing is fetched from %s: it is not configured", name.Vendor())})
			mu.Unlock()
			continue
		}
		wait.Go(func() {
			o := m.fetchOne(ctx, l, name)
			mu.Lock()
			defer mu.Unlock()
			done(o)
		})
	}
	wait.Wait()
	return ctx.Err()
}

func (m *Manager) fetchOne(ctx context.Context, l *lane, name Name) Outcome {
	last := Outcome{Name: name.text, Result: ResultTimeout}
	throttled := 0
	for attempt := 0; attempt < maxAttempts && throttled < maxThrottled; {
		answer := make(chan Outcome, 1)
		l.demand(name, m.Item(name.text) != nil, m.config.Now(), answer)
		select {
		case last = <-answer:
		case <-ctx.Done():
			if last.Err == nil { // it was waiting for its turn, or for an answer
				last.Err = fmt.Errorf("its vendor had not answered when the time was over: %w", ctx.Err())
			}
			return last
		}
		switch last.Result {
		case ResultThrottled: // costs no attempt: the vendor said when to come back, and the lane waits for that
			throttled++
		case ResultFailed, ResultTimeout, ResultInvalid:
			attempt++
			if l.isDown() { // what one name has shown, the others need not find out again
				return last
			}
		default:
			return last
		}
	}
	return last
}

// wantKept notes a name that is always wanted, and is not at hand.
func (m *Manager) wantKept(name Name) {
	if m.Item(name.text) == nil {
		m.lanes[name.Vendor()].demand(name, false, m.config.Now(), nil)
	}
}

// counts are the requests to vendors since the start, by how they ended.
type counts struct {
	mu     sync.Mutex
	number map[Vendor]map[Result]*atomic.Uint64
}

func (c *counts) add(v Vendor, r Result) { c.of(v, r).Add(1) }

func (c *counts) of(v Vendor, r Result) *atomic.Uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.number == nil {
		c.number = map[Vendor]map[Result]*atomic.Uint64{}
	}
	if c.number[v] == nil {
		c.number[v] = map[Result]*atomic.Uint64{}
	}
	if c.number[v][r] == nil {
		c.number[v][r] = new(atomic.Uint64)
	}
	return c.number[v][r]
}
