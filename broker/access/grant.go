package access

import "slices"

// Grant is what a rule of configuration gives to whom it matches: roles, and where they count.
type Grant struct {
	Roles     Set
	Namespace string // or AllNamespaces
	Scope     Scope  // as ParseScope returns it
}

// Check refuses what no credential may have.
func (g *Grant) Check() error { return Check(g.Roles, g.Namespace, g.Scope) }

// Join makes one grant of those whose rules match, in the order of the rules. A caller's roles count in one place: the first grant says where, and those
// after it that say the same add their roles. Others are left out, since their roles would count where the first says.
func Join(grants []Grant) Grant {
	var all Grant
	for i, g := range grants {
		switch {
		case i == 0:
			all = g
		case g.Namespace == all.Namespace && slices.Equal(g.Scope, all.Scope):
			all.Roles |= g.Roles
		}
	}
	return all
}
