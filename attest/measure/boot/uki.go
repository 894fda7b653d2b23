package boot

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest/measure/pe"
)

// UKI is a unified kernel image: systemd-stub with a kernel and what belongs to it in sections.
type UKI struct {
	Version int // of the stub
	Program *pe.File
	Kernel  *pe.File // in section .linux
	Line    string   // in section .cmdline, "" for none
}

// ParseUKI reads a unified kernel image. Its errors wrap [pe.ErrFormat] where the image is damaged.
func ParseUKI(r io.ReaderAt, size int64) (*UKI, error) {
	program, err := pe.Parse(r, size)
	if err != nil {
		return nil, err
	}
	u := &UKI{Program: program}
	if u.Version, err = StubVersion(program); err != nil {
		return nil, fmt.Errorf("not a unified kernel image: %w", err)
	}
	linux, found := program.Section(".linux")
	if !found {
		return nil, errors.New("not a unified kernel image: it has no section .linux")
	}
	if u.Kernel, err = pe.Parse(linux.Image()); err != nil {
		return nil, fmt.Errorf("the kernel in section .linux: %w", err)
	}
	if section, found := program.Section(".cmdline"); found {
		text, err := io.ReadAll(io.LimitReader(section.Data(), MaxCommandLine+1))
		if err != nil {
			return nil, err
		}
		if len(text) > MaxCommandLine {
			return nil, fmt.Errorf("its command line is over %d bytes", MaxCommandLine)
		}
		u.Line = strings.TrimRight(string(text), "\x00")
	}
	return u, nil
}

// UKI adds what is measured when firmware boots a unified kernel image: the image, its sections, and the kernel in it. line is a command
// line that is passed to it; "" for none. It fails when line is passed to an image that has one, which uses its own or the other depending
// on Secure Boot.
//
// Unless the result says otherwise, it adds what the kernel measures too. It cannot where the image has microcode, which the stub puts
// before the initrd, and where the command line has control characters or spaces at its end, which versions of the stub treat differently:
// then PCR 9 is not known, and the first result says why.
func (s *Sequence) UKI(u *UKI, line string) (unknown string, err error) {
	if line != "" && u.Line != "" {
		return "", errors.New("the image has a command line of its own: which one it uses depends on Secure Boot")
	}
	sections, err := Sections(u.Program, u.Version, s.hash)
	if err != nil {
		return "", err
	}
	if err := s.Application("unified kernel image", u.Program); err != nil {
		return "", err
	}
	if err := s.StubSections(sections); err != nil {
		return "", err
	}
	if line != "" {
		if err := s.StubCommandLine(line); err != nil {
			return "", err
		}
	}
	if err := s.Application("kernel", u.Kernel); err != nil {
		return "", err
	}
	line += u.Line // one of them is empty
	if slices.ContainsFunc(sections, func(section Section) bool { return section.Name == ".ucode" }) {
		return "its stub puts microcode before the initrd", nil
	}
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' }) || strings.TrimSpace(line) != line {
		return "its command line has control characters, or spaces at its ends, which stubs treat in different ways", nil
	}
	var initrd io.Reader
	if section, found := u.Program.Section(".initrd"); found {
		initrd = section.Data()
	}
	return "", s.LinuxStub(line, initrd)
}
