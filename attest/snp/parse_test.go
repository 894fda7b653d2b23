package snp

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// kbsJSON writes r as KBS clients do.
func kbsJSON(r *Report, p Product, chain string) string {
	array := func(b []byte) string {
		return strings.ReplaceAll(strings.Trim(fmt.Sprint(b), " "), " ", ",")
	}
	tcb := func(v TCBVersion) string {
		t := must(v.Decode(p))
		fmc := "null"
		if p == Turin {
			fmc = fmt.Sprint(t.FMC)
		}
		return fmt.Sprintf(`{"fmc":%s,"bootloader":%d,"tee":%d,"snp":%d,"microcode":%d}`, fmc, t.Bootloader, t.TEE, t.SNP, t.Microcode)
	}
	firmware := func(f Firmware) string {
		return fmt.Sprintf(`{"major":%d,"minor":%d,"build":%d}`, f.Major, f.Minor, f.Build)
	}
	optional := func(there bool, n uint64) string {
		if !there {
			return "null"
		}
		return fmt.Sprint(n)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{"attestation_report":{"version":%d,"guest_svn":%d,"policy":%d,"family_id":%s,"image_id":%s,"vmpl":%d,`,
		r.Version, r.GuestSVN, r.Policy, array(r.FamilyID[:]), array(r.ImageID[:]), r.VMPL)
	fmt.Fprintf(&b, `"sig_algo":%d,"current_tcb":%s,"plat_info":%d,"key_info":%d,`, r.SignatureAlgo, tcb(r.CurrentTCB), r.PlatformInfo, r.KeyInfo)
	fmt.Fprintf(&b, `"report_data":%s,"measurement":%s,"host_data":%s,`, array(r.ReportData[:]), array(r.Measurement[:]), array(r.HostData[:]))
	fmt.Fprintf(&b, `"id_key_digest":%s,"author_key_digest":%s,`, array(r.IDKeyDigest[:]), array(r.AuthorKeyDigest[:]))
	fmt.Fprintf(&b, `"report_id":%s,"report_id_ma":%s,"reported_tcb":%s,`, array(r.ReportID[:]), array(r.ReportIDMA[:]), tcb(r.ReportedTCB))
	v3, v5 := r.Version >= 3, r.Version >= 5
	fmt.Fprintf(&b, `"cpuid_fam_id":%s,"cpuid_mod_id":%s,"cpuid_step":%s,"chip_id":%s,`,
		optional(v3, uint64(r.CPU.Family)), optional(v3, uint64(r.CPU.Model)), optional(v3, uint64(r.CPU.Stepping)), array(r.ChipID[:]))
	fmt.Fprintf(&b, `"committed_tcb":%s,"current":%s,"committed":%s,"launch_tcb":%s,`,
		tcb(r.CommittedTCB), firmware(r.Current), firmware(r.Committed), tcb(r.LaunchTCB))
	fmt.Fprintf(&b, `"launch_mit_vector":%s,"current_mit_vector":%s,"signature":{"r":%s,"s":%s}},"cert_chain":%s}`,
		optional(v5, r.LaunchMitVector), optional(v5, r.CurrMitVector), array(r.R[:]), array(r.S[:]), chain)
	return b.String()
}

// chainJSON writes a certificate as KBS clients do.
func chainJSON(kind string, der []byte) string {
	return fmt.Sprintf(`[{"cert_type":"%s","data":%s}]`, kind, strings.ReplaceAll(fmt.Sprint(der), " ", ","))
}

// TestJSON: the JSON form of every product and version verifies like the binary one.
func TestJSON(t *testing.T) {
	v := testVerifier(t, Config{})
	for _, p := range Products() {
		for version := uint32(minVersion); version <= maxVersion; version++ {
			for _, key := range []SigningKey{VCEK, VLEK} {
				a := authorities()[p]
				r := a.sign(t, report(p, version, key))
				leaf := a.leaf(t, r, leafOptions{})
				text := kbsJSON(r, p, chainJSON(strings.ToUpper(key.String()), leaf))
				ev, err := Parse([]byte(text))
				if err != nil {
					t.Fatalf("%s version %d: %v", p, version, err)
				}
				if !bytes.Equal(ev.Raw[:], r.Marshal()) {
					t.Fatalf("%s version %d: other bytes were put together", p, version)
				}
				if _, err := verify(t, v, []byte(" \n"+text+" ")); err != nil {
					t.Errorf("%s version %d %v: %v", p, version, key, err)
				}
			}
		}
	}
}

func TestJSONRefuses(t *testing.T) {
	a := authorities()[Genoa]
	r := a.sign(t, report(Genoa, 3, VCEK))
	good := kbsJSON(r, Genoa, "null")
	if ev, err := Parse([]byte(good)); err != nil || ev.Certificates.VCEK != nil {
		t.Fatal(err)
	}
	if _, err := Parse([]byte(strings.Replace(good, `{"att`, `{"more":{"a":[1.5e-3,"\u00e9\n",true,null,{}]},"att`, 1))); err != nil {
		t.Errorf("with a member that is not known: %v", err)
	}
	for name, edit := range map[string][2]string{
		"report missing":      {`"attestation_report"`, `"report"`},
		"report twice":        {`{"attestation_report":`, `{"attestation_report":{},"attestation_report":`},
		"chain twice":         {`"cert_chain":null`, `"cert_chain":null,"cert_chain":null`},
		"chain an object":     {`"cert_chain":null`, `"cert_chain":{}`},
		"certificate empty":   {`"cert_chain":null`, `"cert_chain":[{"cert_type":"VCEK","data":[]}]`},
		"certificate twice":   {`"cert_chain":null`, `"cert_chain":[{"cert_type":"VCEK","data":[1]},{"cert_type":"VCEK","data":[1]}]`},
		"certificate no data": {`"cert_chain":null`, `"cert_chain":[{"cert_type":"VCEK"}]`},
		"certificate no type": {`"cert_chain":null`, `"cert_chain":[{"data":[1]}]`},
		"certificate endless": {`"cert_chain":null`, `"cert_chain":[{"cert_type":"VCEK","data":[1` + strings.Repeat(",1", maxCertificate) + `]}]`},
		"many certificates":   {`"cert_chain":null`, `"cert_chain":[` + strings.Repeat(`{"cert_type":"CRL","data":[]},`, 16) + `{"cert_type":"CRL","data":[]}]`},
		"unknown in report":   {`"guest_svn":7`, `"guest_svn":7,"more":1`},
		"member twice":        {`"guest_svn":7`, `"guest_svn":7,"guest_svn":7`},
		"escaped name":        {`"guest_svn":7`, `"guest\u005fsvn":7`},
		"member missing":      {`"guest_svn":7,`, ``},
		"member null":         {`"guest_svn":7`, `"guest_svn":null`},
		"negative":            {`"guest_svn":7`, `"guest_svn":-7`},
		"fraction":            {`"guest_svn":7`, `"guest_svn":7.0`},
		"exponent":            {`"guest_svn":7`, `"guest_svn":7e0`},
		"leading zero":        {`"guest_svn":7`, `"guest_svn":07`},
		"string":              {`"guest_svn":7`, `"guest_svn":"7"`},
		"over 32 bits":        {`"guest_svn":7`, `"guest_svn":4294967303`},
		"policy over 64 bits": {`"policy":196608`, `"policy":18446744073709748224`},
		"TCB over 8 bits":     {`"microcode":213`, `"microcode":256`},
		"TCB part missing":    {`"tee":1,`, ``},
		"TCB part twice":      {`"tee":1,`, `"tee":1,"tee":1,`},
		"TCB part unknown":    {`"tee":1,`, `"tee":1,"spl4":0,`},
		"array short":         {`"image_id":[0,`, `"image_id":[`},
		"array long":          {`"image_id":[0,`, `"image_id":[0,0,`},
		"array empty":         {`"image_id":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]`, `"image_id":[]`},
		"array with comma":    {`"image_id":[0,`, `"image_id":[,0,`},
		"array of 256":        {`"image_id":[0,`, `"image_id":[256,`},
		"array a string":      {`"image_id":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]`, `"image_id":"AAAAAAAAAAAAAAAAAAAAAA=="`},
		"version 1":           {`"version":3`, `"version":1`},
		"comma at the end":    {`"cert_chain":null}`, `"cert_chain":null,}`},
		"more":                {`"cert_chain":null}`, `"cert_chain":null}{}`},
		"NUL":                 {`"cert_chain":null}`, "\"cert_chain\":null}\x00"},
		"not UTF-8":           {`{"att`, "{\"\xff\":1,\"att"},
		"deep":                {`{"att`, `{"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `,"att`},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, edit[0], edit[1], 1)
			if text == good {
				t.Fatal("nothing was edited")
			}
			ev, err := Parse([]byte(text))
			code := attest.CodeMalformed
			if name == "version 1" {
				code = attest.CodeVersionUnsupported
			}
			wantCode(t, err, code)
			if ev != nil {
				t.Error("evidence came with it")
			}
		})
	}
}

func TestParseSizes(t *testing.T) {
	a := authorities()[Genoa]
	r := a.sign(t, report(Genoa, 3, VCEK))
	evidence := extended(r, a.leaf(t, r, leafOptions{}))
	for n := range len(evidence) {
		if _, err := Parse(evidence[:n]); n != ReportSize && err == nil {
			t.Errorf("the first %d of %d bytes were read", n, len(evidence))
		}
	}
	_, err := Parse(append(evidence, make([]byte, MaxEvidence)...))
	wantCode(t, err, attest.CodeTooLarge)
	if ev, err := Parse(append(evidence, make([]byte, 4096)...)); err != nil || ev.Certificates.VCEK == nil {
		t.Errorf("with the rest of a page: %v", err)
	}
}

func TestReserved(t *testing.T) {
	for version := uint32(minVersion); version <= maxVersion; version++ {
		raw := report(Genoa, version, VCEK).Marshal()
		reserved := 0
		for at := range raw {
			changed := bytes.Clone(raw)
			changed[at] ^= 0x10
			r, err := ParseReport(changed)
			if err == nil && !bytes.Equal(r.Marshal(), changed) {
				t.Errorf("version %d: byte %#x is not given back", version, at)
			}
			if err != nil {
				reserved++
			}
		}
		// Counted from the tables of the ABI: the reserved bytes, and those of words in which this bit is reserved or out of range.
		spans := map[uint32]int{2: 4 + 24 + 1 + 1 + 168 + 368, 3: 4 + 21 + 1 + 1 + 168 + 368, 5: 4 + 21 + 1 + 1 + 152 + 368}
		spans[4] = spans[3]
		words := 4 /* version */ + 5 /* policy 24 to 63 */ + 4 /* key information */ + 4 /* VMPL */
		if reserved != spans[version]+words {
			t.Errorf("version %d: %d bytes cannot change, want %d", version, reserved, spans[version]+words)
		}
	}
}

func TestTable(t *testing.T) {
	certs := Certificates{VCEK: []byte("vcek"), VLEK: []byte("vlek"), ASK: []byte("ask")}
	good := certs.Table()
	back, err := ParseTable(good)
	if err != nil || !bytes.Equal(back.Table(), good) {
		t.Fatalf("%v, %v", back, err)
	}
	if empty, err := ParseTable(nil); err != nil || empty.Table() != nil {
		t.Errorf("an empty table: %v, %v", empty, err)
	}
	put := func(entry, field int, value uint32) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[entry*tableEntrySize+16+4*field:], value)
		return b
	}
	header := uint32(4 * tableEntrySize)
	entry := good[:tableEntrySize]
	bad := map[string][]byte{
		"offset zero":             put(0, 0, 0),
		"offset in the header":    put(0, 0, header-1),
		"offset at the end":       put(0, 0, uint32(len(good))),
		"offset largest":          put(0, 0, 1<<32-1),
		"length zero":             put(0, 1, 0),
		"length one over":         put(2, 1, 4),
		"length largest":          put(0, 1, 1<<32-1),
		"sum wraps around":        put(0, 0, 1<<32-4),
		"no terminator":           good[:3*tableEntrySize],
		"half a terminator":       good[:3*tableEntrySize+5],
		"GUID twice":              slices.Concat(entry, entry, make([]byte, tableEntrySize), make([]byte, 100)),
		"endless":                 bytes.Repeat(entry, 100),
		"certificate over limits": Certificates{VCEK: make([]byte, maxCertificate+1)}.Table(),
	}
	for name, b := range bad {
		if certs, err := ParseTable(b); err == nil {
			t.Errorf("%s: read %v", name, certs)
		}
	}
	unknown := bytes.Clone(good)
	unknown[0]++
	if certs, err := ParseTable(unknown); err != nil || certs.VCEK != nil || certs.VLEK == nil {
		t.Errorf("with an entry that is not known: %v, %v", certs, err)
	}
}

// checkParse holds what Parse promises of any input: errors of one type, JSON that others read too, and a report that
// gives back its bytes.
func checkParse(t *testing.T, input []byte) {
	ev, err := Parse(input)
	var refusal *attest.Refusal
	if err != nil {
		if !errors.As(err, &refusal) {
			t.Fatalf("an error of another kind: %v", err)
		}
		return
	}
	if text := bytes.TrimLeft(input, " \t\r\n"); text[0] == '{' && !json.Valid(input) {
		t.Fatalf("read what is not JSON: %q", input)
	}
	if !bytes.Equal(ev.Report.Marshal(), ev.Raw[:]) {
		t.Fatalf("the report does not give back its bytes: %x", ev.Raw)
	}
}

func checkReport(t *testing.T, input []byte) {
	r, err := ParseReport(input)
	if err != nil {
		return
	}
	if !bytes.Equal(r.Marshal(), input) {
		t.Fatalf("the report does not give back its bytes: %x", input)
	}
	for _, p := range Products() {
		if _, err := r.Claims(p); err != nil {
			wantCode(t, err, attest.CodeMalformed)
		}
	}
}

func checkTable(t *testing.T, input []byte) {
	certs, err := ParseTable(input)
	if err != nil {
		return
	}
	again, err := ParseTable(certs.Table())
	if err != nil || !bytes.Equal(again.VCEK, certs.VCEK) || !bytes.Equal(again.VLEK, certs.VLEK) || !bytes.Equal(again.ASK, certs.ASK) {
		t.Fatalf("%v is written as %v, %v", certs, again, err)
	}
}

// parseSeeds is evidence of every form.
func parseSeeds(tb testing.TB) [][]byte {
	seeds := [][]byte{milanDebug()}
	for _, p := range Products() {
		for _, version := range []uint32{2, 3, 5} {
			r := authorities()[p].sign(tb, report(p, version, VCEK))
			seeds = append(seeds, extended(r, []byte("certificate")), []byte(kbsJSON(r, p, chainJSON("VCEK", []byte("certificate")))))
		}
	}
	return seeds
}

func reports(seeds [][]byte) (out [][]byte) {
	for _, seed := range seeds {
		if seed[0] != '{' {
			out = append(out, seed[:ReportSize])
		}
	}
	return out
}

func tables() [][]byte {
	return [][]byte{milanDebug()[ReportSize:], Certificates{VCEK: []byte("a"), VLEK: []byte("b"), ASK: []byte("c")}.Table()}
}

func FuzzParse(f *testing.F) {
	for _, seed := range parseSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(checkParse)
}

func FuzzReport(f *testing.F) {
	for _, seed := range reports(parseSeeds(f)) {
		f.Add(seed)
	}
	f.Fuzz(checkReport)
}

func FuzzCertTable(f *testing.F) {
	for _, seed := range tables() {
		f.Add(seed)
	}
	f.Fuzz(checkTable)
}

func TestMutations(t *testing.T) {
	seeds := parseSeeds(t)
	t.Run("Parse", func(t *testing.T) { mutate.Run(t, seeds, checkParse) })
	t.Run("Report", func(t *testing.T) { mutate.Run(t, reports(seeds), checkReport) })
	t.Run("CertTable", func(t *testing.T) { mutate.Run(t, tables(), checkTable) })
}
