package eventlog

import (
	"bytes"
	"crypto"
	"encoding/hex"

	"github.com/vouchsafe/vouchsafe/attest"
)

// BootGuest is [Boot] for a virtual machine whose disks the host controls, and with them what a boot loader is configured to do: what only a boot
// loader's word stands for is in loader_says. See "What differs in a guest" in the package documentation.
func BootGuest(log []byte, hash crypto.Hash, pcrs [][]byte) (*attest.BootClaims, error) {
	parsed, err := Parse(log)
	if err != nil {
		return nil, err
	}
	covered, err := parsed.Cover(hash, pcrs)
	if err != nil {
		return nil, err
	}
	covered.guest = true
	return covered.Boot()
}

// guestLinux fills in command line, kernel and initrd of a guest. A boot loader that runs what its disk says measures the files it opens into PCR 9,
// under labels which no digest covers, and what it starts can append to PCRs 11 and 12 whatever a good boot would have measured. So these count only
// where PCR 9 shows that there was no such boot loader: it is known to have no events, or just those of the kernel's EFI stub.
//
// A boot loader that passes files off as these two has room for two: a kernel at least is one of them, which is no good initrd. So a policy must
// compare both, and boot_loaders, as in a trust domain.
func (c *Covered) guestLinux(claims *attest.BootClaims) error {
	files := c.Events(pcrGRUBFiles)
	line, initrd := c.taken(files)
	took := 0
	for _, digest := range [][]byte{line, initrd} {
		if digest != nil {
			took++
		}
	}
	if !c.known(pcrGRUBFiles) || took != len(files) {
		return c.say(claims)
	}
	sections, _, _ := c.stub(c.Events(pcrStubSections))
	claims.LineDigest = hex.EncodeToString(line)
	claims.Kernel = sections[".linux\x00"]
	claims.Initrd = agreed(sections[".initrd\x00"], initrd)
	if passed, is := c.stubCommandLine(); is && (took == 0 || bytes.Equal(line, c.Digest(c.Events(pcrStubCommandLine)[0]))) {
		claims.CommandLine = passed
	}
	return nil
}
