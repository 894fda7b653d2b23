package ear

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"

	"github.com/vouchsafe/vouchsafe/attest"
)

// submods appraises the primary evidence and every device. A device's evidence that is about several makes as many submodules.
func (t *Token) submods(whole bool) (map[string]submod, error) {
	mods := make(map[string]submod, 1+len(t.Claims.Devices))
	add := func(class string, index int, c *attest.Claims) error {
		name := fmt.Sprintf("%s%d", class, index)
		annotated, err := t.annotate(c, whole)
		if err != nil {
			return fmt.Errorf("ear: annotated evidence of %s: %w", name, err)
		}
		v, policy, err := t.vector(class, c)
		if err != nil {
			return fmt.Errorf("ear: %s: %w", name, err)
		}
		mods[name] = submod{Status: v.Status(), Vector: v, Policy: policy, Annotated: annotated}
		return nil
	}
	if err := add("cpu", 0, t.Claims); err != nil {
		return nil, err
	}
	count := map[string]int{}
	for i := range t.Claims.Devices {
		for _, part := range split(&t.Claims.Devices[i]) {
			class := deviceClass(part)
			if err := add(class, count[class], part); err != nil {
				return nil, err
			}
			count[class]++
		}
	}
	return mods, nil
}

// annotate returns the annotated evidence of one part; whole leaves nothing out for its size.
func (t *Token) annotate(c *attest.Claims, whole bool) (json.RawMessage, error) {
	own, most := members{}, MaxMember
	if whole {
		most = math.MaxInt
	}
	for name, value := range kindClaims(c) {
		if err := own.fit(name, value, most); err != nil {
			return nil, err
		}
	}
	if c.Boot != nil {
		if err := own.fit("boot", c.Boot, most); err != nil {
			return nil, err
		}
	}
	doc := members{
		string(c.Kind):        own,
		"report_data":         orNull(c.ReportData),
		"init_data":           orNull(c.InitData),
		"init_data_claims":    nil,
		"runtime_data_claims": members{"nonce": t.Nonce, "tee-pubkey": json.RawMessage(t.Recipient)},
	}
	size := 0
	for name, body := range c.InitDataClaims {
		size += len(name) + len(body)
	}
	if size > 0 && (whole || size <= MaxInitData) {
		doc["init_data_claims"] = c.InitDataClaims
	}
	return marshal(doc)
}

// kindClaims returns what stands under the kind's name, member by member. A claim that is absent is left out.
func kindClaims(c *attest.Claims) members {
	switch {
	case c.SNP != nil:
		return snpClaims(c)
	case c.TDX != nil:
		return tdxClaims(c)
	case c.SGX != nil:
		return sgxClaims(c)
	case c.CCA != nil:
		return ccaClaims(c)
	case c.CSV != nil:
		return csvClaims(c)
	case c.NVIDIA != nil && len(c.NVIDIA.Devices) == 1:
		return deviceClaims(c, &c.NVIDIA.Devices[0])
	case c.Kind == attest.NVIDIA && c.Token != nil && len(c.Token.GPUs) == 1:
		return remoteDeviceClaims(&c.Token.GPUs[0])
	case c.TPM != nil:
		return tpmClaims(c)
	case c.Nitro != nil:
		return measured(c, c.Nitro)
	case c.Token != nil:
		return measured(c, c.Token)
	case c.Sample != nil:
		return fields(c.Sample)
	default:
		return members{}
	}
}

// members are an object of JSON.
type members map[string]any

// set adds a member unless its value is "", which no claim has that is there.
func (m members) set(name, value string) {
	if value != "" {
		m[name] = value
	}
}

// add adds a member unless value is nil.
func add[T any](m members, name string, value *T) {
	if value != nil {
		m[name] = *value
	}
}

