package provenance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	repository = "https://github.com/acme/payments"
	mainRef    = "refs/heads/main"
	workflow   = ".github/workflows/release.yml"
	builderID  = "https://github.com/acme/builders/.github/workflows/image.yml@refs/tags/v2"
)

var (
	commit      = strings.Repeat("ab12", 10)
	measurement = strings.Repeat("6a65", 24)
	other       = strings.Repeat("00ff", 24)
	manifest    = "sha256:" + strings.Repeat("c0de", 16)
)

// object is JSON that a test changes.
type object = map[string]any

func statementV1Of(values ...string) object {
	subjects := []any{object{"name": "ghcr.io/acme/payments", "digest": object{"sha256": strings.TrimPrefix(manifest, "sha256:")}}}
	for _, v := range values {
		subjects = append(subjects, object{"name": "reference:payments-image", "digest": object{"sha384": v}})
	}
	return object{
		"_type": statementV1, "subject": subjects, "predicateType": slsaV1,
		"predicate": object{
			"buildDefinition": object{
				"buildType":          "https://actions.github.io/buildtypes/workflow/v1",
				"externalParameters": object{"workflow": object{"ref": mainRef, "repository": repository, "path": workflow}},
				"resolvedDependencies": []any{
					object{"uri": "git+" + repository + "@" + mainRef, "digest": object{"gitCommit": commit}},
					object{"uri": "git+https://github.com/acme/library@refs/heads/main", "digest": object{"gitCommit": strings.Repeat("0", 40)}},
				},
			},
			"runDetails": object{
				"builder":  object{"id": builderID},
				"metadata": object{"invocationId": repository + "/actions/runs/7", "finishedOn": "2026-02-28T12:00:00Z"},
			},
		},
	}
}

func statementV02Of(value string) object {
	return object{
		"_type": statementV01, "predicateType": slsaV02,
		"subject": []any{object{"name": "reference:payments-image", "digest": object{"sha384": value}}},
		"predicate": object{
			"builder": object{"id": builderID}, "buildType": "https://github.com/slsa-framework/slsa-github-generator/generic@v1",
			"invocation": object{"configSource": object{
				"uri": "git+" + repository + "@" + mainRef, "digest": object{"sha1": commit}, "entryPoint": workflow,
			}},
			"metadata": object{"buildFinishedOn": "2026-02-28T12:00:00Z", "reproducible": false},
		},
	}
}

