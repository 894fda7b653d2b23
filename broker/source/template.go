package source

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vouchsafe/vouchsafe/policy"
)

// MaxInserted is the longest value of a placeholder in bytes: as long as a segment of a path may be.
const MaxInserted = policy.MaxSegment

// Template is a text with placeholders. A placeholder is written ${NAME}, and $${ stands for ${ itself. The names are
//
//	claims.PATH        a claim that is a text, a number or a truth value, such as claims.tpm.host
//	claims.PATH["key"] an entry of a claim that is a map, such as claims.init_data_claims["role"]; [7] where keys are numbers
//	secret             the name of the secret, if it is of one segment
//	secret[N]          a segment of it, from 0
//	namespace          of the broker's records
//	decision           the id of the decision that releases it, which nobody could know before
//
// There is nothing to compute with. Expressions, such as policies have, could join, cut and replace texts, so that neither a reader nor a
// program could say from the template where a path may lead; here it leads where it is written, but for segments that are named.
//
// What is put in is checked whatever it is: 1 to MaxInserted of the characters A-Z a-z 0-9 _ - . without a dot at the beginning or two in a row,
// and not one of the names in [Reserved]. These characters mean nothing to a path, to a query, to percent-encoding, to a shell, to SQL, or to a list with
// commas, and every other is refused, not replaced: two workloads must not get one name. Letters outside ASCII are refused, because some look or
// fold like others.
type Template struct {
	text  string
	parts []part
}

// part is either a literal or a placeholder.
type part struct {
	literal     string
	placeholder string // as it is written between the braces; "" for a literal
	value       lookup
}

// lookup finds a placeholder's value.
type lookup func(Request) (string, *Refusal)

// Parse reads a template for a secret of the given name. What is not known in it is an error, with the nearest name.
func Parse(text, secret string) (*Template, error) {
	t := &Template{text: text}
	rest := text
	for {
		i := strings.Index(rest, "${")
		if i < 0 {
			t.add(rest)
			return t, nil
		}
		if i > 0 && rest[i-1] == '$' {
			t.add(rest[:i-1] + "${")
			rest = rest[i+2:]
			continue
		}
		t.add(rest[:i])
		name, after, ok := strings.Cut(rest[i+2:], "}")
		if !ok {
			return nil, fmt.Errorf("the placeholder %.64q has no end: write ${NAME}, or $${ for these two characters", rest[i:])
		}
		value, err := find(name, secret)
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, part{placeholder: name, value: value})
		rest = after
	}
}

func (t *Template) add(literal string) {
	if literal == "" {
		return
	}
	if last := len(t.parts) - 1; last >= 0 && t.parts[last].placeholder == "" {
		t.parts[last].literal += literal
		return
	}
	t.parts = append(t.parts, part{literal: literal})
}

// String returns the template as it was written.
func (t *Template) String() string { return t.text }

// Fixed returns the text of a template without placeholders.
func (t *Template) Fixed() (text string, ok bool) {
	switch {
	case len(t.parts) == 0:
		return "", true
	case len(t.parts) == 1 && t.parts[0].placeholder == "":
		return t.parts[0].literal, true
	}
	return "", false
}

// Literals returns the texts around the placeholders.
func (t *Template) Literals() []string {
	var all []string
	for _, p := range t.parts {
		if p.placeholder == "" {
			all = append(all, p.literal)
		}
	}
	return all
}

// Split splits a template at a separator where it stands in the text around the placeholders: nothing that is put in can make another part.
func (t *Template) Split(separator string) []*Template {
	parts := []*Template{{}}
	for _, p := range t.parts {
		if p.placeholder != "" {
			last := parts[len(parts)-1]
			last.parts, last.text = append(last.parts, p), last.text+"${"+p.placeholder+"}"
			continue
		}
		for i, literal := range strings.Split(p.literal, separator) {
			if i > 0 {
				parts = append(parts, &Template{})
			}
			last := parts[len(parts)-1]
			last.add(literal)
			last.text += strings.ReplaceAll(literal, "${", "$${")
		}
	}
	return parts
}

