// Package snpjson writes SNP evidence as guests of the KBS protocol send it: a report taken apart into its fields. It exists for tests and
// measurements, which have reports as bytes; guests in the field use a library of their own, and package snp reads what that one writes.
package snpjson

import (
	"encoding/json"

	"github.com/vouchsafe/vouchsafe/attest/snp"
)

// array is bytes as the guests' library writes them: an array of numbers, not base64.
type array []byte

// MarshalJSON implements json.Marshaler.
func (a array) MarshalJSON() ([]byte, error) {
	numbers := make([]int, len(a))
	for i, b := range a {
		numbers[i] = int(b)
	}
	return json.Marshal(numbers)
}

type tcb struct {
	FMC        *uint8 `json:"fmc"`
	Bootloader uint8  `json:"bootloader"`
	TEE        uint8  `json:"tee"`
	SNP        uint8  `json:"snp"`
	Microcode  uint8  `json:"microcode"`
}

type firmware struct {
	Major uint8 `json:"major"`
	Minor uint8 `json:"minor"`
	Build uint8 `json:"build"`
}

type certificate struct {
	Type string `json:"cert_type"`
	Data array  `json:"data"`
}

// Encode returns the JSON form of an extended report of a Milan or Genoa processor.
func Encode(extended []byte) ([]byte, error) {
	ev, err := snp.Parse(extended)
	if err != nil {
		return nil, err
	}
	r := &ev.Report
	version := func(v snp.TCBVersion) tcb {
		t, decodeErr := v.Decode(snp.Genoa)
		if err == nil {
			err = decodeErr
		}
		return tcb{nil, t.Bootloader, t.TEE, t.SNP, t.Microcode}
	}
	report := map[string]any{
		"version": r.Version, "guest_svn": r.GuestSVN, "policy": r.Policy, "family_id": array(r.FamilyID[:]),
		"image_id": array(r.ImageID[:]), "vmpl": r.VMPL, "sig_algo": r.SignatureAlgo, "current_tcb": version(r.CurrentTCB),
		"plat_info": r.PlatformInfo, "key_info": r.KeyInfo, "report_data": array(r.ReportData[:]),
		"measurement": array(r.Measurement[:]), "host_data": array(r.HostData[:]), "id_key_digest": array(r.IDKeyDigest[:]),
		"author_key_digest": array(r.AuthorKeyDigest[:]), "report_id": array(r.ReportID[:]), "report_id_ma": array(r.ReportIDMA[:]),
		"reported_tcb": version(r.ReportedTCB), "chip_id": array(r.ChipID[:]), "committed_tcb": version(r.CommittedTCB),
		"cpuid_fam_id": r.CPU.Family, "cpuid_mod_id": r.CPU.Model, "cpuid_step": r.CPU.Stepping,
		"current": firmware(r.Current), "committed": firmware(r.Committed), "launch_tcb": version(r.LaunchTCB),
		"signature": map[string]array{"r": r.R[:], "s": r.S[:]},
	}
	var chain []certificate
	for _, c := range []certificate{
		{"VCEK", ev.Certificates.VCEK}, {"VLEK", ev.Certificates.VLEK}, {"ASK", ev.Certificates.ASK},
	} {
		if len(c.Data) > 0 {
			chain = append(chain, c)
		}
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"attestation_report": report, "cert_chain": chain})
}
