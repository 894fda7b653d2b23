package broker_test

import (
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

// TestAuthorsAloneChangeNoReferenceThatCounts has an author put a value again as staged, when it counts: of a set that policies exclude by,
// that would be to let in what it keeps out.
func TestAuthorsAloneChangeNoReferenceThatCounts(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{})
	b.PutSecret("a/b", []byte(plaintext))
	b.ApplyPolicy(document("p", "a/*", `!(claims.measurement in reference("withdrawn"))`))
	g := newGuest(t, b.Broker, b.Device)
	attested := g.attest()
	measurement := explain(t, b, attested.Decision()).Claims.Measurement
	put := func(who access.Caller, values ...reference.Value) error {
		_, err := b.PutReferences(t.Context(), who, ns, "withdrawn", values)
		return err
	}
	if err := put(b.Admin, reference.Value{Value: measurement}); err != nil {
		t.Fatal(err)
	}
	author := access.Caller{Name: "x", Roles: access.SetOf(access.Author), Namespace: ns}
	other := reference.Value{Value: "00ff", State: reference.Staged}
	again := reference.Value{Value: measurement, State: reference.Staged}
	for name, values := range map[string][]reference.Value{
		"staged":               {again},
		"beside another":       {other, again},
		"in capitals":          {{Value: "  " + measurement + " ", State: reference.Staged}},
		"staged and expired":   {{Value: measurement, State: reference.Staged, Expires: time.Now().Add(time.Minute)}},
		"as retired by itself": {{Value: measurement, State: reference.Retired}},
	} {
		if err := put(author, values...); codeOf(err) != broker.CodeForbidden {
			t.Errorf("%s: an author alone changes a value that counts: %v", name, err)
		}
		r, err := b.Release(t.Context(), attested, []broker.Want{{Secret: "a/b"}})
		if err != nil || r.Results[0].Outcome != broker.OutcomeDenied {
			t.Errorf("%s: what the set keeps out was released: %v", name, err)
		}
	}
	if err := put(author, other); err != nil {
		t.Errorf("an author stages a new value: %v", err)
	}
	if err := put(author, other); err != nil {
		t.Errorf("and changes it while it is staged: %v", err)
	}
	if err := put(b.Admin, again); err != nil {
		t.Errorf("who has both roles may: %v", err)
	}
}
