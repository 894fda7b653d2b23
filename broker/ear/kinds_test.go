package ear

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// digest is hex of n bytes that are all b.
func digest(b byte, n int) string { return strings.Repeat(fmt.Sprintf("%02x", b), n) }

// machine has what the claims of every confidential machine have that the baseline accepts.
func machine(kind attest.Kind, root string) *attest.Claims {
	return &attest.Claims{
		Kind: kind, HardwareRoot: root, Bound: attest.Ptr(true), Measurement: digest(0x6a, 48), ReportData: digest(1, 64), InitData: digest(2, 48),
		Debug: attest.Ptr(false), TCBStatus: attest.TCBUpToDate,
		Collateral: &attest.CollateralClaims{Current: true, Expires: issued.Add(1000 * time.Hour), RevocationChecked: true, Source: "evidence"},
	}
}

func intelPlatform() *attest.IntelClaims {
	part := attest.IntelTCB{Status: attest.TCBUpToDate, Listed: true, Date: issued.Add(-1000 * time.Hour)}
	return &attest.IntelClaims{
		FMSPC: digest(3, 6), PCEID: digest(4, 2), PPID: digest(5, 16), PlatformInstanceID: digest(6, 16), Authority: "platform", CPUSVN: digest(7, 16),
		SGXComponents: digest(8, 16), SGXType: 1, SMTEnabled: attest.Ptr(true), CachedKeys: attest.Ptr(true), DynamicPlatform: attest.Ptr(false),
		TCBEvaluationNumber: 17, TCBIssued: issued, QEEvaluationNumber: 17, QEIssued: issued, QESVN: 8, QEMREnclave: digest(9, 32),
		Platform: part, QE: part, LaunchTCBStatus: attest.TCBUpToDate, TCBDate: part.Date, Advisories: []string{"INTEL-SA-00837", "INTEL-SA-00960"},
	}
}

func tdxGuest() *attest.Claims {
	c := machine(attest.TDX, attest.RootIntel)
	c.MigrationAgent, c.Intel = attest.Ptr(false), intelPlatform()
	c.TDX = &attest.TDXClaims{
		QuoteVersion: 5, TDXVersion: "1.5", MRTD: c.Measurement, MRConfigID: c.InitData, MROwner: digest(0, 48), MROwnerConfig: digest(0, 48),
		RTMR0: digest(0x10, 48), RTMR1: digest(0x11, 48), RTMR2: digest(0x12, 48), RTMR3: digest(0x13, 48), MRServiceTD: digest(0x14, 48),
		TDAttributes: "0000001000000000", XFAM: "e742060000000000", SEPTVEDisable: true,
		TEETCBSVN: digest(5, 16), TEETCBSVN2: digest(6, 16), MRSEAM: digest(0x15, 48), MRSignerSEAM: digest(0, 48), SEAMAttributes: digest(0, 8),
	}
	c.Boot = &attest.BootClaims{SecureBoot: attest.Ptr(true), BootLoaders: []string{digest(1, 48), digest(2, 48)}, LineDigest: digest(3, 48), RTMRs: []int{0, 1, 2}}
	return c
}

func sgxEnclave() *attest.Claims {
	c := machine(attest.SGX, attest.RootIntel)
	c.Measurement, c.InitData, c.Intel = digest(0x8f, 32), digest(2, 64), intelPlatform()
	c.SGX = &attest.SGXClaims{
		QuoteVersion: 3, MREnclave: c.Measurement, MRSigner: digest(0x83, 32), ProductID: 1, SVN: 0x102, ConfigID: c.InitData, ExtProductID: digest(0, 16),
		FamilyID: digest(0, 16), Attributes: "0500000000000000" + "e700000000000000", MiscSelect: "01000000", CPUSVN: digest(6, 16), Mode64Bit: true,
	}
	return c
}

// paravisor adds what an Azure guest's TPM and paravisor say.
func paravisor(c *attest.Claims, kind attest.Kind) *attest.Claims {
	c.Kind = kind
	values := make(map[int]string)
	for i := range 24 {
		values[i] = digest(byte(i), 32)
	}
	c.TPM = &attest.TPMClaims{AKName: digest(1, 32), AKDigest: digest(1, 32), Bank: "sha256", PCRs: values, Clock: 1}
	c.Azure = &attest.AzureClaims{LayoutVersion: 2, ReportType: 2, UserData: digest(1, 64), UserDataBound: true, SecureBoot: attest.Ptr(true)}
	return c
}

