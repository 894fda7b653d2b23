package audit

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	receiptHeader = "c2sp.org/tlog-proof@v1"

	// MaxProof is the most hashes in a proof of inclusion: the height of the highest tree whose size an int64 holds.
	MaxProof = 63

	// MaxReceipt is the longest receipt read, in bytes: a checkpoint, 63 hashes of 45 bytes, and room for extra data.
	MaxReceipt = 32 << 10
)

// Receipt proves without the log at hand that an entry is in it: a c2sp.org/tlog-proof.
type Receipt struct {
	Index      uint64           // the entry's index in the log, from 0
	Proof      tlog.RecordProof // the hashes from the leaf's sibling up, RFC 6962 section 2.1.1
	Checkpoint []byte           // the signed checkpoint that the proof leads to
	Extra      []byte           // opaque and not authenticated; logs of this package write none
}

// MarshalText encodes the receipt as a c2sp.org/tlog-proof.
func (r Receipt) MarshalText() ([]byte, error) {
	if len(r.Proof) > MaxProof {
		return nil, fmt.Errorf("%w receipt: proof of %d hashes is over %d", ErrMalformed, len(r.Proof), MaxProof)
	}
	b := make([]byte, 0, 64+len(r.Proof)*45+len(r.Checkpoint)+len(r.Extra)*4/3)
	b = append(b, receiptHeader+"\n"...)
	if len(r.Extra) > 0 {
		b = append(b, "extra "...)
		b = base64.StdEncoding.AppendEncode(b, r.Extra)
		b = append(b, '\n')
	}
	b = append(b, "index "...)
	b = strconv.AppendUint(b, r.Index, 10)
	b = append(b, '\n')
	for _, h := range r.Proof {
		b = base64.StdEncoding.AppendEncode(b, h[:])
		b = append(b, '\n')
	}
	b = append(b, '\n')
	b = append(b, r.Checkpoint...)
	if len(b) > MaxReceipt {
		return nil, fmt.Errorf("%w receipt: %d bytes is over %d", ErrMalformed, len(b), MaxReceipt)
	}
	return b, nil
}

// ParseReceipt decodes a c2sp.org/tlog-proof. It checks form only, see VerifyReceipt; what it accepts, MarshalText encodes to the same
// bytes. Errors wrap ErrMalformed.
func ParseReceipt(text []byte) (Receipt, error) {
	malformed := func(what string) (Receipt, error) {
		return Receipt{}, fmt.Errorf("%w receipt: %s", ErrMalformed, what)
	}
	if len(text) > MaxReceipt {
		return malformed(fmt.Sprintf("%d bytes is over %d", len(text), MaxReceipt))
	}
	head, checkpoint, found := bytes.Cut(text, []byte("\n\n"))
	if !found || len(checkpoint) == 0 {
		return malformed("no checkpoint after an empty line")
	}
	lines := strings.Split(string(head), "\n")
	if lines[0] != receiptHeader {
		return malformed("it does not begin with " + receiptHeader)
	}
	lines = lines[1:]
	r := Receipt{Checkpoint: bytes.Clone(checkpoint)}
	if len(lines) > 0 {
		if encoded, ok := strings.CutPrefix(lines[0], "extra "); ok {
			extra, err := base64.StdEncoding.Strict().DecodeString(encoded)
			if err != nil || len(extra) == 0 || strings.Contains(encoded, "\r") {
				return malformed("extra data is empty or not base64")
			}
			r.Extra = extra
			lines = lines[1:]
		}
	}
	if len(lines) == 0 {
		return malformed("no index")
	}
	number, ok := strings.CutPrefix(lines[0], "index ")
	if !ok {
		return malformed("no index")
	}
	var err error
	if r.Index, err = parseDecimal(number); err != nil {
		return malformed("index " + err.Error())
	}
	if lines = lines[1:]; len(lines) > MaxProof {
		return malformed(fmt.Sprintf("proof of %d hashes is over %d", len(lines), MaxProof))
	}
	r.Proof = make(tlog.RecordProof, len(lines))
	for i, line := range lines {
		if r.Proof[i], err = parseHash(line); err != nil {
			return malformed(fmt.Sprintf("hash %d of the proof is not base64 of 32 bytes", i))
		}
	}
	return r, nil
}

// VerifyReceipt checks that a receipt proves entry to be in the log named origin whose keys are known, and returns what it says.
// Errors wrap ErrMalformed, ErrUnverified or ErrProof.
func VerifyReceipt(known note.Verifiers, origin string, entry, receipt []byte) (Receipt, Checkpoint, error) {
	r, err := ParseReceipt(receipt)
	if err != nil {
		return Receipt{}, Checkpoint{}, err
	}
	checkpoint, err := VerifyCheckpoint(known, origin, r.Checkpoint)
	if err != nil {
		return Receipt{}, Checkpoint{}, err
	}
	if err := VerifyInclusion(checkpoint, r.Index, entry, r.Proof); err != nil {
		return Receipt{}, Checkpoint{}, err
	}
	return r, checkpoint, nil
}