// fit adds a member unless it is over most bytes.
func (m members) fit(name string, value any, most int) error {
	text, err := marshal(value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(text) <= most {
		m[name] = json.RawMessage(text)
	}
	return nil
}

// fields returns the members of a structure of claims, under the claims' own names.
func fields(claims any) members {
	m := members{}
	text, err := marshal(claims)
	if err != nil {
		return m
	}
	var raw map[string]json.RawMessage
	if json.Unmarshal(text, &raw) != nil {
		return m
	}
	for name, value := range raw {
		m[name] = value
	}
	return m
}

// measured returns the claims of a kind that the reference verifier does not have, under their own names, and the measurement.
func measured(c *attest.Claims, claims any) members {
	m := fields(claims)
	m.set("measurement", c.Measurement)
	return m
}

// tpmClaims are the PCRs of kind tpm as the reference verifier names them, beside our own names for the rest of the quote.
func tpmClaims(c *attest.Claims) members {
	m := pcrs(c.TPM)
	for name, value := range fields(c.TPM) {
		if name != "pcrs" {
			m[name] = value
		}
	}
	return m
}

// pcrs are the registers of a quote: pcr00 to pcr23.
func pcrs(t *attest.TPMClaims) members {
	m := members{}
	for i, value := range t.PCRs {
		m[fmt.Sprintf("pcr%02d", i)] = value
	}
	return m
}

// csvClaims are the fields of a CSV report. The bits of its policy are numbers.
func csvClaims(c *attest.Claims) members {
	s := c.CSV
	bit := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	policy := members{
		"noks": bit(!s.KeySharing), "es": bit(s.CSV2Required), "nosend": bit(!s.SendAllowed), "domain": bit(s.DomainOnly), "csv": bit(s.CSVRequired),
		"csv3": bit(s.CSV3Required), "asid_reuse": bit(s.ASIDReuse), "hsk_version": s.HSKVersion, "cek_version": s.CEKVersion,
		"api_major": s.APIMajor, "api_minor": s.APIMinor,
	}
	if c.Debug != nil {
		policy["nodbg"] = bit(!*c.Debug)
	}
	m := members{"version": fmt.Sprint(s.ReportVersion), "policy": policy, "chip_key": s.ChipKey}
	m.set("measure", c.Measurement)
	m.set("report_data", c.ReportData)
	m.set("vm_id", s.VMID)
	m.set("vm_version", s.VMVersion)
	m.set("mnonce", s.Nonce)
	m.set("user_pubkey_digest", s.UserKeyDigest)
	add(m, "build", s.Build)
	for i, value := range s.RTMRs {
		m[fmt.Sprintf("rtmr%d", i)] = value
	}
	return m
}

// ccaClaims are those of the platform and realm tokens, under the names that EARs about CCA give them. Bytes are base64.
func ccaClaims(c *attest.Claims) members {
	s := c.CCA
	realm, platform := members{}, members{}
	realm.set("cca-realm-profile", s.RealmProfile)
	realm.set("cca-realm-hash-algo-id", s.RealmHash)
	realm.set("cca-realm-initial-measurement", inBase64(c.Measurement))
	realm.set("cca-realm-personalization-value", inBase64(c.InitData))
	realm.set("cca-realm-challenge", inBase64(c.ReportData))
	registers := make([]string, len(s.ExtensibleMeasurements))
	for i, value := range s.ExtensibleMeasurements {
		registers[i] = inBase64(value)
	}
	realm["cca-realm-extensible-measurements"] = registers
	platform.set("cca-platform-profile", s.PlatformProfile)
	platform.set("cca-platform-implementation-id", inBase64(s.ImplementationID))
	platform.set("cca-platform-instance-id", inBase64(s.InstanceID))
	platform.set("cca-platform-config", inBase64(s.Config))
	platform.set("cca-platform-hash-algo-id", s.PlatformHash)
	platform.set("cca-platform-service-indicator", s.VerificationService)
	platform["cca-platform-lifecycle"] = s.Lifecycle
	components := make([]members, len(s.Components))
	for i, part := range s.Components {
		components[i] = members{"measurement-value": inBase64(part.Measurement), "signer-id": inBase64(part.Signer)}
		components[i].set("measurement-type", part.Type)
		components[i].set("measurement-algorithm", part.Hash)
		components[i].set("version", part.Version)
	}
	platform["cca-platform-sw-components"] = components
	return members{"realm": realm, "platform": platform}
}

// inBase64 returns what text is the hex of in base64, "" when it is the hex of nothing.
func inBase64(text string) string {
	data, err := hex.DecodeString(text)
	if err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(data)
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
