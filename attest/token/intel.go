package token

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
)

// tcbStatuses maps Intel's words for the state of a TCB to those of the claim tcb_status. A word that is not here is absent as a claim.
var tcbStatuses = map[string]string{
	"UpToDate":                             attest.TCBUpToDate,
	"SWHardeningNeeded":                    attest.TCBSWHardening,
	"ConfigurationNeeded":                  attest.TCBConfiguration,
	"ConfigurationAndSWHardeningNeeded":    attest.TCBConfigurationHardening,
	"TDRelaunchAdvised":                    attest.TCBRelaunch,
	"TDRelaunchAdvisedConfigurationNeeded": attest.TCBRelaunchConfiguration,
	"OutOfDate":                            attest.TCBOutOfDate,
	"OutOfDateConfigurationNeeded":         attest.TCBOutOfDateConfiguration,
	"Revoked":                              attest.TCBRevoked,
}

// intelHardware returns the object that has the claims of the hardware: version 2 tokens have one for each technology, version 1 tokens none.
func (s *signed) intelHardware() object {
	for _, name := range [...]string{"tdx", "sgx"} {
		if s.payload.has(name) {
			return s.payload.inner(name)
		}
	}
	return s.payload
}

// intel reads a token of Intel Trust Authority, version 1 or 2 (Intel, "Intel Trust Authority Entity Attestation Token Profile").
func (s *signed) intel() error {
	p, c := s.payload, s.claims
	t := c.Token
	if p.has("tdx") && p.has("sgx") || p.has("attester_type") && (p.has("tdx") || p.has("sgx")) {
		return attest.Refuse(attest.CodeMalformed, "the token is about more than one machine or enclave")
	}
	hardware := s.intelHardware()
	t.Attestation = hardware.text("attester_type")
	t.Matched, t.Unmatched = p.identifiers("policy_ids_matched", "id"), p.identifiers("policy_ids_unmatched", "id")
	switch t.Attestation {
	case "TDX":
		t.TEE = string(attest.TDX)
		hardware.tdx(c)
	case "SGX":
		t.TEE = string(attest.SGX)
		c.Measurement, t.Signer = hardware.hex("sgx_mrenclave", 32), hardware.hex("sgx_mrsigner", 32)
		c.ReportData, c.Debug = hardware.hex("sgx_report_data", 64), hardware.flag("sgx_is_debuggable")
		hardware.debugStatus(c)
		c.TCBStatus, t.Advisories = tcbStatuses[hardware.text("attester_tcb_status")], hardware.list("attester_advisory_ids")
	default:
		return attest.Refuse(attest.CodeVersionUnsupported, "the token is about %.40q, which is not TDX or SGX", t.Attestation)
	}
	t.Stated = stated(p, hardware)
	return nil
}

// tdx reads the claims of a trust domain, which Intel and Microsoft name alike (draft-kdyxy-rats-tdx-eat-profile). Debugging counts when any of the
// members that tell it says so.
func (o object) tdx(c *attest.Claims) {
	c.Measurement, c.ReportData = o.hex("tdx_mrtd", 48), o.hex("tdx_report_data", 64)
	c.InitData = o.hex("tdx_mrconfigid", 48)
	for _, name := range [...]string{"tdx_is_debuggable", "tdx_td_attributes_debug"} {
		if says := o.flag(name); says != nil && (c.Debug == nil || *says) {
			c.Debug = says
		}
	}
	if debug, _ := o.tdAttributes("tdx_td_attributes", c); debug {
		c.Debug = attest.Ptr(true)
	}
	o.debugStatus(c)
	if status := o.text("attester_tcb_status"); status != "" {
		c.TCBStatus = tcbStatuses[status]
	}
	c.Token.Advisories = o.list("attester_advisory_ids")
	c.Token.Registers = o.registers([...]string{"tdx_rtmr0", "tdx_rtmr1", "tdx_rtmr2", "tdx_rtmr3", "tdx_mrseam"})
}

// tdxMigratable is the attribute MIGRATABLE in the fourth byte of a trust domain's attributes, bit 29 of all (Intel TDX module specification, ATTRIBUTES).
const tdxMigratable = 1 << 5

// tdAttributes reads the attributes of a trust domain in hex, 8 bytes: whether it can be migrated becomes a claim, and whether it is under debug is returned. It is
// when any of the first eight is set, of which DEBUG is one and the others let the host profile it: verifiers that only say what DEBUG is say less than
// evidence of kind tdx does. known is false where the token does not have them.
func (o object) tdAttributes(name string, c *attest.Claims) (debug, known bool) {
	flags, err := hex.DecodeString(o.hex(name, 8))
	if err != nil || len(flags) != 8 {
		return false, false
	}
	c.MigrationAgent = attest.Ptr(flags[3]&tdxMigratable != 0)
	return flags[0] != 0, true
}

