package collateral

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Limits of what is wanted. Whoever can get a challenge can present a report that names any chip, and names are all that is known of it then. So the
// wanted are few, and wait for as long as they are asked for.
const (
	// maxPending is how many names that are not at hand wait to be fetched, for each vendor; what an operator wants is not counted. AMD's service
	// answers about as many in ten minutes.
	maxPending = 64
	// maxRemembered is how many names are remembered besides because they failed, so that asking again costs no request.
	maxRemembered = 1024
	// forget is after how long nobody asked for it a name is no longer wanted.
	forget = 10 * time.Minute
	// forgetOffline is the same where nothing is fetched: an operator looks at the list, and not every minute.
	forgetOffline = 30 * 24 * time.Hour
	// negative is for how long a vendor's word that there is no such item is believed.
	negative = time.Hour
	// Retries of one name begin after firstRetry and double up to lastRetry, less up to half of it by chance.
	firstRetry = 10 * time.Second
	lastRetry  = 15 * time.Minute
	// minRetryAfter and maxAsk bound what a workload is told to wait. It asks again, which keeps the name wanted.
	minRetryAfter = 1 * time.Second
	maxAsk        = 2 * time.Minute
	// unfetched is what it is told where nothing is fetched: an operator has to act.
	unfetched = time.Minute
)

// want is a name that is to be fetched.
type want struct {
	name     Name
	since    time.Time // it was wanted first
	asked    time.Time // last
	kept     bool      // by an operator or as one that is always wanted: never forgotten
	refresh  bool      // an item of this name is at hand, and is to be made newer
	due      time.Time // not before
	attempts int
	busy     bool
	slot     time.Time // how long the vendor was not to be asked before this was taken,
	taken    time.Time // and after
	absent   bool      // the vendor says that there is none
	result   Result
	err      error
	waiting  []chan Outcome // of [Manager.Fetch]
}

// lane is one vendor: what is wanted of it, and how fast it may be asked.
type lane struct {
	publisher Publisher
	always    []Name
	wake      chan struct{}

	mu       sync.Mutex
	wants    map[string]*want
	paused   time.Time // the vendor is not asked before
	failures int       // in a row, of the vendor as a whole
}

// Limits of publishers' settings.
const (
	maxWorkers  = 8
	maxInterval = time.Hour
)

func newLane(p Publisher, readOnly bool) (*lane, error) {
	if !slices.Contains(Vendors(), p.Vendor) {
		return nil, fmt.Errorf("collateral: the vendor %q is none of %v", p.Vendor, Vendors())
	}
	if p.Check == nil {
		return nil, fmt.Errorf("collateral: items of %s could not be checked: a publisher needs a check", p.Vendor)
	}
	if p.Interval == 0 {
		p.Interval = time.Second
	}
	if p.Workers == 0 {
		p.Workers = 1
	}
	if p.Interval < 0 || p.Interval > maxInterval || p.Workers < 1 || p.Workers > maxWorkers {
		return nil, fmt.Errorf("collateral: %s is asked every %v by %d workers: at most %v and 1 to %d are possible",
			p.Vendor, p.Interval, p.Workers, maxInterval, maxWorkers)
	}
	if readOnly {
		p.Source = nil
	}
	l := &lane{publisher: p, wake: make(chan struct{}, 1), wants: map[string]*want{}}
	for _, text := range p.Always {
		name, err := ParseName(text)
		if err != nil {
			return nil, err
		}
		if name.Vendor() != p.Vendor {
			return nil, fmt.Errorf("collateral: %s is not of %s", name, p.Vendor)
		}
		l.always = append(l.always, name)
	}
	return l, nil
}

// missing notes that a name is wanted and says when it may be at hand.
func (m *Manager) missing(text string) error {
	name, err := ParseName(text)
	if err != nil {
		return &attest.Unavailable{What: fmt.Sprintf("%.100q", text), RetryAfter: unfetched, Err: err}
	}
	l := m.lanes[name.Vendor()]
	if l == nil {
		return &attest.Unavailable{What: text, RetryAfter: unfetched, Err: fmt.Errorf("collateral of %s is not configured", name.Vendor())}
	}
	return l.ask(name, m.config.Now())
}

