package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/internal/readback"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
)

// Limits of a replay.
const (
	// MaxFlips is how many groups of requests whose answer flips a report names. A draft that flips more is wrong as a whole; the report counts the rest.
	MaxFlips = 1000
	// replayChunk is how many decisions one worker takes at once.
	replayChunk = 64
	// progressEvery is how often a replay says how far it is, which it also does at its end.
	progressEvery = 500 * time.Millisecond
)

// Replay says which draft to try on which decisions.
type Replay struct {
	Filename string // for messages only
	Source   []byte // of the policy
	Since    time.Time
	Until    time.Time // exclusive; now when zero
}

// ReplayProgress says how far a replay is.
type ReplayProgress struct {
	Decisions uint64    `json:"decisions"` // read so far
	At        time.Time `json:"at"`        // when the newest of them was made
}

// ReplayReport is what a draft would have answered to requests that were recorded.
type ReplayReport struct {
	Policy    string    `json:"policy"`  // the draft's name
	Digest    string    `json:"digest"`  // the draft's
	Instead   uint64    `json:"instead"` // the active version that it stood in for; 0 where none is active
	Since     time.Time `json:"since,omitzero"`
	Until     time.Time `json:"until"`
	Decisions uint64    `json:"decisions"` // that were read

	// What was asked for in them and the draft or the version that it stands in for guards, by what became of it. They add up.
	Judged uint64 `json:"judged"` // judged again: the sum of Same and the counts of all flips
	Same   uint64 `json:"same"`   // the answer is the recorded one
	Other  uint64 `json:"other"`  // requests for secrets that neither guards: not judged

	Unreadable uint64      `json:"unreadable,omitempty"` // decisions whose record is damaged
	Flips      []Flip      `json:"flips"`                // those that the draft is the cause of before others, then the most frequent first
	MoreFlips  uint64      `json:"more_flips,omitempty"` // requests whose answer flips that are in no item of Flips
	Refusals   []RuleCount `json:"refusals,omitempty"`   // how often each rule of the draft refuses, those that do
}

// Changes reports whether the draft would have changed any answer.
func (r *ReplayReport) Changes() bool {
	return r.MoreFlips > 0 || slices.ContainsFunc(r.Flips, func(f Flip) bool { return f.Cause == CauseDraft })
}

// RuleCount is how often a rule refuses.
type RuleCount struct {
	policy.Refusing
	Count uint64 `json:"count"`
}

// FlipCause says why an answer would be another than the recorded one.
type FlipCause string

// The causes.
const (
	CauseDraft FlipCause = "draft" // the draft: today's policies would answer as recorded
	CauseSince FlipCause = "since" // policies or reference values changed since: today's policies would answer as the draft does
)

// Flip is a group of requests whose answer would be another one.
type Flip struct {
	flipGroup
	Rules    []policy.Refusing `json:"rules"` // that now refuse or, of what is now allowed, that refuse today without the draft
	Count    uint64            `json:"count"`
	First    time.Time         `json:"first"`
	Last     time.Time         `json:"last"`
	Decision string            `json:"decision"` // id of the last of them
}

// flipGroup is what the requests of a group have in common.
type flipGroup struct {
	Secret   string      `json:"secret"`
	Kind     attest.Kind `json:"kind"`
	Workload string      `json:"workload,omitempty"` // measurement, host or image: what tells it from others
	Allow    bool        `json:"allow"`              // what it would be now; it was the other
	Cause    FlipCause   `json:"cause"`
}

