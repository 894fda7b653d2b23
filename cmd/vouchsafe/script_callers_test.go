package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/rogpeppe/go-internal/testscript"
)

// keySet writes the public key of a name as an issuer publishes it: keyset NAME FILE.
func keySet(ts *testscript.TestScript, _ bool, args []string) {
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: scriptKey(args[0]).Public(), KeyID: args[0], Use: "sig"}}})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), set, 0o600))
}

// signedToken writes a JWT that the key of a name signed, good for ten minutes: signedtoken FILE NAME ISSUER AUDIENCE SUBJECT [CLAIM=VALUE]….
func signedToken(ts *testscript.TestScript, _ bool, args []string) {
	now := time.Now()
	claims := map[string]any{
		"iss": args[2], "aud": args[3], "sub": args[4], "iat": jwt.NewNumericDate(now), "exp": jwt.NewNumericDate(now.Add(10 * time.Minute)),
	}
	for _, arg := range args[5:] {
		name, value, _ := strings.Cut(arg, "=")
		claims[name] = value
	}
	key := jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: scriptKey(args[1]), KeyID: args[1]}}
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT"))
	ts.Check(err)
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text+"\n"), 0o600))
}

// clientCertificates makes an authority, and below it certificates of clients with keys, NAME.pem and NAME.key: clientcertificates CAFILE [NAME EMAIL]….
func clientCertificates(ts *testscript.TestScript, _ bool, args []string) {
	template := func(name string) *x509.Certificate {
		serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
		ts.Check(err)
		return &x509.Certificate{
			SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		}
	}
	write := func(file, kind string, der []byte) {
		ts.Check(os.WriteFile(ts.MkAbs(file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	ca := template("people")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	ts.Check(err)
	write(args[0], "CERTIFICATE", der)
	for rest := args[1:]; len(rest) > 1; rest = rest[2:] {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		ts.Check(err)
		client := template(rest[0])
		client.EmailAddresses, client.KeyUsage, client.ExtKeyUsage = rest[1:2], x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		der, err := x509.CreateCertificate(rand.Reader, client, ca, key.Public(), caKey)
		ts.Check(err)
		write(rest[0]+".pem", "CERTIFICATE", der)
		der, err = x509.MarshalPKCS8PrivateKey(key)
		ts.Check(err)
		write(rest[0]+".key", "PRIVATE KEY", der)
	}
}

// kbsAdmin asks the KBS front end of the broker of the environment what its client for administrators does, with the token in a file, and prints the answer:
// kbsadmin TOKENFILE get PATH, policy PATH ID REGOFILE, or references FILE with an object of them. It fails unless the broker does it; "! kbsadmin" if it does.
func kbsAdmin(ts *testscript.TestScript, neg bool, args []string) {
	var (
		path = args[2]
		body any
	)
	switch args[1] {
	case "policy":
		source := base64.RawURLEncoding.EncodeToString([]byte(ts.ReadFile(args[4])))
		body = map[string]string{"type": "rego", "policy_id": args[3], "policy": source}
	case "references":
		path = "reference-value"
		body = map[string]string{"version": "0.1.0", "type": "sample", "payload": base64.StdEncoding.EncodeToString([]byte(ts.ReadFile(args[2])))}
	}
	request, err := http.NewRequest(http.MethodGet, ts.Getenv("VOUCHSAFE_ADDR")+"/kbs/v0/"+path, nil)
	ts.Check(err)
	if body != nil {
		text, err := json.Marshal(body)
		ts.Check(err)
		request.Method, request.Body = http.MethodPost, io.NopCloser(bytes.NewReader(text))
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(ts.ReadFile(args[0])))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ts.ReadFile(ts.Getenv("VOUCHSAFE_CACERT"))))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Do(request)
	ts.Check(err)
	defer answer.Body.Close()
	_, err = io.Copy(ts.Stdout(), answer.Body)
	ts.Check(err)
	if (answer.StatusCode == http.StatusOK) == neg {
		ts.Fatalf("status %d", answer.StatusCode)
	}
}
