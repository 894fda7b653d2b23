package pe

import (
	"bytes"
	"crypto"
	_ "crypto/sha1"
	"crypto/sha256"
	_ "crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/measure/pe/petest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

func parse(t testing.TB, image []byte) *File {
	t.Helper()
	f, err := Parse(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func digest(t testing.TB, image []byte) string {
	t.Helper()
	sum, err := parse(t, image).Authenticode(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum)
}

var testParts = []petest.Part{
	{Name: ".text", Data: []byte("text of the program"), VirtualSize: 19},
	{Name: ".linux", Data: []byte("MZ and a kernel, padded\x00\x00"), VirtualSize: 23},
	{Name: ".bss", VirtualSize: 100},
}

// TestAuthenticode has signing and the checksum change nothing, and every other byte change the digest.
func TestAuthenticode(t *testing.T) {
	signed := petest.Write(testParts, []byte("trailing"), bytes.Repeat([]byte{7}, 32))
	want := digest(t, signed)
	if unsigned := digest(t, petest.Write(testParts, []byte("trailing"), nil)); unsigned != want {
		t.Error("a signature changes the digest")
	}
	covered := 0
	for i := range signed {
		signed[i] ^= 1
		f, err := Parse(bytes.NewReader(signed), int64(len(signed)))
		var sum []byte
		if err == nil {
			sum, err = f.Authenticode(crypto.SHA256)
		}
		signed[i] ^= 1
		checksum := i >= petest.Start+24+64 && i < petest.Start+24+68
		entry := i >= petest.Start+24+112+32 && i < petest.Start+24+112+40
		certificate := i >= len(signed)-32
		same := err == nil && hex.EncodeToString(sum) == want
		if same != (checksum || certificate || entry && i < petest.Start+24+112+36) {
			t.Errorf("byte %#x: the same digest %v, %v", i, same, err)
		}
		if !same {
			covered++
		}
	}
	if covered < petest.Headers {
		t.Errorf("%d bytes count", covered)
	}
}

// TestDigestByHand computes the digest of a small image another way.
func TestDigestByHand(t *testing.T) {
	image := petest.Write(testParts, []byte("trailing"), []byte("certificates"))
	checksum, entry := petest.Start+24+64, petest.Start+24+112+32
	sum := sha256.Sum256(bytes.Join([][]byte{image[:checksum], image[checksum+4 : entry], image[entry+8 : len(image)-12]}, nil))
	if got := digest(t, image); got != hex.EncodeToString(sum[:]) {
		t.Errorf("%s, want %x", got, sum)
	}
}

// TestSectionsOutOfOrder: they are hashed by their place in the file, not by their place in the table.
func TestSectionsOutOfOrder(t *testing.T) {
	image := petest.Write(testParts, nil, nil)
	table := petest.Table
	first, second := bytes.Clone(image[table:table+40]), bytes.Clone(image[table+40:table+80])
	copy(image[table:], second)
	copy(image[table+40:], first)
	checksum, entry := petest.Start+24+64, petest.Start+24+112+32
	sum := sha256.Sum256(bytes.Join([][]byte{image[:checksum], image[checksum+4 : entry], image[entry+8:]}, nil))
	if got := digest(t, image); got != hex.EncodeToString(sum[:]) {
		t.Errorf("%s, want %x", got, sum)
	}
}

func TestSections(t *testing.T) {
	f := parse(t, petest.Write(append(testParts, petest.Part{Name: ".osrel", Data: []byte("ID=x"), VirtualSize: 10}), nil, nil))
	for name, want := range map[string]string{
		".text": "text of the program", ".linux": "MZ and a kernel, padded", ".bss": strings.Repeat("\x00", 100), ".osrel": "ID=x\x00\x00\x00\x00\x00\x00",
	} {
		s, found := f.Section(name)
		if !found {
			t.Fatalf("no section %s", name)
		}
		if data, err := io.ReadAll(s.Data()); err != nil || string(data) != want {
			t.Errorf("%s is %q, %v", name, data, err)
		}
	}
	if _, found := f.Section(".initrd"); found {
		t.Error("a section that is not there")
	}
	linux, _ := f.Section(".linux")
	if _, n := linux.Image(); n != 23 {
		t.Errorf("an image of %d bytes", n)
	}
}

func TestMalformed(t *testing.T) {
	good := petest.Write(testParts, nil, nil)
	change := func(at int, value ...byte) []byte {
		image := bytes.Clone(good)
		copy(image[at:], value)
		return image
	}
	optional := petest.Start + 24
	table := petest.Table
	for name, image := range map[string][]byte{
		"nothing":                    nil,
		"a script":                   []byte("#!/bin/sh" + strings.Repeat(" ", 100)),
		"no PE header":               change(petest.Start, 'N', 'E'),
		"a header out of the file":   change(0x3c, 0xff, 0xff, 0xff, 0xff),
		"a header at its end":        change(0x3c, byte(len(good)), byte(len(good)>>8)),
		"an unknown optional header": change(optional, 0x07, 0x01),
		"65535 sections":             change(petest.Start+4+2, 0xff, 0xff),
		"200 sections":               change(petest.Start+4+2, 200, 0),
		"headers of 4 GiB":           change(optional+60, 0xff, 0xff, 0xff, 0xff),
		"headers of nothing":         change(optional+60, 0, 0, 0, 0),
		"an optional header of none": change(petest.Start+4+16, 0, 0),
		"a directory past it":        change(petest.Start+4+16, 120, 0),
		"a section in the headers":   change(table+20, 1, 0),
		"a section in another":       change(table+40+20, 1, 4),
		"a section past the end":     change(table+16, 0xff, 0xff, 0xff, 0x7f),
		"a section of 4 GiB":         change(table+16, 0xff, 0xff, 0xff, 0xff),
	} {
		if f, err := Parse(bytes.NewReader(image), int64(len(image))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	if _, err := Parse(bytes.NewReader(nil), maxImage+1); !errors.Is(err, ErrFormat) {
		t.Errorf("too large: %v", err)
	}
	long := petest.Write(testParts, nil, []byte("x"))
	binary.LittleEndian.PutUint32(long[optional+112+4*8+4:], 1000)
	if _, err := parse(t, long).Authenticode(crypto.SHA256); !errors.Is(err, ErrFormat) {
		t.Errorf("certificates that are longer than the rest: %v", err)
	}
	for n := range good {
		if n < len(good)-1 {
			if _, err := Parse(bytes.NewReader(good[:n]), int64(n)); err == nil {
				t.Errorf("cut at %d", n)
			}
		}
	}
	unreadable := errors.New("unreadable")
	if _, err := Parse(failing{unreadable}, 1000); !errors.Is(err, unreadable) {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// TestSignedPrograms computes the digest of programs that Debian ships signed: their signatures hold it.
func TestSignedPrograms(t *testing.T) {
	found := false
	for _, path := range []string{
		"/usr/lib/shim/shimx64.efi.signed", "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",
	} {
		image, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		found = true
		f := parse(t, image)
		if f.certSize == 0 {
			t.Errorf("%s is not signed", path)
		}
		sum, err := f.Authenticode(crypto.SHA256)
		if err != nil || !bytes.Contains(image[len(image)-int(f.certSize):], sum) {
			t.Errorf("%s: its signature is not of %x, %v", path, sum, err)
		}
	}
	if !found {
		t.Skip("no signed program is here: Debian's packages shim-signed and grub-efi-amd64-signed have some")
	}
}

func check(t *testing.T, image []byte) {
	f, err := Parse(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		if !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
		return
	}
	if sum, err := f.Authenticode(crypto.SHA384); err == nil && len(sum) != 48 {
		t.Fatalf("digest %x", sum)
	}
	for _, s := range f.Sections {
		if s.VirtualSize < 1<<20 {
			if n, err := io.Copy(io.Discard, s.Data()); err != nil || n != int64(s.VirtualSize) {
				t.Fatalf("section of %d bytes gives %d, %v", s.VirtualSize, n, err)
			}
		}
	}
	_ = fmt.Sprint(f.Sections)
}

func seeds() [][]byte {
	return [][]byte{petest.Write(testParts, []byte("trailing"), []byte("certificates")), petest.Write(nil, nil, nil)}
}

func TestMutations(t *testing.T) { mutate.Run(t, seeds(), check) }

func FuzzParse(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed)
	}
	f.Fuzz(check)
}
