package attest

import (
	"testing"
	"time"
)

func TestFreshness(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	never := time.Time{}
	for name, test := range map[string]struct {
		grace          time.Duration
		lists          [][2]time.Time // next update, fetched
		certificate    time.Time
		current, stale bool
		age            int // -1: absent
		expires        time.Time
	}{
		"nothing but a certificate":        {certificate: now.Add(day), current: true, age: -1, expires: now.Add(day)},
		"a list that is good":              {lists: [][2]time.Time{{now.Add(1), now.Add(-day)}}, certificate: now.Add(day), current: true, age: 86400, expires: now.Add(1)},
		"due this very moment":             {lists: [][2]time.Time{{now, never}}, certificate: now.Add(day), stale: true, age: -1, expires: now},
		"late, within the grace":           {grace: day, lists: [][2]time.Time{{now.Add(-day + 1), never}}, certificate: now.Add(day), current: true, stale: true, age: -1, expires: now.Add(-day + 1)},
		"late by the whole grace":          {grace: day, lists: [][2]time.Time{{now.Add(-day), never}}, certificate: now.Add(day), stale: true, age: -1, expires: now.Add(-day)},
		"one of several is late":           {lists: [][2]time.Time{{now.Add(day), now}, {now.Add(-1), now.Add(-2 * day)}, {now.Add(day), now}}, certificate: now.Add(day), stale: true, age: 2 * 86400, expires: now.Add(-1)},
		"says no next, whatever the grace": {grace: 1 << 62, lists: [][2]time.Time{{never, now}}, certificate: now.Add(day), stale: true, age: 0, expires: now.Add(day)},
		"fetched in the future":            {lists: [][2]time.Time{{now.Add(day), now.Add(day)}}, certificate: now.Add(2 * day), current: true, age: 0, expires: now.Add(day)},
	} {
		t.Run(name, func(t *testing.T) {
			f := Freshness{At: now, Grace: test.grace}
			for _, list := range test.lists {
				f.List(list[0], list[1])
			}
			f.Certificate(test.certificate)
			c := f.Claims("local", true)
			age := -1
			if c.Age != nil {
				age = *c.Age
			}
			if c.Current != test.current || c.Stale != test.stale || age != test.age || !c.Expires.Equal(test.expires) || c.Source != "local" || !c.RevocationChecked {
				t.Errorf("%+v, age %d", c, age)
			}
		})
	}
}