func azureSNP() *attest.Claims { return paravisor(snpGuest(), attest.AzSNPvTPM) }
func azureTDX() *attest.Claims { return paravisor(tdxGuest(), attest.AzTDXvTPM) }

func nitroEnclave() *attest.Claims {
	c := machine(attest.Nitro, attest.RootNitro)
	c.TCBStatus = attest.TCBNotPublished
	c.Nitro = &attest.NitroClaims{ModuleID: "i-0-enc0", Region: "eu-central-1", Timestamp: issued, PCRs: map[int]string{}}
	for i := range 32 {
		c.Nitro.PCRs[i] = digest(byte(i), 48)
	}
	return c
}

func ccaRealm() *attest.Claims {
	c := machine(attest.CCA, attest.RootCCA)
	c.Measurement, c.InitData = digest(0x10, 32), digest(2, 64)
	c.CCA = &attest.CCAClaims{
		PlatformProfile: "tag:arm.com,2023:cca_platform#1.0.0", ImplementationID: digest(3, 32), InstanceID: digest(1, 33), Config: digest(4, 33),
		Lifecycle: 12291, LifecycleState: "secured", PlatformHash: "sha-256", RealmHash: "sha-256",
		Components:             []attest.CCAComponent{{Type: "BL", Measurement: digest(5, 32), Signer: digest(6, 32), Version: "3.4.2"}},
		ExtensibleMeasurements: []string{digest(0, 32), digest(0, 32), digest(0, 32), digest(0, 32)}, RealmKey: digest(7, 32),
	}
	return c
}

func csvGuest() *attest.Claims {
	c := machine(attest.CSV, attest.RootCSV)
	c.Measurement, c.InitData, c.MigrationAgent, c.TCBStatus = digest(0x6a, 32), "", attest.Ptr(false), attest.TCBNotPublished
	c.CSV = &attest.CSVClaims{
		ReportVersion: 2, Firmware: "1.3", Build: attest.Ptr(2000), ChipKey: digest(1, 32), VMID: digest(2, 16), VMVersion: digest(3, 16), Nonce: digest(4, 16),
		RTMRs: []string{digest(0x6a, 32), digest(1, 32), digest(2, 32), digest(3, 32), digest(4, 32)}, CSV2Required: true, CSVRequired: true, APIMajor: 1, APIMinor: 3,
	}
	return c
}

func tokenGuest() *attest.Claims {
	c := machine(attest.Token, attest.RootVerifier)
	c.InitData, c.TCBStatus = "", attest.TCBElsewhere
	c.Token = &attest.TokenClaims{
		Verifier: "as", Format: "ear", Issued: issued, Expires: issued.Add(time.Hour), SigningKey: digest(1, 32), TEE: "snp",
		TrustVector: map[string]int{"hardware": 2, "executables": 3, "configuration": 2},
	}
	return c
}

// gpu is a GPU whose measurements match, or a switch.
func gpu(index byte, isSwitch bool) attest.NVIDIADevice {
	d := attest.NVIDIADevice{
		Architecture: "HOPPER", Chip: "GH100", Model: "GH100 A01 GSP BROM", Identity: digest(index, 32), CertificateSerial: "0" + fmt.Sprintf("%x", 0xa0+int(index)),
		FirmwareID: digest(3, 48), FirmwareIDReported: true, DriverVersion: "550.90.07", VBIOSVersion: "96.00.9f.00.01", Mode: "spt",
		Measurements: map[int]string{}, MeasurementsMatch: attest.Ptr(true), SecureBoot: attest.Ptr(true), Debug: attest.Ptr(false),
		TCBStatus: attest.TCBUpToDate, RevocationChecked: true,
		Manifests: []attest.NVIDIAManifest{
			{ID: "NV_GPU_DRIVER_GH100_550.90.07", Version: "550.90.07", Digest: digest(1, 32), Signer: "NVIDIA", Expires: issued, RevocationChecked: true},
			{ID: "NV_GPU_VBIOS_1010_0200_882_96009F0001", Version: "96.00.9F.00.01", Digest: digest(2, 32), Signer: "NVIDIA", Expires: issued, RevocationChecked: true},
		},
	}
	if isSwitch {
		d.Architecture, d.Chip, d.Model, d.DriverVersion, d.Mode, d.Switch = "LS10", "LS_10", "LS10 A01 FSP BROM", "", "", true
		d.VBIOSVersion, d.PDI = "96.10.6d.00.01", []string{digest(index, 8)}
		d.Manifests = []attest.NVIDIAManifest{{ID: "NV_SWITCH_BIOS_5612_0002_890_96106D0001", Digest: digest(3, 32), Signer: "NVIDIA", Expires: issued}}
	}
	for i := range 64 { // as many as a Hopper GPU reports
		d.Measurements[i+1] = digest(byte(i+1), 48)
	}
	return d
}

