package se

import (
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

var digest = func() []byte { d := sha512.Sum384([]byte("nonce and key")); return d[:] }()

func response(t testing.TB, change func(m map[string]any)) []byte {
	t.Helper()
	data := make([]byte, 64)
	copy(data, digest)
	m := maps.Clone(map[string]any{
		"measurement": make([]byte, 64), "additional_data": make([]byte, 64), "user_data": data, "cuid": make([]byte, 16),
		"encr_measurement_key": make([]byte, 256), "encr_request_nonce": make([]byte, 256), "image_hdr_tags": make([]byte, 208),
	})
	if change != nil {
		change(m)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func input(evidence []byte) attest.Input {
	return attest.Input{Namespace: "default", Evidence: evidence, Binding: attest.BoundTo(digest), Time: time.Unix(1<<31, 0)}
}

// TestRefused: nothing whatever is accepted, and the reason says what is wrong.
func TestRefused(t *testing.T) {
	v := New()
	if v.Kind() != attest.SE {
		t.Errorf("kind %q", v.Kind())
	}
	set := func(name string, value any) []byte { return response(t, func(m map[string]any) { m[name] = value }) }
	unbound := input(response(t, nil))
	unbound.Binding = attest.Unbound()
	other := input(response(t, nil))
	other.Binding = attest.BoundTo(make([]byte, 48))
	cases := map[string]struct {
		in   attest.Input
		code attest.Code
	}{
		"good":               {input(response(t, nil)), attest.CodeNotVerifiable},
		"good, looked at":    {unbound, attest.CodeNotVerifiable},
		"good, more members": {input(set("added", 1)), attest.CodeNotVerifiable},
		"long user data":     {input(set("user_data", append(append([]byte{}, digest...), make([]byte, 208)...))), attest.CodeNotVerifiable},
		"another digest":     {other, attest.CodeBinding},
		"nothing":            {input(nil), attest.CodeMalformed},
		"long":               {input(make([]byte, MaxEvidence+1)), attest.CodeTooLarge},
		"a member's case":    {input(set("CUID", make([]byte, 16))), attest.CodeMalformed},
		"a member twice":     {input([]byte(strings.Replace(string(response(t, nil)), `"cuid"`, `"cuid":"AA==","cuid"`, 1))), attest.CodeMalformed},
		"not base64":         {input(set("cuid", "!")), attest.CodeMalformed},
		"numbers":            {input(set("cuid", []int{1})), attest.CodeMalformed},
	}
	for name, sizes := range map[string][]int{
		"measurement": {0, 63, 65}, "cuid": {0, 15, 17}, "user_data": {0, 63, 257}, "image_hdr_tags": {0, 207, 209}, "additional_data": {maxAdditional + 1},
		"encr_measurement_key": {0, 1025}, "encr_request_nonce": {0, 1025},
	} {
		for _, n := range sizes {
			cases[fmt.Sprint(name, " of ", n)] = struct {
				in   attest.Input
				code attest.Code
			}{input(set(name, make([]byte, n))), attest.CodeMalformed}
		}
	}
	for name, c := range cases {
		claims, err := v.Verify(t.Context(), c.in)
		var refusal *attest.Refusal
		if claims != nil || !errors.As(err, &refusal) || refusal.Code != c.code {
			t.Errorf("%s: %v, %v, not %s", name, claims, err, c.code)
		}
	}
}

func check(t *testing.T, data []byte) {
	t.Helper()
	in := input(data)
	in.Binding = attest.Unbound()
	var refusal *attest.Refusal
	if claims, err := New().Verify(t.Context(), in); claims != nil || !errors.As(err, &refusal) {
		t.Errorf("%v, %v", claims, err)
	}
}

func TestMutatedResponses(t *testing.T) {
	mutate.Run(t, [][]byte{response(t, nil)}, check)
}

func FuzzParse(f *testing.F) {
	f.Add(response(f, nil))
	f.Fuzz(check)
}
