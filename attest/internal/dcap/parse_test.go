package dcap

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// checkDecode holds decode against the standard library's strict decoder, which differs in that it passes over line breaks.
func checkDecode(t *testing.T, text []byte) {
	have, err := decode(text)
	want, wantErr := base64.StdEncoding.Strict().DecodeString(string(text))
	if bytes.ContainsAny(text, "\r\n") {
		if err == nil {
			t.Fatalf("%q: line breaks were read", text)
		}
		return
	}
	if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(have, want) {
		t.Fatalf("%q: %x, %v, want %x, %v", text, have, err, want, wantErr)
	}
}

// base64Seeds are texts of every length up to some groups.
func base64Seeds() (out [][]byte) {
	random := rand.New(rand.NewPCG(3, 4))
	for n := range 20 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		out = append(out, []byte(base64.StdEncoding.EncodeToString(b)))
	}
	return append(out, []byte("AA==AAAA"), []byte("AAA=\n"), []byte("AA\n=="), []byte("AAAA\nAAA"), []byte("AAB="), []byte("AB=="), []byte("===="), []byte("A==="))
}

func TestMutationsBase64(t *testing.T) { mutate.Run(t, base64Seeds(), checkDecode) }

func FuzzBase64(f *testing.F) {
	for _, seed := range base64Seeds() {
		f.Add(seed)
	}
	f.Fuzz(checkDecode)
}

// checkScan: what the quick reader takes, the reader of all JSON takes too, and reads the same.
func checkScan(t *testing.T, input []byte) {
	text := bytes.TrimLeft(input, " \t\r\n")
	m, ok := scan(text)
	if !ok {
		return
	}
	quote, log, err := m.decode()
	if err != nil {
		return
	}
	slow, err := membersOf(text)
	if err != nil {
		t.Fatalf("%q is no JSON: %v", input, err)
	}
	slowQuote, slowLog, err := slow.decode()
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