// Replay judges recorded requests again, with a draft in the place of the active version of its name. The other policies and all reference values are
// those that count now; now and evidence_age are those of the request. Authors, approvers and auditors may; those with a scope may try a draft that lies in it, and
// what they are told, and counted, is of requests for secrets in it. One replay runs in a namespace at a time, and few in all; more are refused
// with [CodeOverloaded]. progress may be nil. A Rego policy of resources is taken to allow, and not judged again: where it refused, today's policies answer otherwise too,
// so that a flip is not laid at the draft's door. Records are believed as they are: Explain holds one against the audit log.
func (b *Broker) Replay(ctx context.Context, who access.Caller, namespace string, r Replay, progress func(ReplayProgress)) (*ReplayReport, error) {
	roles := []access.Role{access.Author, access.Approver, access.Auditor}
	if err := authorizeOn(who, namespace, access.Some(), roles...); err != nil {
		return nil, err
	}
	draft, err := policy.Parse(r.Filename, r.Source)
	if err != nil {
		return nil, &Error{Code: CodeInvalid, Message: err.Error(), Err: err}
	}
	if !who.Scope.All() {
		record, _, err := b.policyRecord(ctx, namespace, draft.Name())
		if err != nil && !codeIs(err, CodeNotFound) {
			return nil, asError(err)
		}
		if err := authorizePolicy(who, namespace, &record, draft, roles...); err != nil {
			return nil, err
		}
	}
	if r.Until.IsZero() {
		r.Until = b.now()
	}
	if !r.Since.Before(r.Until) {
		return nil, invalid("the decisions until %s are none since %s", r.Until.Format(time.RFC3339), r.Since.Format(time.RFC3339))
	}
	end, err := b.replays.enter(namespace)
	if err != nil {
		return nil, err
	}
	defer end()
	rules, err := b.rules.of(ctx, namespace)
	if err != nil {
		return nil, asError(err)
	}
	with, err := rules.policies.With(draft)
	if err != nil {
		return nil, asError(err)
	}
	active, _ := rules.policies.Find(draft.Name())
	run := &replay{
		store: b.store, places: b.replays, root: decisionKey(namespace, ""), Replay: r, scope: who.Scope, draft: draft, active: active.Policy,
		today: rules.policies, with: with, references: asOf{rules.references, b.now()},
	}
	if active := rules.rego.resource; active != nil {
		run.rego = func() policy.Result { // a token as it was then is not there to be judged again
			return policy.Result{Policy: RegoResourceID, Version: active.version, Digest: active.policy.Digest(), Allow: true}
		}
	}
	report, err := run.run(ctx, progress)
	if err != nil {
		return nil, asError(err)
	}
	report.Instead = active.Version
	return report, nil
}

// asOf is reference values as they count at one time, whatever time is asked for.
type asOf struct {
	*reference.Snapshot
	at time.Time
}

// Lookup implements policy.References.
func (a asOf) Lookup(name string, _ time.Time) (policy.Values, bool) {
	return a.Snapshot.Lookup(name, a.at)
}

// replay is one under way.
type replay struct {
	Replay
	store         store.Store
	places        *replayPlaces
	root          string
	scope         access.Scope   // only requests for secrets in it count
	draft, active *policy.Policy // active may be nil
	today, with   *policy.Set
	references    policy.References
	rego          func() policy.Result // nil where there is no Rego policy of resources

	count atomic.Uint64 // of the decisions that were read
	at    atomic.Int64  // when the latest of them was made, in Unix milliseconds
}

