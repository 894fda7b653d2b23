package boot

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest/measure/pe"
)

// MaxCommandLine bounds a command line, in bytes: as much as is read from an event log.
const MaxCommandLine = 8 << 10

// loadOptions returns a command line as an EFI program is given it: UTF-16 with a final zero.
func loadOptions(line string) ([]byte, error) {
	if len(line) > MaxCommandLine {
		return nil, fmt.Errorf("a command line of %d bytes; the limit is %d", len(line), MaxCommandLine)
	}
	if strings.IndexByte(line, 0) >= 0 {
		return nil, errors.New("the command line has a zero byte in it")
	}
	return append(encodeUTF16(line), 0, 0), nil
}

// LineDigest returns the digest of a command line as Linux's EFI stub measures it.
func LineDigest(hash crypto.Hash, line string) ([]byte, error) {
	options, err := loadOptions(line)
	if err != nil {
		return nil, err
	}
	return Sum(hash, bytes.NewReader(options))
}

// LinuxStub adds what Linux's EFI stub measures: the command line and the initrd it was given. initrd is nil for none. Kernels
// older than 6.1 measure less.
func (s *Sequence) LinuxStub(line string, initrd io.Reader) error {
	options, err := loadOptions(line)
	if err != nil {
		return err
	}
	s.Data(pcrFiles, "command line of the kernel", options)
	if initrd == nil {
		return nil
	}
	return s.Initrd(initrd)
}

// Initrd adds the initrd that Linux's EFI stub was given.
func (s *Sequence) Initrd(content io.Reader) error {
	return s.Reader(pcrFiles, "initrd of the kernel", content)
}

// stubSections are the sections that systemd-stub measures, in its order, with the first version that measures each (systemd,
// src/fundamental/uki.c and its history).
var stubSections = []struct {
	name  string
	since int
}{
	{".linux", 252}, {".osrel", 252}, {".cmdline", 252}, {".initrd", 252}, {".ucode", 256}, {".splash", 252}, {".dtb", 252},
	{".uname", 254}, {".sbat", 254}, {".pcrpkey", 252}, {".profile", 257}, {".dtbauto", 257}, {".hwids", 257}, {".efifw", 258},
}

// Section is a section of a unified kernel image that systemd-stub measures.
type Section struct {
	Name   string
	Digest []byte // of its content
}

// sdmagic is what the section .sdmagic says of a stub.
var sdmagic = regexp.MustCompile(`^#### LoaderInfo: systemd-stub ([0-9]{3})[^0-9].{0,200}$`)

// StubVersion returns the version of the systemd-stub that a unified kernel image begins with, from its section .sdmagic.
func StubVersion(uki *pe.File) (int, error) {
	section, found := uki.Section(".sdmagic")
	if !found {
		return 0, errors.New("it has no section .sdmagic, as systemd-stub of version 252 and later does")
	}
	text, err := io.ReadAll(io.LimitReader(section.Data(), 256))
	if err != nil {
		return 0, err
	}
	match := sdmagic.FindSubmatch(bytes.TrimRight(text, "\x00"))
	if match == nil {
		return 0, fmt.Errorf("its section .sdmagic does not say which systemd-stub it is: %.60q", text)
	}
	return strconv.Atoi(string(match[1]))
}

// Sections returns what a systemd-stub of a version measures of a unified kernel image, in order.
func Sections(uki *pe.File, version int, hash crypto.Hash) ([]Section, error) {
	if version < 252 || version == 253 {
		return nil, fmt.Errorf("what systemd-stub of version %d measures is not known here: 252, 254 and later", version)
	}
	seen := make(map[string]bool)
	for _, section := range uki.Sections {
		if section.Name == ".profile" {
			return nil, errors.New("it has profiles: which of them is booted is decided then")
		}
		if seen[section.Name] && known(section.Name) {
			return nil, fmt.Errorf("it has two sections %s, of which only one is measured", section.Name)
		}
		seen[section.Name] = true
	}
	var list []Section
	for _, kind := range stubSections {
		section, found := uki.Section(kind.name)
		if !found || version < kind.since {
			continue
		}
		digest, err := Sum(hash, section.Data())
		if err != nil {
			return nil, err
		}
		list = append(list, Section{kind.name, digest})
	}
	return list, nil
}

func known(name string) bool {
	for _, kind := range stubSections {
		if kind.name == name {
			return true
		}
	}
	return false
}

// StubSections adds what systemd-stub measures of its image: each section's name with a final zero, and its content.
func (s *Sequence) StubSections(list []Section) error {
	for _, section := range list {
		s.Data(pcrSections, "name of section "+section.Name, append([]byte(section.Name), 0))
		if err := s.Digest(pcrSections, "section "+section.Name, section.Digest); err != nil {
			return err
		}
	}
	return nil
}

// StubCommandLine adds a command line that was passed to systemd-stub, and that it uses: when its image has none, or Secure Boot is off.
func (s *Sequence) StubCommandLine(line string) error {
	options, err := loadOptions(line)
	if err != nil {
		return err
	}
	s.Data(pcrCommandLine, "command line of the stub", options)
	return nil
}

// Phase adds a phase of the boot that systemd-pcrphase measures: enter-initrd, leave-initrd, sysinit, ready, shutdown, final.
func (s *Sequence) Phase(name string) { s.Data(pcrSections, "phase "+name, []byte(name)) }

// GRUBCommand adds a command that GRUB runs: its words, as it expands them, with a space between.
func (s *Sequence) GRUBCommand(words string) {
	s.Data(pcrGRUBCommands, "GRUB command "+words, []byte(words))
}

// GRUBCommandLine adds the command line that GRUB gives to a kernel, which begins with the kernel's path.
func (s *Sequence) GRUBCommandLine(line string) {
	s.Data(pcrGRUBCommands, "GRUB command line", []byte(line))
}

// GRUBFile adds a file that GRUB reads.
func (s *Sequence) GRUBFile(path string, content io.Reader) error {
	return s.Reader(pcrFiles, "file "+path, content)
}

// GRUBFileDigest adds a file that GRUB reads, by the digest of its content.
func (s *Sequence) GRUBFileDigest(path string, digest []byte) error {
	return s.Digest(pcrFiles, "file "+path, digest)
}
