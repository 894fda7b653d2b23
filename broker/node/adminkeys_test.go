package node_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/kbs"
)

// TestAdminKeysOfOneNamespace: whoever holds a configured key administers the first namespace over the KBS protocol, by both of its paths, and no other.
func TestAdminKeysOfOneNamespace(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := production(t)
	c.KBS.AdminKeys = []kbs.AdminKey{{Name: "ops", Key: public, Roles: access.SetOf(access.Author, access.Approver)}}
	n := running(t, c)
	first, _, err := n.Broker.FirstToken(t.Context(), "first", 0)
	if err != nil {
		t.Fatal(err)
	}
	who, err := n.Broker.Authenticate(t.Context(), first.Reveal(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Broker.CreateNamespace(t.Context(), who, "other", broker.Quota{}); err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: private}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(map[string]any{"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"/kbs/v0/resource-policy":            http.StatusOK,
		"/ns/default/kbs/v0/resource-policy": http.StatusOK,
		"/ns/other/kbs/v0/resource-policy":   http.StatusUnauthorized,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: status %d, not %d", path, response.StatusCode, want)
		}
	}
}
