package ovmf

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

const (
	first  = "00f771de-1a7e-4fcb-890e-68c77e2fb44e"
	second = "dc886566-984a-4798-a75e-5585a7bf67cc"
)

// entry writes an entry of a table with any size.
func entry(guid string, content []byte, size int) []byte {
	b := binary.LittleEndian.AppendUint16(bytes.Clone(content), uint16(size))
	hexes := strings.Split(guid, "-")
	for i, group := range hexes {
		raw, err := hex.DecodeString(group)
		if err != nil {
			panic(err)
		}
		for j := range raw {
			if i < 3 {
				b = append(b, raw[len(raw)-1-j])
			} else {
				b = append(b, raw[j])
			}
		}
	}
	return b
}

func good(guid string, content ...byte) []byte {
	return entry(guid, content, len(content)+entryHeader)
}

// image ends a page with a table whose footer says a size.
func image(entries []byte, footer string, size int) []byte {
	table := append(entries, entry(footer, nil, size)...)
	return append(append(make([]byte, 4096-len(table)-resetVector), table...), make([]byte, resetVector)...)
}

func whole(entries ...[]byte) []byte {
	all := bytes.Join(entries, nil)
	return image(all, footerGUID, len(all)+entryHeader)
}

func TestParse(t *testing.T) {
	data := whole(good(second, 0x20, 0x10, 0, 0, 9), good(first, 4, 0xb0, 0x80, 0))
	parsed, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if base := parsed.Base(); base != 0xfffff000 {
		t.Errorf("base %#x", base)
	}
	if number, err := parsed.Number(first); err != nil || number != 0x80b004 {
		t.Errorf("%#x, %v", number, err)
	}
	if content, found := parsed.Entry(second); !found || len(content) != 5 {
		t.Errorf("%x, %v", content, found)
	}
	if _, err := parsed.FromEnd(second); err == nil { // 0x1020 bytes back
		t.Error("a place before the image")
	}
	if _, err := parsed.Number("no such entry"); !errors.Is(err, ErrImage) {
		t.Errorf("%v", err)
	}
	at, err := Parse(whole(good(first, 0, 0x10, 0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	if rest, err := at.FromEnd(first); err != nil || len(rest) != 4096 {
		t.Errorf("%d bytes, %v", len(rest), err)
	}
	short, err := Parse(whole(good(first, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := short.Number(first); !errors.Is(err, ErrImage) {
		t.Errorf("a number of one byte: %v", err)
	}
}

func TestMalformed(t *testing.T) {
	one := good(first, 1, 2, 3, 4)
	for name, data := range map[string][]byte{
		"nothing":                    nil,
		"less than a table":          make([]byte, 40),
		"not whole pages":            append([]byte{0}, whole(one)...),
		"too long":                   make([]byte, MaxImage+4096),
		"no footer":                  image(one, first, len(one)+entryHeader),
		"a footer of no bytes":       image(one, footerGUID, 0),
		"a footer of one byte":       image(one, footerGUID, 1),
		"a footer of more than all":  image(one, footerGUID, 0xffff),
		"a footer that cuts":         image(one, footerGUID, len(one)+entryHeader-1),
		"a footer that takes more":   image(one, footerGUID, len(one)+entryHeader+1),
		"an entry of no bytes":       whole(entry(first, []byte{1}, 0)),
		"an entry of 17":             whole(entry(first, []byte{1}, 17)),
		"an entry of more than all":  whole(entry(first, []byte{1}, 0xffff)),
		"an entry twice":             whole(one, good(first, 5, 6, 7, 8)),
		"an entry that another ends": whole(one[:5], one),
	} {
		if parsed, err := Parse(data); !errors.Is(err, ErrImage) || parsed != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Parse(whole()); err != nil {
		t.Errorf("an empty table: %v", err)
	}
}

// check holds every entry to lie within the image, and none to lie over another.
func check(t *testing.T, data []byte) {
	parsed, err := Parse(data)
	if err != nil {
		if !errors.Is(err, ErrImage) {
			t.Fatal(err)
		}
		return
	}
	total := 0
	for guid, content := range parsed.table {
		total += len(content) + entryHeader
		if len(fmt.Sprint(guid)) != 36 {
			t.Fatalf("GUID %q", guid)
		}
		_, _ = parsed.FromEnd(guid)
	}
	if total > len(data) {
		t.Fatalf("entries of %d bytes in %d", total, len(data))
	}
}

var seeds = [][]byte{whole(good(second, 0x20, 0x10, 0, 0), good(first, 4, 0xb0, 0x80, 0)), whole()}

func TestMutations(t *testing.T) { mutate.Run(t, seeds, check) }

func FuzzParse(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(check)
}
