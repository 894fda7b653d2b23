package broker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
)

// TestReplayOfOddRecords replays records that this program does not write, or did not always. What is odd and means the same is judged the same; what means nothing is
// unreadable, and nothing that was not recorded is judged.
func TestReplayOfOddRecords(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{OwnFile: true})
	source, from := pastDecisions(t, b, 4, time.Second) // of which the last would be allowed by the draft
	draft := strings.Replace(source, "microcode >= 25", "microcode >= 23", 1)
	if _, err := b.PutReferences(t.Context(), b.Admin, ns, "payments-image", []reference.Value{{Value: genoa(t).Measurement[:92] + "0003"}}); err != nil {
		t.Fatal(err)
	}
	entries, err := b.Data.Store.List(t.Context(), store.Key(ns, "decision", ""), "", 10)
	if err != nil || len(entries) != 4 {
		t.Fatal(entries, err)
	}
	record, err := b.Data.Store.Get(t.Context(), entries[3].Key)
	if err != nil {
		t.Fatal(err)
	}
	whole := string(record.Value)
	replace := func(old, with string) string {
		changed := strings.Replace(whole, old, with, 1)
		if changed == whole {
			t.Fatalf("there is no %s", old)
		}
		return changed
	}
	// edited is the record with its members in another order, and changed.
	edited := func(change func(decision, claims map[string]any)) string {
		var all map[string]any
		decoder := json.NewDecoder(strings.NewReader(whole))
		decoder.UseNumber()
		if err := decoder.Decode(&all); err != nil {
			t.Fatal(err)
		}
		decision := all["decision"].(map[string]any)
		change(decision, decision["claims"].(map[string]any))
		text, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	indented := new(bytes.Buffer)
	if err := json.Indent(indented, record.Value, "", "  "); err != nil {
		t.Fatal(err)
	}
	const microcode = `"reported_tcb":{"bootloader":10,"tee":0,"snp":23,"microcode":23`
	const allow, deny, none, unreadable = "allow", "deny", "none", "unreadable"
	for i, test := range []struct{ name, text, want string }{
		{"as it was written", whole, allow},
		{"with white space", indented.String(), allow},
		{"in another order", edited(func(_, _ map[string]any) {}), allow},
		{"of an older version, with fewer members", edited(func(d, _ map[string]any) { delete(d, "protocol"); delete(d, "remote"); delete(d, "recipient") }), allow},
		{"of a newer version", replace(`"vmpl":0`, `"vmpl":0,"newer":{"x":[1,"}"]}`), allow},
		{"of a newer version, at the top", replace(`{"index"`, `{"newer":[{"decision":{}}],"index"`), allow},
		{"no time of attestation, as there was none at first", edited(func(d, _ map[string]any) { delete(d, "attested_at") }), allow},
		{"text with an escape", replace(`"product":"Genoa"`, `"product":"\u0047enoa"`), allow},
		{"a name with an escape", replace(`"product"`, `"\u0070roduct"`), allow},
		{"rules recorded twice", replace(`"policies":[`, `"policies":[{"policy":"x","rules":[{"saw":{"a":1,"a":2}}]},`), allow},
		{"a number that is more than the draft asks for", replace(microcode, strings.TrimSuffix(microcode, "23")+"999999999999999999"), allow},

		{"no claims", edited(func(d, _ map[string]any) { delete(d, "claims") }), deny},
		{"claims that are null", edited(func(d, _ map[string]any) { d["claims"] = nil }), deny},
		{"a claim that is absent", replace(`"vmpl":0,`, ``), deny},
		{"a claim that is null", replace(`"vmpl":0`, `"vmpl":null`), deny},
		{"a claim of another spelling", replace(`"vmpl"`, `"VMPL"`), deny},
		{"a number that is null", replace(microcode, strings.TrimSuffix(microcode, "23")+"null"), deny},
		{"no report", edited(func(_, c map[string]any) { delete(c, "snp") }), deny},
		{"a report that is null", edited(func(_, c map[string]any) { c["snp"] = nil }), deny},
		{"an empty report", edited(func(_, c map[string]any) { c["snp"] = map[string]any{} }), deny},
		{"evidence of after the request", replace(`"attested_at":"2`, `"attested_at":"3`), deny},

		{"another secret", replace(`"secret":"payments/db/password"`, `"secret":"other"`), none},
		{"no secrets", edited(func(d, _ map[string]any) { delete(d, "secrets") }), none},
		{"secrets that are null", edited(func(d, _ map[string]any) { d["secrets"] = nil }), none},
		{"nothing", `{}`, none},
		{"null", `null`, none},

		{"a claim twice, and then good", replace(`"vmpl":0`, `"vmpl":1,"vmpl":0`), unreadable},
		{"a claim twice, apart", replace(`"vmpl":0`, `"vmpl":0,"debug":false`), unreadable},
		{"claims twice", replace(`"claims":{`, `"claims":{"kind":"tdx"},"claims":{`), unreadable},
		{"a report twice", replace(`"snp":{"report`, `"snp":{"product":"Milan"},"snp":{"report`), unreadable},
		{"the outcome twice", replace(`"outcome":"denied","code"`, `"outcome":"denied","outcome":"released","code"`), unreadable},
		{"the decision twice", replace(`"decision":{`, `"decision":{},"decision":{`), unreadable},
		{"a number with a fraction", replace(microcode, microcode+".0"), unreadable},
		{"a number with an exponent", replace(microcode, microcode+"e1"), unreadable},
		{"a number in text", replace(`"vmpl":0`, `"vmpl":"0"`), unreadable},
		{"a number that is too large", replace(microcode, microcode+"00000000000000000000"), unreadable},
		{"a number with a zero before it", replace(`"vmpl":0`, `"vmpl":00`), unreadable},
		{"text that is no UTF-8", replace(`"product":"Genoa"`, "\"product\":\"Geno\xff\""), unreadable},
		{"a time that is none", replace(`"attested_at":"2`, `"attested_at":"x`), unreadable},
		{"claims that are a list", edited(func(d, _ map[string]any) { d["claims"] = []any{} }), unreadable},
		{"torn", whole[:len(whole)-1], unreadable},
		{"torn in what is not judged", whole[:strings.Index(whole, `"policies"`)+20], unreadable},
		{"with a byte after it", whole + "}", unreadable},
		{"empty", "", unreadable},
	} {
		at := from.Add(-time.Duration(i+1) * time.Minute)
		key := store.Key(ns, "decision", broker.FirstDecision(at))
		if err := b.Data.Store.Apply(t.Context(), store.Write{Key: key, Value: []byte(test.text)}); err != nil {
			t.Fatal(err)
		}
		r, err := b.Replay(t.Context(), b.Admin, ns, broker.Replay{Source: []byte(draft), Since: at.Add(-time.Second), Until: at.Add(time.Second)}, nil)
		if err != nil || r.Decisions != 1 {
			t.Errorf("%s: %+v, %v", test.name, r, err)
			continue
		}
		got := none
		switch {
		case r.Unreadable == 1 && r.Judged == 0:
			got = unreadable
		case r.Judged == 1 && r.Same == 1: // recorded as denied
			got = deny
		case r.Judged == 1 && len(r.Flips) == 1 && r.Flips[0].Allow:
			got = allow
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s: %+v", test.name, got, test.want, r)
		}
	}
}

