package kbs_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/initdata"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/kbs"
	"github.com/vouchsafe/vouchsafe/broker/kbs/kbstest"
)

// TestLargeSessionsAreFewer attests with the largest init-data document over and over, as whoever rents genuine hardware can: what the broker
// remembers of them is bounded on its own, and shuts no usual guest out.
func TestLargeSessionsAreFewer(t *testing.T) {
	b := start(t, kbs.Config{Large: 1}, brokertest.Config{})
	head := "algorithm = \"sha384\"\nversion = \"0.1.0\"\n[data]\n\"policy.rego\" = '"
	body := head + strings.Repeat("#", initdata.MaxDocument-len(head)-1) + "'"
	parsed, err := initdata.Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	field, err := snp.HostData(parsed)
	if err != nil {
		t.Fatal(err)
	}
	device, err := b.Device.With(func(c *virtual.Config) { c.HostData = field })
	if err != nil {
		t.Fatal(err)
	}
	guest := func() *kbstest.Client {
		c := client(t, b)
		c.Attester, c.InitData = virtualGuest(device), &kbstest.InitData{Format: "toml", Body: body}
		return c
	}
	first := guest()
	if got, err := first.Get(t.Context(), "res/type/tag"); err != nil || string(got) != secret {
		t.Fatalf("%q, %v", got, err)
	}
	_, err = guest().Attest(t.Context())
	wantError(t, err, http.StatusServiceUnavailable, "Unavailable")
	if _, err := client(t, b).Attest(t.Context()); err != nil {
		t.Errorf("a usual guest: %v", err)
	}
	if _, err := first.Do(t.Context(), http.MethodGet, "resource/res/type/tag", nil, nil); err != nil {
		t.Errorf("the first session: %v", err)
	}
}
