package collateral

import "time"

// refetchAge is the least age of an item that is fetched again because it seems to be old: a token names a key that is not in its issuer's set. Strangers can
// write such tokens, so that this is how often they can have an issuer asked.
const refetchAge = time.Minute

// Refresh asks for an item at hand to be fetched again soon, since it seems to be older than what its publisher has, and never waits. It reports whether a
// fetch is under way, so that asking again shortly makes sense: not where nothing is fetched from the publisher, nor when the item was fetched within the last
// minute. It implements the Refresher of package token.
func (m *Manager) Refresh(text string) bool {
	i := m.Item(text)
	if i == nil {
		return false
	}
	l := m.lanes[i.Name.Vendor()]
	if l == nil || l.publisher.Source == nil {
		return false
	}
	now := m.config.Now()
	if l.fetching(text) {
		return true
	}
	if now.Sub(i.Endorsement.Fetched) < refetchAge {
		return false
	}
	l.renew(i.Name, i.Kept, now)
	return true
}

// fetching reports whether a name waits to be fetched and its publisher did not say that there is none.
func (l *lane) fetching(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.wants[text]
	return w != nil && !w.absent
}
