package approval

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Person is somebody who wrote, proposed or approved a change.
type Person struct {
	Subject string   // who it is, however they were authenticated
	Makers  []string // subjects of who made the token they used, of who made theirs, and so on
}

// Distinct reports whether a and b count as two persons: they have subjects, which differ by more than their spelling, and neither used a token that the other
// made, directly or through tokens that were made with it, for whoever makes a token has seen it.
func Distinct(a, b Person) bool {
	one, other := fold(a.Subject), fold(b.Subject)
	return one != "" && other != "" && one != other && !among(other, a.Makers) && !among(one, b.Makers)
}

func among(folded string, subjects []string) bool {
	return slices.ContainsFunc(subjects, func(s string) bool { return fold(s) == folded })
}

// fold leaves of a subject what makes a person of it.
func fold(subject string) string {
	shown := strings.Map(func(r rune) rune {
		if hidden(r) {
			return -1
		}
		return r
	}, norm.NFKC.String(strings.ToValidUTF8(subject, "�")))
	// Folding the case may make what is not in normal form any more.
	return strings.TrimSpace(norm.NFKC.String(cases.Fold().String(shown)))
}

// hidden are characters that do not show: controls, formats such as zero-width joiners, variation selectors, and the fillers of Hangul.
func hidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// CheckSubject returns an error unless subject is written in the one way that lists compare it in: UTF-8 in normalisation form C, of printable characters all of which show.
func CheckSubject(subject string) error {
	switch {
	case strings.TrimSpace(subject) == "":
		return errors.New("a subject is empty")
	case !utf8.ValidString(subject) || strings.ContainsFunc(subject, func(r rune) bool { return hidden(r) || !unicode.IsPrint(r) }):
		return errors.New("a subject has characters that do not show")
	case !norm.NFC.IsNormalString(subject):
		return errors.New("a subject is not in Unicode normalisation form C")
	}
	return nil
}

// people chooses of the persons as many as are all distinct from each other and from everyone in not, and returns their positions. Who holds a token
// further down a chain of makers goes first: of those of one chain, that leaves the most.
func people(persons []Person, not []Person) []int {
	order := make([]int, len(persons))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(persons[b].Makers) - len(persons[a].Makers) })
	var chosen []int
	for _, i := range order {
		distinct := func(other Person) bool { return Distinct(persons[i], other) }
		if !slices.ContainsFunc(not, func(p Person) bool { return !distinct(p) }) &&
			!slices.ContainsFunc(chosen, func(j int) bool { return !distinct(persons[j]) }) && fold(persons[i].Subject) != "" {
			chosen = append(chosen, i)
		}
	}
	slices.Sort(chosen)
	return chosen
}
