package snp

import (
	"math"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/jsonscan"
)

// parseJSON reads what KBS clients send: {"attestation_report":{…},"cert_chain":[{"cert_type":T,"data":[…]}]|null}. The report is
// there in fields, as the guest's library took it apart, so its bytes are put together again, and read like any other
// report's: the fields are trusted no more than those bytes, which the signature covers.
//
// Members that are not known are passed over in the outer object and in the entries of cert_chain, where clients have added
// some; in the report one is refused, since it stands for bytes that could not be put back. No member may be there twice.
func (ev *Evidence) parseJSON(data []byte) error {
	s := jsonscan.New(data)
	var (
		report     = reportReader{Scanner: s}
		haveReport bool
		haveChain  bool
	)
	s.Object(func(name []byte) {
		switch string(name) {
		case "attestation_report":
			s.Once(&haveReport, name)
			report.read()
		case "cert_chain":
			s.Once(&haveChain, name)
			if !s.Null() {
				ev.readChain(s)
			}
		default:
			s.Skip()
		}
	})
	s.End()
	if s.Err() != nil {
		return s.Err()
	}
	if !haveReport {
		return attest.Refuse(attest.CodeMalformed, "the evidence has no attestation_report")
	}
	report.append(ev.Raw[:0])
	return ev.Report.parse(ev.Raw[:])
}

func (ev *Evidence) readChain(s *jsonscan.Scanner) {
	entries := 0
	s.Array(func() {
		if entries++; entries > maxTableEntries {
			s.Fail("over %d certificates", maxTableEntries)
			return
		}
		var (
			kind               []byte
			der                []byte
			haveKind, haveData bool
		)
		s.Object(func(name []byte) {
			switch string(name) {
			case "cert_type":
				s.Once(&haveKind, name)
				if s.Peek() == '"' {
					kind = s.String()
				} else {
					s.Skip() // {"OTHER": GUID} for what the client has no name for
				}
			case "data":
				s.Once(&haveData, name)
				der = s.Bytes(maxCertificate)
			default:
				s.Skip()
			}
		})
		if s.Err() != nil {
			return
		}
		if !haveKind || !haveData {
			s.Fail("a certificate without cert_type or data")
			return
		}
		var id guid
		switch string(kind) {
		case "VCEK":
			id = guidVCEK
		case "VLEK":
			id = guidVLEK
		case "ASK":
			id = guidASK
		default:
			return
		}
		if len(der) == 0 {
			s.Fail("an empty certificate")
		} else if err := ev.Certificates.add(id, der); err != nil {
			s.Refuse(err)
		}
	})
}

// reportReader reads a report's fields.
type reportReader struct {
	*jsonscan.Scanner
	Report
	seen uint64 // which of reportMembers were there
}

// reportMembers are the members of a report, those that must be there first.
var reportMembers = [...]string{
	"version", "guest_svn", "policy", "family_id", "image_id", "vmpl", "sig_algo", "current_tcb", "plat_info", "key_info",
	"report_data", "measurement", "host_data", "id_key_digest", "author_key_digest", "report_id", "report_id_ma",
	"reported_tcb", "chip_id", "committed_tcb", "current", "committed", "launch_tcb", "signature",
	"cpuid_fam_id", "cpuid_mod_id", "cpuid_step", "launch_mit_vector", "current_mit_vector",
}

// requiredMembers is how many of reportMembers must be there.
const requiredMembers = 24

func (r *reportReader) read() {
	r.Object(func(name []byte) {
		for i, known := range reportMembers {
			if string(name) != known {
				continue
			}
			if r.seen&(1<<i) != 0 {
				r.Fail("member %s twice", name)
			}
			r.seen |= 1 << i
		}
		r.member(name)
	})
	for i, name := range reportMembers[:requiredMembers] {
		if r.seen&(1<<i) == 0 {
			r.Fail("no member %s in the report that ends", name)
		}
	}
}

