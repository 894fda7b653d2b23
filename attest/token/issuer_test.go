package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vouchsafe/vouchsafe/attest"
)

// now is the time of appraisal of all tests but those of time.
var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// digest is what evidence must carry in the tests: as long as SHA-384, which is the default.
var digest = func() []byte { sum := sha512.Sum384([]byte("nonce and key")); return sum[:] }()

// The keys of the fake issuers, made once for all tests.
var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	p256Key  = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	p384Key  = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	otherRSA = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

type claimSet = map[string]any

// sign makes a compact JWS of a header and payload as given, whatever they say. The header's alg is the one that is used where it is known; else the
// signature is by the key's usual algorithm.
func sign(key crypto.Signer, header claimSet, payload any) string {
	body, ok := payload.([]byte)
	if !ok {
		body = must(json.Marshal(payload))
	}
	input := raw64(must(json.Marshal(header))) + "." + raw64(body)
	return input + "." + raw64(signature(key, fmt.Sprint(header["alg"]), []byte(input)))
}

func signature(key crypto.Signer, alg string, input []byte) []byte {
	hash := crypto.SHA256
	if strings.HasSuffix(alg, "384") {
		hash = crypto.SHA384
	}
	h := hash.New()
	h.Write(input)
	sum := h.Sum(nil)
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if alg == "PS384" {
			return must(rsa.SignPSS(rand.Reader, key, hash, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
		}
		return must(rsa.SignPKCS1v15(rand.Reader, key, hash, sum))
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, sum)
		if err != nil {
			panic(err)
		}
		size := (key.Curve.Params().BitSize + 7) / 8
		out := make([]byte, 2*size)
		r.FillBytes(out[:size])
		s.FillBytes(out[size:])
		return out
	}
	panic("no such key")
}

func raw64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
func std64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// jwks is a JWK Set with a key under each id.
func jwks(keys map[string]crypto.Signer) []byte {
	var set jose.JSONWebKeySet
	for id, key := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: id, Use: "sig"})
	}
	return must(json.Marshal(set))
}

// shelf is an attest.Endorsements whose items tests put there. It fetches nothing, but counts how often it is asked to.
type shelf struct {
	items   map[string]*attest.Endorsement
	fetches bool // whether Refresh starts a fetch
	asked   []string
}

func (s *shelf) Endorsement(_ context.Context, name string) (*attest.Endorsement, error) {
	if item := s.items[name]; item != nil {
		return item, nil
	}
	return nil, &attest.Unavailable{What: name}
}

func (s *shelf) Refresh(name string) bool {
	s.asked = append(s.asked, name)
	return s.fetches
}

func (s *shelf) put(name string, data []byte, fetched time.Time) {
	if s.items == nil {
		s.items = map[string]*attest.Endorsement{}
	}
	s.items[name] = &attest.Endorsement{Name: name, Data: data, Digest: sha256.Sum256(data), Fetched: fetched}
}

// fake is a fake issuer of one format: its configuration and what it signs with.
type fake struct {
	trusted Trusted
	key     crypto.Signer
	header  claimSet
	payload func() claimSet // bound to digest, issued a minute ago
	wrap    func(token string) []byte
	binds   []string // path of the member that binds
}

func (f *fake) token() string { return sign(f.key, f.header, f.payload()) }

// with signs a payload that edit changed.
func (f *fake) with(edit func(claimSet)) string {
	payload := f.payload()
	edit(payload)
	return sign(f.key, f.header, payload)
}

func (f *fake) withHeader(edit func(claimSet)) string {
	header := maps.Clone(f.header)
	edit(header)
	return sign(f.key, header, f.payload())
}

func registeredClaims(issuer string, life time.Duration) claimSet {
	return claimSet{
		"iss": issuer, "iat": now.Add(-time.Minute).Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(life - time.Minute).Unix(), "jti": "id-1",
	}
}

// fromJSON is registeredClaims with the members of a document.
func fromJSON(base claimSet, document string) claimSet {
	if err := json.Unmarshal([]byte(document), &base); err != nil {
		panic(err)
	}
	return base
}

const measurement = "036fc22b517981a791f7f8b89d634a00e964f6b0dfabc568090eb4393d6026f96aa6b7cca2759f29e521469f1189c00c"

// padded is digest in a field of 64 bytes.
func padded() string {
	return hex.EncodeToString(append(append([]byte{}, digest...), make([]byte, 16)...))
}

// recipientJWK is the key of the workload in an EAR.
var recipientJWK = sync.OnceValue(func() claimSet {
	key := p256Key().Public().(*ecdsa.PublicKey)
	point := must(key.Bytes())
	return claimSet{"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": raw64(point[1:33]), "y": raw64(point[33:])}
})

