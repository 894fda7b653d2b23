package eventlog

import (
	"bytes"
	"crypto"
	"slices"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Indexes that the log of a trust domain gives its registers (UEFI 2.10, 38.4.1): 0 is MRTD, which nobody extends, and RTMR 0 to 3 are 1 to 4.
const (
	numRTMRs = 4
	maxIndex = numRTMRs
)

// lastFirmwareRTMR is the last register that only firmware extends, so that a log that has events of one must give its value. RTMR 2 is the
// boot loaders', as PCRs 8 to 15 are, which running systems extend too, without an entry in the log.
const lastFirmwareRTMR = 1

// maxTables is how many events EDK II measures for a virtual machine's ACPI tables: the loader's script, the root pointer, the tables.
const maxTables = 3

// rtmrOf returns the register that firmware of a trust domain extends where that of a PC extends a PCR (UEFI 2.10, 38.4.1). What
// goes into PCR 0 is in MRTD, and of what a trust domain's firmware measures of itself besides, in RTMR 0.
func rtmrOf(pcr int) int {
	switch {
	case pcr <= 1 || pcr == 7:
		return 0
	case pcr <= 6:
		return 1
	default:
		return 2
	}
}

// BootRTMR parses the log of a trust domain, replays it to the quoted values of RTMR 0 to 3, 48 bytes each, and returns what the covered
// registers prove. Its errors are *attest.Refusal: those of [Parse] and of [Log.CoverRTMR].
func BootRTMR(log []byte, rtmrs [4][]byte) (*attest.BootClaims, error) {
	parsed, err := Parse(log)
	if err != nil {
		return nil, err
	}
	covered, err := parsed.CoverRTMR(rtmrs)
	if err != nil {
		return nil, err
	}
	return covered.Boot()
}

// CoverRTMR replays the log of a trust domain and compares it with the quoted values of RTMR 0 to 3. Its errors are *attest.Refusal: with
// CodeMalformed for an event of a register that a trust domain does not have; with CodeEventLog when RTMR 0 or 1 has events that give another
// value, when the log covers no register, and when it has no SHA-384 digests. Events of MRTD are not looked at: the register is extended
// before any software runs, so a log of it proves nothing.
func (l *Log) CoverRTMR(rtmrs [4][]byte) (*Covered, error) {
	for i := range l.Events {
		if index := l.Events[i].PCR; index > maxIndex {
			return nil, attest.Refuse(attest.CodeMalformed, "the event log names register %d; a trust domain's are 0 to %d", index, maxIndex)
		}
	}
	values, err := l.Replay(crypto.SHA384)
	if err != nil {
		return nil, err
	}
	c := &Covered{log: l, hash: crypto.SHA384, domain: true, events: make(map[int][]*Event)}
	var indexes []int
	for i, quoted := range rtmrs {
		value, logged := values[i+1]
		switch {
		case !logged:
		case bytes.Equal(value, quoted):
			c.RTMRs = append(c.RTMRs, i)
			indexes = append(indexes, i+1)
		case i <= lastFirmwareRTMR:
			return nil, attest.Refuse(attest.CodeEventLog, "the event log gives RTMR %d the value %x; %x is quoted", i, value, quoted)
		}
	}
	if len(c.RTMRs) == 0 {
		return nil, attest.Refuse(attest.CodeEventLog, "the event log covers no quoted RTMR, so it proves nothing")
	}
	c.gather(indexes)
	return c, nil
}

// stubSections are the names of PE sections as systemd-stub measures them, each before the section (systemd-stub(7)).
var stubSections = []string{
	".linux\x00", ".osrel\x00", ".cmdline\x00", ".initrd\x00", ".ucode\x00", ".splash\x00", ".dtb\x00", ".dtbauto\x00",
	".uname\x00", ".sbat\x00", ".pcrpkey\x00", ".profile\x00", ".hwids\x00", ".efifw\x00",
}

// domainCommandLine returns the command line that systemd-stub measured into RTMR 2: the only text in UTF-16 with a final zero that is
// measured as it is logged. The PCRs that tell a command line from sections and files on a PC are one register here, so every other event
// must be known not to be another command line behind another's data: a section's name or, right after it, its content; the same line again,
// as the kernel takes it; or once, and after the line, the initrd that the kernel took. Otherwise the line is not known, and the second
// result says that there is one.
func (c *Covered) domainCommandLine() (string, bool) {
	line, lineEvent := "", (*Event)(nil)
	known := true
	content := false // the event is a section's content
	initrds := 0
	for _, event := range c.Events(pcrStubCommandLine) {
		if content {
			content = false
			continue
		}
		content = slices.Contains(stubSections, c.fixed(event))
		text, ok := decodeUTF16(bytes.TrimSuffix(event.Data, []byte{0, 0}))
		switch {
		case content || c.isSeparator(event):
		case lineEvent != nil && bytes.Equal(c.Digest(event), c.Digest(lineEvent)):
		case lineEvent == nil && ok && bytes.HasSuffix(event.Data, []byte{0, 0}) && len(text) <= maxCommandLine && c.verbatim(event):
			line, lineEvent = text, event
		case lineEvent != nil && initrds == 0 && event.Type == Tag && string(event.Data) == tagInitrd:
			initrds++
		default:
			known = false
		}
	}
	switch {
	case lineEvent == nil:
		return "", false
	case !known:
		return "", true
	}
	return line, true
}
