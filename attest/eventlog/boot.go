package eventlog

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vouchsafe/vouchsafe/attest"
)

// PCRs by what is measured into them (PFP 2.3.4; GRUB's and systemd's documentation).
const (
	pcrFirmware         = 0
	pcrBootApplications = 4
	pcrSecureBoot       = 7
	pcrGRUBCommands     = 8
	pcrGRUBFiles        = 9
	pcrStubSections     = 11
	pcrStubCommandLine  = 12
)

// maxCommandLine bounds a command line, in bytes. Linux takes 2048 on x86 and up to 4096 elsewhere; GRUB adds the image's path.
const maxCommandLine = 8 << 10

// Boot parses log, replays it to the quoted values pcrs, pcrs[i] being that of PCR i, and returns what the covered PCRs
// prove. Its errors are *attest.Refusal: those of [Parse] and of [Log.Cover].
func Boot(log []byte, hash crypto.Hash, pcrs [][]byte) (*attest.BootClaims, error) {
	parsed, err := Parse(log)
	if err != nil {
		return nil, err
	}
	covered, err := parsed.Cover(hash, pcrs)
	if err != nil {
		return nil, err
	}
	return covered.Boot()
}

// Boot returns what the covered PCRs prove of the boot.
func (c *Covered) Boot() (*attest.BootClaims, error) {
	claims := &attest.BootClaims{PCRs: c.PCRs, RTMRs: c.RTMRs, BootLoaders: c.bootLoaders(), Firmware: c.firmware()}
	if err := c.secureBoot(claims); err != nil {
		return nil, err
	}
	if err := c.linux(claims); err != nil {
		return nil, err
	}
	return claims, nil
}

// actions are the strings that firmware measures into PCR 4 besides boot applications (PFP 10.4.4), and Windows' and shim's none.
var actions = []string{
	"Calling EFI Application from Boot Option",
	"Returning from EFI Application from Boot Option",
	"Calling INT 19h",
	"Returned INT 19h",
	"Booting to ",
}

// separators are what a separator's digest is of, without error and with.
var separators = []string{"\x00\x00\x00\x00", "\xff\xff\xff\xff"}

func (c *Covered) isSeparator(e *Event) bool { return slices.Contains(separators, c.fixed(e)) }

// bootLoaders returns the digests in PCR 4 that are not of a known string. Labels are not trusted: an application's digest cannot
// be passed off as an action's. RTMR 1 of a trust domain has the partition table and more besides, in full: what is measured as it is logged
// and does not start as a program does cannot be one.
func (c *Covered) bootLoaders() []string {
	var digests []string
	for _, event := range c.Events(pcrBootApplications) {
		action := slices.Contains(actions, c.fixed(event))
		if c.domain && !action {
			action = !bytes.HasPrefix(event.Data, []byte("MZ")) && c.verbatim(event)
		}
		if !action && !c.isSeparator(event) {
			digests = append(digests, hex.EncodeToString(c.Digest(event)))
		}
	}
	return digests
}

// firmware returns the digests in PCR 0 before its separator; in a trust domain those in RTMR 0 before the Secure Boot variables. What follows
// is not the firmware's own account of itself.
func (c *Covered) firmware() []string {
	var digests []string
	for _, event := range c.Events(pcrFirmware) {
		switch {
		case c.domain && c.isSecureBoot(event):
			return digests
		case c.isSeparator(event) && c.domain:
			return nil
		case c.isSeparator(event):
			return digests
		}
		digests = append(digests, hex.EncodeToString(c.Digest(event)))
	}
	return nil // nothing says where it ends
}

// linux fills in command line, kernel and initrd.
func (c *Covered) linux(claims *attest.BootClaims) error {
	switch {
	case c.domain:
		return c.domainLinux(claims)
	case c.guest:
		return c.guestLinux(claims)
	}
	said, err := c.loaderSays()
	if err != nil {
		return err
	}
	stub, stubbed := c.stubCommandLine()
	switch {
	case said != nil && !stubbed:
		claims.CommandLine, claims.Kernel, claims.Initrd = said.CommandLine, said.Kernel, said.Initrd
	case said == nil && stubbed:
		claims.CommandLine = stub
	}
	if claims.Kernel == "" {
		claims.Kernel = c.section(".linux")
	}
	if claims.Initrd == "" {
		claims.Initrd = c.section(".initrd")
	}
	line, initrd := c.taken(c.Events(pcrGRUBFiles))
	claims.LineDigest = hex.EncodeToString(line)
	claims.Initrd = agreed(claims.Initrd, initrd)
	return nil
}

// loaderSays returns what GRUB says it booted, when it says it of one kernel; nil otherwise.
func (c *Covered) loaderSays() (*attest.LoaderClaims, error) {
	commands, err := c.grub()
	if err != nil || commands.lines != 1 {
		return nil, err
	}
	said := &attest.LoaderClaims{CommandLine: commands.line}
	image, _, _ := strings.Cut(commands.line, " ")
	if said.Kernel = c.file(image); said.Kernel == "" {
		said.Kernel = c.file(oldKernelLabel)
	}
	if len(commands.initrds) == 1 {
		if said.Initrd = c.file(commands.initrds[0]); said.Initrd == "" {
			said.Initrd = c.file(oldInitrdLabel)
		}
	}
	return said, nil
}

