package tokendevice

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// TestMutations: a token that passes has the audience and the nonce in its payload.
func TestMutations(t *testing.T) {
	d := &Device{c: Config{Audience: audience}}
	seeds := [][]byte{
		[]byte(token(audience, nonce)), []byte(token([]string{"other", audience}, []string{"other", nonce})), []byte(token(audience, "other")),
		[]byte("e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"aud":"a","aud":"b","eat_nonce":[["x"]]}`)) + ".c2ln"),
	}
	passed := 0
	mutate.Run(t, seeds, func(t *testing.T, input []byte) {
		if d.check(input, nonce) != nil {
			return
		}
		passed++
		parts := bytes.Split(input, []byte("."))
		payload, err := base64.RawURLEncoding.DecodeString(string(parts[1]))
		if err != nil || len(parts) != 3 || !bytes.Contains(payload, []byte(audience)) || !bytes.Contains(payload, []byte(nonce)) {
			t.Errorf("%v: %q passes", err, input)
		}
	})
	if passed < 2 {
		t.Error("what is good does not pass")
	}
}
