package boot

import (
	"bytes"
	"crypto"
	_ "crypto/sha256" // linked for crypto.Hash.New
	_ "crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
)

// Event is one measurement.
type Event struct {
	PCR    int
	What   string // in words, for people
	Digest []byte
}

// Sequence is what a boot measures, in order, by one hash.
type Sequence struct {
	Events []Event
	hash   crypto.Hash
}

// New returns an empty sequence. The hash is SHA-256, SHA-384 or SHA-512; RTMRs need SHA-384.
func New(hash crypto.Hash) (*Sequence, error) {
	switch hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
		return &Sequence{hash: hash}, nil
	}
	return nil, fmt.Errorf("%v is not the hash of a bank of registers that is accepted: sha256, sha384 or sha512", hash)
}

// Hash returns the sequence's hash.
func (s *Sequence) Hash() crypto.Hash { return s.hash }

// Digest adds a measurement by its digest.
func (s *Sequence) Digest(pcr int, what string, digest []byte) error {
	if len(digest) != s.hash.Size() {
		return fmt.Errorf("the digest of %s has %d bytes; %v has %d", what, len(digest), s.hash, s.hash.Size())
	}
	s.Events = append(s.Events, Event{pcr, what, bytes.Clone(digest)})
	return nil
}

// Data adds the measurement of data.
func (s *Sequence) Data(pcr int, what string, data []byte) {
	s.Events = append(s.Events, Event{pcr, what, s.sum(data)})
}

// Reader adds the measurement of what a reader has.
func (s *Sequence) Reader(pcr int, what string, r io.Reader) error {
	digest, err := Sum(s.hash, r)
	if err != nil {
		return fmt.Errorf("reading %s: %w", what, err)
	}
	return s.Digest(pcr, what, digest)
}

func (s *Sequence) sum(data []byte) []byte {
	h := s.hash.New()
	h.Write(data)
	return h.Sum(nil)
}

// Sum returns the digest of what a reader has.
func Sum(hash crypto.Hash, r io.Reader) ([]byte, error) {
	h := hash.New()
	if _, err := io.Copy(h, r); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// PCRs returns the value of each PCR that has events, in hex.
func (s *Sequence) PCRs() map[int]string { return s.replay(func(pcr int) int { return pcr }) }

// RTMRs returns the value of each RTMR that has events, in hex. It fails when the sequence's hash is not SHA-384. Events of PCR 0 are of MRTD, and
// do not count.
func (s *Sequence) RTMRs() (map[int]string, error) {
	if s.hash != crypto.SHA384 {
		return nil, fmt.Errorf("RTMRs are extended with sha384, not with %v", s.hash)
	}
	return s.replay(RTMR), nil
}

// RTMR returns the RTMR of a TDX guest that takes what a PC extends into a PCR, or -1 for PCR 0 and those that a TDX guest has not.
func RTMR(pcr int) int {
	switch {
	case pcr == 1 || pcr == 7:
		return 0
	case pcr >= 2 && pcr <= 6:
		return 1
	case pcr >= 8 && pcr <= 15:
		return 2
	}
	return -1
}

func (s *Sequence) replay(register func(pcr int) int) map[int]string {
	values := make(map[int][]byte)
	for _, e := range s.Events {
		r := register(e.PCR)
		if r < 0 {
			continue
		}
		if values[r] == nil {
			values[r] = make([]byte, s.hash.Size())
		}
		values[r] = s.sum(append(values[r], e.Digest...))
	}
	text := make(map[int]string, len(values))
	for r, value := range values {
		text[r] = hex.EncodeToString(value)
	}
	return text
}
