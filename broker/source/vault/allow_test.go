package vault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/broker/source/vault"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
)

// kv and dynamic are documents that name a path.
func kv(mount, path string) string { return fmt.Sprintf(`{"mount":%q,"path":%q}`, mount, path) }

func kv1(mount, path string) string { return fmt.Sprintf(`{"mount":%q,"path":%q,"kv":1}`, mount, path) }

func dynamic(path string) string { return fmt.Sprintf(`{"path":%q,"method":"write"}`, path) }

const role = `${claims.init_data_claims["role"]}`

// TestPathsOfNamespaces: a document is refused when it is put and when it is released, and Vault is asked nothing, unless its path is one that the secrets of the
// namespace may name.
func TestPathsOfNamespaces(t *testing.T) {
	allowed := map[string][]string{
		ns:     {"secret/data/payments/**", "database/creds/payments", "pki/issue/*", "old/app/**"},
		"b":    {"secret/data/b/*/key"},
		"none": {},
	}
	own := []string{"secret/*/payments/vouchsafe/**", "transit/**"}
	for _, x := range []struct {
		namespace, kind, parameters, role string
		put, released                     bool
	}{
		{ns, vault.KindKV, kv("secret", "payments/db"), "", true, true},
		{ns, vault.KindKV, kv("secret", "payments/db/a"), "", true, true},
		{ns, vault.KindKV, kv("secret", "payments"), "", false, false},
		{ns, vault.KindKV, kv("secret", "paymentsX/db"), "", false, false},
		{ns, vault.KindKV, kv("secret", "b/x/key"), "", false, false},
		{"b", vault.KindKV, kv("secret", "b/x/key"), "", true, true},
		{"b", vault.KindKV, kv("secret", "b/x/y/key"), "", false, false},
		{"b", vault.KindKV, kv("secret", "b/x/keys"), "", false, false},
		{"b", vault.KindKV, kv("secret", "payments/db"), "", false, false},
		{"none", vault.KindKV, kv("secret", "payments/db"), "", false, false},
		{"c", vault.KindKV, kv("secret", "payments/db"), "", false, false},
		{"", vault.KindKV, kv("secret", "payments/db"), "", false, false},

		// The engine's own path counts, however it is cut into mount and path, and whatever kind asks.
		{ns, vault.KindKV, kv1("secret", "data/payments/db"), "", true, true},
		{ns, vault.KindKV, kv1("secret", "metadata/payments/db"), "", false, false},
		{ns, vault.KindKV, kv("secret/data", "payments/db"), "", false, false},
		{ns, vault.KindKV, kv1("old/app", "db"), "", true, true},
		{ns, vault.KindDynamic, dynamic("secret/data/b/x/key"), "", false, false},
		{ns, vault.KindKV, kv("Secret", "payments/db"), "", false, false},
		{ns, vault.KindKV, kv("secret", "payments/*"), "", true, true}, // the name of one secret

		// The broker's own is nobody's, whatever the list says.
		{ns, vault.KindKV, kv("secret", "payments/vouchsafe/=header"), "", false, false},
		{ns, vault.KindKV, kv1("secret", "subkeys/payments/vouchsafe/x"), "", false, false},
		{ns, vault.KindDynamic, dynamic("transit/decrypt/vouchsafe"), "", false, false},
		{ns, vault.KindDynamic, dynamic("transit/decrypt/" + role), "vouchsafe", false, false},

		{ns, vault.KindDynamic, dynamic("database/creds/payments"), "", true, true},
		{ns, vault.KindDynamic, dynamic("database/creds/admin"), "", false, false},
		{ns, vault.KindDynamic, dynamic("database/creds/" + role), "payments", true, true},
		{ns, vault.KindDynamic, dynamic("database/creds/" + role), "admin", true, false},
		{ns, vault.KindDynamic, dynamic("pki/issue/" + role), "any", true, true},
		{ns, vault.KindDynamic, dynamic("pki/" + role + "/x"), "sign", true, false},
		{ns, vault.KindDynamic, dynamic("pki/sign/" + role), "any", false, false},
		{ns, vault.KindDynamic, dynamic("secret/data/payments/" + role + "/x"), "a", true, true},
		{ns, vault.KindDynamic, dynamic("secret/data/payments/" + role + "/x"), "vouchsafe", true, false},
	} {
		t.Run(fmt.Sprintf("%s %s %s %s", x.namespace, x.kind, x.parameters, x.role), func(t *testing.T) {
			conn, asked := inVaultsPlace(t, func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, `{"data":{"data":{"a":"b"},"metadata":{"version":1}}}`)
			})
			paths, err := vault.NewPaths(allowed, own)
			check(t, err)
			var s source.Source = vault.NewKV(conn, paths)
			if x.kind == vault.KindDynamic {
				s = vault.NewDynamic(conn, paths)
			}
			r := source.Request{Namespace: x.namespace, Secret: "a/b"}
			if _, err := s.Check(json.RawMessage(x.parameters), r); (err == nil) != x.put {
				t.Errorf("put: %v", err)
			}
			if !x.put {
				if probe, err := s.Probe(t.Context(), json.RawMessage(x.parameters), r); err != nil || probe.Answers {
					t.Errorf("check: %+v, %v", probe, err)
				}
			}
			r.Decision, r.Claims = "d", &attest.Claims{InitDataClaims: map[string]string{"role": x.role}}
			value, err := s.Fetch(t.Context(), json.RawMessage(x.parameters), r)
			if (err == nil) != x.released || !x.released && (value.Bytes != nil || !source.Definite(err)) {
				t.Errorf("released: %q, %v", value.Bytes, err)
			}
			if n := len(asked()); (n > 0) != x.released {
				t.Errorf("Vault was asked %q", asked())
			}
			if err == nil {
				return
			}
			// What the workload's claims led to is a denial; what the document says is the operator's.
			var refusal *source.Refusal
			if errors.As(err, &refusal) != x.put || !x.put && !errors.Is(err, source.ErrForbidden) {
				t.Errorf("refused by %v", err)
			}
			if issuer, ok := s.(source.Issuer); ok {
				if place, err := issuer.Place(json.RawMessage(x.parameters), r); err == nil {
					t.Errorf("it would be issued at %+v", place)
				}
			}
		})
	}
}