// nvidia is the evidence of some GPUs and switches.
func nvidia(gpus, switches int) attest.Claims {
	n := &attest.NVIDIAClaims{MeasurementsMatch: attest.Ptr(true), RevocationChecked: true}
	for i := range gpus + switches {
		n.Devices = append(n.Devices, gpu(byte(i+1), i >= gpus))
	}
	return attest.Claims{
		Kind: attest.NVIDIA, HardwareRoot: attest.RootNVIDIA, Bound: attest.Ptr(true), ReportData: digest(1, 32), Debug: attest.Ptr(false), TCBStatus: attest.TCBUpToDate,
		Collateral: &attest.CollateralClaims{Current: true, RevocationChecked: true, Source: "evidence"}, NVIDIA: n,
	}
}

// remote is what NVIDIA's service says of a GPU and a switch.
func remote() attest.Claims {
	return attest.Claims{
		Kind: attest.NVIDIA, HardwareRoot: attest.RootVerifier, Bound: attest.Ptr(true), ReportData: digest(1, 32), Debug: attest.Ptr(false),
		Collateral: &attest.CollateralClaims{Current: true},
		Token: &attest.TokenClaims{
			Verifier: "nras", Format: "nvidia-ras", Issued: issued, Expires: issued.Add(time.Hour), SigningKey: digest(1, 32),
			GPUs: []attest.TokenDevice{
				{Name: "GPU-0", ID: "1234", HardwareModel: "GH100 A01 GSP BROM", Architecture: "HOPPER", Driver: "550.90.07", Firmware: "96.00.9F.00.01", SecureBoot: attest.Ptr(true), Debug: attest.Ptr(false)},
				{Name: "SWITCH-0", ID: "5678", HardwareModel: "LS10 A01 FSP BROM", Architecture: "LS10", Firmware: "96.10.6D.00.01"},
			},
		},
	}
}

// beside returns claims of a machine with those of devices.
func beside(c *attest.Claims, devices ...attest.Claims) *attest.Claims {
	c.Devices = devices
	return c
}

