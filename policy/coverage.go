package policy

// Coverage says what tests showed of one rule of a policy. A rule that no test sees refuse may be one that never refuses: the tests would
// pass without it.
type Coverage struct {
	Rule    string `json:"rule"`
	Line    int    `json:"line"`    // of the rule's expression in the document
	Passed  int    `json:"passed"`  // tests in which it let pass
	Refused int    `json:"refused"` // tests in which it failed or could not be evaluated
	Alone   int    `json:"alone"`   // those of them in which nothing else refused: without the rule the policy would have allowed
}

// Covered reports whether the tests tell the rule from one that always refuses and from one that never does.
func (c Coverage) Covered() bool { return c.Passed > 0 && c.Refused > 0 }

// Cover returns what the results of a policy's tests show of each of its own rules, in the order of the document. Only tests that passed count: one that
// failed shows that somebody is wrong, and not which.
func Cover(p *Policy, results []TestResult) []Coverage {
	covered := make([]Coverage, len(p.rules))
	index := map[string]int{}
	for i, rule := range p.rules {
		covered[i] = Coverage{Rule: rule.name, Line: rule.node.line}
		index[rule.name] = i
	}
	for _, result := range results {
		if !result.Pass {
			continue
		}
		refusing := 0
		for _, rule := range result.Result.Rules {
			if rule.Outcome.refuses() {
				refusing++
			}
		}
		for _, rule := range result.Result.Rules {
			i, own := index[rule.Rule]
			switch {
			case !own:
			case rule.Outcome == Pass:
				covered[i].Passed++
			default:
				covered[i].Refused++
				if refusing == 1 {
					covered[i].Alone++
				}
			}
		}
	}
	return covered
}
