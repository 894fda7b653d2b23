package dcap

import (
	"encoding/asn1"
	"errors"
	"fmt"
)

// PCK is what a Provisioning Certification Key's certificate says of its platform (Intel SGX PCK Certificate and CRL Profile
// Specification, "SGX Extensions").
type PCK struct {
	PPID     [16]byte // identifies the platform, or its package where there is one only
	CPUSVN   [16]byte
	TCB      [16]byte // security version numbers of the components of SGX's TCB
	PCESVN   uint16
	PCEID    [2]byte
	FMSPC    [6]byte
	SGXType  int     // 0 standard, 1 scalable, 2 scalable with integrity
	Instance []byte  // identifies the platform instance, 16 bytes; nil in certificates by the Processor CA
	Config   *Config // nil in certificates by the Processor CA
}

// Config is how a multi-package platform was set up.
type Config struct {
	DynamicPlatform, CachedKeys, SMTEnabled bool
}

// sgxArc is where Intel's extensions of a PCK certificate are.
var sgxArc = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

// Members of sgxArc.
const (
	pckPPID     = 1
	pckTCB      = 2
	pckPCEID    = 3
	pckFMSPC    = 4
	pckType     = 5
	pckInstance = 6
	pckConfig   = 7
)

// Members of the TCB, after its sixteen components.
const (
	tcbPCESVN = 17
	tcbCPUSVN = 18
)

// member is one attribute of the extension.
type member struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue
}

// parsePCK reads the extension of a PCK certificate. Members that are not known are passed over, since Intel has added some; one that is
// there twice, lacks, or has a value it cannot have is an error.
func parsePCK(der []byte) (*PCK, error) {
	p := new(PCK)
	found, err := p.read(der, sgxArc, p.set)
	if err != nil {
		return nil, err
	}
	for _, id := range []int{pckPPID, pckTCB, pckPCEID, pckFMSPC, pckType} {
		if !found[id] {
			return nil, fmt.Errorf("%v.%d is missing", sgxArc, id)
		}
	}
	return p, nil
}

// read gives the members of a sequence to set, each by the last number of its identifier, and returns which there were.
func (p *PCK) read(der []byte, arc asn1.ObjectIdentifier, set func(id int, v asn1.RawValue) error) (map[int]bool, error) {
	var members []member
	if rest, err := asn1.Unmarshal(der, &members); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%v is not a sequence of attributes", arc)
	}
	found := map[int]bool{}
	for _, m := range members {
		if len(m.ID) != len(arc)+1 || !m.ID[:len(arc)].Equal(arc) {
			return nil, fmt.Errorf("the attribute %v is not below %v", m.ID, arc)
		}
		id := m.ID[len(arc)]
		if found[id] {
			return nil, fmt.Errorf("%v is there twice", m.ID)
		}
		found[id] = true
		if err := set(id, m.Value); err != nil {
			return nil, fmt.Errorf("%v: %w", m.ID, err)
		}
	}
	return found, nil
}

func (p *PCK) set(id int, v asn1.RawValue) error {
	switch id {
	case pckPPID:
		return octets(v, p.PPID[:])
	case pckPCEID:
		return octets(v, p.PCEID[:])
	case pckFMSPC:
		return octets(v, p.FMSPC[:])
	case pckInstance:
		p.Instance = make([]byte, 16)
		return octets(v, p.Instance)
	case pckType:
		var kind asn1.Enumerated
		if err := exactly(v, &kind); err != nil {
			return err
		}
		p.SGXType = int(kind)
	case pckTCB:
		found, err := p.read(v.FullBytes, append(sgxArc[:len(sgxArc):len(sgxArc)], pckTCB), p.setTCB)
		if err != nil {
			return err
		}
		for i := 1; i <= tcbCPUSVN; i++ {
			if !found[i] {
				return fmt.Errorf("component %d is missing", i)
			}
		}
	case pckConfig:
		p.Config = new(Config)
		_, err := p.read(v.FullBytes, append(sgxArc[:len(sgxArc):len(sgxArc)], pckConfig), p.Config.set)
		return err
	}
	return nil
}

func (p *PCK) setTCB(id int, v asn1.RawValue) error {
	switch {
	case id == tcbCPUSVN:
		return octets(v, p.CPUSVN[:])
	case id == tcbPCESVN:
		svn, err := number(v, 1<<16-1)
		p.PCESVN = uint16(svn)
		return err
	case id >= 1 && id <= len(p.TCB):
		svn, err := number(v, 1<<8-1)
		p.TCB[id-1] = uint8(svn)
		return err
	}
	return nil
}

func (c *Config) set(id int, v asn1.RawValue) error {
	flags := map[int]*bool{1: &c.DynamicPlatform, 2: &c.CachedKeys, 3: &c.SMTEnabled}
	if flags[id] == nil {
		return nil
	}
	return exactly(v, flags[id])
}

// octets reads an octet string of exactly the length of to.
func octets(v asn1.RawValue, to []byte) error {
	if v.Class != asn1.ClassUniversal || v.Tag != asn1.TagOctetString || v.IsCompound || len(v.Bytes) != len(to) {
		return fmt.Errorf("not an octet string of %d bytes", len(to))
	}
	copy(to, v.Bytes)
	return nil
}

// number reads an integer from 0 to most.
func number(v asn1.RawValue, most int) (int, error) {
	var n int
	if err := exactly(v, &n); err != nil {
		return 0, err
	}
	if n < 0 || n > most {
		return 0, fmt.Errorf("%d is not from 0 to %d", n, most)
	}
	return n, nil
}

func exactly(v asn1.RawValue, to any) error {
	if rest, err := asn1.Unmarshal(v.FullBytes, to); err != nil || len(rest) > 0 {
		return errors.New("a value of another type")
	}
	return nil
}
