package policy

// Verdict is a judgement without its record: for asking the same of very many requests.
type Verdict struct {
	Guarded  bool // some policy guards the secret
	Allow    bool
	Refusing []Refusing // every rule that refuses, in the order of a [Judgement]'s results; none where no policy guards the secret
}

// Refusing names a rule that refuses.
type Refusing struct {
	Policy string `json:"policy"`
	Rule   string `json:"rule"`
}

// Decider judges as [Set.Judge] does, without what only a record needs: the values that rules saw, digests, terms. It says the same. It judges one
// request at a time, and one after the other in the same memory.
type Decider struct {
	set      *Set
	eval     evaluation
	matching []int
	rules    []RuleResult
	refusing []Refusing
}

// Decider returns one by the policies of the set.
func (s *Set) Decider() *Decider { return &Decider{set: s} }

// Decide judges a request. The verdict's list of rules is good until the next call.
func (d *Decider) Decide(req Request) Verdict {
	d.matching = d.set.matching(req.Secret, d.matching)
	if len(d.matching) == 0 {
		return Verdict{}
	}
	v := Verdict{Guarded: true, Allow: true, Refusing: d.refusing[:0]}
	d.eval = evaluation{Request: req, bare: true}
	d.eval.judgeBaseline()
	for _, i := range d.matching {
		p := d.set.items[i].Policy
		result := p.evaluate(&d.eval, d.rules)
		d.rules = result.Rules
		v.Allow = v.Allow && result.Allow
		for j := range result.Rules {
			if result.Rules[j].Outcome.refuses() {
				v.Refusing = append(v.Refusing, Refusing{p.name, result.Rules[j].Rule})
			}
		}
	}
	if rego := d.eval.rego; rego != nil && !rego.Allow {
		v.Allow = false
		for i := range rego.Rules {
			v.Refusing = append(v.Refusing, Refusing{rego.Policy, rego.Rules[i].Rule})
		}
	}
	d.refusing = v.Refusing
	return v
}

// With returns the set with p in the place of the active policy of its name, or beside the others where there is none.
func (s *Set) With(p *Policy) (*Set, error) {
	items := make([]Active, 0, len(s.items)+1)
	for _, item := range s.items {
		if item.Policy.name != p.name {
			items = append(items, item)
		}
	}
	return NewSet(append(items, Active{Policy: p}))
}

// Find returns the policy of a name, and false where none is active.
func (s *Set) Find(name string) (Active, bool) {
	for _, item := range s.items {
		if item.Policy.name == name {
			return item, true
		}
	}
	return Active{}, false
}
