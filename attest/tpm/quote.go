package tpm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"math/big"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Constants of the TCG TPM 2.0 Library, part 2.
const (
	generatedMagic = 0xff544347 // TPM_GENERATED_VALUE: made inside a TPM
	attestQuote    = 0x8018     // TPM_ST_ATTEST_QUOTE

	algRSA    = 0x0001
	algAES    = 0x0006
	algSHA256 = 0x000b
	algSHA384 = 0x000c
	algSHA512 = 0x000d
	algNull   = 0x0010
	algRSASSA = 0x0014
	algRSAPSS = 0x0016
	algECDSA  = 0x0018
	algECC    = 0x0023
	algCFB    = 0x0043
)

// NumPCRs is how many PCRs every PC Client TPM has, and every quote here covers.
const NumPCRs = 24

// Bounds on the binary structures. TPMS_ATTEST with the longest buffers a TPM makes is under 400 bytes, and a signature by
// a 4096-bit key is 518; both leave room.
const (
	maxMessage   = 1024
	maxSignature = 1024
)

// Limits on RSA attestation keys, in bits: what is weaker is not accepted, what is longer no TPM makes.
const (
	minRSABits = 2048
	maxRSABits = 4096
)

// hashes maps the TPM's algorithm numbers to the hashes accepted in quotes. SHA-1 is not among them.
var hashes = map[uint16]crypto.Hash{algSHA256: crypto.SHA256, algSHA384: crypto.SHA384, algSHA512: crypto.SHA512}

// Quote is a parsed TPMS_ATTEST of type quote. Its slices alias the message it was parsed from.
type Quote struct {
	Signer          []byte      // qualified name of the key that signed
	ExtraData       []byte      // what the caller of TPM2_Quote asked to be signed with it
	Clock           uint64      // milliseconds powered since the last TPM2_Clear
	ResetCount      uint32      // TPM resets since the last TPM2_Clear
	RestartCount    uint32      // restarts and resumes since the last reset
	ClockSafe       bool        // no higher Clock was ever reported
	FirmwareVersion uint64      // vendor's own
	Bank            crypto.Hash // hash bank of the selection
	Selected        []int       // PCRs quoted, in ascending order
	Selections      []Selection // as the quote has them
	PCRDigest       []byte      // hash of the values of the PCRs quoted, in order, by the signature's hash
}

// Selection is a TPMS_PCR_SELECTION (part 2, 10.6.2).
type Selection struct {
	Algorithm uint16      // TPM_ALG_ID of the bank
	Bank      crypto.Hash // SHA-256, SHA-384 or SHA-512; zero for any other
	PCRs      []int       // in ascending order
}

// maxSelections bounds the selections of one quote: a TPM has as many banks as hashes, which are up to 16 (HASH_COUNT).
const maxSelections = 16

// ParseQuote parses a TPMS_ATTEST (part 2, 10.12.12) over PCRs of one bank. Its errors are *attest.Refusal: CodeMalformed, CodeTooLarge,
// CodeAlgorithm for a bank that is not SHA-256, SHA-384 or SHA-512, and CodePCRSelection for several selections.
func ParseQuote(message []byte) (*Quote, error) {
	q, err := parseQuote(message, 1, 1)
	if err != nil {
		return nil, err
	}
	only := q.Selections[0]
	if only.Bank == 0 {
		return nil, attest.Refuse(attest.CodeAlgorithm, "the quote selects PCR bank %#x, which is not accepted", only.Algorithm)
	}
	q.Bank, q.Selected = only.Bank, only.PCRs
	return q, nil
}

// ParseAnyQuote parses a TPMS_ATTEST of type quote, whatever it selects, for callers that say what is wrong with a selection: a TPM quotes
// one bank in several selections too, and then digests the values in the order of the selections, so that the PCRs in the quote are
// not in ascending order. Only Selections says what was quoted; Bank and Selected are zero. Its errors are *attest.Refusal with
// CodeMalformed, CodeTooLarge, or CodePCRSelection for more selections than a TPM has banks.
func ParseAnyQuote(message []byte) (*Quote, error) { return parseQuote(message, 0, maxSelections) }

