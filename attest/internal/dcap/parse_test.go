package dcap

import (
	"bytes"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// checkScan: what the quick reader takes, the reader of all JSON takes too, and reads the same.
func checkScan(t *testing.T, input []byte) {
	text := bytes.TrimLeft(input, " \t\r\n")
	m, ok := scan(text)
	if !ok {
		return
	}
	quote, log, err := m.decode(nil)
	if err != nil {
		return
	}
	slow, err := membersOf(text)
	if err != nil {
		t.Fatalf("%q is no JSON: %v", input, err)
	}
	slowQuote, slowLog, err := slow.decode(nil)
	if err != nil || !bytes.Equal(quote, slowQuote) || !bytes.Equal(log, slowLog) || (log == nil) != (slowLog == nil) {
		t.Fatalf("%q: %x and %x, %v, want %x and %x", input, quote, log, err, slowQuote, slowLog)
	}
}

func jsonSeeds() [][]byte {
	var out [][]byte
	for _, text := range []string{
		`{"quote":"BAAC","cc_eventlog":null}`, ` {"cc_eventlog" : "AAAA" , "quote" : "BA==" } `, `{"quote":"BAAC"}`, `{"quote":"\/AAC","cc_eventlog":"AAAA"}`,
		`{"quote":"BAAC","quote":"BAAD"}`, `{"quote":null,"x":[{"quote":"BAAC"}]}`, `{"quote":"BA\"AC"}`, "{\"quote\":\"BA\nAC\"}", `{}`, `{"quote":"BAAC",}`,
		`{"Quote":"BAAC","cc_eventlog":nullnull}`,
	} {
		out = append(out, []byte(text))
	}
	return out
}

func TestMutationsJSON(t *testing.T) { mutate.Run(t, jsonSeeds(), checkScan) }

func FuzzJSON(f *testing.F) {
	for _, seed := range jsonSeeds() {
		f.Add(seed)
	}
	f.Fuzz(checkScan)
}

// TestVectorCollateral reads Intel's collateral of October 2025.
func TestVectorCollateral(t *testing.T) {
	p := &PCK{FMSPC: [6]byte{0x00, 0xa0, 0x6d, 0x08, 0, 0}}
	body := memberOf(t, vectors.Read(t, "tdx/tcbInfo.json"), "tcbInfo")
	info, err := parseTCBInfo(body, TDX, p)
	if err != nil {
		t.Fatal(err)
	}
	if info.number != 17 || len(info.levels) != 2 || len(info.modules) != 2 || info.modules[1].verdict(3).status != outOfDate ||
		info.modules[3].verdict(3).status != upToDate || info.levels[0].pceSVN != 13 || info.levels[0].tdx[0] != 5 {
		t.Errorf("TCB info %+v", info)
	}
	if _, err := parseTCBInfo(body, SGX, p); err == nil {
		t.Error("it is taken for SGX's")
	}
	identity, err := parseIdentity(memberOf(t, vectors.Read(t, "tdx/enclaveIdentity.json"), "enclaveIdentity"), TDX)
	if err != nil {
		t.Fatal(err)
	}
	if identity.number != 17 || identity.productID != 2 || identity.verdict(4).status != upToDate || identity.verdict(3).listed || identity.attributes[0] != 0x11 {
		t.Errorf("identity %+v", identity)
	}
}