// fakes are an issuer of each form of token. The claims are shaped as published examples are: EAR as Confidential Containers' Attestation Service writes it; Confidential Space as in
// Google Cloud's "Attestation token claims"; Azure as in Microsoft's "Examples of an attestation token" and in tokens that users have published; Intel as in Intel Trust Authority's tutorial for Azure
// with TDX, and version 2 as in the "Entity Attestation Token Profile".
func fakes() map[string]*fake {
	jwtHeader := func(alg, kid string) claimSet { return claimSet{"alg": alg, "kid": kid, "typ": "JWT"} }
	azure := func() claimSet {
		return fromJSON(registeredClaims("https://sharedeus.eus.attest.azure.net", 8*time.Hour), `{
			"secureboot": true, "x-ms-attestation-type": "azurevm", "x-ms-azurevm-attestation-protocol-ver": "2.0",
			"x-ms-azurevm-attested-pcrs": [0,1,2,3,4,5,6,7], "x-ms-azurevm-bootdebug-enabled": false, "x-ms-azurevm-osversion-major": 22,
			"x-ms-azurevm-osdistro": "Ubuntu", "x-ms-azurevm-vmid": "9A42ABD5-8385-42B3-9255-FE7807698194",
			"x-ms-isolation-tee": {
				"x-ms-attestation-type": "sevsnpvm", "x-ms-compliance-status": "azure-compliant-cvm",
				"x-ms-runtime": {"keys": [{"e": "AQAB", "key_ops": ["sign"], "kid": "HCLAkPub", "kty": "RSA", "n": "AAAA"}], "vm-configuration": {"secure-boot": true}},
				"x-ms-sevsnpvm-guestsvn": 5, "x-ms-sevsnpvm-hostdata": "0000000000000000000000000000000000000000000000000000000000000000",
				"x-ms-sevsnpvm-imageId": "02000000000000000000000000000000", "x-ms-sevsnpvm-is-debuggable": false,
				"x-ms-sevsnpvm-launchmeasurement": "`+measurement+`", "x-ms-sevsnpvm-microcode-svn": 211, "x-ms-sevsnpvm-migration-allowed": false,
				"x-ms-sevsnpvm-reportdata": "267112875bb879d143ad3d25f5176cd05c5ecd62c16a49c127d2b5a032c1bc960000000000000000000000000000000000000000000000000000000000000000",
				"x-ms-sevsnpvm-smt-allowed": true, "x-ms-sevsnpvm-vmpl": 0
			},
			"x-ms-policy-hash": "wm9mHlvTU82e8UqoOy1Yj1FBRSNkfe99-69IYDq9eWs",
			"x-ms-runtime": {"client-payload": {"nonce": "`+std64([]byte(raw64(digest)))+`"}, "keys": [{"e": "AQAB", "key_ops": ["encrypt"], "kid": "TpmEphemeralEncryptionKey", "kty": "RSA", "n": "AAAA"}]},
			"x-ms-ver": "1.0"
		}`)
	}
	azureSNP := func() claimSet {
		inner := azure()["x-ms-isolation-tee"].(claimSet)
		inner["x-ms-policy-hash"], inner["x-ms-compliance-status"] = "p", "azure-compliant-uvm"
		inner["x-ms-sevsnpvm-reportdata"] = padded()
		maps.Copy(inner, registeredClaims("https://sharedeus.eus.attest.azure.net", 8*time.Hour))
		return inner
	}
	azureConfig := Trusted{Name: "maa", Format: AzureAttestation, Issuer: "https://sharedeus.eus.attest.azure.net"}
	tdx := `{"attester_held_data": "` + std64(digest) + `", "attester_tcb_date": "2024-03-13T00:00:00Z", "attester_tcb_status": "UpToDate", "attester_type": "TDX",
		"attester_advisory_ids": ["INTEL-SA-00837"], "dbgstat": "disabled", "tdx_is_debuggable": false,
		"tdx_mrconfigid": "` + strings.Repeat("0a", 48) + `", "tdx_mrseam": "` + strings.Repeat("0b", 48) + `", "tdx_mrtd": "` + measurement + `",
		"tdx_report_data": "` + strings.Repeat("0c", 64) + `", "tdx_rtmr0": "` + strings.Repeat("0d", 48) + `", "tdx_rtmr3": "` + strings.Repeat("0E", 48) + `",
		"tdx_seamsvn": 2, "tdx_td_attributes": "0000000000000000", "tdx_td_attributes_debug": false}`
	common := `{"eat_profile": "https://portal.trustauthority.intel.com/eat_profile.html", "intuse": "generic", "ver": "1.0.0",
		"policy_ids_matched": [{"id": "e4d0", "version": "v1", "hash": "x"}], "policy_ids_unmatched": [{"id": "f00d", "version": "v2", "hash": "y"}],
		"verifier_instance_ids": ["a"], "verifier_nonce": {"iat": "aQ==", "signature": "cw==", "val": "dg=="}}`
	itaConfig := Trusted{Name: "ita", Format: IntelTrust, Issuer: "Intel Trust Authority"}
	return map[string]*fake{
		"ear": {
			trusted: Trusted{Name: "trustee", Format: EAR}, key: p256Key(), header: jwtHeader("ES256", "ear-1"),
			payload: func() claimSet {
				base := registeredClaims("", 5*time.Minute)
				for _, name := range []string{"iss", "nbf", "jti"} {
					delete(base, name)
				}
				return fromJSON(base, `{"eat_profile": "tag:github.com,2024:confidential-containers/Trustee",
					"ear.verifier-id": {"developer": "https://confidentialcontainers.org", "build": "attestation-service 0.1.0"},
					"submods": {"cpu0": {"ear.status": "warning",
						"ear.trustworthiness-vector": {"instance-identity": 0, "configuration": 36, "executables": 33, "file-system": 0, "hardware": 2, "runtime-opaque": 0, "storage-opaque": 0, "sourced-data": 0},
						"ear.appraisal-policy-id": "default",
						"ear.veraison.annotated-evidence": {
							"init_data": "`+strings.Repeat("1f", 32)+`", "init_data_claims": {"aa.toml": "x = 1", "agent_policy_claims": {"containers": []}},
							"report_data": "`+padded()+`", "runtime_data_claims": {"nonce": "bm9uY2U=", "tee-pubkey": `+string(must(json.Marshal(recipientJWK())))+`},
							"snp": {"measurement": "`+measurement+`", "policy_debug_allowed": false, "policy_migrate_ma": false, "reported_tcb_snp": 23, "vmpl": 0}
						}},
						"gpu0": {"ear.status": "affirming", "ear.trustworthiness-vector": {"hardware": 2}, "ear.appraisal-policy-id": "default"}}}`)
			},
		},
		"google": {
			trusted: Trusted{Name: "gcs", Format: ConfidentialSpace, Issuer: "https://confidentialcomputing.googleapis.com", Audiences: []string{"https://broker.example"}},
			key:     rsaKey(), header: jwtHeader("RS256", "6e66f1aededf736581df2599ee20387718978dcd"),
			payload: func() claimSet {
				return fromJSON(registeredClaims("https://confidentialcomputing.googleapis.com", time.Hour), `{
					"aud": "https://broker.example", "sub": "https://www.googleapis.com/compute/v1/projects/p/zones/us-central1-a/instances/vm1",
					"eat_nonce": ["thisIsAcustomNonce", "`+raw64(digest)+`"], "secboot": true, "oemid": 11129, "hwmodel": "GCP_INTEL_TDX", "swname": "CONFIDENTIAL_SPACE",
					"swversion": ["240900"], "attester_tcb": ["INTEL"], "dbgstat": "disabled-since-boot",
					"submods": {"confidential_space": {"monitoring_enabled": {"memory": false}, "support_attributes": ["LATEST", "STABLE", "USABLE"]},
						"container": {"image_reference": "us-docker.pkg.dev/p/r/w:latest", "image_digest": "sha256:667b7cc9407f7d9949d43fd51dde2a5b66db9b695ef5bfe525cf8576d54ffaa9",
							"restart_policy": "Never", "image_id": "sha256:f2484d4358ebe74b0b9e1051d8852389d5f5481681a4933fd58a61817aee76da", "env_override": null, "cmd_override": null,
							"env": {"HOSTNAME": "vm1", "PATH": "/usr/bin"}, "args": ["./server"],
							"image_signatures": [{"key_id": "8c2d", "signature": "c2ln", "signature_algorithm": "ECDSA_P256_SHA256"}]},
						"gce": {"zone": "us-central1-a", "project_id": "p", "project_number": "1234", "instance_name": "vm1", "instance_id": "5678"}},
					"google_service_accounts": ["runner@p.iam.gserviceaccount.com"]}`)
			},
		},
		"azure-vm":  {trusted: azureConfig, key: rsaKey(), header: claimSet{"alg": "RS256", "kid": "maa-1", "typ": "JWT", "jku": "https://attacker.example/certs"}, payload: azure},
		"azure-snp": {trusted: azureConfig, key: rsaKey(), header: jwtHeader("RS256", "maa-1"), payload: azureSNP},
		"azure-runtime": {
			trusted: azureConfig, key: rsaKey(), header: jwtHeader("RS256", "maa-1"),
			payload: func() claimSet {
				sum := sha256.Sum256(digest)
				payload := azureSNP()
				payload["x-ms-sevsnpvm-reportdata"] = hex.EncodeToString(sum[:]) + strings.Repeat("00", 32)
				return payload
			},
			wrap: func(token string) []byte { return must(json.Marshal(claimSet{"token": token, "runtime_data": digest})) },
		},
		"azure-sgx": {
			trusted: azureConfig, key: rsaKey(), header: jwtHeader("RS256", "maa-1"),
			payload: func() claimSet {
				return fromJSON(registeredClaims("https://sharedeus.eus.attest.azure.net", 8*time.Hour), `{"x-ms-attestation-type": "sgx", "x-ms-policy-hash": "p", "x-ms-sgx-ehd": "`+raw64(digest)+`",
					"x-ms-sgx-is-debuggable": false, "x-ms-sgx-mrenclave": "`+strings.Repeat("1a", 32)+`", "x-ms-sgx-mrsigner": "`+strings.Repeat("2b", 32)+`", "x-ms-sgx-product-id": 1, "x-ms-sgx-svn": 3}`)
			},
		},
		"azure-tdx": {
			trusted: azureConfig, key: rsaKey(), header: jwtHeader("RS256", "maa-1"),
			payload: func() claimSet {
				payload := fromJSON(registeredClaims("https://sharedeus.eus.attest.azure.net", 8*time.Hour), tdx)
				delete(payload, "attester_held_data")
				delete(payload, "attester_type")
				payload["x-ms-attestation-type"], payload["x-ms-compliance-status"], payload["tdx_report_data"] = "tdxvm", "azure-compliant-cvm", padded()
				return payload
			},
		},
		"intel": {trusted: itaConfig, key: rsaKey(), header: claimSet{"alg": "PS384", "kid": "ita-1", "typ": "JWT", "jku": "https://portal.trustauthority.intel.com/certs"}, payload: func() claimSet {
			return fromJSON(fromJSON(registeredClaims("Intel Trust Authority", 5*time.Minute), common), tdx)
		}},
		"intel-v2": {trusted: itaConfig, key: rsaKey(), header: jwtHeader("RS256", "ita-1"), payload: func() claimSet {
			payload := fromJSON(registeredClaims("Intel Trust Authority", 5*time.Minute), common)
			payload["tdx"] = fromJSON(claimSet{}, tdx)
			return payload
		}},
		"intel-sgx": {trusted: itaConfig, key: rsaKey(), header: jwtHeader("PS384", "ita-1"), payload: func() claimSet {
			return fromJSON(fromJSON(registeredClaims("Intel Trust Authority", 5*time.Minute), common), `{"attester_held_data": "`+std64(digest)+`", "attester_tcb_status": "SWHardeningNeeded", "attester_type": "SGX",
				"attester_advisory_ids": ["INTEL-SA-00615"], "sgx_mrenclave": "`+strings.Repeat("1a", 32)+`", "sgx_mrsigner": "`+strings.Repeat("2b", 32)+`", "sgx_is_debuggable": false, "sgx_isvprodid": 0, "sgx_isvsvn": 0}`)
		}},
	}
}

