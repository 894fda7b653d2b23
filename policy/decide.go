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

// Decide is [Set.Judge] without what only a record needs: the values that rules saw, digests, terms. It says the same.
func (s *Set) Decide(req Request) Verdict {
	matching := s.matching(req.Secret)
	if len(matching) == 0 {
		return Verdict{}
	}
	v := Verdict{Guarded: true, Allow: true}
	e := &evaluation{Request: req, bare: true}
	e.judgeBaseline()
	for _, i := range matching {
		p := s.items[i].Policy
		result := p.evaluate(e)
		v.Allow = v.Allow && result.Allow
		for j := range result.Rules {
			if result.Rules[j].Outcome.refuses() {
				v.Refusing = append(v.Refusing, Refusing{p.name, result.Rules[j].Rule})
			}
		}
	}
	if e.rego != nil && !e.rego.Allow {
		v.Allow = false
		for i := range e.rego.Rules {
			v.Refusing = append(v.Refusing, Refusing{e.rego.Policy, e.rego.Rules[i].Rule})
		}
	}
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