// kinds are claims of every kind, by what is proved, and what a token has of them.
func kinds() map[string]struct {
	claims *attest.Claims
	size   int            // of the payload, in KiB, at most
	has    map[string]any // members of the token, by their paths below submods; nil for those that must not be there
} {
	type entry = struct {
		claims *attest.Claims
		size   int
		has    map[string]any
	}
	evidence := func(submod, kind, path string) string {
		return submod + "/ear.veraison.annotated-evidence/" + kind + "/" + path
	}
	cpu := func(kind, path string) string { return evidence("cpu0", kind, path) }
	vector := func(submod, claim string) string { return submod + "/ear.trustworthiness-vector/" + claim }
	return map[string]entry{
		"snp": {snpGuest(), 5, map[string]any{
			cpu("snp", "measurement"): digest(0x6a, 48), cpu("snp", "reported_tcb_snp"): 21.0, cpu("snp", "policy_debug_allowed"): false,
		}},
		"az-snp-vtpm": {azureSNP(), 9, map[string]any{
			cpu("az-snp-vtpm", "measurement"): digest(0x6a, 48), cpu("az-snp-vtpm", "reported_tcb_microcode"): 72.0,
			cpu("az-snp-vtpm", "tpm/pcr00"): digest(0, 32), cpu("az-snp-vtpm", "tpm/pcr11"): digest(11, 32), cpu("az-snp-vtpm", "tpm/pcr23"): digest(23, 32),
			vector("cpu0", "runtime-opaque"): 2.0,
		}},
		"tdx": {tdxGuest(), 9, map[string]any{
			cpu("tdx", "quote/header/tee_type"): "81000000", cpu("tdx", "quote/header/vendor_id"): "939a7233f79c4ca9940a0db3957f0607",
			cpu("tdx", "quote/header/version"): "0500", cpu("tdx", "quote/header/att_key_type"): "0200",
			cpu("tdx", "quote/body/mr_td"): digest(0x6a, 48), cpu("tdx", "quote/body/rtmr_1"): digest(0x11, 48), cpu("tdx", "quote/body/rtmr_2"): digest(0x12, 48),
			cpu("tdx", "quote/body/mr_seam"): digest(0x15, 48), cpu("tdx", "quote/body/xfam"): "e742060000000000", cpu("tdx", "quote/body/report_data"): digest(1, 64),
			cpu("tdx", "quote/body/mr_servicetd"): digest(0x14, 48), cpu("tdx", "td_attributes/debug"): false, cpu("tdx", "td_attributes/septve_disable"): true,
			cpu("tdx", "tcb_status"): "UpToDate", cpu("tdx", "collateral_expiration_status"): "0", cpu("tdx", "tcb_date"): "2026-10-12T20:00:00Z",
			cpu("tdx", "tcb_eval_num"): 17.0, cpu("tdx", "advisory_ids"): []any{"INTEL-SA-00837", "INTEL-SA-00960"}, cpu("tdx", "sgx_type"): "Scalable",
			cpu("tdx", "boot/secure_boot"): true, vector("cpu0", "hardware"): 2.0, vector("cpu0", "runtime-opaque"): 2.0,
		}},
		"az-tdx-vtpm": {azureTDX(), 13, map[string]any{
			cpu("az-tdx-vtpm", "quote/body/mr_td"): digest(0x6a, 48), cpu("az-tdx-vtpm", "quote/body/report_data"): nil,
			cpu("az-tdx-vtpm", "tpm/pcr11"): digest(11, 32), cpu("az-tdx-vtpm", "tcb_status"): "UpToDate",
		}},
		"sgx": {sgxEnclave(), 5, map[string]any{
			cpu("sgx", "body/mr_enclave"): digest(0x8f, 32), cpu("sgx", "body/isv_svn"): "0201", cpu("sgx", "body/attributes.flags"): "0500000000000000",
			cpu("sgx", "header/version"): "0300", cpu("sgx", "tcb_status"): "UpToDate", cpu("sgx", "platform_instance_id"): digest(6, 16),
		}},
		"nitro": {nitroEnclave(), 10, map[string]any{
			cpu("nitro", "measurement"): digest(0x6a, 48), cpu("nitro", "pcrs/8"): digest(8, 48), cpu("nitro", "module_id"): "i-0-enc0",
			vector("cpu0", "hardware"): 2.0, vector("cpu0", "runtime-opaque"): 32.0,
		}},
		"cca": {ccaRealm(), 6, map[string]any{
			cpu("cca", "realm/cca-realm-initial-measurement"):           "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBA=",
			cpu("cca", "realm/cca-realm-hash-algo-id"):                  "sha-256",
			cpu("cca", "platform/cca-platform-implementation-id"):       "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=",
			cpu("cca", "platform/cca-platform-lifecycle"):               12291.0,
			cpu("cca", "platform/cca-platform-sw-components/0/version"): "3.4.2",
		}},
		"csv": {csvGuest(), 5, map[string]any{
			cpu("csv", "version"): "2", cpu("csv", "measure"): digest(0x6a, 32), cpu("csv", "policy/nodbg"): 1.0, cpu("csv", "policy/es"): 1.0,
			cpu("csv", "policy/noks"): 1.0, cpu("csv", "policy/domain"): 0.0, cpu("csv", "policy/api_minor"): 3.0, cpu("csv", "build"): 2000.0,
			cpu("csv", "rtmr4"): digest(4, 32), vector("cpu0", "configuration"): 36.0,
		}},
		"token": {tokenGuest(), 4, map[string]any{
			cpu("token", "measurement"): digest(0x6a, 48), cpu("token", "verifier"): "as", vector("cpu0", "hardware"): 2.0, vector("cpu0", "runtime-opaque"): 0.0,
		}},
		"tpm": {tpmHost(), 2, map[string]any{
			cpu("tpm", "pcr07"): "bb", cpu("tpm", "ak_name"): "000b", cpu("tpm", "boot/command_line"): "root=/dev/sda1 x<y", cpu("tpm", "pcrs"): nil,
		}},
		"a GPU beside": {beside(snpGuest(), nvidia(1, 0)), 14, map[string]any{
			evidence("gpu0", "nvidia", "hwmodel"): "GH100 A01 GSP BROM", evidence("gpu0", "nvidia", "ueid"): "161", evidence("gpu0", "nvidia", "secboot"): true,
			evidence("gpu0", "nvidia", "dbgstat"): "disabled", evidence("gpu0", "nvidia", "measres"): "success",
			evidence("gpu0", "nvidia", "x-nvidia-gpu-driver-version"): "550.90.07", evidence("gpu0", "nvidia", "x-nvidia-gpu-vbios-version"): "96.00.9F.00.01",
			evidence("gpu0", "nvidia", "x-nvidia-gpu-attestation-report-cert-chain/x-nvidia-cert-ocsp-status"): "good",
			evidence("gpu0", "nvidia", "x-nvidia-gpu-driver-rim-signature-verified"):                           true,
			evidence("gpu0", "nvidia", "x-nvidia-gpu-vbios-rim-cert-chain/x-nvidia-cert-status"):               "valid",
			evidence("gpu0", "nvidia", "measurements"):                                                         nil, "gpu1": nil,
			vector("gpu0", "hardware"): 2.0, vector("gpu0", "executables"): 3.0, vector("gpu0", "configuration"): 36.0, vector("gpu0", "runtime-opaque"): 0.0,
		}},
		"a tray of GPUs beside": {beside(tdxGuest(), nvidia(8, 4)), 27, map[string]any{
			evidence("gpu7", "nvidia", "ueid"): "168", evidence("switch3", "nvidia", "ueid"): "172", "gpu8": nil, "switch4": nil,
			evidence("switch0", "nvidia", "x-nvidia-switch-bios-version"): "96.10.6D.00.01", evidence("switch0", "nvidia", "x-nvidia-switch-bios-rim-fetched"): true,
			evidence("switch0", "nvidia", "x-nvidia-switch-bios-rim-cert-chain/x-nvidia-cert-ocsp-status"): "unknown",
		}},
		"judged by NVIDIA's service": {beside(snpGuest(), remote()), 7, map[string]any{
			evidence("gpu0", "nvidia", "ueid"): "1234", evidence("gpu0", "nvidia", "measres"): "success", evidence("switch0", "nvidia", "ueid"): "5678",
			evidence("switch0", "nvidia", "dbgstat"): nil, vector("gpu0", "hardware"): 2.0, vector("switch0", "executables"): 3.0,
		}},
		"a TPM beside": {beside(snpGuest(), *tpmHost()), 5, map[string]any{
			evidence("tpm0", "tpm", "pcr11"): "cc", vector("tpm0", "instance-identity"): 2.0, vector("cpu0", "instance-identity"): 0.0,
		}},
	}
}