func encode(t testing.TB, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// sign signs as cosign does.
func sign(t testing.TB, key crypto.Signer, message []byte, pss, long bool) []byte {
	t.Helper()
	var options crypto.SignerOpts = crypto.SHA256
	sum := sha256.Sum256(message)
	hashed := sum[:]
	if _, ok := key.(ed25519.PrivateKey); ok {
		options, hashed = crypto.Hash(0), message
	}
	if pss {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	if long {
		sum := sha512.Sum384(message)
		options, hashed = crypto.SHA384, sum[:]
	}
	sig, err := key.Sign(rand.Reader, hashed, options)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func envelopeOf(t testing.TB, payload []byte, keys ...crypto.Signer) []byte {
	t.Helper()
	signatures := []any{}
	for _, key := range keys {
		signatures = append(signatures, object{"keyid": "", "sig": base64.StdEncoding.EncodeToString(sign(t, key, pae(PayloadType, payload), false, false))})
	}
	return encode(t, object{"payloadType": PayloadType, "payload": base64.StdEncoding.EncodeToString(payload), "signatures": signatures})
}

// edKey is a key that is the same in each run.
func edKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func keyOf(id string, key crypto.Signer) Key {
	return Key{
		ID: id, Public: key.Public(), Sets: []string{"payments-image"}, Builders: []string{builderID}, Repository: repository,
		Refs: []string{mainRef, "refs/tags/v*"}, Workflows: []string{workflow},
		Images: []string{"ghcr.io/acme/payments"}, ImageSets: []string{"payments-digest"},
		NotBefore: noon.AddDate(-1, 0, 0), NotAfter: noon.AddDate(1, 0, 0), MaxAge: 48 * time.Hour,
	}
}

var want = Want{Set: "payments-image", Now: noon}

func checked(t testing.TB, keys ...Key) Config {
	t.Helper()
	c := Config{keys}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return c
}

func reasonOf(err error) Reason {
	var r *Refusal
	if !errors.As(err, &r) {
		return ""
	}
	return r.Reason
}

// TestAlgorithms has each kind of key sign, and reads the key as an operator gives it.
func TestAlgorithms(t *testing.T) {
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	payload := encode(t, statementV1Of(measurement))
	for name, tc := range map[string]struct {
		key       crypto.Signer
		pss, long bool
	}{
		"P-256": {key: p256}, "P-384": {key: p384}, "P-384 with SHA-384": {key: p384, long: true}, "Ed25519": {key: edKey(1)},
		"RSA PKCS #1": {key: rsaKey}, "RSA PSS": {key: rsaKey, pss: true},
	} {
		der, err := x509.MarshalPKIXPublicKey(tc.key.Public())
		if err != nil {
			t.Fatal(err)
		}
		public, err := ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		k := keyOf("release", tc.key)
		k.Public = public
		sig := sign(t, tc.key, pae(PayloadType, payload), tc.pss, tc.long)
		document := encode(t, object{
			"payloadType": PayloadType, "payload": base64.URLEncoding.EncodeToString(payload),
			"signatures": []any{object{"sig": base64.StdEncoding.EncodeToString(sig)}},
		})
		if _, err := checked(t, k).Statement(document, want); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		sig = sign(t, tc.key, payload, tc.pss, tc.long) // not over the encoding that DSSE signs
		document = encode(t, object{
			"payloadType": PayloadType, "payload": base64.StdEncoding.EncodeToString(payload),
			"signatures": []any{object{"sig": base64.StdEncoding.EncodeToString(sig)}},
		})
		if _, err := checked(t, k).Statement(document, want); reasonOf(err) != ReasonKey {
			t.Errorf("%s over the payload alone: %v", name, err)
		}
	}
}

func TestOrigin(t *testing.T) {
	c := checked(t, keyOf("release", edKey(1)))
	byproduct := statementV1Of()
	at(byproduct, "predicate", "runDetails")["byproducts"] = []any{object{"name": "reference:payments-image", "digest": object{"sha384": measurement}}}
	for name, s := range map[string]object{"v1": statementV1Of(measurement), "v1 by-product": byproduct, "v0.2": statementV02Of(measurement)} {
		payload := encode(t, s)
		got, err := c.Statement(envelopeOf(t, payload, edKey(9), edKey(1)), want)
		expected := Result{Values: []string{measurement}, Origin: Origin{
			Key: "release", Statement: digest(payload), Predicate: s["predicateType"].(string), Builder: builderID, Repository: repository,
			Workflow: workflow, Ref: mainRef, Commit: commit, Time: noon.AddDate(0, 0, -1),
		}}
		if err != nil || !reflect.DeepEqual(got, expected) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got, expected)
		}
	}
}

// at returns an object within another.
func at(o object, path ...string) object {
	for _, name := range path {
		o = o[name].(object)
	}
	return o
}

// TestAttacks changes one thing of a good statement, or of what it is wanted for. Only the good one is accepted.
func TestAttacks(t *testing.T) {
	good := keyOf("release", edKey(1))
	second := keyOf("elsewhere", edKey(2))
	second.Sets = []string{"web-image"}
	type attack struct {
		statement func(object)
		document  func([]byte) []byte
		want      func(*Want)
		key       func(*Key)
		signer    crypto.Signer
		reason    Reason
	}
	replace := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte {
			if !bytes.Contains(b, []byte(old)) {
				t.Fatalf("%q is not there", old)
			}
			return bytes.Replace(b, []byte(old), []byte(new), 1)
		}
	}
	metadata := func(o object) object { return at(o, "predicate", "runDetails", "metadata") }
	parameter := func(name, value string) func(object) {
		return func(o object) { at(o, "predicate", "buildDefinition", "externalParameters", "workflow")[name] = value }
	}
	for name, a := range map[string]attack{
		"good":                   {},
		"wrong key":              {signer: edKey(3), reason: ReasonKey},
		"key for another set":    {signer: edKey(2), reason: ReasonSet},
		"wrong builder":          {statement: func(o object) { at(o, "predicate", "runDetails", "builder")["id"] = builderID + "x" }, reason: ReasonBuilder},
		"wrong repository":       {statement: parameter("repository", "https://github.com/acme/library"), reason: ReasonRepository},
		"a repository with more": {key: func(k *Key) { k.Repository = "https://github.com/acme/pay" }, reason: ReasonRepository},
		"wrong branch": {statement: func(o object) {
			parameter("ref", "refs/heads/mine")(o)
			dependencies(o)[0].(object)["uri"] = "git+" + repository
		}, reason: ReasonRef},
		"a pull request": {statement: func(o object) {
			parameter("ref", "refs/pull/7/merge")(o)
			dependencies(o)[0].(object)["uri"] = "git+" + repository
		}, reason: ReasonRef},
		"commit of another branch":    {statement: parameter("ref", "refs/heads/mine"), reason: ReasonMalformed},
		"wrong workflow":              {statement: parameter("path", ".github/workflows/test.yml"), reason: ReasonWorkflow},
		"wrong subject":               {statement: func(o object) { rename(o, "reference:web-image") }, reason: ReasonSubject},
		"subject without prefix":      {statement: func(o object) { rename(o, "payments-image") }, reason: ReasonSubject},
		"replayed for another set":    {want: func(w *Want) { w.Set = "web-image" }, reason: ReasonSet},
		"replayed for a set of a key": {want: func(w *Want) { w.Set = "web-image" }, key: func(k *Key) { k.Sets = append(k.Sets, "web-image") }, reason: ReasonSubject},
		"replayed for another value":  {want: func(w *Want) { w.Values = []string{other} }, reason: ReasonArtefact},
		"one value too many":          {want: func(w *Want) { w.Values = []string{measurement, other} }, reason: ReasonArtefact},
		"replayed for another image":  {want: func(w *Want) { w.Artefact = "sha256:" + strings.Repeat("00", 32) }, reason: ReasonArtefact},
		"an artefact of no form":      {want: func(w *Want) { w.Artefact = "sha256:" }, reason: ReasonArtefact},
		"expired":                     {want: func(w *Want) { w.Now = noon.Add(24*time.Hour + time.Second) }, reason: ReasonExpired},
		"in the future":               {statement: func(o object) { metadata(o)["finishedOn"] = "2026-03-01T12:06:00Z" }, reason: ReasonFuture},
		"before the key was valid":    {key: func(k *Key) { k.NotBefore = noon }, reason: ReasonValidity},
		"after the key was valid":     {key: func(k *Key) { k.NotAfter = noon.AddDate(0, 0, -1) }, reason: ReasonValidity},
		"no time":                     {statement: func(o object) { delete(metadata(o), "finishedOn") }, reason: ReasonMalformed},
		"no builder":                  {statement: func(o object) { delete(at(o, "predicate", "runDetails"), "builder") }, reason: ReasonMalformed},
		"no commit":                   {statement: func(o object) { delete(at(o, "predicate", "buildDefinition"), "resolvedDependencies") }, reason: ReasonMalformed},
		"two commits":                 {statement: func(o object) { twice(o) }, reason: ReasonMalformed},
		"a commit that is none":       {statement: func(o object) { dependencies(o)[0].(object)["digest"] = object{"gitCommit": "main"} }, reason: ReasonMalformed},
		"no predicate":                {statement: func(o object) { delete(o, "predicate") }, reason: ReasonMalformed},
		"another predicate":           {statement: func(o object) { o["predicateType"] = "https://slsa.dev/provenance/v2" }, reason: ReasonPredicate},
		"another version's predicate": {statement: func(o object) { o["predicateType"] = slsaV02 }, reason: ReasonMalformed},
		"another type":                {statement: func(o object) { o["_type"] = "https://in-toto.io/Statement/v2" }, reason: ReasonMalformed},
		"no subject":                  {statement: func(o object) { o["subject"] = []any{} }, reason: ReasonMalformed},
		"two digests": {statement: func(o object) {
			lastSubject(o)["digest"] = object{"sha384": measurement, "sha256": strings.Repeat("0", 64)}
		}, reason: ReasonMalformed},
		"a digest in upper case":       {statement: func(o object) { lastSubject(o)["digest"] = object{"sha384": strings.ToUpper(measurement)} }, reason: ReasonMalformed},
		"a short digest":               {statement: func(o object) { lastSubject(o)["digest"] = object{"sha384": "00"} }, reason: ReasonMalformed},
		"other payload type":           {document: replace(PayloadType, "application/json"), reason: ReasonMalformed},
		"payload type that was signed": {document: replace(PayloadType, PayloadType+" "), reason: ReasonMalformed},
		"a member twice":               {document: replace(`{"`, `{"payloadType":"x","`), reason: ReasonMalformed},
		"a member not known":           {document: replace(`{"`, `{"x":1,"`), reason: ReasonMalformed},
		"trailing bytes":               {document: func(b []byte) []byte { return append(b, "{}"...) }, reason: ReasonMalformed},
		"no signature":                 {document: func(b []byte) []byte { return cutSignatures(b, "") }, reason: ReasonMalformed},
		"many signatures":              {document: func(b []byte) []byte { return cutSignatures(b, strings.Repeat(`{"sig":"AAAA"},`, 16)+`{"sig":"AAAA"}`) }, reason: ReasonMalformed},
		"an empty signature":           {document: func(b []byte) []byte { return cutSignatures(b, `{"sig":""}`) }, reason: ReasonMalformed},
		"a long signature":             {document: func(b []byte) []byte { return cutSignatures(b, `{"sig":"`+strings.Repeat("AAAA", 400)+`"}`) }, reason: ReasonMalformed},
		"too large":                    {document: func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), MaxDocument)...) }, reason: ReasonMalformed},
		"nothing":                      {document: func([]byte) []byte { return nil }, reason: ReasonMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			s, w, k := statementV1Of(measurement), want, good
			var signer crypto.Signer = edKey(1)
			if a.statement != nil {
				a.statement(s)
			}
			if a.want != nil {
				a.want(&w)
			}
			if a.key != nil {
				a.key(&k)
			}
			if a.signer != nil {
				signer = a.signer
			}
			document := envelopeOf(t, encode(t, s), signer)
			if a.document != nil {
				document = a.document(document)
			}
			result, err := checked(t, k, second).Statement(document, w)
			if reasonOf(err) != a.reason || (err == nil) != (a.reason == "") {
				t.Errorf("%+v, %v; want %q", result, err, a.reason)
			}
		})
	}
	payload := string(encode(t, statementV1Of(measurement)))
	for name, text := range map[string]string{
		"a subject twice":           `{"subject":[],` + payload[1:],
		"a subject in other case":   `{"Subject":[{"name":"reference:payments-image","digest":{"sha384":"` + other + `"}}],` + payload[1:],
		"a builder twice":           strings.Replace(payload, `"builder":{`, `"builder":{"id":"x"},"builder":{`, 1),
		"trailing bytes inside":     payload + "{}",
		"a repository hidden twice": strings.Replace(payload, `"repository":`, `"repository":"x","repository":`, 1),
	} {
		if result, err := checked(t, good).Statement(envelopeOf(t, []byte(text), edKey(1)), want); reasonOf(err) != ReasonMalformed {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
	}
}

