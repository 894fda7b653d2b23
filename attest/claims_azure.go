package attest

// AzureClaims are what the paravisor of an Azure confidential VM reports besides the hardware's report and the quote.
type AzureClaims struct {
	LayoutVersion int `json:"layout_version" doc:"layout of the evidence: 0, 1 or 2"`
}
