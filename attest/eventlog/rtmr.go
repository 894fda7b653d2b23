package eventlog

import (
	"bytes"
	"crypto"
	"encoding/hex"
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

// domainLinux fills in command line, kernel and initrd from RTMR 2. In a trust domain it is the host that controls disks, and so what a
// boot loader is configured to do; and the register has what a PC keeps in several PCRs. So it is read from its start, and only as far as
// every event is known not to be another one behind a label: the sections that systemd-stub measures, each right after its name; a command
// line that was passed to the stub, which is measured as it is logged; then what the kernel took. Whoever controls the running system can
// only append.
//
// What any other boot loader measured is reported as what it says.
func (c *Covered) domainLinux(claims *attest.BootClaims) error {
	sections, passed, rest := c.stub(c.Events(pcrStubSections))
	line, initrd := c.taken(rest)
	claims.LineDigest = hex.EncodeToString(line)
	claims.Kernel = sections[".linux\x00"]
	claims.Initrd = agreed(sections[".initrd\x00"], initrd)
	if passed != nil && (bytes.Equal(line, c.Digest(passed)) || line == nil && len(rest) == 0) {
		claims.CommandLine, _ = commandLine(passed)
	}
	if len(rest) == 0 || line != nil || initrd != nil {
		return nil
	}
	return c.say(claims)
}

// say reports what the labels of a log say, which nothing proves.
func (c *Covered) say(claims *attest.BootClaims) error {
	said, err := c.loaderSays()
	if err != nil {
		return err
	}
	if said == nil {
		said = &attest.LoaderClaims{}
	}
	said.LineDigest = hex.EncodeToString(c.labelled(tagLoadOptions))
	said.Initrd = agreed(said.Initrd, c.labelled(tagInitrd))
	if *said != (attest.LoaderClaims{}) {
		claims.LoaderSays = said
	}
	return nil
}

// stub reads the events that systemd-stub begins a register with: the hex digest of each section by its name as measured, the first of each
// name; a command line that was passed to it, nil when there is none; and what follows.
func (c *Covered) stub(events []*Event) (sections map[string]string, passed *Event, rest []*Event) {
	sections = make(map[string]string)
	for len(events) > 0 {
		name := c.fixed(events[0])
		switch {
		case slices.Contains(stubSections, name) && len(events) > 1:
			if sections[name] == "" {
				sections[name] = hex.EncodeToString(c.Digest(events[1]))
			}
			events = events[2:]
		case c.isSeparator(events[0]):
			events = events[1:]
		default:
			if _, is := commandLine(events[0]); !is || passed != nil || !c.verbatim(events[0]) {
				return sections, passed, events
			}
			passed, events = events[0], events[1:]
		}
	}
	return sections, passed, nil
}

// commandLine returns the text of an event whose data is a command line as an EFI program is given it: UTF-16 with a final zero.
func commandLine(e *Event) (string, bool) {
	data, ended := bytes.CutSuffix(e.Data, []byte{0, 0})
	text, ok := decodeUTF16(data)
	return text, ok && ended && len(text) <= maxCommandLine
}

// labelled returns the digest of the events of PCR 9, or RTMR 2, that are labelled as one of the kernel's, if they agree.
func (c *Covered) labelled(name string) (digest []byte) {
	for _, event := range c.Events(pcrGRUBFiles) {
		if event.Type != Tag || string(event.Data) != name {
			continue
		}
		if digest != nil && !bytes.Equal(digest, c.Digest(event)) {
			return nil
		}
		digest = c.Digest(event)
	}
	return digest
}
