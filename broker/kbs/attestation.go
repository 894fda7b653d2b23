package kbs

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/broker/session"
)

type hashAlgorithm struct {
	name string
	hash crypto.Hash
}

// hashes are the algorithms of a binding digest, the protocol's default first. Their places are part of a session id.
var hashes = []hashAlgorithm{{"sha384", crypto.SHA384}, {"sha512", crypto.SHA512}, {"sha256", crypto.SHA256}}

// idRandom is how many bytes of a challenge's session id are random; two more say for which kind and hash it is.
const idRandom = 14

// challengeID makes a session id that says what its challenge is for.
func challengeID(kind, hash int) (string, error) {
	id := make([]byte, idRandom, idRandom+2)
	if _, err := rand.Read(id); err != nil {
		return "", err
	}
	return hex.EncodeToString(append(id, byte(kind), byte(hash))), nil
}

// scopeOf returns what a challenge with a session id was for. Whoever made the id up gets a scope that no nonce was issued for.
func (k *KBS) scopeOf(id string) (broker.Scope, bool) {
	if !session.ValidID(id) {
		return broker.Scope{}, false
	}
	raw, err := hex.DecodeString(id)
	if err != nil {
		return broker.Scope{}, false
	}
	kinds, kind, hash := attest.Kinds(), int(raw[idRandom]), int(raw[idRandom+1])
	if kind >= len(kinds) || hash >= len(hashes) {
		return broker.Scope{}, false
	}
	return k.scope(kinds[kind], hashes[hash].hash, id), true
}

func (k *KBS) scope(kind attest.Kind, hash crypto.Hash, id string) broker.Scope {
	return broker.Scope{Protocol: broker.ProtocolKBS, Namespace: k.namespace, Kind: kind, Hash: hash, Session: id}
}

// auth answers a Request with a Challenge.
func (k *KBS) auth(w http.ResponseWriter, r *http.Request) error {
	body, release, err := k.intake.Read(r, maxAuth)
	defer release()
	if err != nil {
		return err
	}
	req, err := parseAuth(body)
	if err != nil {
		return err
	}
	kind := slices.Index(attest.Kinds(), attest.Kind(req.tee))
	if kind < 0 || !slices.Contains(k.broker.Kinds(), attest.Kind(req.tee)) {
		return fail(http.StatusBadRequest, "UnsupportedTee", "this broker does not verify evidence of tee %q; it verifies %v", clip(req.tee), k.broker.Kinds())
	}
	hash := slices.IndexFunc(hashes, func(h hashAlgorithm) bool {
		return req.hashes == nil || slices.Contains(req.hashes, h.name)
	})
	if hash < 0 {
		return fail(http.StatusBadRequest, "UnsupportedHash", "the client supports none of sha384, sha512 and sha256")
	}
	id, err := challengeID(kind, hash)
	if err != nil {
		return err
	}
	challenge, err := k.broker.Challenge(r.Context(), k.scope(attest.Kind(req.tee), hashes[hash].hash, id))
	if err != nil {
		return err
	}
	setCookie(w, r, id)
	return writeJSON(w, struct {
		Nonce string `json:"nonce"`
		Extra any    `json:"extra-params"`
	}{challenge.Nonce, challengeParams(hashes[hash].name)})
}

// attest answers an Attestation with a token.
func (k *KBS) attest(w http.ResponseWriter, r *http.Request) error {
	scope, ok := k.scopeOf(cookie(r))
	if !ok {
		return fail(http.StatusUnauthorized, "AttestationError", "no session cookie of a challenge: call auth first")
	}
	body, release, err := k.intake.Read(r, intake.MaxBody)
	defer release()
	if err != nil {
		return err
	}
	req, err := k.attestRequest(r, scope, body)
	if err != nil {
		return err
	}
	attested, err := k.broker.Attest(r.Context(), *req)
	if err != nil {
		return err
	}
	token, err := k.broker.Token(r.Context(), attested)
	if err != nil {
		return err
	}
	sessions := k.sessions
	if len(req.InitData) > smallInitData {
		sessions = k.large
	}
	id, err := k.begin(r.Context(), sessions, attested, token)
	if errors.Is(err, session.ErrFull) {
		return &broker.Error{Code: broker.CodeUnavailable, Message: "too many attested sessions", RetryAfter: 5 * time.Second, Err: err}
	}
	if err != nil {
		return err
	}
	setCookie(w, r, id)
	w.Header().Set("Vouchsafe-Decision", attested.Decision())
	return writeJSON(w, struct {
		Token string `json:"token"`
	}{token})
}

// begin begins an attested session. Where brokers share a store, the session's token is kept there under its id, by which another of them takes the
// workload back as it would by the token itself.
func (k *KBS) begin(ctx context.Context, sessions *session.Sessions[*broker.Attested], attested *broker.Attested, token string) (id string, err error) {
	if k.stored == nil {
		return sessions.New(attested, attested.Expires())
	}
	if sessions.Full() { // before anything is written
		return "", session.ErrFull
	}
	if id, err = k.stored.New(ctx, []byte(token), attested.Expires()); err != nil {
		return "", err
	}
	return id, sessions.Put(id, attested, attested.Expires())
}

// attestRequest reads a message into what the core judges.
func (k *KBS) attestRequest(r *http.Request, scope broker.Scope, body []byte) (*broker.AttestRequest, error) {
	a, err := parseAttestation(body)
	if err != nil {
		return nil, err
	}
	recipient, err := envelope.ParseRecipient(a.recipient, k.recipients)
	if err != nil {
		return nil, fail(http.StatusBadRequest, "JweError", "tee-pubkey: %v", err)
	}
	if !recipient.JWE() {
		return nil, fail(http.StatusBadRequest, "JweError", "tee-pubkey: keys of %s are for the native protocol; this one takes EC P-256, EC P-521 and RSA", recipient.Algorithm())
	}
	devices, err := attest.ParseAdditional(a.additional)
	if err != nil {
		return nil, malformed("additional_evidence is neither empty nor one JSON object with each tee once")
	}
	req := &broker.AttestRequest{
		Scope: scope, Nonce: a.nonce, Recipient: recipient, Additional: a.additional, Remote: intake.Remote(r),
		Evidence: attest.Evidence{Kind: scope.Kind, Primary: a.primary, Devices: devices},
	}
	if a.hasInit {
		if a.initFormat != "toml" {
			return nil, malformed("init-data has the format %q, not toml", clip(a.initFormat))
		}
		req.InitData = []byte(a.initBody)
	}
	return req, nil
}

func cookie(r *http.Request) string {
	c, err := r.Cookie(cookieName)
	if errors.Is(err, http.ErrNoCookie) {
		return ""
	}
	return c.Value
}

// setCookie gives a client its session id. It has no Path: its default is the folder of the request, Prefix, which is what clients expect.
func setCookie(w http.ResponseWriter, r *http.Request, id string) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: id, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
}

func writeJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // the peer may be gone
	return nil
}