// parseQuote parses a quote with least to most selections.
func parseQuote(message []byte, least, most uint32) (*Quote, error) {
	if len(message) > maxMessage {
		return nil, attest.Refuse(attest.CodeTooLarge, "a quote of %d bytes; the limit is %d", len(message), maxMessage)
	}
	r := newReader(message)
	if magic := r.U32(); magic != generatedMagic {
		return nil, attest.Refuse(attest.CodeMalformed, "the quote starts with %#x, so no TPM made it", magic)
	}
	if kind := r.U16(); kind != attestQuote {
		return nil, attest.Refuse(attest.CodeMalformed, "an attestation of type %#x, which is not a quote", kind)
	}
	q := &Quote{Signer: r.sized(), ExtraData: r.sized(), Clock: r.U64(), ResetCount: r.U32(), RestartCount: r.U32()}
	safe := r.U8()
	q.ClockSafe = safe == 1
	q.FirmwareVersion = r.U64()
	count := r.U32()
	if !r.Failed() && (count < least || count > most) {
		return nil, attest.Refuse(attest.CodePCRSelection, "the quote has %d selections of PCRs; %d to %d are expected", count, least, most)
	}
	for range count {
		q.Selections = append(q.Selections, readSelection(r))
	}
	q.PCRDigest = r.sized()
	if err := r.done(); err != nil || safe > 1 {
		return nil, attest.Refuse(attest.CodeMalformed, "the quote is not a well-formed TPMS_ATTEST")
	}
	return q, nil
}

func readSelection(r reader) Selection {
	s := Selection{Algorithm: r.U16(), PCRs: make([]int, 0, NumPCRs)}
	s.Bank = hashes[s.Algorithm]
	for i, octet := range r.Bytes(uint32(r.U8())) {
		for bit := range 8 {
			if octet>>bit&1 == 1 {
				s.PCRs = append(s.PCRs, 8*i+bit)
			}
		}
	}
	return s
}

// CheckPCRs holds the quote against PCR values 0 to 23 of one bank: the quote must select exactly these and its digest, by
// the hash the signature used, must be over exactly them. Its errors are *attest.Refusal with CodePCRSelection or CodePCRDigest.
func (q *Quote) CheckPCRs(bank crypto.Hash, pcrs [][]byte, by crypto.Hash) error {
	if q.Bank != bank {
		return attest.Refuse(attest.CodePCRSelection, "the quote is over bank %v, the values presented are of %v", q.Bank, bank)
	}
	if len(pcrs) != NumPCRs {
		return attest.Refuse(attest.CodePCRSelection, "%d PCR values are presented; a quote here covers %d", len(pcrs), NumPCRs)
	}
	if len(q.Selected) != NumPCRs || q.Selected[NumPCRs-1] != NumPCRs-1 {
		return attest.Refuse(attest.CodePCRSelection, "the quote is over PCRs %v; all of 0 to %d are expected", q.Selected, NumPCRs-1)
	}
	all := make([]byte, 0, NumPCRs*maxPCR)
	for i, value := range pcrs {
		if len(value) != bank.Size() {
			return attest.Refuse(attest.CodePCRSelection, "PCR %d is %d bytes; bank %v has %d", i, len(value), bank, bank.Size())
		}
		all = append(all, value...)
	}
	if digest := digestBy(by, all); !bytes.Equal(digest[:by.Size()], q.PCRDigest) {
		return attest.Refuse(attest.CodePCRDigest, "the PCR values presented are not those quoted")
	}
	return nil
}

// digestBy returns the digest of data by one of the accepted hashes, at the beginning of what it returns, which needs no memory of its own.
func digestBy(hash crypto.Hash, data []byte) (digest [sha512.Size]byte) {
	switch hash {
	case crypto.SHA256:
		sum := sha256.Sum256(data)
		copy(digest[:], sum[:])
	case crypto.SHA384:
		sum := sha512.Sum384(data)
		copy(digest[:], sum[:])
	case crypto.SHA512:
		return sha512.Sum512(data)
	}
	return digest
}

