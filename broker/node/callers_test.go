package node_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/access/certificate"
	"github.com/vouchsafe/vouchsafe/broker/access/oidc"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/localca"
)

// authority certifies clients.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	next int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t), next: 2}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "people"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	a.cert = a.sign(template, template, a.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// client makes a certificate as change wants it.
func (a *authority) client(change func(*x509.Certificate)) *tls.Certificate {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	a.next++
	change(template)
	key := newKey(a.t)
	cert := a.sign(template, a.cert, key)
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// revoke writes a revocation list.
func (a *authority) revoke(file string, due time.Time, serials ...*big.Int) {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: due}
	for _, serial := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(file, der, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// TestCallers asks a real server with every way of authenticating who one is.
func TestCallers(t *testing.T) {
	people, strangers := newAuthority(t), newAuthority(t)
	crl := filepath.Join(t.TempDir(), "people.crl")
	revoked := people.client(func(c *x509.Certificate) { c.EmailAddresses = []string{"alice@example.com"} })
	people.revoke(crl, time.Now().Add(time.Hour), revoked.Leaf.SerialNumber)
	auditor := access.Grant{Roles: access.SetOf(access.Auditor), Namespace: "default", Scope: access.Scope{"payments/"}}
	certs, err := certificate.New(certificate.Config{Authorities: people.pem(), Revoked: []string{crl}, Rules: []certificate.Rule{
		{Email: "alice@example.com", Grant: auditor},
		{URI: "spiffe://corp/ci/*", Grant: access.Grant{Roles: access.SetOf(access.Custodian), Namespace: "default"}},
		{CommonName: "by-name", Grant: auditor},
		{DNS: "ops.example.com", Subject: "ops", Grant: access.Grant{Roles: access.SetOf(access.Operator), Namespace: "*"}},
	}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	issuers, err := oidc.New(oidc.Config{Issuers: []oidc.Issuer{{Name: "corp", Issuer: "https://idp.test", Audiences: []string{"vouchsafe"}, Keys: set, Rules: []oidc.Rule{
		{Claims: map[string]string{"groups": "security"}, Grant: access.Grant{Roles: access.SetOf(access.Auditor, access.Custodian), Namespace: "default"}},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", "1"))
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := json.Marshal(map[string]any{
		"iss": "https://idp.test", "aud": "vouchsafe", "sub": "u1", "groups": []string{"security"}, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	})
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	jwt, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}

	files, err := localca.Ensure(t.TempDir(), []string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := production(t)
	c.HTTP, c.Certificate, c.Key, c.OIDC, c.Certificates = false, files.Certificate, files.Key, issuers, certs
	n := running(t, c)
	ca, err := os.ReadFile(files.CA)
	if err != nil {
		t.Fatal(err)
	}
	first, _, err := n.Broker.FirstToken(t.Context(), "first", 0)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(token string, pair *tls.Certificate) (wire.Caller, error) {
		client, err := admin.New(admin.Config{Address: n.URL, CACert: ca, Token: token, Pair: pair})
		if err != nil {
			t.Fatal(err)
		}
		return client.WhoAmI(t.Context())
	}
	uri := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	alice := people.client(func(c *x509.Certificate) { c.EmailAddresses = []string{"Alice@example.com"} })
	for name, test := range map[string]struct {
		token   string
		pair    *tls.Certificate
		subject string
		via     access.Via
		roles   access.Set
	}{
		"a token": {first.Reveal(), nil, "first", access.ViaToken, access.Administrator()},
		"a JWT":   {jwt, nil, "corp:u1", access.ViaOIDC, access.SetOf(access.Auditor, access.Custodian)},
		"address": {"", alice, "alice@example.com", access.ViaCertificate, access.SetOf(access.Auditor)},
		"URI": {"", people.client(func(c *x509.Certificate) { c.URIs = []*url.URL{uri("spiffe://corp/ci/build")} }), "spiffe://corp/ci/build",
			access.ViaCertificate, access.SetOf(access.Custodian)},
		"DNS":  {"", people.client(func(c *x509.Certificate) { c.DNSNames = []string{"ops.example.com"} }), "ops", access.ViaCertificate, access.SetOf(access.Operator)},
		"name": {"", people.client(func(c *x509.Certificate) { c.Subject.CommonName = "by-name" }), "cn:by-name", access.ViaCertificate, access.SetOf(access.Auditor)},
	} {
		who, err := ask(test.token, test.pair)
		if err != nil || who.Subject != test.subject || who.Via != test.via || who.Roles != test.roles || who.Token == "" || who.Remote != "127.0.0.1" {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
	for name, pair := range map[string]*tls.Certificate{
		"revoked": revoked, "another authority's": strangers.client(func(c *x509.Certificate) { c.EmailAddresses = []string{"alice@example.com"} }),
		"no rule":   people.client(func(c *x509.Certificate) { c.EmailAddresses = []string{"bob@example.com"} }),
		"above":     people.client(func(c *x509.Certificate) { c.URIs = []*url.URL{uri("spiffe://corp/ci/")} }),
		"beside":    people.client(func(c *x509.Certificate) { c.URIs = []*url.URL{uri("spiffe://corp/cix")} }),
		"CN of SAN": people.client(func(c *x509.Certificate) { c.Subject.CommonName = "alice@example.com" }),
		"expired": people.client(func(c *x509.Certificate) {
			c.EmailAddresses, c.NotAfter = []string{"alice@example.com"}, time.Now().Add(-time.Minute)
		}),
		"a server's": people.client(func(c *x509.Certificate) {
			c.EmailAddresses, c.ExtKeyUsage = []string{"alice@example.com"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}),
	} {
		if who, err := ask("", pair); err == nil {
			t.Errorf("%s: %+v", name, who)
		}
	}

	// Two credentials are of two people, perhaps.
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	both := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{*alice}}}}
	for _, path := range []string{"/v1/admin/whoami", "/kbs/v0/resource/payments/db/key"} {
		method := http.MethodGet
		if strings.HasPrefix(path, "/kbs") {
			method = http.MethodPost
		}
		request, _ := http.NewRequest(method, n.URL+path, nil)
		request.Header.Set("Authorization", "Bearer "+first.Reveal())
		response, err := both.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s with a token and a certificate: %d", path, response.StatusCode)
		}
	}
	// A browser of Alice's, on another site's page.
	for _, path := range []string{"/v1/admin/policy-retire/x", "/kbs/v0/resource/payments/db/key"} {
		for header, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.test"} {
			request, _ := http.NewRequest(http.MethodPost, n.URL+path, nil)
			request.Header.Set(header, value)
			response, err := both.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s with %s: %d", path, header, response.StatusCode)
			}
		}
	}
	// Guests have no certificate, and are served.
	guest := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	response, err := guest.Post(n.URL+"/v1/challenges", "application/json", strings.NewReader(`{"kind":"snp"}`))
	if err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("a guest: %v %v", response, err)
	}
	_ = response.Body.Close()

	// What a caller did says who it was.
	const plain = "correct-horse-battery-staple"
	client, err := admin.New(admin.Config{Address: n.URL, CACert: ca, Token: jwt})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.PutSecret(t.Context(), wire.SecretPut{SecretName: wire.SecretName{Name: "a/b"}, Value: []byte(plain)}); err != nil {
		t.Fatal(err)
	}
	// Metrics know no values, tokens or names.
	response, err = guest.Get(n.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if text := string(metrics); err != nil || len(text) < 1000 || strings.Contains(text, plain) || strings.Contains(text, jwt) || strings.Contains(text, "alice") {
		t.Errorf("%d bytes of metrics, or with a secret in them: %v", len(text), err)
	}
	entry, err := n.Broker.Log().Entry(t.Context(), n.Broker.Log().Size()-1)
	if err != nil || !strings.Contains(string(entry), `"name":"corp:u1"`) || !strings.Contains(string(entry), `"via":"oidc"`) {
		t.Errorf("%s, %v", entry, err)
	}
}

// TestRevocationLists: a list is followed, and one that is overdue or not the authority's lets nobody in.
func TestRevocationLists(t *testing.T) {
	people, strangers := newAuthority(t), newAuthority(t)
	file := filepath.Join(t.TempDir(), "crl")
	people.revoke(file, time.Now().Add(time.Hour))
	c := certificate.Config{Authorities: people.pem(), Revoked: []string{file}, Rules: []certificate.Rule{
		{Email: "a@b", Grant: access.Grant{Roles: access.SetOf(access.Auditor), Namespace: "default"}},
	}}
	now := time.Now()
	v, err := certificate.New(c, now)
	if err != nil {
		t.Fatal(err)
	}
	pair := people.client(func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b"} })
	chain := []*x509.Certificate{pair.Leaf}
	try := func() error {
		now = now.Add(10 * time.Second)
		_, err := v.Authenticate(chain, now)
		return err
	}
	if err := try(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(){
		"revoked":      func() { people.revoke(file, now.Add(time.Hour), pair.Leaf.SerialNumber) },
		"overdue":      func() { people.revoke(file, now.Add(-time.Hour)) },
		"another's":    func() { strangers.revoke(file, now.Add(time.Hour)) },
		"no list":      func() { _ = os.WriteFile(file, []byte("x"), 0o600) },
		"gone":         func() { _ = os.Remove(file) },
		"good and two": func() { people.revoke(file, now.Add(time.Hour)); double(t, file) },
	} {
		change()
		if err := try(); err == nil {
			t.Errorf("%s: let in", name)
		}
		people.revoke(file, now.Add(time.Hour))
		if err := try(); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*certificate.Config){
		"no authority": func(c *certificate.Config) { c.Authorities = nil }, "no rules": func(c *certificate.Config) { c.Rules = nil },
		"no list": func(c *certificate.Config) { c.Revoked = []string{file + "x"} }, "two names": func(c *certificate.Config) { c.Rules[0].DNS = "x" },
		"a leaf": func(c *certificate.Config) {
			c.Authorities = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Leaf.Raw})
		},
		"operator for a path": func(c *certificate.Config) {
			c.Rules[0].Grant = access.Grant{Roles: access.SetOf(access.Operator), Namespace: "default", Scope: access.Scope{"a/"}}
		},
	} {
		bad := c
		bad.Rules = slices.Clone(c.Rules)
		change(&bad)
		if _, err := certificate.New(bad, now); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func double(t *testing.T, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(content, content...), 0o600); err != nil {
		t.Fatal(err)
	}
}