// measuring is a store that looks, for each page of a list, at how much memory is in use.
type measuring struct {
	store.Store
	mu   sync.Mutex
	live []uint64
}

func (s *measuring) List(ctx context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	s.mu.Lock()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.live = append(s.live, m.HeapAlloc)
	s.mu.Unlock()
	return s.Store.List(ctx, prefix, after, limit)
}

func (s *measuring) GetEach(ctx context.Context, keys []string, f func(store.Record, error) error) error {
	return store.GetEach(ctx, s.Store, keys, f)
}

// TestReplayNeedsNoMemory: what a replay holds does not grow with the decisions it reads, and it says how far it is.
func TestReplayNeedsNoMemory(t *testing.T) {
	const many, most = 3000, 4 << 20 // decisions, of some six kilobytes each; bytes
	b := brokertest.Start(t, brokertest.Config{OwnFile: true})
	source, _ := pastDecisions(t, b, many, time.Second)
	c := configOf(t, b)
	disk := &measuring{Store: b.Data.Store}
	c.Store = disk
	second, err := broker.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	disk.live = nil
	var said []broker.ReplayProgress
	report, err := second.Replay(t.Context(), b.Admin, ns, broker.Replay{Source: []byte(source)}, func(p broker.ReplayProgress) { said = append(said, p) })
	if err != nil || report.Judged != many {
		t.Fatalf("%+v, %v", report, err)
	}
	if len(disk.live) < many/broker.MaxPage {
		t.Fatalf("%d pages", len(disk.live))
	}
	for i, live := range disk.live {
		if live > disk.live[0]+most {
			t.Errorf("%d KiB at page %d, and %d KiB at first", live>>10, i, disk.live[0]>>10)
		}
	}
	if len(said) == 0 || said[len(said)-1].Decisions != many || said[len(said)-1].At.IsZero() {
		t.Errorf("progress %s", fmt.Sprint(said))
	}
	for i := range said[1:] {
		if said[i+1].Decisions < said[i].Decisions {
			t.Errorf("progress goes back: %v", said)
		}
	}
}
