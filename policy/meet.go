package policy

import "strings"

// PatternsMeet reports whether there is a secret that both patterns cover. Both must be good: see [CheckPattern].
func PatternsMeet(a, b string) bool {
	return segmentsMeet(strings.Split(a, "/"), strings.Split(b, "/"))
}

func segmentsMeet(a, b []string) bool {
	for {
		switch {
		case len(a) == 0 || len(b) == 0:
			return len(a) == len(b)
		case a[0] == moreSegments: // at the end, and the other has a segment at least
			return true
		case b[0] == moreSegments:
			return true
		case a[0] != b[0] && a[0] != oneSegment && b[0] != oneSegment:
			return false
		}
		a, b = a[1:], b[1:]
	}
}