// ask notes a name that a workload's evidence needs.
func (l *lane) ask(name Name, now time.Time) *attest.Unavailable {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := &attest.Unavailable{What: name.text}
	w := l.wants[name.text]
	if w == nil {
		if pending, _ := l.tally(); pending >= maxPending {
			l.forgetOld(now)
			if l.publisher.Source == nil {
				l.dropOldest(false)
			}
			if pending, _ = l.tally(); pending >= maxPending {
				u.RetryAfter = maxAsk
				u.Err = fmt.Errorf("%d items of %s are waited for already", pending, l.publisher.Vendor)
				return u
			}
		}
		w = &want{name: name, since: now}
		l.wants[name.text] = w
		l.nudge()
	}
	w.asked = now
	if w.absent && !now.Before(w.due) { // the vendor may have it by now
		w.absent, w.since = false, now
		l.nudge()
	}
	switch {
	case l.publisher.Source == nil:
		u.RetryAfter, u.Err = unfetched, fmt.Errorf("nothing is fetched from %s here", l.publisher.Vendor)
	case w.absent:
		u.RetryAfter, u.Err = clampWait(w.due.Sub(now)), w.err
	default:
		u.RetryAfter, u.Err = clampWait(l.expected(w, now)), w.err
	}
	return u
}

func clampWait(d time.Duration) time.Duration { return min(max(d, minRetryAfter), maxAsk) }

// expected estimates how long a name waits yet: for its time, for the vendor's, and for those before it.
func (l *lane) expected(w *want, now time.Time) time.Duration {
	before := 0
	for _, other := range l.wants {
		if other != w && !other.absent && !other.due.After(now) && other.before(w) {
			before++
		}
	}
	wait := max(w.due.Sub(now), l.paused.Sub(now), 0)
	return wait + time.Duration(before+1)*l.publisher.Interval
}

// before orders what is fetched: what is at hand and would expire first, then what an operator wants, then what has waited longest. Strangers can
// thus delay each other, but never keep what is in use from staying fresh.
func (w *want) before(other *want) bool {
	rank := func(w *want) int {
		switch {
		case w.refresh:
			return 0
		case w.kept:
			return 1
		}
		return 2
	}
	return cmp.Or(cmp.Compare(rank(w), rank(other)), w.since.Compare(other.since), cmp.Compare(w.name.text, other.name.text)) < 0
}

// tally counts what strangers' evidence has made wanted: pending, and remembered as failed.
func (l *lane) tally() (pending, remembered int) {
	for _, w := range l.wants {
		switch {
		case w.kept || w.refresh:
		case w.absent:
			remembered++
		default:
			pending++
		}
	}
	return pending, remembered
}

// forgetOld drops what nobody asks for any more.
func (l *lane) forgetOld(now time.Time) {
	for text, w := range l.wants {
		if w.busy || w.kept || w.refresh {
			continue
		}
		after := forget
		if l.publisher.Source == nil {
			after = forgetOffline
		}
		if w.absent && !now.Before(w.due) || !w.absent && now.Sub(w.asked) > after {
			delete(l.wants, text)
		}
	}
}

// makeRoom keeps the names that are remembered within their limit.
func (l *lane) makeRoom() {
	for {
		if _, remembered := l.tally(); remembered <= maxRemembered || !l.dropOldest(true) {
			return
		}
	}
}

// dropOldest drops the name that was asked for longest ago, of those that are remembered as absent or of those that are pending.
func (l *lane) dropOldest(absent bool) bool {
	var oldest *want
	for _, w := range l.wants {
		if w.absent == absent && !w.kept && !w.refresh && !w.busy && (oldest == nil || w.asked.Before(oldest.asked)) {
			oldest = w
		}
	}
	if oldest == nil {
		return false
	}
	delete(l.wants, oldest.name.text)
	return true
}

// demand notes a name that an operator wants, now. waiting is told of each attempt's outcome if it is not nil.
func (l *lane) demand(name Name, refresh bool, now time.Time, waiting chan Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.wants[name.text]
	if w == nil {
		w = &want{name: name, since: now}
		l.wants[name.text] = w
	}
	w.asked, w.kept, w.refresh = now, true, w.refresh || refresh
	if waiting != nil {
		w.due, w.absent = time.Time{}, false
		w.waiting = append(w.waiting, waiting)
	}
	l.nudge()
}

