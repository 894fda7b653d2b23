package dcaptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"slices"
	"testing"
)

// Where fields are in the report of a TD, in bytes from its start.
const (
	TDTCBSVN         = 0
	TDMRSEAM         = 16
	TDMRSignerSEAM   = 64
	TDSEAMAttributes = 112
	TDAttributes     = 120
	TDXFAM           = 128
	TDMRTD           = 136
	TDMRConfigID     = 184
	TDMROwner        = 232
	TDMROwnerConfig  = 280
	TDRTMR0          = 328
	TDReportData     = 520
	TDTCBSVN2        = 584
	TDMRServiceTD    = 600
)

// Where fields are in the report of an enclave, in bytes from its start.
const (
	EnclaveMiscSelect = 16
	EnclaveFlags      = 48
	EnclaveMREnclave  = 64
	EnclaveMRSigner   = 128
	EnclaveConfigID   = 192
	EnclaveProductID  = 256
	EnclaveSVN        = 258
	EnclaveReportData = 320
)

// HeaderSize is that of a quote's header.
const HeaderSize = 48

// Quote is a quote that is not signed yet.
type Quote struct {
	Header   []byte // 48 bytes
	BodyType uint16 // of version 5
	Body     []byte
	QE       []byte // the quoting enclave's report; what it covers is filled in
	AuthData []byte
	Chain    []byte // PEM
	CertType uint16 // 5, the chain

	Key        *ecdsa.PrivateKey // the attestation key
	PCK        *ecdsa.PrivateKey // which signs QE
	RawKey     []byte            // written for Key's public half where it is not nil
	Vouched    []byte            // the PCK's signature over QE, where it is not to be made anew
	KeepReport bool              // whether QE covers what its report data says, be it right or not
}

// Binding is what quotes made here carry.
var Binding = []byte("0123456789abcdef0123456789abcdef0123456789abcdef")

// Body types of version 5, and of the two earlier versions.
const (
	BodyEnclave = 1
	BodyTD10    = 2
	BodyTD15    = 3
)

// Quote makes a quote by m: version 3, 4 or 5 of an enclave or TD, with the body's type.
func (w *World) Quote(m *Machine, version uint16, bodyType uint16) *Quote {
	q := &Quote{
		Header: make([]byte, HeaderSize), BodyType: bodyType, QE: make([]byte, 384), AuthData: slices.Repeat([]byte{7}, 32), CertType: 5,
		Chain: append(PEM(m.PCK, m.Issuer, w.Root), 0), Key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), PCK: m.PCK.Key,
	}
	binary.LittleEndian.PutUint16(q.Header, version)
	q.Header[2] = 2
	copy(q.Header[12:], must(hex.DecodeString("939a7233f79c4ca9940a0db3957f0607")))
	q.QE[EnclaveFlags] = 0x15
	copy(q.QE[EnclaveMRSigner:], must(hex.DecodeString(signerQE)))
	q.QE[EnclaveProductID], q.QE[EnclaveSVN] = 1, 8
	for i := range 32 {
		q.QE[EnclaveMREnclave+i] = byte(0x40 + i)
	}
	if bodyType == BodyEnclave {
		q.Body = make([]byte, 384)
		q.Body[EnclaveFlags] = 0x05
		for i := range 32 {
			q.Body[EnclaveMREnclave+i], q.Body[EnclaveMRSigner+i] = byte(0x80+i), byte(0xc0+i)
		}
		q.Body[EnclaveProductID], q.Body[EnclaveSVN] = 9, 3
		copy(q.Body[EnclaveReportData:], Binding)
		return q
	}
	q.Header[4], q.QE[EnclaveProductID] = 0x81, 2
	q.Body = make([]byte, map[uint16]int{BodyTD10: 584, BodyTD15: 648}[bodyType])
	q.Body[TDTCBSVN], q.Body[TDTCBSVN+2] = 5, 5
	for i := range 48 {
		q.Body[TDMRSEAM+i], q.Body[TDMRTD+i] = byte(i), byte(0x80+i)
		for r := range 4 {
			q.Body[TDRTMR0+48*r+i] = byte(0x10*r + i)
		}
	}
	q.Body[TDAttributes+3], q.Body[TDXFAM] = 0x10, 0xe7
	copy(q.Body[TDReportData:], Binding)
	if bodyType == BodyTD15 {
		copy(q.Body[TDTCBSVN2:], q.Body[:16])
	}
	return q
}

// Signed is what the attestation key signs: header and body.
func (q *Quote) Signed() []byte {
	out := slices.Clone(q.Header)
	if binary.LittleEndian.Uint16(q.Header) == 5 {
		out = binary.LittleEndian.AppendUint16(out, q.BodyType)
		out = binary.LittleEndian.AppendUint32(out, uint32(len(q.Body)))
	}
	return append(out, q.Body...)
}

// Bytes signs the quote and returns it.
func (q *Quote) Bytes() []byte {
	signed := q.Signed()
	key := must(q.Key.PublicKey.Bytes())[1:]
	if q.RawKey != nil {
		key = q.RawKey
	}
	if !q.KeepReport {
		digest := sha256.Sum256(slices.Concat(key, q.AuthData))
		copy(q.QE[EnclaveReportData:], digest[:])
	}
	le := binary.LittleEndian
	vouched := q.Vouched
	if vouched == nil {
		vouched = SignRaw(q.PCK, q.QE)
	}
	qe := slices.Concat(q.QE, vouched)
	qe = append(le.AppendUint16(qe, uint16(len(q.AuthData))), q.AuthData...)
	qe = le.AppendUint16(qe, q.CertType)
	qe = append(le.AppendUint32(qe, uint32(len(q.Chain))), q.Chain...)
	if le.Uint16(q.Header) > 3 {
		qe = slices.Concat(le.AppendUint32(le.AppendUint16(nil, 6), uint32(len(qe))), qe)
	}
	section := slices.Concat(SignRaw(q.Key, signed), key, qe)
	return append(le.AppendUint32(signed, uint32(len(section))), section...)
}

// Floor returns what no appraisal of the quote can do without, for benchmarks: the hash of what is signed and the check of its signature, as
// many times as given, for chains have signatures of the same kind.
func (q *Quote) Floor(tb testing.TB, times int) func() {
	signed := q.Signed()
	signature := q.Bytes()[len(signed)+4:][:64]
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return func() {
		for range times {
			digest := sha256.Sum256(signed)
			if !ecdsa.Verify(&q.Key.PublicKey, digest[:], r, s) {
				tb.Fatal("the quote's signature does not verify")
			}
		}
	}
}
