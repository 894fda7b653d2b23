package vaultplugin

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/api"
	"github.com/vouchsafe/vouchsafe/broker/intake"
)

const noGuests = "Rego is for those who come from a key broker of Confidential Containers, whose guests a mount does not serve"

// elsewhere are the operations of a server that a mount has no path for, and why.
var elsewhere = map[string]string{
	"listTokens": "Vault has tokens of its own", "createToken": "Vault has tokens of its own", "revokeToken": "Vault has tokens of its own",
	"rotateDataKey": "Vault's barrier encrypts: vault operator rotate", "backup": "Vault's snapshots",
	"listLogs": "a mount has one log", "checkpointOf": "a mount has one log", "logKeyOf": "a mount has one log", "tileOf": "a mount has one log",
	"receiptOf": "a mount has one log", "consistencyOf": "a mount has one log",
	"listRego": noGuests, "getRego": noGuests, "putRego": noGuests, "activateRego": noGuests, "retireRego": noGuests, "getRegoReferences": noGuests,
	"putRegoReferences": noGuests,
	"checkSecret":       "what a mount releases is stored in it",
	"openAPI":           "Vault makes its own of the paths: sys/internal/specs/openapi",
	"whoAmI":            "Vault knows who calls: auth/token/lookup-self",
	"listNamespaces":    "a mount is a tenant", "createNamespace": "a mount is a tenant", "setQuota": "a mount is a tenant: Vault's quotas",
	"entries": "a mount's log is its own: its tiles", "entriesOf": "a mount has one log",
	"replayPolicy":     "its answer is a stream of lines, which no path of Vault gives",
	"importReferences": "the keys that sign statements are settings of a server",
}

// TestEveryOperationHasAPath holds the table of paths against what the front end serves, so that what is added to a server is not forgotten here.
func TestEveryOperationHasAPath(t *testing.T) {
	var routed []string
	for _, routes := range [][]Route{Challenges(), Releases(), Secrets(), Rules(), Desk(), Records(), Hosts()} {
		for _, r := range routes {
			for _, d := range r.Does {
				routed = append(routed, d.endpoint.ID)
			}
		}
	}
	m := NewMount(Options{Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(m.Close)
	storage := &logical.InmemStorage{}
	if _, err := m.Configure(t.Context(), storage, []byte(`{"issuer":"https://vault.example/v1/vouchsafe","kinds":["snp"]}`)); err != nil {
		t.Fatal(err)
	}
	bodies, err := intake.NewReader(0)
	if err != nil {
		t.Fatal(err)
	}
	var operations []api.Operation
	err = m.Broker(t.Context(), storage, func(b *broker.Broker, _ *Config) error {
		front, err := api.New(api.Config{Broker: b, Intake: bodies})
		if err == nil {
			operations = front.Operations()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range operations {
		why, left := elsewhere[op.ID]
		if has := slices.Contains(routed, op.ID); has == left {
			t.Errorf("%s: routed %v, and elsewhere because %q", op.ID, has, why)
		}
	}
	for _, id := range routed {
		if !slices.ContainsFunc(operations, func(op api.Operation) bool { return op.ID == id }) {
			t.Errorf("%s leads nowhere", id)
		}
	}
}

// TestConfigRefuses is about the configuration as a text.
func TestConfigRefuses(t *testing.T) {
	for _, text := range []string{"", "[]", `{"issuer":1}`, `{"unknown":1}`, `{"challenge_lifetime":-1}`, `{"challenge_lifetime":"1h"}`, `{"collateral_grace":1e30}`} {
		if _, err := (Config{}).with([]byte(text)); err == nil {
			t.Errorf("%s is a configuration", text)
		}
	}
	if _, err := parseConfig([]byte(`{"issuer":"https://vault.example","of_a_later_version":true}`)); err == nil {
		t.Error("a setting that is not known was passed over")
	}
	old := Config{Kinds: nil, SNPMinimumTCB: map[string]TCB{"Milan": {SNP: 1}}}
	changed, err := old.with([]byte(`{"snp_minimum_tcb":{"Genoa":{"snp":2}}}`))
	if err != nil || len(changed.SNPMinimumTCB) != 1 || len(old.SNPMinimumTCB) != 1 || changed.SNPMinimumTCB["Genoa"].SNP != 2 {
		t.Errorf("%+v of %+v, %v", changed, old, err)
	}
}
