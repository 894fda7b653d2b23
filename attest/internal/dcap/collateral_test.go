package dcap

import (
	"encoding/json"
	"testing"

	"github.com/google/go-tdx-guest/testing/testdata"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// memberOf returns a member of what Intel's service sends.
func memberOf(tb testing.TB, answer []byte, name string) json.RawMessage {
	tb.Helper()
	members, err := strictjson.Object(answer)
	if err != nil {
		tb.Fatal(err)
	}
	return members[name]
}

// realPCK is of the platforms that the recorded TCB info is for.
var realPCK = PCK{FMSPC: [6]byte{0x50, 0x80, 0x6f}}

// checkTCBInfo: what is read has levels in order, and every platform gets a verdict.
func checkTCBInfo(t *testing.T, body []byte) {
	info, err := parseTCBInfo(body, TDX, &realPCK)
	if err != nil {
		return
	}
	if len(info.levels) == 0 || info.module == nil || info.next.IsZero() {
		t.Fatalf("%s was read as %+v", body, info)
	}
	for i := range info.levels {
		if !info.levels[i].verdict.listed || i > 0 && atLeast(info.levels[i].sgx[:1], info.levels[i-1].sgx[:1]) && info.levels[i].sgx[0] != info.levels[i-1].sgx[0] {
			t.Fatalf("%s: level %d is %+v", body, i, info.levels[i])
		}
	}
	p := &platform{pck: &realPCK}
	for version := range 3 {
		e, err := evaluateTDX(p, [16]byte{3, byte(version)}, info, &qeIdentity{levels: []enclaveLevel{{0, verdict{part: true}}}})
		if err == nil && e.status().String() == "" {
			t.Fatalf("%s: no verdict", body)
		}
	}
}

func checkIdentity(t *testing.T, body []byte) {
	identity, err := parseIdentity(body, TDX)
	if err == nil && (len(identity.levels) == 0 || identity.next.IsZero()) {
		t.Fatalf("%s was read as %+v", body, identity)
	}
}

func tcbInfoSeeds(tb testing.TB) [][]byte {
	return [][]byte{memberOf(tb, testdata.TcbInfoBody, "tcbInfo")}
}

func identitySeeds(tb testing.TB) [][]byte {
	return [][]byte{memberOf(tb, testdata.QeIdentityBody, "enclaveIdentity")}
}

// pckSeeds are the extensions of real PCK certificates.
func pckSeeds(tb testing.TB) [][]byte {
	tb.Helper()
	q, err := ParseQuote(testdata.RawQuote[:len(testdata.RawQuote)-39])
	if err != nil {
		tb.Fatal(err)
	}
	roots, err := IntelRoots()
	if err != nil {
		tb.Fatal(err)
	}
	chain, _ := cutChain(q.chain)
	_, cert, err := verifyChain(chain, roots.Platform)
	if err != nil {
		tb.Fatal(err)
	}
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(sgxArc) {
			return [][]byte{ext.Value}
		}
	}
	tb.Fatal("no extension")
	return nil
}

func checkPCK(t *testing.T, der []byte) {
	if p, err := parsePCK(der); err == nil && p.Instance != nil && len(p.Instance) != 16 {
		t.Fatalf("%x was read as %+v", der, p)
	}
}

func checkQuote(t *testing.T, data []byte) {
	q, err := ParseQuote(data)
	if err != nil {
		return
	}
	if (q.TD == nil) == (q.Enclave == nil) || len(q.ReportData()) != 64 || len(q.key) != keySize || len(q.signature) != signatureSize ||
		len(q.qeReport) != enclaveSize || len(q.signed) < headerSize+enclaveSize {
		t.Fatalf("%x was read as %+v", data, q)
	}
	head, tail := cutChain(q.chain)
	if len(head)+len(tail) != len(q.chain) {
		t.Fatalf("%x: the chain was cut wrongly", data)
	}
	_ = checkTail(tail)
	_, _ = splitChain(q.chain)
}

func TestMutations(t *testing.T) {
	t.Run("TCBInfo", func(t *testing.T) { mutate.Run(t, tcbInfoSeeds(t), checkTCBInfo) })
	t.Run("Identity", func(t *testing.T) { mutate.Run(t, identitySeeds(t), checkIdentity) })
	t.Run("PCK", func(t *testing.T) { mutate.Run(t, pckSeeds(t), checkPCK) })
	t.Run("Quote", func(t *testing.T) {
		mutate.Run(t, [][]byte{testdata.RawQuote, testdata.RawQuote[:len(testdata.RawQuote)-39]}, checkQuote)
	})
}

func FuzzTCBInfo(f *testing.F) {
	for _, seed := range tcbInfoSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(checkTCBInfo)
}

func FuzzIdentity(f *testing.F) {
	for _, seed := range identitySeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(checkIdentity)
}

func FuzzPCK(f *testing.F) {
	for _, seed := range pckSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(checkPCK)
}

func FuzzQuote(f *testing.F) {
	f.Add(testdata.RawQuote[:len(testdata.RawQuote)-39])
	f.Fuzz(checkQuote)
}
