package main

import (
	"bufio"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/measure/boot"
	"github.com/vouchsafe/vouchsafe/attest/measure/pe"
)

// tpmBuild is what a build and its deployment say of a measured boot.
type tpmBuild struct {
	uki, line, steps string
	bank             string
	phases           string
	tried            int
	reference        string
}

func (p *program) measureTPM() *cobra.Command {
	var b tpmBuild
	c := &cobra.Command{
		Use:   "tpm {--uki FILE | --steps FILE}",
		Short: "Compute PCRs of a boot that a TPM measures",
		Long: `Compute PCRs of a boot that a TPM measures, and the claims that its event log proves: for hosts with a TPM, and for virtual machines
with a virtual one.

A unified kernel image (--uki) makes PCR 11 of its sections, PCR 9 of the command line and initrd that its kernel is given, PCR 12 of a
command line that is passed to it, and PCR 4 of its own digest and its kernel's.

Any other boot is told step by step in a file (--steps), a step a line, files by their path here:
  program FILE   firmware, shim or GRUB loads a program          PCR 4
  command TEXT   GRUB runs a command, as it expands its words    PCR 8
  line TEXT      GRUB's command line for the kernel, path first  PCR 8
  file FILE      GRUB reads a file                               PCR 9
  options TEXT   the command line that the kernel is given       PCR 9
  initrd FILE    the initrd that the kernel is given             PCR 9
  # and what follows is a comment

PCR 4 counts the boot options that the firmware tries in vain first: --tried. PCRs 0 to 3, 5 and 7 depend on the machine and on who owns it: take them
from one that is known to be good, or ask for the claims secure_boot, secure_boot_variables and firmware.`,
		Example: `  vouchsafe measure tpm --uki linux.efi --phase enter-initrd:leave-initrd:sysinit:ready
  vouchsafe measure tpm --steps boot.steps --tried 1 --bank sha384 --reference backup-host`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			result, err := b.predict()
			if err != nil {
				return err
			}
			return result.print(p, b.reference)
		},
	}
	f := c.Flags()
	f.StringVar(&b.uki, "uki", "", "unified kernel image `FILE` that the firmware boots")
	f.StringVar(&b.line, "cmdline", "", "command line `TEXT` that is passed to an image without one")
	f.StringVar(&b.steps, "steps", "", "`FILE` that tells the steps of another boot")
	f.StringVar(&b.bank, "bank", "sha256", "`BANK` of registers: sha256 or sha384")
	f.StringVar(&b.phases, "phase", "", "`PHASES` that systemd has measured into PCR 11, with colons between; none when the kernel starts")
	f.IntVar(&b.tried, "tried", 0, "`NUMBER` of boot options that the firmware tries in vain first")
	referenceFlag(c, &b.reference)
	return c
}

// maxTried bounds --tried: no firmware has more boot options.
const maxTried = 1000

func (b *tpmBuild) predict() (*prediction, error) {
	hashes := map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384}
	hash, known := hashes[b.bank]
	switch {
	case !known:
		return nil, fmt.Errorf("--bank is %q, not sha256 or sha384", b.bank)
	case (b.uki == "") == (b.steps == ""):
		return nil, errors.New("--uki or --steps: one of them says what boots")
	case b.steps != "" && (b.line != "" || b.phases != ""):
		return nil, errors.New("--cmdline and --phase are for --uki")
	case b.tried < 0 || b.tried > maxTried:
		return nil, fmt.Errorf("--tried is not a number from 0 to %d", maxTried)
	}
	result := &prediction{Kind: attest.TPM}
	if b.uki != "" {
		return result, withUKI(b.uki, func(u *boot.UKI) error {
			s, err := b.start(hash)
			if err != nil {
				return err
			}
			unknownWhy, err := s.UKI(u, b.line)
			if err != nil {
				return err
			}
			for _, phase := range strings.FieldsFunc(b.phases, func(r rune) bool { return r == ':' }) {
				s.Phase(phase)
			}
			if unknownWhy != "" {
				result.Unknown = append(result.Unknown, unknown{"claims.tpm.pcrs[9]", unknownWhy})
			}
			result.addPCRs(s, b.tried)
			if err := result.addPrograms(u, hash); err != nil {
				return err
			}
			return result.addSections(u, hash, b.line, unknownWhy == "")
		})
	}
	s, err := b.start(hash)
	if err != nil {
		return nil, err
	}
	err = withFile(b.steps, func(file *os.File, _ int64) error { return addSteps(s, bufio.NewScanner(file)) })
	if err != nil {
		return nil, err
	}
	result.addPCRs(s, b.tried)
	for _, digest := range s.Programs() {
		result.Values = append(result.Values, predicted{Claim: "claims.boot.boot_loaders", Value: digest, set: "-boot-loaders"})
	}
	return result, nil
}