// debugStatus adds dbgstat (RFC 9711, section 4.2.9): whatever does not begin with "disabled" is debugging. By itself it does not make debugging false, since it
// is said of the evidence as a whole.
func (o object) debugStatus(c *attest.Claims) {
	if status := o.text("dbgstat"); status != "" && !strings.HasPrefix(status, "disabled") {
		c.Debug = attest.Ptr(true)
	}
}

// registerNames are the registers of a trust domain.
var registerNames = [...]string{"rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrseam"}

// registers returns the registers of a trust domain by registerNames; members are their names in the token, in that order.
func (o object) registers(members [len(registerNames)]string) map[string]string {
	out := make(map[string]string, len(members))
	for i, member := range members {
		if value := o.hex(member, 48); value != "" {
			out[registerNames[i]] = value
		}
	}
	return out
}

// anyHex returns hex of at most 64 bytes in lower case.
func (o object) anyHex(name string) string {
	n := len(o.text(name))
	if n > 128 || n%2 != 0 {
		o.fail(name, "hex of at most 64 bytes")
		return ""
	}
	return o.hex(name, n/2)
}

// identifiers returns one member of each object in a list.
func (o object) identifiers(name, member string) (out []string) {
	raw, ok := o.raw(name)
	if !ok {
		return nil
	}
	if raw[0] != '[' {
		o.fail(name, "a list of objects")
		return nil
	}
	// The objects are taken apart behind all other nodes, where they were for a while when the list was checked, and where there is room.
	list := o.find(name)
	p := parser{text: o.in.text, at: int(o.in.nodes[list].start) + 1, nodes: o.in.nodes, hashes: o.in.hashes}
	defer func(nodes []node, hashes []byte) { o.in.nodes, o.in.hashes = nodes, hashes }(p.nodes, p.hashes)
	for n := 0; ; {
		switch p.next() {
		case ']':
			return out
		case ',':
			p.at++
			continue
		case '{':
		default:
			o.fail(name, "a list of objects")
			return nil
		}
		if n++; n > maxList {
			o.fail(name, fmt.Sprintf("a list of at most %d objects", maxList))
			return nil
		}
		element := p.add(node{name: strconv.Itoa(n), parent: list}, 0)
		if err := p.object(element, 0); err != nil {
			o.fail(name, "a list of objects that can be read")
			return nil
		}
		o.in.nodes, o.in.hashes = p.nodes, p.hashes
		if id := (object{o.in, element, o.failure}).text(member); id != "" {
			out = append(out, id)
		}
		p.drop(element)
	}
}

// Limits of the claim stated.
const (
	maxStated     = 128
	maxStatedText = 512
	maxStatedName = 128
)

// registered reports whether a member has a claim of its own in every format (RFC 7519, section 4.1).
func registered(name string) bool {
	switch name {
	case "iss", "sub", "aud", "exp", "nbf", "iat", "jti":
		return true
	}
	return false
}

// stated returns the strings, numbers and booleans of objects as text, for policies that ask for what has no claim of its own. A name that is in an earlier
// object is that one's, whatever it is there. What is too long is left out, and so absent; of too many, those that are last in the order of names.
func stated(objects ...object) map[string]string {
	if len(objects) == 2 && objects[0] == objects[1] { // a token whose claims about the hardware are in no object of their own
		objects = objects[:1]
	}
	members := 0
	for _, o := range objects {
		for name, raw := range o.all() {
			if raw[0] != '{' && raw[0] != '[' && !registered(name) {
				members++
			}
		}
	}
	out := make(map[string]string, min(members, maxStated))
	for _, o := range slices.Backward(objects) { // so that what an earlier one says takes the place of the rest
		for name, raw := range o.all() {
			if raw == "null" || len(name) > maxStatedName || registered(name) {
				continue
			}
			text := raw
			if raw[0] == '"' {
				text = o.unquote(name, raw)
			}
			if raw[0] == '{' || raw[0] == '[' || len(text) > maxStatedText {
				delete(out, name)
				continue
			}
			out[name] = text
		}
	}
	if len(out) > maxStated {
		for _, name := range slices.Sorted(maps.Keys(out))[maxStated:] {
			delete(out, name)
		}
	}
	return out
}
