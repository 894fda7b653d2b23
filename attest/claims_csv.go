package attest

// CSVClaims are the fields of a Hygon CSV attestation report.
type CSVClaims struct {
	Policy int64 `json:"policy" doc:"guest policy as a number"`
}

// SEClaims are what an IBM Secure Execution attestation response says.
type SEClaims struct {
	UserData string `json:"user_data,omitempty" doc:"hex user data of the guest that the response covers"`
}
