package token

import (
	"crypto"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vouchsafe/vouchsafe/attest"
)

// TestVerify appraises a good token of each form and compares every claim.
func TestVerify(t *testing.T) {
	tdxRegisters := map[string]string{"rtmr0": strings.Repeat("0d", 48), "rtmr3": strings.Repeat("0e", 48), "mrseam": strings.Repeat("0b", 48)}
	common := func(f *fake) *attest.Claims {
		c := &attest.Claims{
			Kind: attest.Token, HardwareRoot: attest.RootVerifier, Bound: attest.Ptr(true),
			Collateral: &attest.CollateralClaims{Current: true, Age: attest.Ptr(3600), Source: "local"},
			Token: &attest.TokenClaims{
				Verifier: f.trusted.Name, Format: string(f.trusted.Format), Issuer: f.trusted.Issuer, Issued: now.Add(-time.Minute), Age: 60, ID: "id-1",
			},
		}
		c.Token.KeyID, _ = f.header["kid"].(string)
		return c
	}
	for name, edit := range map[string]func(c *attest.Claims, t *attest.TokenClaims){
		"ear": func(c *attest.Claims, t *attest.TokenClaims) {
			c.Measurement, c.ReportData, c.InitData = measurement, padded(), strings.Repeat("1f", 32)
			c.InitDataBound, c.InitDataClaims = attest.Ptr(true), map[string]string{"aa.toml": "x = 1"}
			c.Debug, c.MigrationAgent, c.VMPL, c.TCBStatus = attest.Ptr(false), attest.Ptr(false), attest.Ptr(0), attest.TCBElsewhere
			t.ID, t.Profile, t.TEE, t.Status = "", "tag:github.com,2024:confidential-containers/Trustee", "snp", "warning"
			t.Submodules = map[string]string{"cpu0": "warning", "gpu0": "affirming"}
			t.TrustVector = map[string]int{
				"instance-identity": 0, "configuration": 36, "executables": 33, "file-system": 0, "hardware": 2, "runtime-opaque": 0, "storage-opaque": 0, "sourced-data": 0,
			}
			t.AppraisedBy = "default"
		},
		"google": func(c *attest.Claims, t *attest.TokenClaims) {
			c.Debug, c.TCBStatus = attest.Ptr(false), attest.TCBElsewhere
			t.Audience, t.Subject = []string{"https://broker.example"}, "https://www.googleapis.com/compute/v1/projects/p/zones/us-central1-a/instances/vm1"
			t.TEE, t.HardwareModel, t.Software, t.SoftwareVersion, t.SecureBoot = "tdx", "GCP_INTEL_TDX", "CONFIDENTIAL_SPACE", []string{"240900"}, attest.Ptr(true)
			t.ServiceAccounts, t.Support = []string{"runner@p.iam.gserviceaccount.com"}, []string{"LATEST", "STABLE", "USABLE"}
			t.Project, t.Zone, t.Instance = "p", "us-central1-a", "5678"
			t.Container = &attest.TokenContainer{
				ImageReference: "us-docker.pkg.dev/p/r/w:latest", ImageDigest: "sha256:667b7cc9407f7d9949d43fd51dde2a5b66db9b695ef5bfe525cf8576d54ffaa9",
				ImageID: "sha256:f2484d4358ebe74b0b9e1051d8852389d5f5481681a4933fd58a61817aee76da", RestartPolicy: "Never", Arguments: []string{"./server"},
				Environment: map[string]string{"HOSTNAME": "vm1", "PATH": "/usr/bin"}, Signatures: []string{"8c2d"},
			}
		},
		"azure-vm": func(c *attest.Claims, t *attest.TokenClaims) {
			c.Measurement, c.InitData, c.TCBStatus = measurement, strings.Repeat("0", 64), attest.TCBElsewhere
			c.ReportData = "267112875bb879d143ad3d25f5176cd05c5ecd62c16a49c127d2b5a032c1bc96" + strings.Repeat("0", 64)
			c.Debug, c.MigrationAgent, c.VMPL = attest.Ptr(false), attest.Ptr(false), attest.Ptr(0)
			t.TEE, t.Attestation, t.Compliance, t.SecureBoot = "az-snp-vtpm", "azurevm", "azure-compliant-cvm", attest.Ptr(true)
			t.AppraisedBy, t.Instance = "wm9mHlvTU82e8UqoOy1Yj1FBRSNkfe99-69IYDq9eWs", "9A42ABD5-8385-42B3-9255-FE7807698194"
		},
		"azure-snp": func(c *attest.Claims, t *attest.TokenClaims) {
			c.Measurement, c.InitData, c.TCBStatus, c.ReportData = measurement, strings.Repeat("0", 64), attest.TCBElsewhere, padded()
			c.Debug, c.MigrationAgent, c.VMPL = attest.Ptr(false), attest.Ptr(false), attest.Ptr(0)
			t.TEE, t.Attestation, t.Compliance, t.AppraisedBy = "snp", "sevsnpvm", "azure-compliant-uvm", "p"
		},
		"azure-sgx": func(c *attest.Claims, t *attest.TokenClaims) {
			c.Measurement, c.TCBStatus, c.Debug = strings.Repeat("1a", 32), attest.TCBElsewhere, attest.Ptr(false)
			t.TEE, t.Attestation, t.AppraisedBy, t.Signer = "sgx", "sgx", "p", strings.Repeat("2b", 32)
		},
		"azure-tdx": func(c *attest.Claims, t *attest.TokenClaims) {
			c.Measurement, c.InitData, c.ReportData = measurement, strings.Repeat("0a", 48), padded()
			c.TCBStatus, c.Debug, c.MigrationAgent = attest.TCBUpToDate, attest.Ptr(false), attest.Ptr(false)
			t.TEE, t.Attestation, t.Compliance, t.Registers = "tdx", "tdxvm", "azure-compliant-cvm", tdxRegisters
			t.Advisories = []string{"INTEL-SA-00837"}
		},
		"intel": func(c *attest.Claims, t *attest.TokenClaims) {
			c.Measurement, c.InitData, c.ReportData = measurement, strings.Repeat("0a", 48), strings.Repeat("0c", 64)
			c.TCBStatus, c.Debug, c.MigrationAgent = attest.TCBUpToDate, attest.Ptr(false), attest.Ptr(false)
			t.TEE, t.Attestation, t.Registers, t.Advisories = "tdx", "TDX", tdxRegisters, []string{"INTEL-SA-00837"}
			t.Profile, t.Matched, t.Unmatched = "https://portal.trustauthority.intel.com/eat_profile.html", []string{"e4d0"}, []string{"f00d"}
		},
		"intel-sgx": func(c *attest.Claims, t *attest.TokenClaims) {
			c.Measurement, c.TCBStatus, c.Debug = strings.Repeat("1a", 32), attest.TCBSWHardening, attest.Ptr(false)
			t.TEE, t.Attestation, t.Advisories, t.Signer = "sgx", "SGX", []string{"INTEL-SA-00615"}, strings.Repeat("2b", 32)
			t.Profile, t.Matched, t.Unmatched = "https://portal.trustauthority.intel.com/eat_profile.html", []string{"e4d0"}, []string{"f00d"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := fakes()[name]
			v, _ := verifierOf(t, f)
			got, err := v.Verify(t.Context(), input(f.evidence(f.token())))
			if err != nil {
				t.Fatal(err)
			}
			want := common(f)
			edit(want, want.Token)
			// These depend on the keys of this run, or are compared below.
			want.Token.SigningKey, want.Token.Stated, want.Token.Recipient = got.Token.SigningKey, got.Token.Stated, got.Token.Recipient
			want.Token.Expires, want.Collateral.Expires = got.Token.Expires, got.Collateral.Expires
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if len(got.Token.SigningKey) != 64 || got.Token.Expires.Before(now) || got.Collateral.Expires.After(got.Token.Expires) {
				t.Errorf("key %q, expires %v, collateral %v", got.Token.SigningKey, got.Token.Expires, got.Collateral.Expires)
			}
			if (len(got.Token.Recipient) == 64) != (name == "ear") {
				t.Errorf("recipient %q", got.Token.Recipient)
			}
		})
	}
}