// agreed returns the digest of an initrd, by the hex digest that a boot loader measured and the digest that the kernel did, either of which
// may not be known. It is "" when they differ: then the kernel took another one, or more than that one.
func agreed(loader string, kernel []byte) string {
	took := hex.EncodeToString(kernel)
	switch {
	case loader == "" || loader == took:
		return took
	case kernel == nil:
		return loader
	}
	return ""
}

// Data of the events by which Linux's EFI stub measures what it was given: a number, a size and a name.
const (
	tagLoadOptions = "\xed\x22\x3b\x8f\x1a\x00\x00\x00LOADED_IMAGE::LoadOptions\x00"
	tagInitrd      = "\xec\x22\x3b\x8f\x0d\x00\x00\x00Linux initrd\x00"
)

// taken returns the digests of the command line and the initrd that Linux's EFI stub took, nil for those that are not known. They must be
// the first events: no label is covered by a digest, so behind another event the true ones could hide, and whoever controls the running
// system can append others.
func (c *Covered) taken(events []*Event) (line, initrd []byte) {
	is := func(name string) bool {
		return len(events) > 0 && events[0].Type == Tag && string(events[0].Data) == name
	}
	if is(tagLoadOptions) {
		line, events = c.Digest(events[0]), events[1:]
	}
	if is(tagInitrd) {
		initrd = c.Digest(events[0])
	}
	return line, initrd
}

// Prefixes of GRUB's measurements: the present form and that of older Fedora builds.
var (
	lineLabels    = []string{"kernel_cmdline: ", "grub_kernel_cmdline "}
	commandLabels = []string{"grub_cmd: ", "grub_cmd "}
)

// Labels under which older Fedora builds of GRUB log the two files, whatever their paths.
const (
	oldKernelLabel = "grub_linuxefi Kernel"
	oldInitrdLabel = "grub_linuxefi Initrd"
)

// grubCommands is what PCR 8 says.
type grubCommands struct {
	line    string   // the last command line
	lines   int      // how many there were: a second one means that it is unclear which kernel runs
	initrds []string // paths that initrd commands named
}

// grub reads PCR 8. GRUB measures a string without its label, and logs it with the label and, in some versions, a final zero, which
// some of these measure too.
func (c *Covered) grub() (commands grubCommands, err error) {
	for _, event := range c.Events(pcrGRUBCommands) {
		for _, label := range lineLabels {
			data, found := bytes.CutPrefix(event.Data, []byte(label))
			if !found {
				continue
			}
			line, ok := c.text(event, data)
			if !ok {
				return commands, attest.Refuse(attest.CodeEventLog, "the kernel command line in the event log is not the one measured into PCR 8")
			}
			commands.lines++
			commands.line = line
		}
		for _, label := range commandLabels {
			data, found := bytes.CutPrefix(event.Data, []byte(label))
			if !found {
				continue
			}
			line, ok := c.text(event, data)
			if words := strings.Fields(line); ok && len(words) > 1 && (words[0] == "initrd" || words[0] == "initrdefi") {
				commands.initrds = append(commands.initrds, words[1:]...)
			}
		}
	}
	return commands, nil
}

// text returns a measured string. The string is the data up to a final zero, and measured is either the data or the string.
func (c *Covered) text(event *Event, data []byte) (string, bool) {
	line := bytes.TrimSuffix(data, []byte{0})
	if len(line) > maxCommandLine || !utf8.Valid(line) || bytes.IndexByte(line, 0) >= 0 {
		return "", false
	}
	return string(line), c.Measured(event, line) || c.Measured(event, data) || c.Measured(event, append(bytes.Clone(line), 0))
}

// stubCommandLine returns the command line that systemd-stub measured: the only event of PCR 12, UTF-16 with a final zero. Where there
// are more (credentials, add-ons) it is not known which is what.
func (c *Covered) stubCommandLine() (string, bool) {
	events := c.Events(pcrStubCommandLine)
	if len(events) == 0 {
		return "", false
	}
	line, ok := decodeUTF16(bytes.TrimSuffix(events[0].Data, []byte{0, 0}))
	if len(events) > 1 || !ok || len(line) > maxCommandLine || !c.verbatim(events[0]) {
		return "", true
	}
	return line, true
}

// file returns the digest of the only file in PCR 9 that GRUB logged under path, which it may precede with a device.
func (c *Covered) file(path string) string {
	if path == "" {
		return ""
	}
	path = path[strings.IndexByte(path, ')')+1:]
	digest := ""
	for _, event := range c.Events(pcrGRUBFiles) {
		name := string(bytes.TrimSuffix(event.Data, []byte{0}))
		if event.Type != IPL || name[strings.IndexByte(name, ')')+1:] != path {
			continue
		}
		found := hex.EncodeToString(c.Digest(event))
		if digest != "" && digest != found {
			return ""
		}
		digest = found
	}
	return digest
}

// section returns the digest of a PE section that systemd-stub measured into PCR 11: the event after that of the section's name.
func (c *Covered) section(name string) string {
	events := c.Events(pcrStubSections)
	for i, event := range events {
		if i+1 < len(events) && c.fixed(event) == name+"\x00" {
			return hex.EncodeToString(c.Digest(events[i+1]))
		}
	}
	return ""
}
