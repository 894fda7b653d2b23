package attest

// CCAClaims are what the platform and realm tokens of Arm CCA say.
type CCAClaims struct {
	PlatformProfile string `json:"platform_profile" doc:"profile of the platform token"`
}
