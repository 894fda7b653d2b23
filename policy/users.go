package policy

import "slices"

// Users returns the policies of the set whose rules ask for the named set of reference values, by name.
func (s *Set) Users(references string) []Active {
	var users []Active
	for _, item := range s.items {
		if slices.Contains(item.Policy.References(), references) {
			users = append(users, item)
		}
	}
	return users
}
