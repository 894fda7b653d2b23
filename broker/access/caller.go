package access

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/store"
)

// AllNamespaces is the namespace of a caller who may act in every namespace, and of an operation that concerns all of them,
// such as a backup: only such a caller may do one.
const AllNamespaces = "*"

// Caller is an administrator who was authenticated. The zero Caller may do nothing.
type Caller struct {
	Token     string   // id of the token, or what another way of authenticating calls its credential; never a secret
	Name      string   // for people
	Subject   string   // the person or machine behind the credential: two callers with one subject are the same one; package policy/approval counts them
	Via       Via      // how it was authenticated
	Makers    []string // subjects of who made the token, of who made theirs, and so on
	Roles     Set
	Namespace string // the one it may act in, or AllNamespaces
	Scope     Scope  // where in that its roles count
	Remote    string // the peer's address, where the front end sets it
}

// Via is a way of authenticating.
type Via string

// The ways of authenticating.
const (
	ViaToken       Via = "token"       // a token of this broker
	ViaOIDC        Via = "oidc"        // a JWT of a configured issuer
	ViaCertificate Via = "certificate" // a client certificate
	ViaKBS         Via = "kbs"         // a token that a KBS administrator signed with a configured key
	ViaVault       Via = "vault"       // Vault, which the broker is inside of
	ViaInit        Via = "init"        // the command that holds the store and its seal in its hands
)

// Allowed reports whether c holds role. An operator may enrol as an enroller may.
func (c Caller) Allowed(role Role) bool {
	return c.Roles.Has(role) || role == Enroller && c.Roles.Has(Operator)
}

func (c Caller) allowedAny(roles []Role) bool { return slices.ContainsFunc(roles, c.Allowed) }

// LogValue implements slog.LogValuer.
func (c Caller) LogValue() slog.Value {
	return slog.GroupValue(slog.String("token", c.Token), slog.String("name", c.Name), slog.String("subject", c.Subject),
		slog.String("via", string(c.Via)), slog.String("roles", c.Roles.String()), slog.String("namespace", c.Namespace), slog.Any("scope", []string(c.Scope)), slog.String("remote", c.Remote))
}

// Forbidden says that a caller who is known may not do something.
type Forbidden struct {
	Caller    Caller
	Roles     []Role // any of which it needs
	Namespace string // where it needs it
}

func (f *Forbidden) Error() string {
	if !f.Caller.allowedAny(f.Roles) {
		names := make([]string, len(f.Roles))
		for i, role := range f.Roles {
			names[i] = role.String()
		}
		return fmt.Sprintf("%q may not do this: it needs the role %s and has %s", f.Caller.Name, strings.Join(names, " or "), f.Caller.Roles)
	}
	if !f.Caller.within(f.Namespace) {
		return fmt.Sprintf("%q may not do this in namespace %q, only in %q", f.Caller.Name, f.Namespace, f.Caller.Namespace)
	}
	return fmt.Sprintf("%q may do this only with what is at or below %s", f.Caller.Name, f.Caller.Scope)
}

// Authorize is AuthorizeOn for the whole namespace. An operation that says nothing of paths is thereby none for callers with a scope.
func Authorize(caller Caller, role Role, namespace string) error {
	return AuthorizeOn(caller, role, namespace, Whole())
}

// AuthorizeOn is AuthorizeAny for one role.
func AuthorizeOn(caller Caller, role Role, namespace string, on Object) error {
	return AuthorizeAny(caller, namespace, on, role)
}

// AuthorizeAny returns nil when caller holds one of the roles in namespace, which may be AllNamespaces, and for the object in it, and a *[Forbidden] otherwise.
// Every decision about who may do what is made here.
func AuthorizeAny(caller Caller, namespace string, on Object, roles ...Role) error {
	if !caller.within(namespace) || !caller.allowedAny(roles) || !on.within(caller.Scope) {
		return &Forbidden{Caller: caller, Roles: roles, Namespace: namespace}
	}
	return nil
}

// within reports whether the caller may act in a namespace at all.
func (c Caller) within(namespace string) bool {
	return namespace != "" && (c.Namespace == AllNamespaces || c.Namespace == namespace)
}

// namespaceForm is what a token's namespace may be: a segment of a key that needs no escaping anywhere.
var namespaceForm = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,62}$`)

func checkNamespace(ns string) error {
	if ns == AllNamespaces {
		return nil
	}
	if ns == store.SysNamespace || !namespaceForm.MatchString(ns) {
		return errors.New("a token's namespace is 1 to 63 letters, digits, '_', '-' and '.', not beginning with '.' and not \"sys\", or \"*\"")
	}
	return nil
}
