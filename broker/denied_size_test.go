package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/initdata"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
)

// TestLargeDenialsDoNotFillTheDisk is denied over and over by a guest whose records are as large as it can make them: what is recorded of
// denials is bounded in bytes, not only in number.
func TestLargeDenialsDoNotFillTheDisk(t *testing.T) {
	const perSecond = 20
	clock := newClock()
	b, g := started(t, brokertest.Config{Now: clock.now, Limits: broker.Limits{RefusalsPerSecond: perSecond}})
	head := "algorithm = \"sha384\"\nversion = \"0.1.0\"\n[data]\n\"policy.rego\" = '"
	body := []byte(head + strings.Repeat("#", initdata.MaxDocument-len(head)-1) + "'")
	parsed, err := initdata.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	field, err := snp.HostData(parsed)
	if err != nil {
		t.Fatal(err)
	}
	if g.device, err = b.Device.With(func(c *virtual.Config) { c.HostData = field }); err != nil {
		t.Fatal(err)
	}
	g.init = body
	attested := g.attest()
	denied := func() bool {
		_, err := b.Release(t.Context(), attested, []broker.Want{{Secret: "z/none"}})
		if err != nil {
			wantCode(t, err, broker.CodeOverloaded)
		}
		return err == nil
	}
	recorded := 0
	for range 2 * perSecond {
		if denied() {
			recorded++
		}
	}
	if size := recorded * initdata.MaxDocument; recorded == 0 || size > initdata.MaxDocument+perSecond*8<<10 {
		t.Errorf("%d denials of %d KiB were recorded at once", recorded, initdata.MaxDocument>>10)
	}
	clock.add(time.Second)
	if !denied() {
		t.Error("with time there is no room again")
	}
}
