package jwks

import (
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// TestMutationsDiscovery: whatever a discovery document says, keys are fetched only from the hosts that the operator named.
func TestMutationsDiscovery(t *testing.T) {
	v := &verifier{issuer: "https://issuer.test/x", hosts: []string{"issuer.test", "keys.test:8443"}}
	seeds := [][]byte{
		[]byte(`{"issuer":"https://issuer.test/x","jwks_uri":"https://issuer.test/x/keys","response_types_supported":["none"]}`),
		[]byte(`{"jwks_uri":"https://keys.test:8443/?a=b","issuer":"https://issuer.test/x"}`),
		[]byte(`{"issuer":"https://issuer.test/x","jwks_uri":"https://user@issuer.test/"}`),
	}
	taken := 0
	mutate.Run(t, seeds, func(t *testing.T, input []byte) {
		u, err := v.keySet(input)
		if err != nil {
			return
		}
		taken++
		text := u.String()
		if !strings.HasPrefix(text, "https://issuer.test") && !strings.HasPrefix(text, "https://keys.test:8443") || u.User != nil ||
			u.Hostname() != "issuer.test" && u.Hostname() != "keys.test" {
			t.Errorf("%q leads to %s", input, u)
		}
	})
	if taken < 2 {
		t.Error("what is good is not taken")
	}
}
