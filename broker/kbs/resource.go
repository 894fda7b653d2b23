package kbs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/broker/session"
)

// getResource releases a secret to whoever shows that it was attested. Clients ask first and attest when they get 401.
func (k *KBS) getResource(w http.ResponseWriter, r *http.Request) error {
	attested, err := k.attested(r)
	if err != nil {
		return err
	}
	name, err := resource(r)
	if err != nil {
		return err
	}
	released, err := k.broker.Release(r.Context(), attested, []broker.Want{{Secret: name}})
	if err != nil {
		return err
	}
	w.Header().Set("Vouchsafe-Decision", released.Decision)
	result := released.Results[0]
	switch result.Outcome {
	case broker.OutcomeReleased:
	case broker.OutcomeNotFound:
		return &broker.Error{Code: broker.CodeNotFound, Message: "there is no such resource", Decision: released.Decision}
	default:
		if result.Stale {
			// Clients attest again when they get 401, and only then.
			return &broker.Error{Code: broker.CodeSession, Message: "the attestation is too old for this resource: attest again", Decision: released.Decision}
		}
		return &broker.Error{Code: broker.CodeDenied, Message: "no policy allows this resource to this workload", Decision: released.Decision}
	}
	signature, err := k.sign(released, result)
	if err != nil {
		return err
	}
	w.Header().Set("Vouchsafe-Signature", signature)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(result.Envelope) // the peer may be gone
	return nil
}

// sign binds an answer's body to what was asked and by whom.
func (k *KBS) sign(released *broker.Release, result broker.Result) (string, error) {
	sum := sha256.Sum256(result.Envelope)
	answer := signedAnswer{
		Decision: released.Decision, Issued: released.Issued.Unix(), Secret: result.Secret, Version: result.Version, Policy: result.Policy,
		Nonce: released.Nonce, Recipient: released.Recipient, Body: "sha256:" + hex.EncodeToString(sum[:]),
	}
	payload, err := answer.encode()
	if err != nil {
		return "", err
	}
	return k.broker.Keys().SignCompact(keys.Reply, answerType, payload)
}

// attested returns who asks: by a token when there is one, else by the session cookie.
func (k *KBS) attested(r *http.Request) (*broker.Attested, error) {
	if token, ok, err := bearer(r); err != nil || ok {
		if err != nil {
			return nil, err
		}
		attested, err := k.bearer(r, token)
		if errors.Is(err, broker.ErrForeignToken) {
			return k.passport(r, token)
		}
		return attested, err
	}
	for _, sessions := range []*session.Sessions[*broker.Attested]{k.sessions, k.large} {
		if attested, ok := sessions.Get(cookie(r)); ok && attested.Namespace() == k.namespace {
			return attested, nil
		}
	}
	if k.stored != nil {
		token, ok, err := k.stored.Get(r.Context(), cookie(r), k.broker.SessionLifetime())
		if err != nil {
			return nil, err
		}
		if ok {
			return k.bearer(r, string(token))
		}
	}
	return nil, fail(http.StatusUnauthorized, "TokenNotFound", "no attestation token or attested session: attest first")
}

// bearer takes back a token that a broker over this store issued.
func (k *KBS) bearer(r *http.Request, token string) (*broker.Attested, error) {
	attested, err := k.broker.Bearer(token, intake.Remote(r), k.recipients)
	if err == nil && attested.Namespace() != k.namespace {
		return nil, fail(http.StatusUnauthorized, "TokenVerifierError", "the token was issued for another namespace: attest again")
	}
	return attested, err
}

// passport takes a token that another verifier issued, where such are configured.
func (k *KBS) passport(r *http.Request, token string) (*broker.Attested, error) {
	attested, err := k.broker.Passport(r.Context(), k.namespace, token, intake.Remote(r), k.recipients)
	if err != nil {
		return nil, err
	}
	if !attested.Recipient().JWE() {
		return nil, fail(http.StatusBadRequest, "JweError", "the token's key is of %s, which this protocol does not encrypt to", attested.Recipient().Algorithm())
	}
	return attested, nil
}

// bearer returns the token of the Authorization header. A second header, or one of another scheme, is an error: which of them counts
// would be a guess.
func bearer(r *http.Request) (token string, ok bool, err error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", false, nil
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxAuthorization {
		return "", false, fail(http.StatusUnauthorized, "TokenVerifierError", "the Authorization header is not one bearer token of at most %d bytes", maxAuthorization)
	}
	return strings.TrimSpace(token), true, nil
}

// setResource adds a version of a secret and makes it current, as a custodian's client expects of setting a resource.
func (k *KBS) setResource(w http.ResponseWriter, r *http.Request) error {
	who, name, err := k.administers(r)
	if err != nil {
		return err
	}
	value, release, err := k.intake.Read(r, broker.MaxSecret)
	defer release()
	defer clear(value)
	if err != nil {
		return err
	}
	_, err = k.broker.PutSecret(r.Context(), who, k.namespace, broker.PutSecret{Name: name, Value: value, Activate: true})
	return err
}

// deleteResource destroys every version of a secret.
func (k *KBS) deleteResource(w http.ResponseWriter, r *http.Request) error {
	who, name, err := k.administers(r)
	if err != nil {
		return err
	}
	_, err = k.broker.DestroyAll(r.Context(), who, k.namespace, name)
	return err
}

// administers returns who would change a resource, and which.
func (k *KBS) administers(r *http.Request) (who access.Caller, name string, err error) {
	if who, err = k.who(r); err != nil {
		return who, "", err
	}
	name, err = resource(r)
	return who, name, err
}

// administrator returns whose token a request has.
func (k *KBS) administrator(r *http.Request) (access.Caller, error) {
	token, ok, err := bearer(r)
	if err != nil || !ok {
		return access.Caller{}, fail(http.StatusUnauthorized, "AdminAuthAccess", "an administrator's token is needed, as a bearer token")
	}
	return k.broker.Authenticate(r.Context(), token, intake.Remote(r))
}
