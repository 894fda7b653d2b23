package audit

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vouchsafe/vouchsafe/store"
)

// maxTileLevel is the highest level of tiles whose hashes an int64 of entries can have: 256^8 is over it.
const maxTileLevel = 7

// maxPath is the longest path of a resource: seven elements of an index, a width and the words around them.
const maxPath = 64

// resource is what a path of c2sp.org/tlog-tiles names: a tile of hashes, or the bundle of entries under a tile of level 0.
type resource struct {
	entries bool
	tile    tileID
	width   int // tileWidth when the path has no ".p/<W>"
}

// path returns the one path of the resource.
func (r resource) path() string {
	var b strings.Builder
	b.WriteString("tile/")
	if r.entries {
		b.WriteString("entries")
	} else {
		b.WriteString(strconv.Itoa(r.tile.level))
	}
	digits := fmt.Sprintf("%03d", r.tile.n)
	if short := len(digits) % 3; short != 0 {
		digits = "000"[short:] + digits
	}
	for ; len(digits) > 3; digits = digits[3:] {
		b.WriteString("/x" + digits[:3])
	}
	b.WriteString("/" + digits)
	if r.width != tileWidth {
		fmt.Fprintf(&b, ".p/%d", r.width)
	}
	return b.String()
}

// parsePath reads "tile/<L>/<N>[.p/<W>]" or "tile/entries/<N>[.p/<W>]". It accepts nothing that path does not write.
func parsePath(path string) (resource, error) {
	refuse := func() (resource, error) {
		return resource{}, fmt.Errorf("%w: %w path %.80q: want tile/<L>/<N>[.p/<W>] or tile/entries/<N>[.p/<W>]",
			store.ErrInvalid, ErrMalformed, path)
	}
	if len(path) > maxPath {
		return refuse()
	}
	r := resource{width: tileWidth}
	rest, ok := strings.CutPrefix(path, "tile/")
	level, rest, found := strings.Cut(rest, "/")
	if !ok || !found {
		return refuse()
	}
	if level == "entries" {
		r.entries = true
	} else if n, err := parseDecimal(level); err != nil || n > maxTileLevel {
		return refuse()
	} else {
		r.tile.level = int(n)
	}
	if index, width, partial := strings.Cut(rest, ".p/"); partial {
		w, err := parseDecimal(width)
		if err != nil || w < 1 || w >= tileWidth {
			return refuse()
		}
		r.width, rest = int(w), index
	}
	digits := strings.ReplaceAll(strings.ReplaceAll(rest, "x", ""), "/", "")
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return refuse()
	}
	if r.tile.n = int64(n); r.path() != path {
		return refuse()
	}
	return r, nil
}