// at returns the member of v at a path, nil when there is none.
func at(v any, path string) any {
	for _, name := range strings.Split(path, "/") {
		switch parent := v.(type) {
		case map[string]any:
			v = parent[name]
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(parent) {
				return nil
			}
			v = parent[i]
		default:
			return nil
		}
	}
	return v
}

func TestKinds(t *testing.T) {
	judged := map[attest.Kind]bool{attest.SE: true, attest.Virtual: true, attest.Sample: true, attest.SampleDevice: true} // none, or shown elsewhere
	for name, test := range kinds() {
		t.Run(name, func(t *testing.T) {
			judged[test.claims.Kind] = true
			for _, d := range test.claims.Devices {
				judged[d.Kind] = true
			}
			want := token(test.claims)
			payload := encode(t, want)
			if size := (len(payload) + 1023) >> 10; size > test.size || size < test.size-1 {
				t.Errorf("%d KiB, not %d", size, test.size)
			}
			var d struct{ Submods any }
			if err := json.Unmarshal(payload, &d); err != nil {
				t.Fatal(err)
			}
			for path, value := range test.has {
				if diff := cmp.Diff(value, at(d.Submods, path)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", path, diff)
				}
			}
			got, err := Decode(payload)
			if name == "a tray of GPUs beside" { // whose measurements alone have 80 KiB
				if !errors.Is(err, ErrNoClaims) {
					t.Errorf("a token of %d bytes with the claims: %v", len(payload), err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("changed (-want +got):\n%s", diff)
			}
		})
	}
	for _, kind := range attest.Kinds() {
		if !judged[kind] {
			t.Errorf("no token of kind %s", kind)
		}
	}
}

// TestShapeOfEnclave holds every member of the enclave's evidence in a token that the reference verifier issued against ours.
func TestShapeOfEnclave(t *testing.T) {
	var theirs, ours any
	if err := json.Unmarshal(vectors.Read(t, "ear/example-claims.json"), &theirs); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(encode(t, token(sgxEnclave())), &ours); err != nil {
		t.Fatal(err)
	}
	const path = "submods/cpu0/ear.veraison.annotated-evidence/sgx"
	// These are in no claim of ours, or are reserved.
	absent := []string{
		"body/reserved1", "body/reserved2", "body/reserved3", "body/reserved4", "header/pce_svn", "header/qe_svn", "header/user_data",
		"earliest_issue_date", "latest_issue_date", "pck_crl_num", "root_ca_crl_num", "root_key_id",
		"report_data", "init_data", // beside the enclave's claims
	}
	var compare func(path string, a, b any)
	compare = func(path string, a, b any) {
		object, ok := a.(map[string]any)
		if !ok {
			if !slices.Contains(absent, path) && fmt.Sprintf("%T", a) != fmt.Sprintf("%T", b) {
				t.Errorf("%s is a %T, not a %T", path, b, a)
			}
			return
		}
		mine, _ := b.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(object)) {
			compare(strings.TrimPrefix(path+"/"+name, "/"), object[name], mine[name])
		}
	}
	if at(theirs, path) == nil {
		t.Fatal("the example has no enclave")
	}
	compare("", at(theirs, path), at(ours, path))
}

// TestLargeMembers leaves out what would make a token too long for a header, and nothing else.
func TestLargeMembers(t *testing.T) {
	for name, test := range map[string]struct {
		claims    func() *attest.Claims
		grow      func(c *attest.Claims, size int)
		path, and string
	}{
		"boot": {tdxGuest, func(c *attest.Claims, size int) { c.Boot.CommandLine = strings.Repeat("x", size) }, "tdx/boot", "tdx/quote"},
		"firmware of a platform": {ccaRealm, func(c *attest.Claims, size int) {
			c.CCA.Components = slices.Repeat(c.CCA.Components, 1+size/100)
		}, "cca/platform", "cca/realm"},
		"advisories": {tdxGuest, func(c *attest.Claims, size int) {
			c.Intel.Advisories = slices.Repeat(c.Intel.Advisories, 1+size/34)
		}, "tdx/advisory_ids", "tdx/tcb_status"},
		"what a token states": {tokenGuest, func(c *attest.Claims, size int) {
			c.Token.Stated = map[string]string{"x": strings.Repeat("x", size)}
		}, "token/stated", "token/verifier"},
	} {
		t.Run(name, func(t *testing.T) {
			for size, want := range map[int]bool{100: true, MaxMember + 100: false} {
				claims := test.claims()
				test.grow(claims, size)
				var ours any
				payload := encode(t, token(claims))
				if err := json.Unmarshal(payload, &ours); err != nil {
					t.Fatal(err)
				}
				const below = "submods/cpu0/ear.veraison.annotated-evidence/"
				if there := at(ours, below+test.path) != nil; there != want || at(ours, below+test.and) == nil {
					t.Errorf("with %d bytes: %v", size, there)
				}
				if got, err := Decode(payload); err != nil || !cmp.Equal(got.Claims, claims) {
					t.Errorf("with %d bytes the claims are others: %v", size, err)
				}
			}
		})
	}
}