func (r *replay) run(ctx context.Context, progress func(ReplayProgress)) (*ReplayReport, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	workers := cap(r.places.workers)
	keys := make(chan []string, workers)
	all, records := make([]replayer, workers), readback.New[replayed]()
	var running sync.WaitGroup
	for i := range all {
		all[i] = replayer{replay: r, records: records, with: r.with.Decider(), today: r.today.Decider(), tally: newTally()}
		running.Go(func() {
			for chunk := range keys {
				if err := r.places.work(ctx, func() error { return store.GetEach(ctx, r.store, chunk, all[i].judge) }); err != nil {
					stop(err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.list(ctx, keys); err != nil {
			stop(err)
		}
		close(keys)
		running.Wait()
	}()
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	say := func() {
		if progress != nil && r.at.Load() != 0 {
			progress(ReplayProgress{Decisions: r.count.Load(), At: time.UnixMilli(r.at.Load()).UTC()})
		}
	}
	for {
		select {
		case <-ticker.C:
			say()
		case <-done:
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			say()
			return r.report(all), nil
		}
	}
}

// list sends the keys of the decisions in chunks.
func (r *replay) list(ctx context.Context, to chan<- []string) error {
	after, end := r.root+FirstDecision(r.Since), r.root+FirstDecision(r.Until)
	for {
		entries, err := r.store.List(ctx, r.root, after, MaxPage)
		if err != nil {
			return err
		}
		keys := make([]string, 0, len(entries))
		for _, e := range entries {
			if e.Key < end {
				keys = append(keys, e.Key)
			}
		}
		for chunk := range slices.Chunk(keys, replayChunk) {
			select {
			case to <- chunk:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if len(keys) < MaxPage {
			return nil
		}
		after = keys[len(keys)-1]
	}
}

// replayed is what a replay needs of a decision's record: every member that there is, in the order in which it is written, which is how readback is fast. What is not
// judged is passed over.
type replayed struct {
	Log      readback.Passed  `json:"log"`
	Index    readback.Passed  `json:"index"`
	Decision replayedDecision `json:"decision"`
}

type replayedDecision struct {
	ID         string           `json:"id"`
	Time       time.Time        `json:"time"`
	Namespace  readback.Passed  `json:"namespace"`
	Protocol   readback.Passed  `json:"protocol"`
	Outcome    readback.Passed  `json:"outcome"`
	Remote     readback.Passed  `json:"remote"`
	Kind       attest.Kind      `json:"kind"`
	Evidence   readback.Passed  `json:"evidence"`
	Recipient  readback.Passed  `json:"recipient"`
	AttestedAt time.Time        `json:"attested_at"`
	Claims     *attest.Claims   `json:"claims"`
	Refusal    readback.Passed  `json:"refusal"`
	Secrets    []replayedSecret `json:"secrets"`
	Withheld   readback.Passed  `json:"withheld"`
}

type replayedSecret struct {
	Secret   string          `json:"secret"`
	Version  readback.Passed `json:"version"`
	Outcome  Outcome         `json:"outcome"`
	Code     readback.Passed `json:"code"`
	Policy   readback.Passed `json:"policy"`
	Policies readback.Passed `json:"policies"`
	Matched  readback.Passed `json:"matched"`
	Lease    readback.Passed `json:"lease"`
	Source   readback.Passed `json:"source"`
}

// replayer is one worker of a replay, and what it has counted.
type replayer struct {
	*replay
	records     *readback.Reader[replayed]
	with, today *policy.Decider
	read        replayed // the record under judgement
	tally
}

// judge judges the requests of one decision again, by its record.
func (r *replayer) judge(record store.Record, err error) error {
	if errors.Is(err, store.ErrNotFound) { // removed meanwhile
		return nil
	}
	if err != nil && !errors.Is(err, store.ErrCorrupt) {
		return err
	}
	if err != nil || r.records.Unmarshal(record.Value, &r.read) != nil {
		if r.scope.All() { // or nobody knows whose it was
			r.count.Add(1)
			r.unreadable++
		}
		return nil
	}
	d := &r.read.Decision
	if !r.scope.All() {
		beyond := func(asked replayedSecret) bool { return !r.scope.Covers(asked.Secret) }
		if d.Secrets = slices.DeleteFunc(d.Secrets, beyond); len(d.Secrets) == 0 {
			return nil
		}
	}
	r.count.Add(1)
	r.at.Store(d.Time.UnixMilli())
	for _, asked := range d.Secrets {
		if !r.draft.Matches(asked.Secret) && (r.active == nil || !r.active.Matches(asked.Secret)) {
			r.other++
			continue
		}
		request := policy.Request{
			Claims: d.Claims, Secret: asked.Secret, EvidenceAge: ageAt(d.Time, d.AttestedAt), Time: d.Time, References: r.references, Rego: r.rego,
		}
		verdict := r.with.Decide(request)
		r.judged++
		for _, rule := range verdict.Refusing {
			if rule.Policy == r.draft.Name() {
				r.refusals[rule]++
			}
		}
		if verdict.Allow == asked.Outcome.allowed() {
			r.same++
			continue
		}
		flip := Flip{
			flipGroup: flipGroup{Secret: asked.Secret, Kind: d.Kind, Workload: workload(d.Claims), Allow: verdict.Allow, Cause: CauseDraft},
			Rules:     verdict.Refusing, Count: 1, First: d.Time, Last: d.Time, Decision: d.ID,
		}
		today := r.today.Decide(request)
		if today.Allow == verdict.Allow {
			flip.Cause = CauseSince
		}
		if verdict.Allow {
			flip.Rules = today.Refusing
		}
		r.flip(flip)
	}
	return nil
}

// allowed reports whether the policies allowed it, whatever became of it then.
func (o Outcome) allowed() bool {
	return o == OutcomeReleased || o == OutcomeNotFound || o == OutcomeFailed
}

// workload names what asked, by what tells it from others of its kind.
func workload(c *attest.Claims) string {
	switch {
	case c == nil:
		return ""
	case c.TPM != nil && c.TPM.Host != "":
		return c.TPM.Host
	case c.Token != nil && c.Token.Container != nil && c.Token.Container.ImageDigest != "":
		return c.Token.Container.ImageDigest
	default:
		return c.Measurement
	}
}

// tally is what one worker has counted.
type tally struct {
	judged, same, other, unreadable, more uint64
	flips                                 map[string]*Flip
	refusals                              map[policy.Refusing]uint64
}

func newTally() tally {
	return tally{flips: map[string]*Flip{}, refusals: map[policy.Refusing]uint64{}}
}

// flip adds requests to their group, or counts them where there are too many groups.
func (t *tally) flip(f Flip) {
	key := fmt.Sprintf("%v %q", f.flipGroup, f.Rules)
	group := t.flips[key]
	switch {
	case group != nil:
		group.Count += f.Count
		if f.First.Before(group.First) {
			group.First = f.First
		}
		if f.Last.After(group.Last) {
			group.Last, group.Decision = f.Last, f.Decision
		}
	case len(t.flips) < MaxFlips:
		f.Rules = slices.Clone(f.Rules) // a verdict's are good until the next
		t.flips[key] = &f
	default:
		t.more += f.Count
	}
}

// report adds up what the workers counted.
func (r *replay) report(workers []replayer) *ReplayReport {
	all := newTally()
	for i := range workers {
		t := &workers[i].tally
		all.judged, all.same, all.other = all.judged+t.judged, all.same+t.same, all.other+t.other
		all.unreadable, all.more = all.unreadable+t.unreadable, all.more+t.more
		for _, f := range t.flips {
			all.flip(*f)
		}
		for rule, n := range t.refusals {
			all.refusals[rule] += n
		}
	}
	report := &ReplayReport{
		Policy: r.draft.Name(), Digest: r.draft.Digest(), Since: r.Since, Until: r.Until, Decisions: r.count.Load(),
		Judged: all.judged, Same: all.same, Other: all.other, Unreadable: all.unreadable, MoreFlips: all.more, Flips: []Flip{},
	}
	for _, f := range all.flips {
		report.Flips = append(report.Flips, *f)
	}
	slices.SortFunc(report.Flips, func(a, b Flip) int {
		return cmp.Or(cmp.Compare(a.Cause, b.Cause), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Secret, b.Secret), cmp.Compare(a.Workload, b.Workload),
			cmp.Compare(fmt.Sprint(a.Allow, a.Kind, a.Rules), fmt.Sprint(b.Allow, b.Kind, b.Rules)))
	})
	for rule, n := range all.refusals {
		report.Refusals = append(report.Refusals, RuleCount{rule, n})
	}
	slices.SortFunc(report.Refusals, func(a, b RuleCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Rule, b.Rule))
	})
	return report
}

// FirstDecision sorts before the id of every decision made at a time or later: a UUIDv7 with nothing but the time. It is "" for the zero time.
func FirstDecision(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	var id uuid.UUID
	ms := max(at.UnixMilli(), 0)
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	id[6], id[8] = 0x70, 0x80
	return id.String()
}