// start returns what the firmware measures before the right boot option.
func (b *tpmBuild) start(hash crypto.Hash) (*boot.Sequence, error) {
	s, err := boot.New(hash)
	if err != nil {
		return nil, err
	}
	s.ReadyToBoot()
	for range b.tried {
		s.NextOption()
	}
	return s, nil
}

// predictedPCRs are those whose every event is known.
var predictedPCRs = []int{4, 8, 9, 11, 12}

func (pr *prediction) addPCRs(s *boot.Sequence, tried int) {
	values := s.PCRs()
	for _, pcr := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(predictedPCRs, pcr) {
			continue
		}
		v := predicted{Claim: fmt.Sprintf("claims.tpm.pcrs[%d]", pcr), Value: values[pcr], set: fmt.Sprintf("-pcr%d", pcr)}
		if pcr == 4 {
			v.For = plural(tried, "boot option") + " tried in vain"
		}
		pr.Values = append(pr.Values, v)
	}
}

// addPrograms adds the programs that are loaded when a unified kernel image boots.
func (pr *prediction) addPrograms(u *boot.UKI, hash crypto.Hash) error {
	for _, program := range []struct {
		what string
		file *pe.File
	}{{"the image", u.Program}, {"the kernel in it", u.Kernel}} {
		digest, err := program.file.Authenticode(hash)
		if err != nil {
			return err
		}
		pr.Values = append(pr.Values, predicted{Claim: "claims.boot.boot_loaders", Value: hex.EncodeToString(digest), For: program.what, set: "-boot-loaders"})
	}
	return nil
}

// addSections adds the claims that an event log proves of the sections of a unified kernel image; taken says whether its kernel takes the
// initrd and the command line as they are there.
func (pr *prediction) addSections(u *boot.UKI, hash crypto.Hash, line string, taken bool) error {
	sections, err := boot.Sections(u.Program, u.Version, hash)
	if err != nil {
		return err
	}
	add := func(claim, set string, digest []byte) {
		pr.Values = append(pr.Values, predicted{Claim: "claims.boot." + claim, Value: hex.EncodeToString(digest), set: set})
	}
	for _, section := range sections {
		switch {
		case section.Name == ".linux":
			add("kernel", "-kernel", section.Digest)
		case section.Name == ".initrd" && taken:
			add("initrd", "-initrd", section.Digest)
		}
	}
	if !taken {
		return nil
	}
	digest, err := boot.LineDigest(hash, line+u.Line)
	if err != nil {
		return err
	}
	add("command_line_digest", "-command-line", digest)
	return nil
}

// withUKI calls f with a unified kernel image in a file.
func withUKI(path string, f func(u *boot.UKI) error) error {
	return withFile(path, func(file *os.File, size int64) error {
		u, err := boot.ParseUKI(file, size)
		if err != nil {
			return err
		}
		return f(u)
	})
}

// addSteps adds the steps of a boot as a file tells them.
func addSteps(s *boot.Sequence, lines *bufio.Scanner) error {
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := addStep(s, line); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	return lines.Err()
}

func addStep(s *boot.Sequence, line string) error {
	step, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	if rest == "" {
		return fmt.Errorf("%q names nothing", step)
	}
	switch step {
	case "program":
		return withProgram(rest, func(program *pe.File) error { return s.Application(rest, program) })
	case "command":
		s.GRUBCommand(rest)
		return nil
	case "line":
		s.GRUBCommandLine(rest)
		return nil
	case "file":
		return withFile(rest, func(file *os.File, _ int64) error { return s.GRUBFile(rest, file) })
	case "options":
		return s.LinuxStub(rest, nil)
	case "initrd":
		return withFile(rest, func(file *os.File, _ int64) error { return s.Initrd(file) })
	}
	return fmt.Errorf("%q is not a step: program, command, line, file, options or initrd", step)
}