// Signature is a parsed TPMT_SIGNATURE.
type Signature struct {
	Hash   crypto.Hash // of the message, and of the quoted PCR values
	scheme uint16
	rsa    []byte
	r, s   []byte
}

// ParseSignature parses a TPMT_SIGNATURE (part 2, 11.3.4): RSASSA, RSAPSS or ECDSA with SHA-256, SHA-384 or SHA-512. Its errors are
// *attest.Refusal with CodeMalformed, CodeTooLarge or CodeAlgorithm.
func ParseSignature(data []byte) (*Signature, error) {
	if len(data) > maxSignature {
		return nil, attest.Refuse(attest.CodeTooLarge, "a signature of %d bytes; the limit is %d", len(data), maxSignature)
	}
	r := newReader(data)
	sig := &Signature{scheme: r.U16()}
	hash := r.U16()
	switch sig.scheme {
	case algRSASSA, algRSAPSS:
		sig.rsa = r.sized()
	case algECDSA:
		sig.r, sig.s = r.sized(), r.sized()
	default:
		return nil, attest.Refuse(attest.CodeAlgorithm, "signature scheme %#x is not RSASSA, RSAPSS or ECDSA", sig.scheme)
	}
	if err := r.done(); err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "the signature is not a well-formed TPMT_SIGNATURE")
	}
	var known bool
	if sig.Hash, known = hashes[hash]; !known {
		return nil, attest.Refuse(attest.CodeAlgorithm, "signature hash %#x is not SHA-256, SHA-384 or SHA-512", hash)
	}
	return sig, nil
}

// Verify checks the signature over message by key, an *rsa.PublicKey of 2048 to 4096 bits or an *ecdsa.PublicKey. Its errors are
// *attest.Refusal with CodeSignature or CodeAlgorithm.
func (sig *Signature) Verify(key crypto.PublicKey, message []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	space := digestBy(sig.Hash, message)
	digest := space[:sig.Hash.Size()]
	var err error
	switch key := key.(type) {
	case *rsa.PublicKey:
		switch sig.scheme {
		case algRSASSA:
			err = rsa.VerifyPKCS1v15(key, sig.Hash, digest, sig.rsa)
		case algRSAPSS:
			err = rsa.VerifyPSS(key, sig.Hash, digest, sig.rsa, nil)
		default:
			err = errors.New("it is ECDSA, the key is RSA")
		}
	case *ecdsa.PublicKey:
		if sig.scheme != algECDSA {
			err = errors.New("it is RSA, the key is an elliptic curve's")
		} else if !ecdsa.Verify(key, digest, new(big.Int).SetBytes(sig.r), new(big.Int).SetBytes(sig.s)) {
			err = errors.New("ecdsa: verification error")
		}
	}
	if err != nil {
		return attest.Refuse(attest.CodeSignature, "the quote's signature is not the attestation key's: %w", err)
	}
	return nil
}

// checkKey refuses keys that no quote may be judged with, and no certificate either.
func checkKey(key crypto.PublicKey) error {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return attest.Refuse(attest.CodeAlgorithm, "an RSA key of %d bits; %d to %d are accepted", bits, minRSABits, maxRSABits)
		}
		return nil
	case *ecdsa.PublicKey:
		if key.Curve.Params().BitSize < 256 {
			return attest.Refuse(attest.CodeAlgorithm, "curve %s is not accepted", key.Curve.Params().Name)
		}
		return nil
	default:
		return attest.Refuse(attest.CodeAlgorithm, "a key of type %T; RSA and elliptic curves are accepted", key)
	}
}

// bankByName maps the names that evidence and claims give hash banks.
func bankByName(name string) (crypto.Hash, error) {
	switch name {
	case "", "sha256": // KBS clients name none: theirs is SHA-256
		return crypto.SHA256, nil
	case "sha384":
		return crypto.SHA384, nil
	}
	return 0, attest.Refuse(attest.CodeAlgorithm, "PCR bank %q is neither sha256 nor sha384", name)
}

func bankName(bank crypto.Hash) string {
	switch bank {
	case crypto.SHA256:
		return "sha256"
	case crypto.SHA384:
		return "sha384"
	}
	return ""
}
