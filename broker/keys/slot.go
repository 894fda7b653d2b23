package keys

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"strconv"

	"golang.org/x/mod/sumdb/note"
)

// LogOf is what signs and verifies checkpoints of one log.
type LogOf struct {
	Origin   string
	Signer   note.Signer
	Verifier note.Verifier
	Text     string // of the verifier, which auditors keep
}

// LogOf returns the keys of a log. Slot 0 is the one log of a store that one broker has; its origin is the ring's. Brokers that share a store have
// logs of their own, whose origins are "<origin>/<slot>", each with a key of its own, so that no checkpoint of one can pass for another's:
// its seed is HKDF-SHA-256 of the log key's seed, with no salt and the info "vouchsafe/keys/log/<slot>". So every broker knows every log's key, and
// there is one record to keep.
func (r *Ring) LogOf(slot int) (LogOf, error) {
	s := r.states[Log].Load()
	base := s.original.Origin
	if slot == 0 {
		return LogOf{Origin: base, Signer: s.note.signer, Verifier: s.note.verifier, Text: s.note.text}, nil
	}
	seed, err := hkdf.Key(sha256.New, s.seed, nil, "vouchsafe/keys/log/"+strconv.Itoa(slot), ed25519.SeedSize)
	if err != nil {
		return LogOf{}, fmt.Errorf("keys: %w", err)
	}
	defer clear(seed)
	origin := base + "/" + strconv.Itoa(slot)
	if err := checkOrigin(origin); err != nil {
		return LogOf{}, fmt.Errorf("keys: %w", err)
	}
	signer, text, err := newLogSigner(origin, ed25519.NewKeyFromSeed(seed))
	if err != nil {
		return LogOf{}, fmt.Errorf("keys: %w", err)
	}
	key, err := newLogKey(signer, text)
	if err != nil {
		return LogOf{}, fmt.Errorf("keys: %w", err)
	}
	return LogOf{Origin: origin, Signer: key.signer, Verifier: key.verifier, Text: key.text}, nil
}
