package vaultconn

import (
	"errors"
	"net/url"
	"strings"
)

// Path joins segments of a path and escapes each, so that no segment can become several, or none. Vault takes an escaped "/" for a plain one, so that a
// segment that holds one cannot be said at all: Do refuses a path with it, and segments that are empty, "." or "..", which servers on the way would
// resolve. What has several segments, such as a mount below a folder, is given as several: see Mount.
func Path(segments ...string) string {
	escaped := make([]string, len(segments))
	for i, s := range segments {
		escaped[i] = url.PathEscape(s)
	}
	return strings.Join(escaped, "/")
}

// Mount joins the path of a mount, which may have several segments, and further segments, as Path does.
func Mount(mount string, segments ...string) string {
	return Path(append(strings.Split(strings.Trim(mount, "/"), "/"), segments...)...)
}

var (
	errEscape  = errors.New("the path has an escape that is not one")
	errSegment = errors.New(`the path has a segment that is empty, "." or ".."`)
	errSlash   = errors.New(`a segment of the path holds a "/", which Vault would read as two segments`)
	errSymbol  = errors.New("the path holds a character that has to be escaped")
)

// unescape returns what Vault will make of a path, which may end with a "/", or an error that does not hold it.
func unescape(path string) (string, error) {
	if strings.ContainsAny(path, "?#") {
		return "", errSymbol
	}
	segments := strings.Split(strings.TrimSuffix(path, "/"), "/")
	for i, s := range segments {
		plain, err := url.PathUnescape(s)
		switch {
		case err != nil:
			return "", errEscape
		case plain == "" || plain == "." || plain == "..":
			return "", errSegment
		case strings.Contains(plain, "/"):
			return "", errSlash
		}
		segments[i] = plain
	}
	out := strings.Join(segments, "/")
	if strings.HasSuffix(path, "/") {
		out += "/"
	}
	return out, nil
}
