package vault

import (
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/store"
)

// hostile are segments that some layer between here and Vault's disk would take for something else.
var hostile = []string{
	"a", "A", "aA", "Z-9_", "+", "*", "%", "%2F", "%2f", "%00", "#", "?", "~", "a.", ".a", "...", "a..b", "=", "==", "=2E", "=2e", "data", "metadata",
	"config", "=header", "=parts", "=part-00000000000000000000000000000000-0", `\`, `"`, "'", "{{x}}", "${x}", "&", ";", ":", "@", "!", "a+b", "a*", "sys", "login",
	strings.Repeat("s", 104), strings.Repeat("s", 105), strings.Repeat("s", 255), strings.Repeat("+", 255), strings.Repeat("+", 34), strings.Repeat("+", 35),
	strings.Repeat("s", 103) + "+", strings.Repeat("s", 102) + "+", strings.Repeat("s", 104) + "=", strings.Repeat("=", 255),
}

func TestSegmentsComeBack(t *testing.T) {
	seen := make(map[string]string)
	for _, segment := range hostile {
		path := escapeKey(segment)
		for element := range strings.SplitSeq(path, "/") {
			if element == "" || len(element) > maxElement+1 || strings.ContainsAny(element, "./%+*?#~ ") || element[len(element)-1] == '.' {
				t.Errorf("%q has an element %q", segment, element)
			}
		}
		for _, reserved := range []string{headerName, partsName} {
			if path == reserved || strings.HasPrefix(path, reserved+"/") || strings.HasPrefix(path, partPrefix) {
				t.Errorf("%q is escaped to %q, which is the store's own", segment, path)
			}
		}
		if other, twice := seen[path]; twice {
			t.Errorf("%q and %q are both %q", segment, other, path)
		}
		seen[path] = segment
		if back, err := unescapeSegment(path); err != nil || back != segment {
			t.Errorf("%q is escaped to %q, which is %q, %v", segment, path, back, err)
		}
	}
}

func TestNamesMadeByHandAreNobodys(t *testing.T) {
	for _, path := range []string{
		"", "=", "a=", "=2", "=2e", "=41", "=2B=", "a/b", "a=/b", "=2F", "=00", "=7F", "=FF", "=2E", "=2E=2E", ".", "..", "a.b", "a b", "%41", "é",
		headerName, partsName, partPrefix + strings.Repeat("0", 32) + "-0",
		strings.Repeat("s", 105), strings.Repeat("s", 103) + "=/s", strings.Repeat("s", 104) + "=/", strings.Repeat("s", 104) + "=/=",
		strings.Repeat(strings.Repeat("s", 104)+"=/", 2) + strings.Repeat("s", 48),
	} {
		if segment, err := unescapeSegment(path); err == nil {
			t.Errorf("%q is taken for %q", path, segment)
		}
	}
}

// oneSpelling holds that a path which is taken for a segment is what the segment is escaped to, and that every segment of a key comes back.
func oneSpelling(t *testing.T, input string) {
	t.Helper()
	if segment, err := unescapeSegment(input); err == nil {
		if again := escapeKey(segment); again != input {
			t.Fatalf("%q is taken for %q, which is %q", input, segment, again)
		}
		if store.CheckKey("a/"+segment) != nil {
			t.Fatalf("%q is taken for %q, which no key has", input, segment)
		}
	}
	if store.CheckKey("a/"+input) == nil && !strings.Contains(input, "/") {
		if back, err := unescapeSegment(escapeKey(input)); err != nil || back != input {
			t.Fatalf("%q came back as %q, %v", input, back, err)
		}
	}
}

func seeds() [][]byte {
	var all [][]byte
	for _, segment := range hostile {
		all = append(all, []byte(segment), []byte(escapeKey(segment)))
	}
	return all
}

func FuzzEscape(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(string(seed))
	}
	f.Fuzz(oneSpelling)
}

func TestMutatedNames(t *testing.T) {
	mutate.Run(t, seeds(), func(t *testing.T, input []byte) { oneSpelling(t, string(input)) })
}

// TestEscapedKeysDoNotCollide holds that different keys have different paths, also where a segment's last element and a folder could be taken for
// each other.
func TestEscapedKeysDoNotCollide(t *testing.T) {
	seen := make(map[string]string)
	for _, first := range hostile {
		for _, second := range append(slices.Clone(hostile), "") {
			key := strings.TrimSuffix(first+"/"+second, "/")
			path := escapeKey(key)
			if other, twice := seen[path]; twice {
				t.Fatalf("%q and %q are both at %q", key, other, path)
			}
			seen[path] = key
		}
	}
}
