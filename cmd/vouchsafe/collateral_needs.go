package main

import (
	"fmt"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/azure"
	"github.com/vouchsafe/vouchsafe/attest/csv"
	"github.com/vouchsafe/vouchsafe/attest/sgx"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/tdx"
)

// endorsedKinds are the kinds of which evidence itself says what collateral it needs.
func endorsedKinds() []attest.Kind {
	return []attest.Kind{attest.SNP, attest.TDX, attest.SGX, attest.AzSNPvTPM, attest.AzTDXvTPM}
}

// endorsementNeeds lists the collateral that evidence of a kind needs to be judged.
func endorsementNeeds(kind attest.Kind, evidence []byte) ([]need, error) {
	switch kind {
	case attest.SNP:
		return reportNeeds(evidence)
	case attest.TDX:
		return allOf(tdx.EndorsementNames(evidence))
	case attest.SGX:
		return allOf(sgx.EndorsementNames(evidence))
	case attest.AzSNPvTPM, attest.AzTDXvTPM:
		hardware, err := azureHardware(kind, evidence)
		if err != nil {
			return nil, err
		}
		if kind == attest.AzTDXvTPM {
			return allOf(tdx.EndorsementNames(hardware))
		}
		return reportNeeds(hardware)
	case attest.CSV:
		ev, err := csv.Parse(evidence)
		if err != nil || ev.HSKCEK != nil || ev.Serial == "" {
			return nil, err
		}
		return []need{{csv.EndorsementName(ev.Serial)}}, nil
	}
	return nil, fmt.Errorf("what evidence of kind %q needs is not known here: give the items by --name or --fmspc", kind)
}

// allOf makes needs of names that are all needed.
func allOf(names []string, err error) ([]need, error) {
	var all []need
	for _, name := range names {
		all = append(all, need{name})
	}
	return all, err
}

// reportNeeds lists what a report of SEV-SNP needs.
func reportNeeds(report []byte) ([]need, error) {
	ev, err := snp.Parse(report)
	if err != nil {
		return nil, err
	}
	var all []need
	if ev.Certificates.VCEK == nil && ev.Certificates.VLEK == nil {
		names, err := snp.EndorsementNames(&ev.Report)
		if err != nil {
			return nil, err
		}
		all = append(all, names)
	}
	if product, known := ev.Report.CPU.Product(); known {
		all = append(all, need{snp.CRLName(product)})
	}
	return all, nil
}

// azureHardware takes the hardware's own evidence out of that of a confidential VM of Azure's: an SEV-SNP report, extended by its certificate where that is
// there, or a TD quote.
func azureHardware(kind attest.Kind, evidence []byte) ([]byte, error) {
	ev, err := azure.ParseEvidence(kind, evidence)
	if err != nil {
		return nil, err
	}
	if kind == attest.AzTDXvTPM {
		return ev.TDQuote, nil
	}
	report, err := azure.ParseHCLReport(ev.HCLReport)
	if err != nil {
		return nil, err
	}
	if ev.VCEK == nil {
		return report.Hardware, nil
	}
	return append(report.Hardware[:len(report.Hardware):len(report.Hardware)], snp.Certificates{VCEK: ev.VCEK}.Table()...), nil
}