// TestPatternsOfPaths: a pattern that could mean more than it says is refused.
func TestPatternsOfPaths(t *testing.T) {
	for pattern, want := range map[string]string{
		"":                 "empty",
		"*":                "written out",
		"**":               "written out",
		"*/data/x":         "written out",
		"se*/data":         "written out",
		"secret/data/pay*": "whole segment",
		"secret/+/x":       "whole segment",
		"secret/**/x":      "whole segment",
		"secret/data/":     "slash",
		"/secret/data":     "slash",
		"secret//data":     "slash",
		"secret/../data":   "relative",
		"secret/a\x00b":    "cannot be seen",
	} {
		if _, err := vault.NewPaths(map[string][]string{ns: {"secret/data/x", pattern}}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v does not say %q", pattern, err, want)
		}
	}
}

// TestCustodianCannotOpenTheSeal: the broker's token may decrypt with the transit key that seals the store, and read the store's records. A custodian who
// could have that done for a workload of his own would read every secret of every namespace.
func TestCustodianCannotOpenTheSeal(t *testing.T) {
	s := vaulttest.Start(t)
	w := newWorld(t, s, nil, nil)
	transit := s.Mount(t, "transit", nil)
	w.vault(transit+"/keys/seal", map[string]any{})
	sealed := w.vault(transit+"/encrypt/seal", map[string]any{"plaintext": "cm9vdCBrZXk="}).Data["ciphertext"]
	document := map[string]any{"path": transit + "/decrypt/seal", "method": "write", "body": map[string]any{"ciphertext": sealed}}

	paths, err := vault.NewPaths(nil, []string{transit + "/**"})
	check(t, err)
	key, err := envelope.GenerateKey(envelope.P256)
	check(t, err)
	own := &world{tb: t, server: s, root: s.Client(t), key: key}
	own.Broker = brokertest.Start(t, brokertest.Config{Sources: vault.Sources(s.Conn(t), paths)})
	own.ApplyPolicy(brokertest.AllowVirtual("a/*"))
	if err := own.put("a/key", vault.KindDynamic, document); err == nil || !strings.Contains(err.Error(), "its own records or keys") {
		t.Errorf("put: %v", err)
	}
	// Without it this is what such a workload gets.
	check(t, w.put("a/key", vault.KindDynamic, document))
	if got := w.open(w.fetch("a/key")); !strings.Contains(string(got), "cm9vdCBrZXk=") {
		t.Errorf("it was released as %s, so that this test shows nothing", got)
	}
}
