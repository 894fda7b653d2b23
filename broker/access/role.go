package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Role permits a kind of work.
type Role uint8

// The roles.
const (
	Custodian Role = iota // writes secrets; cannot read them
	Author                // drafts policies and reference values
	Approver              // makes drafts count
	Auditor               // reads decisions, the log and metadata
	Operator              // seals, backup, collateral, keys, tokens, enrolments
	Enroller              // enrols TPM hosts and does nothing else
	roleCount
)

var roleNames = [roleCount]string{"custodian", "author", "approver", "auditor", "operator", "enroller"}

func (r Role) String() string {
	if r >= roleCount {
		return fmt.Sprintf("role(%d)", uint8(r))
	}
	return roleNames[r]
}

// Roles returns every role.
func Roles() []Role { return []Role{Custodian, Author, Approver, Auditor, Operator, Enroller} }

// ParseRole returns the role of that name.
func ParseRole(name string) (Role, error) {
	if i := slices.Index(roleNames[:], name); i >= 0 {
		return Role(i), nil
	}
	return 0, fmt.Errorf("access: no role %.32q: the roles are %s", name, strings.Join(roleNames[:], ", "))
}

// Set is a set of roles. Its JSON is an array of their names, in the order above.
type Set uint8

// SetOf returns the set of roles.
func SetOf(roles ...Role) Set {
	var s Set
	for _, r := range roles {
		if r < roleCount {
			s |= 1 << r
		}
	}
	return s
}

// Administrator is every role but Enroller, which permits nothing that Operator does not.
func Administrator() Set { return SetOf(Custodian, Author, Approver, Auditor, Operator) }

// Has reports whether r is in s.
func (s Set) Has(r Role) bool { return r < roleCount && s&(1<<r) != 0 }

// Roles returns the roles in s.
func (s Set) Roles() []Role {
	return slices.DeleteFunc(Roles(), func(r Role) bool { return !s.Has(r) })
}

// String returns the names of the roles joined by commas.
func (s Set) String() string { return strings.Join(s.names(), ",") }

func (s Set) names() []string {
	names := make([]string, 0, roleCount)
	for _, r := range s.Roles() {
		names = append(names, r.String())
	}
	return names
}

// ParseSet returns the set of the roles of those names, which must differ.
func ParseSet(names ...string) (Set, error) {
	var s Set
	for _, name := range names {
		r, err := ParseRole(name)
		if err != nil {
			return 0, err
		}
		if s.Has(r) {
			return 0, fmt.Errorf("access: role %q is named twice", name)
		}
		s |= 1 << r
	}
	return s, nil
}

// MarshalJSON implements json.Marshaler.
func (s Set) MarshalJSON() ([]byte, error) { return json.Marshal(s.names()) }

// UnmarshalJSON implements json.Unmarshaler.
func (s *Set) UnmarshalJSON(b []byte) error {
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return errors.New("access: roles are not an array of names")
	}
	parsed, err := ParseSet(names...)
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

// scoped are the roles whose work is about secrets, and which can be held for some paths only.
func scoped() Set { return SetOf(Custodian, Author, Approver, Auditor) }

// Check refuses roles, a namespace and a scope that no credential may have together.
func Check(roles Set, namespace string, scope Scope) error {
	return errors.Join(roles.check(scope), checkNamespace(namespace), scope.check())
}

// check refuses sets that nobody may have for a scope.
func (s Set) check(scope Scope) error {
	switch {
	case s == 0 || s>>roleCount != 0:
		return errors.New("a token needs at least one role")
	case !scope.All() && s&^scoped() != 0:
		return fmt.Errorf("of the roles %s only %s can be held for some paths", s, s&scoped())
	case s.Has(Enroller) && s != SetOf(Enroller):
		return errors.New("the enroller role goes with no other: its token lies on hosts, and operators may enrol without it")
	}
	return nil
}
