// Package rights says what a broker's token must be allowed in Vault, as the least policy that does it: Vault's own format, with the reason
// beside each path. [Needs] are what the broker uses Vault for; [Needs.Rights] are the paths, which the doctor tries too.
//
// Each path is as narrow as Vault can say it. Where a right is for one thing among many at the same path, as the ending of leases is, the policy bounds the
// parameters: a broker may end what was issued at its own paths and no other lease. Mounts and paths with "*", "+" or "{{" in them, by which a policy would come
// to mean more, are refused; only a source's path may end in "/*".
//
// The rights on the token itself are in Vault's policy "default" too. They are printed all the same, so that tokens can do without that one.
package rights

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
)

// Right is a path of Vault and what a token must be allowed there, in the words of Vault's policies.
type Right struct {
	Path         string
	Capabilities []string
	Why          string
	LeaseIDs     []string // the lease ids that may be named, with "*" at the end; empty where none are
}

// Store is a store in a KV engine, version 2.
type Store struct {
	Mount, Prefix string
	Create        bool // and it is made first
}

// KV is an existing secret in a KV engine, version 2, or with "/*" at the end of Path all below it.
type KV struct{ Mount, Path string }

// Issuer is a path at which Vault issues credentials, on a read or with Write on a write. It may end in "/*".
type Issuer struct {
	Path  string
	Write bool
}

// Transit is a key of a transit engine.
type Transit struct{ Mount, Key string }

// Needs are what a broker uses Vault for.
type Needs struct {
	Store   *Store
	Seal    *Transit
	KV      []KV
	Issuers []Issuer
	Given   bool // the token is given to the broker, which then does not revoke it
}