func (r *reportReader) member(name []byte) {
	switch string(name) {
	case "version":
		r.Version = r.u32()
	case "guest_svn":
		r.GuestSVN = r.u32()
	case "policy":
		r.Policy = r.Uint(math.MaxUint64)
	case "family_id":
		r.Fill(r.FamilyID[:])
	case "image_id":
		r.Fill(r.ImageID[:])
	case "vmpl":
		r.VMPL = r.u32()
	case "sig_algo":
		r.SignatureAlgo = r.u32()
	case "current_tcb":
		r.CurrentTCB = r.tcb()
	case "plat_info":
		r.PlatformInfo = r.Uint(math.MaxUint64)
	case "key_info":
		r.KeyInfo = r.u32()
	case "report_data":
		r.Fill(r.ReportData[:])
	case "measurement":
		r.Fill(r.Measurement[:])
	case "host_data":
		r.Fill(r.HostData[:])
	case "id_key_digest":
		r.Fill(r.IDKeyDigest[:])
	case "author_key_digest":
		r.Fill(r.AuthorKeyDigest[:])
	case "report_id":
		r.Fill(r.ReportID[:])
	case "report_id_ma":
		r.Fill(r.ReportIDMA[:])
	case "reported_tcb":
		r.ReportedTCB = r.tcb()
	case "cpuid_fam_id":
		r.CPU.Family = r.optionalByte()
	case "cpuid_mod_id":
		r.CPU.Model = r.optionalByte()
	case "cpuid_step":
		r.CPU.Stepping = r.optionalByte()
	case "chip_id":
		r.Fill(r.ChipID[:])
	case "committed_tcb":
		r.CommittedTCB = r.tcb()
	case "current":
		r.Current = r.firmware()
	case "committed":
		r.Committed = r.firmware()
	case "launch_tcb":
		r.LaunchTCB = r.tcb()
	case "launch_mit_vector":
		r.LaunchMitVector = r.optionalWord()
	case "current_mit_vector":
		r.CurrMitVector = r.optionalWord()
	case "signature":
		r.members([]string{"r", "s"}, func(i int) {
			r.Fill([...][]byte{r.R[:], r.S[:]}[i])
		})
	default:
		r.Fail("a member of the report that is not known")
	}
}

func (r *reportReader) u32() uint32 { return uint32(r.Uint(math.MaxUint32)) }

func (r *reportReader) optionalByte() uint8 {
	if r.Null() {
		return 0
	}
	return uint8(r.Uint(0xff))
}

func (r *reportReader) optionalWord() uint64 {
	if r.Null() {
		return 0
	}
	return r.Uint(math.MaxUint64)
}

// members reads an object that has exactly the members names, calling value with the index of each.
func (r *reportReader) members(names []string, value func(i int)) {
	var seen int
	r.Object(func(name []byte) {
		for i, known := range names {
			if string(name) != known {
				continue
			}
			if seen&(1<<i) != 0 {
				r.Fail("member %s twice", name)
			}
			seen |= 1 << i
			value(i)
			return
		}
		r.Fail("a member that is not known in a part of the report")
	})
	if seen != 1<<len(names)-1 {
		r.Fail("a part of the report that lacks one of %v", names)
	}
}

// tcb reads a TCB version. Its bytes are in Turin's order when it has the part that only Turin has.
func (r *reportReader) tcb() TCBVersion {
	var (
		t     TCB
		turin bool
		parts = [...]*uint8{&t.FMC, &t.Bootloader, &t.TEE, &t.SNP, &t.Microcode}
	)
	r.members([]string{"fmc", "bootloader", "tee", "snp", "microcode"}, func(i int) {
		if i == 0 {
			if r.Null() {
				return
			}
			turin = true
		}
		*parts[i] = uint8(r.Uint(0xff))
	})
	if turin {
		return t.Encode(Turin)
	}
	return t.Encode(Genoa)
}

func (r *reportReader) firmware() Firmware {
	var f Firmware
	r.members([]string{"major", "minor", "build"}, func(i int) {
		*[...]*uint8{&f.Major, &f.Minor, &f.Build}[i] = uint8(r.Uint(0xff))
	})
	return f
}
