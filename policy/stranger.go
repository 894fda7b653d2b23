package policy

import (
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

// stranger says how a rule can tell the workloads of its author from those of anyone who rents or buys the same hardware: evidence of theirs
// is as genuine, and the baseline has nothing against it.
type stranger struct {
	kinds   []attest.Kind
	claims  []string // one of them at least, or a part of one, must be named
	message string
}

var strangers = [...]stranger{
	{
		kinds:   []attest.Kind{attest.SNP},
		claims:  []string{"claims.measurement", "claims.snp.id_key_digest", "claims.snp.author_key_digest", "claims.snp.chip_id"},
		message: "SEV-SNP guests are accepted and no rule asks what runs in them: anyone who rents such hardware passes",
	},
	{
		kinds:   []attest.Kind{attest.TDX},
		claims:  []string{"claims.measurement", "claims.tdx.mr_td"},
		message: "trust domains are accepted and no rule asks which firmware started them: anyone who rents such hardware passes, with firmware that writes any RTMRs",
	},
	{
		kinds: []attest.Kind{attest.TDX},
		claims: []string{
			"claims.tdx.rtmr1", "claims.tdx.rtmr2", "claims.boot.boot_loaders", "claims.boot.kernel", "claims.boot.initrd", "claims.boot.command_line",
			"claims.boot.command_line_digest", "claims.boot.secure_boot_authorities", "claims.boot.secure_boot_variables",
		},
		message: "trust domains are accepted and no rule asks what their firmware started: the measurement is of the firmware alone, with which anyone who rents such hardware starts anything",
	},
	{
		kinds:   []attest.Kind{attest.SGX},
		claims:  []string{"claims.measurement", "claims.sgx.mr_enclave", "claims.sgx.mr_signer"},
		message: "SGX enclaves are accepted and no rule asks which, or who signed them: anyone who has such hardware passes",
	},
	{
		kinds:   []attest.Kind{attest.Nitro},
		claims:  []string{"claims.measurement", "claims.nitro.pcrs", "claims.nitro.instance_id", "claims.nitro.module_id"},
		message: "Nitro enclaves are accepted and no rule asks which: that of any customer of AWS passes",
	},
	{
		kinds:   []attest.Kind{attest.CCA},
		claims:  []string{"claims.measurement"},
		message: "CCA realms are accepted and no rule asks what runs in them: any that the platform's host starts passes",
	},
	{
		kinds:  []attest.Kind{attest.CSV},
		claims: []string{"claims.measurement"},
		message: "CSV guests are accepted that are not measured: anyone who rents such hardware passes, and can turn the bits of a report of version 1, " +
			"so that one which can be debugged says that it cannot",
	},
	{
		kinds: []attest.Kind{attest.Token},
		claims: []string{
			"claims.measurement", "claims.token.subject", "claims.token.container", "claims.token.service_accounts", "claims.token.project", "claims.token.instance",
			"claims.token.signer", "claims.token.registers", "claims.token.policies_matched", "claims.token.appraisal_policy", "claims.token.status",
			"claims.token.trust_vector", "claims.token.submodules", "claims.token.stated",
		},
		message: "tokens are accepted and no rule asks whose workload they are about: where the verifier serves everyone, that of any of its users passes",
	},
	{
		kinds: []attest.Kind{attest.TPM},
		claims: []string{
			"claims.tpm.host", "claims.tpm.enrolled", "claims.tpm.ak_name", "claims.tpm.ak_digest", "claims.tpm.ek_digest", "claims.hardware_root",
		},
		message: "TPMs are accepted and no rule asks whose machine it is: where a cloud's root is trusted, that of any of its customers passes",
	},
	{
		kinds:  []attest.Kind{attest.AzSNPvTPM, attest.AzTDXvTPM},
		claims: []string{"claims.measurement", "claims.snp.id_key_digest", "claims.snp.author_key_digest"},
		message: "guests of Azure are accepted and no rule asks which paravisor runs below them: " +
			"on hardware of their own, anyone can be one and write any PCRs",
	},
}

// strangers warns of kinds whose evidence anyone can make, where no rule names a claim that tells whose it is.
func (r *parsing) strangers(admitted []attest.Kind, found *problems) {
	for _, s := range strangers {
		if slices.ContainsFunc(s.kinds, func(k attest.Kind) bool { return slices.Contains(admitted, k) }) && !r.names(s.claims) {
			found.add(Problem{
				Line: r.specAt.Line, Column: r.specAt.Column, Path: "spec.require",
				Message: s.message, Expected: "a rule on one of " + strings.Join(s.claims, ", "),
			})
		}
	}
}

// names reports whether a rule names one of the claims, or a part of one.
func (r *parsing) names(claims []string) bool {
	return slices.ContainsFunc(r.out.rules, func(rule rule) bool {
		return slices.ContainsFunc(rule.claims, func(p path) bool {
			return slices.ContainsFunc(claims, func(claim string) bool {
				rest, ok := strings.CutPrefix(p.text, claim)
				return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
			})
		})
	})
}
