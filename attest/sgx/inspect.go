package sgx

import "github.com/vouchsafe/vouchsafe/attest"

// Inspect returns what evidence says of its enclave, with nothing verified: for finding out why it is refused, and never for deciding. Its errors are
// *attest.Refusal.
func Inspect(evidence []byte) (*attest.Claims, error) {
	q, err := parse(evidence)
	if err != nil {
		return nil, err
	}
	claims := &attest.Claims{Kind: attest.SGX, Bound: attest.Ptr(false)}
	fill(claims, q.Version, q.Enclave)
	return claims, nil
}
