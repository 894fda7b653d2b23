package vaulttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/hashicorp/vault/api"
)

// Policy writes a policy, in HCL, and returns its name, a new one.
func (s *Server) Policy(t testing.TB, hcl string) string {
	t.Helper()
	name := s.name("policy")
	if err := s.Client(t).Sys().PutPolicyWithContext(t.Context(), name, hcl); err != nil {
		t.Fatalf("vaulttest: policy: %v", err)
	}
	return name
}

// Token makes a token with the rights of a policy in HCL, renewable and without a parent, so that it can be revoked on its own.
func (s *Server) Token(t testing.TB, hcl string, ttl time.Duration) string {
	t.Helper()
	secret, err := s.Client(t).Auth().Token().CreateOrphanWithContext(t.Context(), &api.TokenCreateRequest{
		Policies: []string{s.Policy(t, hcl)}, TTL: ttl.String(), NoDefaultPolicy: true,
	})
	if err != nil {
		t.Fatalf("vaulttest: token: %v", err)
	}
	return secret.Auth.ClientToken
}

// Write writes to a path as root and returns the answer's data; nil for an answer without.
func (s *Server) Write(t testing.TB, path string, data map[string]any) map[string]any {
	t.Helper()
	secret, err := s.Client(t).Logical().WriteWithContext(t.Context(), path, data)
	if err != nil {
		t.Fatalf("vaulttest: writing %s: %v", path, err)
	}
	if secret == nil {
		return nil
	}
	return secret.Data
}

// role sets of every method how long its tokens live and what they may do.
func (s *Server) role(t testing.TB, hcl string, more map[string]any) map[string]any {
	t.Helper()
	// The policy default goes with it, as in most installations: it lets a token look itself up and renew itself.
	role := map[string]any{"token_policies": s.Policy(t, hcl), "token_ttl": "1h"}
	maps.Copy(role, more)
	return role
}

// AppRole is a role of the auth method approle.
type AppRole struct {
	Mount, Name, RoleID, SecretID string // the mount without auth/
}

// AppRole makes a role with the rights of a policy in HCL, and a secret id. More are settings of the role, such as "token_ttl": "2s"; nil for none.
func (s *Server) AppRole(t testing.TB, hcl string, more map[string]any) AppRole {
	t.Helper()
	r := AppRole{Mount: s.MountAuth(t, "approle"), Name: "test"}
	path := "auth/" + r.Mount + "/role/" + r.Name
	s.Write(t, path, s.role(t, hcl, more))
	secret, err := s.Client(t).Logical().ReadWithContext(t.Context(), path+"/role-id")
	if err != nil {
		t.Fatal(err)
	}
	r.RoleID = secret.Data["role_id"].(string)
	r.SecretID = s.Write(t, path+"/secret-id", nil)["secret_id"].(string)
	return r
}

// JWTRole is a role of the auth method jwt whose tokens a key of the test signs.
type JWTRole struct {
	Mount, Role string
	key         *ecdsa.PrivateKey
}

// JWTAudience is what a JWT for a [JWTRole] is for.
const JWTAudience = "vault"

// JWT makes a role with the rights of a policy in HCL, for every subject.
func (s *Server) JWT(t testing.TB, hcl string, more map[string]any) JWTRole {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	r := JWTRole{Mount: s.MountAuth(t, "jwt"), Role: "test", key: key}
	s.Write(t, "auth/"+r.Mount+"/config", map[string]any{
		"jwt_validation_pubkeys": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})), "jwt_supported_algs": "ES256",
	})
	role := map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": JWTAudience}
	maps.Copy(role, more)
	s.Write(t, "auth/"+r.Mount+"/role/"+r.Role, s.role(t, hcl, role))
	return r
}

// Sign returns a JWT for the role, which is good for so long.
func (r JWTRole) Sign(t testing.TB, subject string, good time.Duration) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: r.key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"sub": subject, "aud": JWTAudience, "iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(good).Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// CertRole is a role of the auth method cert. The server must be one WithTLS.
type CertRole struct {
	Mount, Role       string
	CertFile, KeyFile string // of a client whom the role allows, in PEM
	Authority         *Authority
}

// Cert makes a role with the rights of a policy in HCL, for clients with a certificate of an authority of its own.
func (s *Server) Cert(t testing.TB, hcl string, more map[string]any) CertRole {
	t.Helper()
	r := CertRole{Mount: s.MountAuth(t, "cert"), Role: "test", Authority: NewAuthority(t)}
	r.CertFile, r.KeyFile = r.Authority.Issue(t, "client")
	authority, err := os.ReadFile(r.Authority.File)
	if err != nil {
		t.Fatal(err)
	}
	role := map[string]any{"certificate": string(authority), "display_name": r.Role}
	maps.Copy(role, more)
	s.Write(t, "auth/"+r.Mount+"/certs/"+r.Role, s.role(t, hcl, role))
	return r
}
