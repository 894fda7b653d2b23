package attest

// TDXClaims are the fields of a TD report in a TDX quote.
type TDXClaims struct {
	QuoteVersion int `json:"quote_version" doc:"layout of the quote: 4 or 5"`
}

// SGXClaims are the fields of an enclave report in an SGX quote.
type SGXClaims struct {
	QuoteVersion int `json:"quote_version" doc:"layout of the quote: 3"`
}

// IntelClaims are what Intel's collateral says of a platform that made an SGX or TDX quote.
type IntelClaims struct {
	FMSPC string `json:"fmspc" doc:"hex identifier of the processor's family, model, stepping, platform type and custom SKU; 6 bytes"`
}