// TestForms appraises what differs from another form in one way only.
func TestForms(t *testing.T) {
	all := fakes()
	for _, name := range []string{"azure-runtime", "intel-v2"} {
		f := all[name]
		v, _ := verifierOf(t, f)
		c, err := v.Verify(t.Context(), input(f.evidence(f.token())))
		if err != nil || c.Measurement != measurement || c.Debug == nil || *c.Debug {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	// The same in JSON.
	f := all["google"]
	v, _ := verifierOf(t, f)
	if _, err := v.Verify(t.Context(), input([]byte(`{"token": "`+f.token()+`"}`))); err != nil {
		t.Error(err)
	}
}

func TestStated(t *testing.T) {
	all := fakes()
	f := all["azure-vm"]
	v, _ := verifierOf(t, f)
	token := f.with(func(p claimSet) {
		p["my-policy-claim"], p["long"], p["x-ms-sevsnpvm-guestsvn"] = "yes", strings.Repeat("x", maxStatedText+1), 7
	})
	c, err := v.Verify(t.Context(), input([]byte(token)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"my-policy-claim": "yes", "x-ms-sevsnpvm-microcode-svn": "211", "x-ms-azurevm-bootdebug-enabled": "false", "x-ms-ver": "1.0",
		"x-ms-sevsnpvm-guestsvn": "7", // the outermost
	} {
		if c.Token.Stated[name] != want {
			t.Errorf("%s: %q, want %q", name, c.Token.Stated[name], want)
		}
	}
	// Of too many, the first by name.
	token = f.with(func(p claimSet) {
		for i := range maxStated + 50 {
			p[fmt.Sprintf("a%03d", i)] = i
		}
	})
	if c, err := v.Verify(t.Context(), input([]byte(token))); err != nil || len(c.Token.Stated) != maxStated || c.Token.Stated["a127"] != "127" {
		t.Errorf("%d stated, %v", len(c.Token.Stated), err)
	}
	for _, name := range []string{"long", "iss", "x-ms-runtime", "x-ms-azurevm-attested-pcrs"} {
		if text, ok := c.Token.Stated[name]; ok {
			t.Errorf("%s is stated: %q", name, text)
		}
	}
}

// TestBinding: a token counts for the digest it carries and no other, wherever its format carries it.
func TestBinding(t *testing.T) {
	other := attest.BoundTo([]byte(strings.Repeat("o", 48)))
	for name, f := range fakes() {
		t.Run(name, func(t *testing.T) {
			v, _ := verifierOf(t, f)
			in := input(f.evidence(f.token()))
			for what, binding := range map[string]attest.Binding{"another": other, "none": {}, "a part": attest.BoundTo(digest[:32]), "more": attest.BoundTo(append(digest[:48:48], 1))} {
				in.Binding = binding
				if _, err := v.Verify(t.Context(), in); codeOf(t, err) != attest.CodeBinding {
					t.Errorf("bound to %s digest: %v", what, err)
				}
			}
			in.Binding = attest.Unbound()
			c, err := v.Verify(t.Context(), in)
			if err != nil || c.Bound == nil || *c.Bound {
				t.Errorf("unbound: %v, %v", c, err)
			}
		})
	}
}

// TestBindingPlaces: the digest elsewhere than the format has it, or written otherwise, does not count.
func TestBindingPlaces(t *testing.T) {
	all := fakes()
	text := raw64(digest)
	for name, test := range map[string]struct {
		fake string
		edit func(claimSet)
		want attest.Code
	}{
		"google: as a text alone":          {"google", func(p claimSet) { p["eat_nonce"] = text }, ""},
		"google: in hex":                   {"google", func(p claimSet) { p["eat_nonce"] = hex.EncodeToString(digest) }, attest.CodeBinding},
		"google: padded base64":            {"google", func(p claimSet) { p["eat_nonce"] = text + "=" }, attest.CodeBinding},
		"google: within a nonce":           {"google", func(p claimSet) { p["eat_nonce"] = []string{"x" + text, text + "x"} }, attest.CodeBinding},
		"google: no nonce":                 {"google", func(p claimSet) { delete(p, "eat_nonce") }, attest.CodeBinding},
		"google: a nonce that is a number": {"google", func(p claimSet) { p["eat_nonce"] = []any{text, 1} }, attest.CodeMalformed},
		"google: as a member called nonce": {"google", func(p claimSet) { delete(p, "eat_nonce"); p["nonce"] = text }, attest.CodeBinding},
		"ear: in eat_nonce only":           {"ear", func(p claimSet) { annotated(p)["report_data"] = strings.Repeat("0", 128); p["eat_nonce"] = text }, attest.CodeBinding},
		"ear: report data of 48 bytes":     {"ear", func(p claimSet) { annotated(p)["report_data"] = hex.EncodeToString(digest) }, ""},
		"ear: no report data":              {"ear", func(p claimSet) { delete(annotated(p), "report_data") }, attest.CodeBinding},
		"ear: no annotated evidence":       {"ear", func(p claimSet) { delete(submod(p, "cpu0"), "ear.veraison.annotated-evidence") }, attest.CodeBinding},
		"ear: only a GPU is bound": {"ear", func(p claimSet) {
			delete(annotated(p), "report_data")
			submod(p, "gpu0")["ear.veraison.annotated-evidence"] = claimSet{"report_data": padded()}
		}, attest.CodeBinding},
		"azure: what the paravisor reports": {"azure-vm", func(p claimSet) {
			delete(p, "x-ms-runtime")
			p["x-ms-isolation-tee"].(claimSet)["x-ms-sevsnpvm-reportdata"] = padded()
		}, attest.CodeBinding},
		"azure: the nonce of the request": {"azure-vm", func(p claimSet) { delete(p, "x-ms-runtime"); p["nonce"] = text }, attest.CodeBinding},
		"azure: runtime claims of the inside": {"azure-vm", func(p claimSet) {
			p["x-ms-isolation-tee"].(claimSet)["x-ms-runtime"] = p["x-ms-runtime"]
			delete(p, "x-ms-runtime")
		}, attest.CodeBinding},
		"azure: not base64 of the text": {"azure-vm", func(p claimSet) { p["x-ms-runtime"] = claimSet{"client-payload": claimSet{"nonce": text}} }, attest.CodeBinding},
		"azure: a payload beside the report": {"azure-snp", func(p claimSet) {
			p["x-ms-sevsnpvm-reportdata"] = strings.Repeat("0", 128)
			p["x-ms-runtime"] = claimSet{"client-payload": claimSet{"nonce": std64([]byte(text))}}
		}, attest.CodeBinding},
		"intel: the service's nonce": {"intel", func(p claimSet) {
			delete(p, "attester_held_data")
			p["verifier_nonce"] = claimSet{"val": std64(digest)}
		}, attest.CodeBinding},
		"intel: straight in the report": {"intel", func(p claimSet) { delete(p, "attester_held_data"); p["tdx_report_data"] = padded() }, ""},
		"intel: held data in base64url": {"intel", func(p claimSet) { p["attester_held_data"] = "-" + text[1:] }, attest.CodeBinding},
		"intel: held outside of the hardware": {"intel-v2", func(p claimSet) {
			p["attester_held_data"] = std64(digest)
			delete(p["tdx"].(claimSet), "attester_held_data")
		}, attest.CodeBinding},
	} {
		t.Run(name, func(t *testing.T) {
			f := all[test.fake]
			v, _ := verifierOf(t, f)
			if _, err := v.Verify(t.Context(), input([]byte(f.with(test.edit)))); codeOf(t, err) != test.want {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// TestBindingByRuntimeData: an Attestation Service that was given this broker's runtime data as its own hashes it as the workload would, and says so.
func TestBindingByRuntimeData(t *testing.T) {
	f := fakes()["ear"]
	v, _ := verifierOf(t, f)
	key := must(json.Marshal(recipientJWK()))
	canonical := must(canonicalJSON(string(key)))
	runtime := attest.RuntimeData{Hash: crypto.SHA512, Nonce: "the broker's nonce", Recipient: canonical}
	bound := must(runtime.Primary())
	token := func(nonce string) []byte {
		return []byte(f.with(func(p claimSet) {
			annotated(p)["report_data"] = strings.Repeat("0", 128)
			annotated(p)["runtime_data_claims"] = claimSet{"additional-evidence": "", "nonce": nonce, "tee-pubkey": recipientJWK()}
		}))
	}
	in := input(token("the broker's nonce"))
	in.Binding = attest.BoundTo(bound)
	if _, err := v.Verify(t.Context(), in); err != nil {
		t.Error(err)
	}
	in.Evidence = token("another nonce")
	if _, err := v.Verify(t.Context(), in); codeOf(t, err) != attest.CodeBinding {
		t.Error(err)
	}
}

func submod(p claimSet, name string) claimSet { return p["submods"].(claimSet)[name].(claimSet) }

func annotated(p claimSet) claimSet {
	return submod(p, "cpu0")["ear.veraison.annotated-evidence"].(claimSet)
}

// TestRuntimeData: data beside an Azure token counts only when the report has its hash.
func TestRuntimeData(t *testing.T) {
	all := fakes()
	f := all["azure-runtime"]
	v, _ := verifierOf(t, f)
	for what, test := range map[string]struct {
		evidence string
		want     attest.Code
	}{
		"none":          {`{"token": "` + f.token() + `"}`, attest.CodeBinding},
		"other data":    {`{"token": "` + f.token() + `", "runtime_data": "` + std64(digest[:47]) + `"}`, attest.CodeBinding},
		"too much":      {`{"token": "` + f.token() + `", "runtime_data": "` + std64(make([]byte, 65)) + `"}`, attest.CodeTooLarge},
		"of a VM":       {`{"token": "` + all["azure-vm"].token() + `", "runtime_data": "` + std64(digest) + `"}`, attest.CodeBinding},
		"two spellings": {`{"token": "` + f.token() + `", "runtime_data": "` + strings.TrimRight(std64(digest[:47]), "=") + `"}`, attest.CodeMalformed},
		"twice":         {`{"token": "x", "token": "` + f.token() + `"}`, attest.CodeMalformed},
		"unknown":       {`{"token": "` + f.token() + `", "nonce": ""}`, attest.CodeMalformed},
		"no token":      {`{}`, attest.CodeMalformed},
		"trailing":      {`{"token": "` + f.token() + `"} `, attest.CodeBinding}, // white space
		"two values":    {`{"token": "` + f.token() + `"}{}`, attest.CodeMalformed},
	} {
		if _, err := v.Verify(t.Context(), input([]byte(test.evidence))); codeOf(t, err) != test.want {
			t.Errorf("%s: %v, want %q", what, err, test.want)
		}
	}
	g := all["google"]
	v, _ = verifierOf(t, g)
	if _, err := v.Verify(t.Context(), input([]byte(`{"token": "`+g.token()+`", "runtime_data": "AA=="}`))); codeOf(t, err) != attest.CodeMalformed {
		t.Errorf("of another format: %v", err)
	}
	in := input([]byte(g.token()))
	in.Init = &attest.InitData{Algorithm: "sha256", Digest: make([]byte, 32)}
	if _, err := v.Verify(t.Context(), in); codeOf(t, err) != attest.CodeInitData {
		t.Errorf("with init-data: %v", err)
	}
}
