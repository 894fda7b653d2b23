package broker_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/provenance"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
)

const (
	sourceRepository = "https://github.com/acme/payments"
	sourceWorkflow   = ".github/workflows/release.yml"
	sourceCommit     = "ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12"
	sourceBuilder    = "https://github.com/acme/builders/.github/workflows/image.yml@refs/tags/v2"
)

// released is the measurement of the virtual device.
var releasedImage = strings.Repeat("0", 96)

func signingKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+seed)), ed25519.SeedSize)))
}

// provenanceOf signs, as a build does, that it made values for a set.
func provenanceOf(t testing.TB, key ed25519.PrivateKey, set, builder string, finished time.Time, values ...string) []byte {
	t.Helper()
	type object = map[string]any
	var subjects []object
	for _, v := range values {
		subjects = append(subjects, object{"name": "reference:" + set, "digest": object{"sha384": v}})
	}
	payload, err := json.Marshal(object{
		"_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": "https://slsa.dev/provenance/v1",
		"predicate": object{
			"buildDefinition": object{
				"buildType":            "https://actions.github.io/buildtypes/workflow/v1",
				"externalParameters":   object{"workflow": object{"ref": "refs/heads/main", "repository": sourceRepository, "path": sourceWorkflow}},
				"resolvedDependencies": []object{{"uri": "git+" + sourceRepository + "@refs/heads/main", "digest": object{"gitCommit": sourceCommit}}},
			},
			"runDetails": object{"builder": object{"id": builder}, "metadata": object{"finishedOn": finished.UTC().Format(time.RFC3339)}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	const kind = provenance.PayloadType
	sig := ed25519.Sign(key, fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(payload), payload))
	document, err := json.Marshal(object{
		"payloadType": kind, "payload": base64.StdEncoding.EncodeToString(payload), "signatures": []object{{"sig": base64.StdEncoding.EncodeToString(sig)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func provenanceKeys() map[string]provenance.Config {
	return map[string]provenance.Config{ns: {Keys: []provenance.Key{{
		ID: "release", Public: signingKey(0).Public(), Sets: []string{"images"}, Builders: []string{sourceBuilder}, Repository: sourceRepository,
		Refs: []string{"refs/heads/main"}, Workflows: []string{sourceWorkflow},
	}}}}
}

// TestImport follows a value from a build's statement to what it released, and to its end.
func TestImport(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{Provenance: provenanceKeys()})
	b.PutSecret("a/b", []byte(plaintext))
	b.ApplyPolicy(document("p", "a/*", `claims.measurement in reference("images")`))
	g := newGuest(t, b.Broker, b.Device)
	good := provenanceOf(t, signingKey(0), "images", sourceBuilder, time.Now().Add(-time.Hour), releasedImage)
	in := broker.Import{Set: "images", Format: broker.ImportStatement, Document: good}
	author := who(t, b, access.Author)

	in.Activate = true
	if _, err := b.ImportReferences(t.Context(), author, ns, in); codeOf(err) != broker.CodeForbidden {
		t.Errorf("an author made an imported value count: %v", err)
	}
	in.Activate = false
	imported, err := b.ImportReferences(t.Context(), author, ns, in)
	if err != nil || len(imported.Values) != 1 || imported.Values[0].State != reference.Staged || imported.Origin == nil || imported.Origin.Commit != sourceCommit ||
		imported.Values[0].Provenance != imported.Origin.Statement {
		t.Fatalf("%+v, %v", imported, err)
	}
	if outcome, _ := g.outcome("a/b"); outcome != broker.OutcomeDenied {
		t.Errorf("a staged value lets pass: %s", outcome)
	}
	if _, err := b.ActivateReferences(t.Context(), author, ns, "images", []string{releasedImage}); codeOf(err) != broker.CodeForbidden {
		t.Errorf("an author made a staged value count: %v", err)
	}
	if _, err := b.ActivateReferences(t.Context(), b.Admin, ns, "images", []string{releasedImage}); err != nil {
		t.Fatal(err)
	}

	outcome, id := g.outcome("a/b")
	e, err := b.Explain(t.Context(), b.Admin, ns, id)
	if err != nil || outcome != broker.OutcomeReleased {
		t.Fatalf("%s, %v", outcome, err)
	}
	matched := e.Decision.Secrets[0].Matched
	if len(matched) != 1 || matched[0].Origin == nil || matched[0].Origin.Repository != sourceRepository || matched[0].Origin.Workflow != sourceWorkflow ||
		matched[0].Origin.Commit != sourceCommit || matched[0].Origin.Key != "release" {
		t.Errorf("the decision does not name the source: %+v", matched)
	}

	uses, err := b.ReferenceUses(t.Context(), author, ns, "images")
	if err != nil || len(uses.Policies) != 1 || uses.Policies[0].Policy != "p" || len(uses.Values) != 1 || uses.Values[0].Decision != id || uses.Values[0].Secret != "a/b" {
		t.Errorf("uses: %+v, %v", uses, err)
	}
	over, stop := context.WithCancel(t.Context())
	stop()
	if err := b.TendReferences(over); err != nil {
		t.Error(err)
	}
	record, err := b.Data.Store.Get(t.Context(), store.Key(ns, "reference-use", "images"))
	if err != nil || !strings.Contains(string(record.Value), id) {
		t.Errorf("the use is not written down: %s, %v", record.Value, err)
	}

	// What counts goes on to count when it is imported again, and nobody can stage it by that.
	if again, err := b.ImportReferences(t.Context(), author, ns, in); err != nil || again.Values[0].State != reference.Active {
		t.Errorf("imported again: %+v, %v", again, err)
	}
	// An older statement does not take the place of what decisions name.
	older := broker.Import{Set: "images", Format: broker.ImportStatement, Document: provenanceOf(t, signingKey(0), "images", sourceBuilder, time.Now().Add(-48*time.Hour), releasedImage)}
	if again, err := b.ImportReferences(t.Context(), author, ns, older); err != nil || again.Values[0].Origin.Statement != imported.Origin.Statement {
		t.Errorf("an older statement: %+v, %v", again, err)
	}
	// A list that nobody signed does not take away what is known of a value.
	plain := broker.Import{Set: "images", Format: broker.ImportPlain, Document: []byte(`[{"value":"` + releasedImage + `"},{"value":"new","note":"n"}]`)}
	if again, err := b.ImportReferences(t.Context(), author, ns, plain); err != nil || again.Values[0].Origin == nil || again.Values[0].State != reference.Active ||
		again.Values[1].State != reference.Staged || again.Values[1].Origin != nil {
		t.Errorf("%+v, %v", again, err)
	}

	held, next, err := b.ReferenceReleases(t.Context(), b.Admin, ns, "images", []string{releasedImage}, "")
	if err != nil || next != "" || len(held) != 1 || held[0].Decision != id || held[0].Secret != "a/b" {
		t.Errorf("released: %+v %q, %v", held, next, err)
	}
	if none, _, err := b.ReferenceReleases(t.Context(), b.Admin, ns, "images", []string{"new"}, ""); err != nil || len(none) != 0 {
		t.Errorf("released by another value: %+v, %v", none, err)
	}
	if _, err := b.RevokeLease(t.Context(), b.Admin, ns, held[0].Lease); err != nil {
		t.Error(err)
	} else if none, _, err := b.ReferenceReleases(t.Context(), b.Admin, ns, "images", nil, ""); err != nil || len(none) != 0 {
		t.Errorf("still held after it was revoked: %+v, %v", none, err)
	}

	if _, err := b.RetireReferences(t.Context(), b.Admin, ns, "images", []string{releasedImage}); err != nil {
		t.Fatal(err)
	}
	in.Activate = true
	if _, err := b.ImportReferences(t.Context(), b.Admin, ns, in); codeOf(err) != broker.CodeConflict {
		t.Errorf("an old statement brought back what was retired: %v", err)
	}
	if _, err := b.ActivateReferences(t.Context(), b.Admin, ns, "images", []string{releasedImage}); codeOf(err) != broker.CodeInvalid {
		t.Errorf("a retired value was activated: %v", err)
	}
	// Whoever puts a value by hand vouches for it alone.
	set, err := b.PutReferences(t.Context(), b.Admin, ns, "images", []reference.Value{imported.Values[0]})
	if v, _ := set.Find(releasedImage); err != nil || v.Origin != nil {
		t.Errorf("put by hand with an origin: %+v, %v", v, err)
	}
}

// TestOriginIsOfAStatement: where a value came from is what a verified statement said, by whatever way it comes to count, and nothing that a caller sends.
func TestOriginIsOfAStatement(t *testing.T) {
	forged := &policy.Origin{Statement: "sha256:00", Repository: "https://github.com/acme/other", Commit: "0000000000000000000000000000000000000000"}
	for name, test := range map[string]struct {
		value reference.Value
		kept  bool // the origin that the statement gave
	}{
		"a statement's, as it was":        {reference.Value{Value: releasedImage}, true},
		"a statement's, with another":     {reference.Value{Value: releasedImage, Origin: forged, Provenance: "sha256:00"}, true},
		"a value of no statement, forged": {reference.Value{Value: "00ff", Origin: forged}, false},
	} {
		for _, by := range []string{"proposed", "put"} {
			t.Run(name+", "+by, func(t *testing.T) {
				b := brokertest.Start(t, brokertest.Config{Provenance: provenanceKeys()})
				imported, err := b.ImportReferences(t.Context(), who(t, b, access.Author), ns, broker.Import{
					Set: "images", Format: broker.ImportStatement, Document: provenanceOf(t, signingKey(0), "images", sourceBuilder, time.Now().Add(-time.Hour), releasedImage),
				})
				if err != nil {
					t.Fatal(err)
				}
				var want *policy.Origin
				if test.kept {
					want = imported.Origin
				}
				if by == "put" {
					_, err = b.PutReferences(t.Context(), b.Admin, ns, "images", []reference.Value{test.value})
				} else {
					var p broker.Proposal
					p, err = b.Propose(t.Context(), b.Admin, ns, broker.Change{Type: broker.ChangeReferencePut, Name: "images", Values: []reference.Value{test.value}}, "release")
					if err == nil && p.Change.Values[0].Origin != nil {
						t.Errorf("the proposal states an origin: %+v", p.Change.Values[0])
					}
					if err == nil {
						_, err = b.ActivateProposal(t.Context(), b.Admin, ns, p.ID, broker.Activation{})
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				set, err := b.References(t.Context(), b.Admin, ns, "images")
				v, _ := set.Find(test.value.Value)
				if err != nil || v.State != reference.Active || !reflect.DeepEqual(v.Origin, want) {
					t.Errorf("%+v, %v", v, err)
				}
			})
		}
	}
}

func who(t *testing.T, b *brokertest.Broker, roles ...access.Role) access.Caller {
	t.Helper()
	caller, err := b.Authenticate(t.Context(), b.CreateToken(roles...), "192.0.2.2")
	if err != nil {
		t.Fatal(err)
	}
	return caller
}

// TestImportRefuses: only the statement that a configured key made of this set, builder and time is accepted, and in the namespace of the key.
func TestImportRefuses(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{Provenance: provenanceKeys()})
	now := time.Now()
	for name, tc := range map[string]struct {
		namespace string
		in        broker.Import
		reason    provenance.Reason
	}{
		"good":              {ns, broker.Import{Document: provenanceOf(t, signingKey(0), "images", sourceBuilder, now, "00"+releasedImage[2:])}, ""},
		"wrong key":         {ns, broker.Import{Document: provenanceOf(t, signingKey(1), "images", sourceBuilder, now, releasedImage)}, provenance.ReasonKey},
		"wrong builder":     {ns, broker.Import{Document: provenanceOf(t, signingKey(0), "images", "https://elsewhere", now, releasedImage)}, provenance.ReasonBuilder},
		"wrong subject":     {ns, broker.Import{Document: provenanceOf(t, signingKey(0), "web", sourceBuilder, now, releasedImage)}, provenance.ReasonSubject},
		"expired":           {ns, broker.Import{Document: provenanceOf(t, signingKey(0), "images", sourceBuilder, now.AddDate(0, 0, -31), releasedImage)}, provenance.ReasonExpired},
		"for another value": {ns, broker.Import{Document: provenanceOf(t, signingKey(0), "images", sourceBuilder, now, releasedImage), Values: []string{"1" + releasedImage[1:]}}, provenance.ReasonArtefact},
		"attached to another artefact": {ns, broker.Import{
			Document: provenanceOf(t, signingKey(0), "images", sourceBuilder, now, releasedImage), Artefact: "sha256:" + strings.Repeat("ab", 32),
		}, provenance.ReasonArtefact},
		"in another set":       {ns, broker.Import{Set: "web", Document: provenanceOf(t, signingKey(0), "images", sourceBuilder, now, releasedImage)}, provenance.ReasonSet},
		"in another namespace": {"other", broker.Import{Document: provenanceOf(t, signingKey(0), "images", sourceBuilder, now, releasedImage)}, provenance.ReasonKey},
		"as another format":    {ns, broker.Import{Format: broker.ImportImage, Document: provenanceOf(t, signingKey(0), "images", sourceBuilder, now, releasedImage), Signature: "AAAA"}, provenance.ReasonKey},
	} {
		if tc.in.Set == "" {
			tc.in.Set = "images"
		}
		if tc.in.Format == "" {
			tc.in.Format = broker.ImportStatement
		}
		tc.in.Activate = true
		_, err := b.ImportReferences(t.Context(), b.Admin, tc.namespace, tc.in)
		var refusal *provenance.Refusal
		if tc.reason == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.As(err, &refusal) || refusal.Reason != tc.reason || codeOf(err) != broker.CodeInvalid {
			t.Errorf("%s: %v, want %s", name, err, tc.reason)
		}
	}
	if _, err := b.References(t.Context(), b.Admin, ns, "web"); codeOf(err) != broker.CodeNotFound {
		t.Errorf("a refused import made a set: %v", err)
	}
	for name, in := range map[string]broker.Import{
		"no format":             {Document: []byte(`[{"value":"x"}]`)},
		"values of a list":      {Format: broker.ImportPlain, Document: []byte(`[{"value":"x"}]`), Values: []string{"x"}},
		"a signature of a list": {Format: broker.ImportPlain, Document: []byte(`[{"value":"x"}]`), Signature: "AAAA"},
		"a name of a list":      {Format: broker.ImportPlain, Document: []byte(`[{"value":"x"}]`), Name: "x"},
		"a list as a message":   {Format: broker.ImportKBS, Document: []byte(`[{"value":"x"}]`)},
	} {
		in.Set = "images"
		if _, err := b.ImportReferences(t.Context(), b.Admin, ns, in); codeOf(err) != broker.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
