package vaultconn

import (
	"testing"
	"time"
)

// TestClock tells a clock of answers that come late and out of order, and of a Vault whose own clock is set.
func TestClock(t *testing.T) {
	here := time.Now()
	there := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) // what Vault shows at the same moment
	var c clock
	if _, known := c.now(here); known {
		t.Fatal("it knows the time before anything was told")
	}
	c.told(time.Time{}, here) // an answer without a date
	want := func(what string, after time.Duration, ahead time.Duration) {
		t.Helper()
		if got, known := c.now(here.Add(after)); !known || !got.Equal(there.Add(after+ahead)) {
			t.Errorf("%s: after %v it is %v", what, after, got)
		}
	}
	c.told(there, here)
	want("told", 0, 0)
	want("and time passes", time.Minute, 0)
	c.told(there.Add(5*time.Second), here.Add(60*time.Second))
	want("an answer that was 55 s under way", time.Minute, 0)
	c.told(there.Add(70*time.Second), here.Add(65*time.Second))
	want("Vault's clock is set 5 s forward", 70*time.Second, 5*time.Second)
	c.told(there.Add(-time.Hour), here.Add(100*time.Second))
	want("back, which counts later", 100*time.Second, 5*time.Second)
	c.told(there.Add(200*time.Second-time.Hour), here.Add(200*time.Second))
	want("back", 200*time.Second, -time.Hour)
}
