package vault

import (
	"errors"
	"strings"

	"github.com/vouchsafe/vouchsafe/store"
)

// maxElement is the most bytes of an escaped element. The engine encrypts the names of elements and writes them in base 62, which makes at most 242
// bytes of it, and Vault's file storage takes names of 254.
const maxElement = 104

// mark begins an escaped byte, and ends an element that the next one continues. It means nothing to Vault's router and policies, nor in a URL.
const mark = '='

const upperHex = "0123456789ABCDEF"

// errElement is returned for a name that no segment is escaped to.
var errElement = errors.New("not a name that this store gives")

// plain reports whether a byte stands for itself. Dots do not, so that nothing can be taken for "." or "..".
func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// appendSegment appends a segment of a key to a path, escaped, in as many elements as it takes.
func appendSegment(path []byte, segment string) []byte {
	start := len(path)
	for i := range len(segment) {
		c, size := segment[i], 1
		if !plain(c) {
			size = 3
		}
		if len(path)-start+size > maxElement {
			path = append(path, mark, '/')
			start = len(path)
		}
		if size == 1 {
			path = append(path, c)
		} else {
			path = append(path, mark, upperHex[c>>4], upperHex[c&15])
		}
	}
	return path
}

// escapeKey returns the path of a record below the store's prefix. The key is a valid one, or the beginning of one without its last "/".
func escapeKey(key string) string {
	path := make([]byte, 0, len(key)+16)
	first := true
	for segment := range strings.SplitSeq(key, "/") {
		if !first {
			path = append(path, '/')
		}
		first = false
		path = appendSegment(path, segment)
	}
	return string(path)
}

// unescape returns the text of one element, and whether the next element continues the segment.
func unescape(element string) (text string, continues bool, err error) {
	if strings.HasSuffix(element, string(mark)) {
		element, continues = element[:len(element)-1], true
	}
	if element == "" || len(element) > maxElement {
		return "", false, errElement
	}
	out := make([]byte, 0, len(element))
	for i := 0; i < len(element); i++ {
		c := element[i]
		switch {
		case plain(c):
		case c != mark || i+2 >= len(element):
			return "", false, errElement
		default:
			high, low := strings.IndexByte(upperHex, element[i+1]), strings.IndexByte(upperHex, element[i+2])
			if high < 0 || low < 0 {
				return "", false, errElement
			}
			c = byte(high<<4 | low)
			i += 2
		}
		out = append(out, c)
	}
	return string(out), continues, nil
}

// unescapeSegment returns the segment that elements, joined by "/", are the one spelling of.
func unescapeSegment(path string) (string, error) {
	var segment strings.Builder
	more := true
	for element := range strings.SplitSeq(path, "/") {
		if !more {
			return "", errElement
		}
		text, continues, err := unescape(element)
		if err != nil {
			return "", err
		}
		segment.WriteString(text)
		more = continues
	}
	text := segment.String()
	if more || len(text) > store.MaxSegment || string(appendSegment(nil, text)) != path {
		return "", errElement
	}
	// The segment must be one that a key can have, so that a name made by hand cannot be read as a key that no caller could ask for.
	if store.CheckKey("a/"+text) != nil {
		return "", errElement
	}
	return text, nil
}