// Check says what is wrong with the paths.
func (n *Needs) Check() error {
	var errs []error
	plain := func(what, p string) {
		if p == "" || path.Clean(p) != p || strings.HasPrefix(p, "/") || strings.HasPrefix(p, "..") || strings.ContainsAny(p, `*+"\`) ||
			strings.Contains(p, "{{") || strings.Contains(p, "${") || strings.ContainsFunc(p, func(r rune) bool { return !unicode.IsPrint(r) }) {
			errs = append(errs, fmt.Errorf("the %s %q is not a path that a policy can name", what, p))
		}
	}
	if n.Store != nil {
		plain("store's mount", n.Store.Mount)
		plain("store's prefix", n.Store.Prefix)
	}
	if n.Seal != nil {
		plain("transit mount", n.Seal.Mount)
		plain("transit key", n.Seal.Key)
	}
	for _, k := range n.KV {
		plain("mount", k.Mount)
		plain("secret", strings.TrimSuffix(k.Path, "/*"))
	}
	for _, i := range n.Issuers {
		plain("issuing path", strings.TrimSuffix(i.Path, "/*"))
	}
	return errors.Join(errs...)
}

// Rights returns what the needs take, in the order in which it is printed.
func (n *Needs) Rights() []Right {
	rights := []Right{
		{Path: "auth/token/lookup-self", Capabilities: []string{"read"}, Why: "to know when the token ends, and whether a refusal means that it is gone"},
		{Path: "auth/token/renew-self", Capabilities: []string{"update"}, Why: "to renew the token before its end"},
	}
	if !n.Given {
		rights = append(rights, Right{Path: "auth/token/revoke-self", Capabilities: []string{"update"}, Why: "to end the token when the broker ends"})
	}
	rights = append(rights, Right{
		Path: "sys/capabilities-self", Capabilities: []string{"update"}, Why: `for "vouchsafe vault doctor" and the checks of sources: what the token may do`,
	})
	if s := n.Store; s != nil {
		rights = append(rights, s.Rights()...)
	}
	if s := n.Seal; s != nil {
		rights = append(rights,
			Right{Path: s.Mount + "/encrypt/" + s.Key, Capabilities: []string{"update"}, Why: "to seal the store's root key, when it is made and after the transit key was rotated"},
			Right{Path: s.Mount + "/decrypt/" + s.Key, Capabilities: []string{"update"}, Why: "to open it, once at each start"},
			Right{Path: s.Mount + "/keys/" + s.Key, Capabilities: []string{"read"}, Why: "to see the key's type and its latest version, which is not the key"})
	}
	for _, k := range n.KV {
		rights = append(rights,
			Right{Path: k.Mount + "/data/" + k.Path, Capabilities: []string{"read"}, Why: "secrets that stay where they are, read when they are released"},
			Right{Path: k.Mount + "/subkeys/" + k.Path, Capabilities: []string{"read"}, Why: "to check that they are there without reading them"})
	}
	return append(rights, n.issuing()...)
}

// Rights returns what the store alone takes: enough for all that package store/vault does, also where the mount is disabled and enabled again, and nothing more.
func (s *Store) Rights() []Right {
	rights := []Right{
		{Path: s.Mount + "/data/" + s.Prefix + "/*", Capabilities: []string{"create", "read", "update"}, Why: "the store's records, written with check-and-set"},
		{Path: s.Mount + "/subkeys/" + s.Prefix + "/*", Capabilities: []string{"read"}, Why: "versions of records without their values"},
		{Path: s.Mount + "/metadata/" + s.Prefix + "/*", Capabilities: []string{"read", "list", "delete"}, Why: "to list records, and to remove the name of one that was deleted"},
	}
	config := Right{Path: s.Mount + "/config", Capabilities: []string{"read"}, Why: "to see that the engine keeps one version of a record, so that what was replaced is gone"}
	if s.Create {
		config.Capabilities = append(config.Capabilities, "update")
		config.Why += "; and to set that when the store is made: take update away afterwards"
		above := s.Mount + "/metadata/"
		for folder := range strings.SplitSeq(s.Prefix, "/") {
			rights = append(rights, Right{Path: above, Capabilities: []string{"list"}, Why: "to see, when the store is made, that nothing else is in the engine: take it away afterwards"})
			above += folder + "/"
		}
	}
	return append(rights, config)
}

func (n *Needs) issuing() []Right {
	var rights []Right
	var leases []string
	for _, i := range n.Issuers {
		may := "read"
		if i.Write {
			may = "update"
		}
		rights = append(rights, Right{Path: i.Path, Capabilities: []string{may}, Why: "credentials that are issued when they are released"})
		below := strings.TrimSuffix(i.Path, "/*")
		if id := below + "/*"; !slices.Contains(leases, id) {
			leases = append(leases, id)
		}
	}
	if len(leases) == 0 {
		return nil
	}
	rights = append(rights,
		Right{Path: "sys/leases/revoke", Capabilities: []string{"update"}, LeaseIDs: leases, Why: "to end those credentials, and no others, with the broker's lease"},
		Right{Path: "sys/leases/lookup", Capabilities: []string{"update"}, LeaseIDs: leases, Why: "to see how long one of them is good for"})
	for _, id := range leases {
		rights = append(rights, Right{
			Path: "sys/leases/lookup/" + id, Capabilities: []string{"list", "sudo"}, Why: "to find those that a broker issued and did not live to write down; Vault demands sudo to list leases",
		})
	}
	return append(rights, Right{Path: "sys/wrapping/wrap", Capabilities: []string{"update"}, Why: "to hand them out response-wrapped, where a secret asks for that"})
}

// parameters are those that a policy allows at a path of leases.
func (r *Right) parameters() map[string][]string {
	if len(r.LeaseIDs) == 0 {
		return nil
	}
	allowed := map[string][]string{"lease_id": r.LeaseIDs}
	if strings.HasSuffix(r.Path, "/revoke") {
		allowed["sync"] = []string{}
	}
	return allowed
}

// HCL prints rights as a policy that "vault policy write NAME -" takes.
func HCL(rights []Right) string {
	var out strings.Builder
	for i, r := range rights {
		if i > 0 {
			out.WriteString("\n")
		}
		fmt.Fprintf(&out, "# %s\npath %q {\n  capabilities = [%s]\n", r.Why, r.Path, quoted(r.Capabilities))
		if allowed := r.parameters(); allowed != nil {
			out.WriteString("  allowed_parameters = {\n")
			for _, name := range []string{"lease_id", "sync"} {
				if values, ok := allowed[name]; ok {
					fmt.Fprintf(&out, "    %q = [%s]\n", name, quoted(values))
				}
			}
			out.WriteString("  }\n")
		}
		out.WriteString("}\n")
	}
	return out.String()
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(out, ", ")
}

// JSON returns rights in the JSON form of a policy, which Vault takes as well.
func JSON(rights []Right) json.Marshaler { return policy(rights) }

type policy []Right

// MarshalJSON implements json.Marshaler.
func (p policy) MarshalJSON() ([]byte, error) {
	type rule struct {
		Capabilities []string            `json:"capabilities"`
		Allowed      map[string][]string `json:"allowed_parameters,omitempty"`
	}
	rules := map[string]rule{}
	for _, r := range p {
		rules[r.Path] = rule{r.Capabilities, r.parameters()}
	}
	return json.Marshal(map[string]any{"path": rules})
}