// Render fills the placeholders in. Its error is a *Refusal.
func (t *Template) Render(r Request) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.placeholder == "" {
			b.WriteString(p.literal)
			continue
		}
		value, refusal := p.value(r)
		if refusal == nil {
			refusal = checkInserted(value)
		}
		if refusal != nil {
			refusal.Placeholder = p.placeholder
			return "", refusal
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

// Reserved are the names that are never put in: in Vault they are the places of its own administration, and of who may what, at the root and in each
// of its namespaces.
func Reserved() []string { return []string{"sys", "auth", "identity", "cubbyhole"} }

// IsReserved reports whether a segment is one of Reserved, in upper or lower case.
func IsReserved(segment string) bool {
	for _, name := range Reserved() {
		if strings.EqualFold(name, segment) {
			return true
		}
	}
	return false
}

// insertable reports whether a character can be in what is put in.
func insertable(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
}

// CheckApart refuses a template in which the value of one claim could go on where that of another begins: of a-b and c, and of a and b-c, the text
// ${claims.x}-${claims.y} makes one name, so that a workload that chooses what one of them says could have what is another's. What stands between two claims has
// a character that no value has.
func (t *Template) CheckApart() error {
	last := "" // the claim before, if nothing is between it and the next
	for _, p := range t.parts {
		switch {
		case p.placeholder == "":
			if strings.ContainsFunc(p.literal, func(c rune) bool { return !insertable(c) }) {
				last = ""
			}
		case !strings.HasPrefix(p.placeholder, nameClaims+"."):
		case last != "" && last != p.placeholder:
			return fmt.Errorf("where ${%.80s} ends and ${%.80s} begins cannot be told from the text that they make: "+
				"put one of @ : + ~ between them, or make them segments of their own", last, p.placeholder)
		default:
			last = p.placeholder
		}
	}
	return nil
}

func checkInserted(value string) *Refusal {
	switch {
	case value == "":
		return &Refusal{Code: RefusedEmpty, Detail: "it is empty"}
	case len(value) > MaxInserted:
		return &Refusal{Code: RefusedLong, Detail: fmt.Sprintf("it has %d bytes, over %d", len(value), MaxInserted)}
	}
	for i := range len(value) {
		if !insertable(rune(value[i])) {
			return &Refusal{Code: RefusedByte, Detail: fmt.Sprintf("it has a character, at byte %d, that is none of A-Z a-z 0-9 _ - .", i)}
		}
	}
	switch {
	case value[0] == '.' || strings.Contains(value, ".."):
		return &Refusal{Code: RefusedRelative, Detail: "it begins with a dot, or has two in a row"}
	case IsReserved(value):
		return &Refusal{Code: RefusedReserved, Detail: "it is one of " + strings.Join(Reserved(), ", ")}
	}
	return nil
}

// The names of placeholders but for claims.
const (
	nameClaims    = "claims"
	nameSecret    = "secret"
	nameNamespace = "namespace"
	nameDecision  = "decision"
)

// find returns what a placeholder means.
func find(name, secret string) (lookup, error) {
	base, key, indexed, err := splitKey(name)
	if err != nil {
		return nil, err
	}
	if path, ok := strings.CutPrefix(base, nameClaims+"."); ok {
		return findClaim(path, key, indexed)
	}
	if indexed && base != nameSecret {
		return nil, fmt.Errorf("${%.80s}: only claims that are maps, and secret, are followed by [ ]", name)
	}
	switch base {
	case nameSecret:
		return findSegment(secret, key, indexed)
	case nameNamespace:
		return func(r Request) (string, *Refusal) { return r.Namespace, nil }, nil
	case nameDecision:
		return func(r Request) (string, *Refusal) { return r.Decision, nil }, nil
	}
	known := []string{nameSecret, nameNamespace, nameDecision, nameClaims}
	return nil, unknown("there is no placeholder "+strconv.Quote(clip(name))+": it is claims.PATH, secret, secret[N], namespace or decision", base, known)
}

// findSegment returns a segment of the secret's name, which is known when the template is read.
func findSegment(secret, key string, indexed bool) (lookup, error) {
	segments := strings.Split(secret, "/")
	n := 0
	if !indexed && len(segments) != 1 {
		return nil, fmt.Errorf("${secret} would be several parts of a path, for the secret's name has %d segments: write ${secret[0]} to ${secret[%d]}",
			len(segments), len(segments)-1)
	}
	if indexed {
		var err error
		if n, err = strconv.Atoi(key); err != nil || n < 0 || n >= len(segments) || strconv.Itoa(n) != key {
			return nil, fmt.Errorf("${secret[%.20s]}: the secret's name has the segments 0 to %d", key, len(segments)-1)
		}
	}
	return func(Request) (string, *Refusal) { return segments[n], nil }, nil
}

// splitKey splits NAME[KEY], whose key may be in double quotes.
func splitKey(name string) (base, key string, indexed bool, err error) {
	base, rest, indexed := strings.Cut(name, "[")
	if !indexed {
		return name, "", false, nil
	}
	key, after, closed := strings.Cut(rest, "]")
	if !closed || after != "" {
		return "", "", false, fmt.Errorf("${%.80s}: what follows [ does not end with one ]", name)
	}
	if unquoted, ok := strings.CutPrefix(key, `"`); ok {
		key, ok = strings.CutSuffix(unquoted, `"`)
		if !ok || strings.ContainsAny(key, `"\`) {
			return "", "", false, fmt.Errorf("${%.80s}: the key is not closed by a double quote, or has one in it", name)
		}
		return base, key, true, nil
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r < '0' || r > '9' }) || key == "" {
		return "", "", false, fmt.Errorf("${%.80s}: a key that is a text is written in double quotes", name)
	}
	return base, key, true, nil
}

func clip(text string) string {
	const most = 80
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

func unknown(message, name string, known []string) error {
	if nearest := policy.Nearest(name, known); nearest != "" {
		return fmt.Errorf("%s; did you mean %s?", message, nearest)
	}
	return fmt.Errorf("%s", message)
}