// verifierOf is a Verifier of fakes, whose key sets are on a shelf, fetched an hour ago.
func verifierOf(tb testing.TB, fakes ...*fake) (*Verifier, *shelf) {
	tb.Helper()
	s := &shelf{}
	cfg := Config{Endorsements: s}
	for _, f := range fakes {
		cfg.Verifiers = append(cfg.Verifiers, f.trusted)
		s.put("jwks/"+f.trusted.Name, jwks(map[string]crypto.Signer{fmt.Sprint(f.header["kid"]): f.key}), now.Add(-time.Hour))
	}
	v, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return v, s
}

func input(evidence []byte) attest.Input {
	return attest.Input{Namespace: "default", Evidence: evidence, Binding: attest.BoundTo(digest), Time: now}
}

func (f *fake) evidence(token string) []byte {
	if f.wrap != nil {
		return f.wrap(token)
	}
	return []byte(token)
}

// codeOf returns the code of a refusal, "unavailable" for the other failure, "" for none; anything else fails the test.
func codeOf(tb testing.TB, err error) attest.Code {
	tb.Helper()
	var refusal *attest.Refusal
	var unavailable *attest.Unavailable
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refusal):
		return refusal.Code
	case errors.As(err, &unavailable):
		return "unavailable"
	}
	tb.Fatalf("an error that is neither: %v", err)
	return ""
}
