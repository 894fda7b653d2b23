package tdx

import "github.com/vouchsafe/vouchsafe/attest"

// Inspect returns what evidence says of its TD, with nothing verified: for finding out why it is refused, and never for deciding. Its errors are
// *attest.Refusal.
func Inspect(evidence []byte) (*attest.Claims, error) {
	ev, err := parse(nil, evidence)
	if err != nil {
		return nil, err
	}
	claims := &attest.Claims{Kind: attest.TDX, Bound: attest.Ptr(false)}
	fill(claims, ev.Quote.Version, ev.Quote.TD)
	return claims, nil
}