func dependencies(o object) []any {
	return at(o, "predicate", "buildDefinition")["resolvedDependencies"].([]any)
}

func twice(o object) {
	dependencies(o)[1].(object)["uri"] = "git+" + repository + "@" + mainRef
}

func lastSubject(o object) object {
	subjects := o["subject"].([]any)
	return subjects[len(subjects)-1].(object)
}

func rename(o object, name string) { lastSubject(o)["name"] = name }

func cutSignatures(document []byte, list string) []byte {
	i := bytes.Index(document, []byte(`"signatures":[`))
	return append(document[:i:i], `"signatures":[`+list+`]}`...)
}

func imagePayloadOf(reference, digest string) []byte {
	return []byte(`{"critical":{"identity":{"docker-reference":"` + reference + `"},"image":{"docker-manifest-digest":"` + digest +
		`"},"type":"cosign container image signature"},"optional":{"creator":"ci"}}`)
}

func TestImage(t *testing.T) {
	c := checked(t, keyOf("release", edKey(1)))
	payload := imagePayloadOf("ghcr.io/acme/payments", manifest)
	w := Want{Set: "payments-digest", Artefact: manifest, Now: noon}
	signature := func(payload []byte, seed byte) string {
		return base64.StdEncoding.EncodeToString(sign(t, edKey(seed), payload, false, false))
	}
	got, err := c.Image(payload, signature(payload, 1), w)
	if expected := (Result{[]string{manifest}, Origin{Key: "release", Statement: digest(payload), Image: "ghcr.io/acme/payments"}}); err != nil || !reflect.DeepEqual(got, expected) {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, tc := range map[string]struct {
		payload []byte
		seed    byte
		want    Want
		reason  Reason
	}{
		"wrong key":     {payload, 2, w, ReasonKey},
		"another image": {imagePayloadOf("ghcr.io/acme/web", manifest), 1, w, ReasonSubject},
		"with a tag":    {imagePayloadOf("ghcr.io/acme/payments:v1", manifest), 1, w, ReasonSubject},
		"another set":   {payload, 1, Want{Set: "payments-image", Now: noon}, ReasonSet},
		"moved":         {payload, 1, Want{Set: w.Set, Artefact: "sha256:" + strings.Repeat("00", 32), Now: noon}, ReasonArtefact},
		"another value": {payload, 1, Want{Set: w.Set, Values: []string{"sha256:00"}, Now: noon}, ReasonArtefact},
		"key gone":      {payload, 1, Want{Set: w.Set, Now: noon.AddDate(1, 0, 0)}, ReasonValidity},
		"no digest":     {imagePayloadOf("ghcr.io/acme/payments", "sha256:"), 1, w, ReasonMalformed},
		"another type":  {bytes.Replace(payload, []byte("cosign"), []byte("atomic"), 1), 1, w, ReasonMalformed},
		"member twice":  {append([]byte(`{"critical":{},`), payload[1:]...), 1, w, ReasonMalformed},
		"a statement":   {pae(PayloadType, payload), 1, w, ReasonMalformed},
	} {
		if result, err := c.Image(tc.payload, signature(tc.payload, tc.seed), tc.want); reasonOf(err) != tc.reason {
			t.Errorf("%s: %+v, %v; want %s", name, result, err, tc.reason)
		}
	}
	if _, err := c.Image(payload, "!", w); reasonOf(err) != ReasonMalformed {
		t.Errorf("a signature that is no base64: %v", err)
	}
}

func TestConfigRefuses(t *testing.T) {
	small, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	for name, change := range map[string]func(*Key){
		"no id": func(k *Key) { k.ID = "" }, "no key": func(k *Key) { k.Public = nil }, "P-224": func(k *Key) { k.Public = small.Public() },
		"nothing to say": func(k *Key) { k.Sets, k.Images = nil, nil }, "no builder": func(k *Key) { k.Builders = nil }, "no repository": func(k *Key) { k.Repository = "" },
		"no ref": func(k *Key) { k.Refs = nil }, "any ref": func(k *Key) { k.Refs = []string{"*"} }, "an empty workflow": func(k *Key) { k.Workflows = []string{""} },
		"images without sets": func(k *Key) { k.ImageSets = nil }, "a set that cannot be": func(k *Key) { k.Sets = []string{"A B"} },
		"git+": func(k *Key) { k.Repository = "git+" + repository }, "no time": func(k *Key) { k.NotAfter = k.NotBefore }, "negative age": func(k *Key) { k.MaxAge = -1 },
	} {
		k := keyOf("release", edKey(1))
		change(&k)
		if err := (Config{[]Key{k}}).Check(); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	k := keyOf("release", edKey(1))
	if err := (Config{[]Key{k, k}}).Check(); err == nil {
		t.Error("a key twice is accepted")
	}
	if _, err := ParseKey([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")); err == nil {
		t.Error("a private key is accepted")
	}
}

func TestPlain(t *testing.T) {
	list, err := ParsePlain([]byte(`[{"value":"a","note":"release 2","not_before":"2026-01-01T00:00:00Z","expires":"2027-01-01T00:00:00Z"},{"value":"b"}]`))
	if err != nil || len(list) != 2 || list[0].Note != "release 2" || list[0].Expires.Year() != 2027 {
		t.Errorf("%+v, %v", list, err)
	}
	for _, text := range []string{``, `{}`, `[]`, `null`, `[{}]`, `["a"]`, `[{"value":"a","x":1}]`, `[{"value":"a","value":"b"}]`, `[{"value":"a"}] []`} {
		if list, err := ParsePlain([]byte(text)); reasonOf(err) != ReasonMalformed {
			t.Errorf("%s: %v, %v", text, list, err)
		}
	}
}

func kbsMessageOf(payload string) []byte {
	return []byte(`{"version":"0.1.0","type":"sample","payload":"` + base64.StdEncoding.EncodeToString([]byte(payload)) + `"}`)
}

func TestKBS(t *testing.T) {
	for _, tc := range []struct {
		document []byte
		name     string
		values   int
		reason   Reason
	}{
		{kbsMessageOf(`{"launch":["a","b"]}`), "", 2, ""}, {kbsMessageOf(`{"launch":"a"}`), "launch", 1, ""}, {kbsMessageOf(`{"launch":"a","svn":"1"}`), "svn", 1, ""},
		{kbsMessageOf(`{"launch":"a","svn":"1"}`), "", 0, ReasonMalformed}, {kbsMessageOf(`{"launch":"a"}`), "svn", 0, ReasonSubject},
		{kbsMessageOf(`{"launch":"a","launch":"b"}`), "", 0, ReasonMalformed}, {kbsMessageOf(`{"launch":[]}`), "", 0, ReasonMalformed},
		{kbsMessageOf(`{"launch":7}`), "", 0, ReasonMalformed}, {kbsMessageOf(`{}`), "", 0, ReasonMalformed}, {kbsMessageOf(`[]`), "", 0, ReasonMalformed},
		{[]byte(`{"version":"0.1.0","type":"in-toto","payload":"e30="}`), "", 0, ReasonMalformed}, {[]byte(`{"version":"0.1.0","type":"sample","payload":"!"}`), "", 0, ReasonMalformed},
	} {
		list, err := ParseKBS(tc.document, tc.name)
		if reasonOf(err) != tc.reason || len(list) != tc.values {
			t.Errorf("%s %q: %v, %v", tc.document, tc.name, list, err)
		}
	}
}

func documents(t testing.TB) [][]byte {
	return [][]byte{
		envelopeOf(t, encode(t, statementV1Of(measurement)), edKey(1)), envelopeOf(t, encode(t, statementV02Of(measurement)), edKey(2), edKey(1)),
		encode(t, statementV1Of(measurement, other)), encode(t, statementV02Of(other)), imagePayloadOf("ghcr.io/acme/payments", manifest),
		[]byte(`[{"value":"a","note":"n","expires":"2027-01-01T00:00:00Z"}]`), kbsMessageOf(`{"launch":["a","b"],"svn":"1"}`),
	}
}

// checkAny holds that no parser panics or fails with what is no Refusal, and that what is believed is what the key signed.
func checkAny(t *testing.T, document []byte) {
	c := Config{[]Key{keyOf("release", edKey(1))}}
	result, err := c.Statement(document, want)
	if err == nil && (!reflect.DeepEqual(result.Values, []string{measurement}) || result.Origin.Commit != commit || result.Origin.Builder != builderID) {
		t.Errorf("believed: %+v", result)
	}
	if err != nil && reasonOf(err) == "" {
		t.Errorf("an error of no kind: %v", err)
	}
	if _, err := c.Image(document, base64.StdEncoding.EncodeToString(sign(t, edKey(1), document, false, false)), Want{Set: "payments-digest", Now: noon}); err != nil && reasonOf(err) == "" {
		t.Errorf("an error of no kind: %v", err)
	}
	if s, refusal := read(document); refusal == nil { // as if it were signed
		if s.builder == "" || s.repository == "" || s.ref == "" || s.commit == "" || s.time.IsZero() {
			t.Errorf("read with something missing: %+v", s)
		}
		if values, refusal := s.of("payments-image"); refusal == nil && len(values) == 0 {
			t.Error("no value and no refusal")
		}
	}
	if list, err := ParsePlain(document); err == nil && len(list) == 0 || err != nil && reasonOf(err) == "" {
		t.Errorf("plain: %v, %v", list, err)
	}
	if list, err := ParseKBS(document, ""); err == nil && len(list) == 0 || err != nil && reasonOf(err) == "" {
		t.Errorf("KBS: %v, %v", list, err)
	}
}

func FuzzDocument(f *testing.F) {
	for _, seed := range documents(f) {
		f.Add(seed)
	}
	f.Fuzz(checkAny)
}

func TestMutations(t *testing.T) { mutate.Run(t, documents(t), checkAny) }
