package attest

// NVIDIAClaims are what an NVIDIA GPU or switch measured, and who signed it.
type NVIDIAClaims struct {
	Architecture string `json:"architecture" doc:"HOPPER, BLACKWELL or LS10, as the evidence says and the certificate confirms"`
}
