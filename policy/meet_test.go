package policy

import "testing"

func TestPatternsMeet(t *testing.T) {
	for pair, want := range map[[2]string]bool{
		{"a/b", "a/b"}: true, {"a/b", "a/c"}: false, {"a/b", "a"}: false, {"a/b", "a/b/c"}: false,
		{"a/*", "a/b"}: true, {"a/*", "*/b"}: true, {"a/*", "b/*"}: false, {"a/*", "a/b/c"}: false, {"*", "a"}: true,
		{"**", "a/b/c"}: true, {"**", "**"}: true, {"a/**", "a"}: false, {"a/**", "a/b/**"}: true, {"a/**", "b/**"}: false,
		{"a/**", "*/*/*"}: true, {"a/b/**", "a/*"}: false, {"a/*/c", "a/b/**"}: true, {"a/*/c", "a/b/d"}: false,
	} {
		if got := PatternsMeet(pair[0], pair[1]); got != want {
			t.Errorf("%s and %s: %v", pair[0], pair[1], got)
		}
		if got := PatternsMeet(pair[1], pair[0]); got != want {
			t.Errorf("%s and %s: %v", pair[1], pair[0], got)
		}
	}
}