// renew notes an item at hand that is to be fetched again.
func (l *lane) renew(name Name, kept bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.publisher.Source == nil || l.wants[name.text] != nil {
		return
	}
	l.wants[name.text] = &want{name: name, since: now, asked: now, refresh: true, kept: kept}
	l.nudge()
}

// arrived notes that a name is at hand, whatever way it came. Whoever waits for a request of its own is not told.
func (l *lane) arrived(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.wants[text]; w != nil && !w.busy && len(w.waiting) == 0 {
		delete(l.wants, text)
	}
}

// nudge wakes the workers. One token is enough: each that finds work wakes the next.
func (l *lane) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// next takes what is to be fetched now, or says after how long to look again.
func (l *lane) next(now time.Time) (*want, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetOld(now)
	if wait := l.paused.Sub(now); wait > 0 {
		return nil, wait
	}
	var (
		best *want
		wait = time.Minute
	)
	for _, w := range l.wants {
		if w.busy {
			continue
		}
		if left := w.due.Sub(now); left > 0 {
			wait = min(wait, left)
		} else if !w.absent && (best == nil || w.before(best)) {
			best = w
		} else if w.absent && (w.kept || w.refresh) && (best == nil || w.before(best)) {
			best = w // an operator's wish is tried again; a stranger's is not until it is asked for
		}
	}
	if best == nil {
		return nil, wait
	}
	best.busy = true
	// The next request starts an interval later, whoever makes it.
	best.slot, l.paused = l.paused, now.Add(l.publisher.Interval)
	best.taken = l.paused
	l.nudge()
	return best, 0
}

// finished notes how a fetch ended, and whether the vendor was asked at all. jitter is from 0 to 1.
func (l *lane) finished(w *want, asked bool, result Result, err error, now time.Time, jitter float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.busy = false
	if !asked && l.paused.Equal(w.taken) {
		l.paused = w.slot
	}
	if result == resultElsewhere {
		w.due = now.Add(elsewhere)
		l.nudge()
		return
	}
	w.result, w.err = result, err
	for _, c := range w.waiting {
		select {
		case c <- Outcome{w.name.text, result, err}:
		default: // it has enough to look at
		}
	}
	w.waiting = nil
	switch result {
	case ResultOK, ResultUnchanged, ResultFromShared:
		l.failures = 0
		delete(l.wants, w.name.text)
	case ResultOlder: // a copy of the vendor's lags behind
		l.failures = 0
		w.due = now.Add(lastRetry)
	case ResultNotFound, ResultNotFetched:
		l.failures = 0
		w.absent, w.due = true, now.Add(negative)
		w.refresh = w.refresh && w.kept // what the vendor no longer has stays as it is, and is looked at again at the next refresh
		l.makeRoom()
	case ResultThrottled:
		// The vendor, not the item, is what has to wait; the item keeps its place.
		l.failures++
		l.pause(now, max(retryAfterOf(err), backoff(firstRetry/2, time.Minute, l.failures, jitter)))
	case ResultFailed, ResultTimeout:
		l.failures++
		l.pause(now, backoff(time.Second, time.Minute, l.failures, jitter))
		w.attempts++
		w.due = now.Add(max(backoff(firstRetry, lastRetry, w.attempts, jitter), retryAfterOf(err)))
	default: // what came is of no use: the item is wrong, not the vendor
		l.failures = 0
		w.attempts++
		w.due = now.Add(backoff(firstRetry, lastRetry, w.attempts, jitter))
	}
	l.nudge()
}

func (l *lane) pause(now time.Time, d time.Duration) {
	if until := now.Add(d); until.After(l.paused) {
		l.paused = until
	}
}

// retryAfterOf returns how long a vendor asked us to wait, 0 when it did not.
func retryAfterOf(err error) time.Duration {
	var f *FetchError
	if errors.As(err, &f) {
		return f.RetryAfter
	}
	return 0
}

// backoff doubles from first to last with each attempt, less up to half of it by chance, so that replicas do not come back together.
func backoff(first, last time.Duration, attempt int, jitter float64) time.Duration {
	d := last
	if shift := attempt - 1; shift < 20 && first<<shift < last {
		d = first << shift
	}
	return d - time.Duration(jitter*float64(d)/2)
}
