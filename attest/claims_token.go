package attest

// TokenClaims are what another verifier's attestation result says.
type TokenClaims struct {
	Verifier string `json:"verifier" doc:"name that the operator gave the verifier whose token it is"`
}
