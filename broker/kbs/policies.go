package kbs

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/policy/rego"
)

const (
	// maxPolicy bounds a request with a policy in base64, in bytes.
	maxPolicy = 2*rego.MaxSource + 4<<10
	// maxReferences bounds a message of reference values, in bytes.
	maxReferences = 2 << 20
)

// who returns the administrator who asks: by a token of the broker's, or by a JWT of a configured key.
func (k *KBS) who(r *http.Request) (access.Caller, error) {
	token, ok, err := bearer(r)
	if err == nil && ok && len(k.adminKeys) > 0 && isJWT(token) && (r.TLS == nil || len(r.TLS.PeerCertificates) == 0) { // two credentials are refused below
		who, err := k.adminOf(token)
		if err == nil {
			who.Remote = intake.Remote(r)
			return who, nil
		}
		// It may be one of an issuer that the broker trusts.
		k.logger.DebugContext(r.Context(), "an administrator's token was not signed by a configured key, or is not good now", "remote", intake.Remote(r), "cause", err)
	}
	return k.authenticate(r)
}

// policyMessage is the body of a request that sets a policy. Unknown members are passed over, as everywhere in the protocol.
type policyMessage struct {
	Type     string `json:"type"`
	PolicyID string `json:"policy_id"`
	Policy   string `json:"policy"` // base64url without padding
}

// readPolicy reads who sets a policy, and the message.
func (k *KBS) readPolicy(r *http.Request) (who access.Caller, m policyMessage, source []byte, err error) {
	if who, err = k.who(r); err != nil {
		return who, m, nil, err
	}
	body, release, err := k.intake.Read(r, maxPolicy)
	defer release()
	if err != nil {
		return who, m, nil, err
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return who, m, nil, malformed("the body is not a JSON object with a policy")
	}
	source, err = base64.RawURLEncoding.Strict().DecodeString(m.Policy)
	if err != nil || m.Policy == "" {
		return who, m, nil, malformed("policy is not base64url without padding")
	}
	return who, m, source, nil
}

// setResourcePolicy has a Rego resource policy judge from now on.
func (k *KBS) setResourcePolicy(_ http.ResponseWriter, r *http.Request) error {
	who, _, source, err := k.readPolicy(r)
	if err != nil {
		return err
	}
	_, err = k.broker.PutRego(r.Context(), who, k.namespace, broker.RegoResource, broker.RegoResourceID, source, false)
	return err
}

// listResourcePolicies answers with the ids of the resource policies that judge: one or none.
func (k *KBS) listResourcePolicies(w http.ResponseWriter, r *http.Request) error {
	who, err := k.who(r)
	if err != nil {
		return err
	}
	all, err := k.broker.RegoPolicies(r.Context(), who, k.namespace)
	if err != nil {
		return err
	}
	ids := []string{}
	for _, p := range all {
		if p.Kind == broker.RegoResource && p.Active != 0 {
			ids = append(ids, p.ID)
		}
	}
	return writeJSON(w, ids)
}

// setAttestationPolicy has a Rego attestation policy make the vectors of parts of its class from now on.
func (k *KBS) setAttestationPolicy(_ http.ResponseWriter, r *http.Request) error {
	who, m, source, err := k.readPolicy(r)
	if err != nil {
		return err
	}
	if m.Type != "rego" {
		return malformed("the policy is of type %q, not rego", clip(m.Type))
	}
	_, err = k.broker.PutRego(r.Context(), who, k.namespace, broker.RegoAttestation, m.PolicyID, source, false)
	return err
}

// getReference answers with the reference value of an id: null where there is none, as policies see it.
func (k *KBS) getReference(w http.ResponseWriter, r *http.Request) error {
	who, err := k.who(r)
	if err != nil {
		return err
	}
	values, err := k.broker.RegoReferences(r.Context(), who, k.namespace)
	if err != nil {
		return err
	}
	v, ok := values[r.PathValue("id")]
	if !ok || !v.Expires.IsZero() && !k.now().Before(v.Expires) {
		return writeJSON(w, nil)
	}
	return writeJSON(w, v.Value)
}

// setReferences sets the reference values of a message.
func (k *KBS) setReferences(_ http.ResponseWriter, r *http.Request) error {
	who, err := k.who(r)
	if err != nil {
		return err
	}
	body, release, err := k.intake.Read(r, maxReferences)
	defer release()
	if err != nil {
		return err
	}
	values, err := parseReferences(body)
	if err != nil {
		return err
	}
	return k.broker.PutRegoReferences(r.Context(), who, k.namespace, values)
}

// parseReferences reads a message of reference values: {"version":"0.1.0","type":"sample","payload":base64 of an object}.
func parseReferences(body []byte) (map[string]broker.RegoReference, error) {
	var m struct {
		Version string `json:"version"`
		Type    string `json:"type"`
		Payload string `json:"payload"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, malformed("the body is not a JSON object with version, type and payload")
	}
	if m.Version != "0.1.0" || m.Type != "sample" {
		return nil, malformed("a message of version %q and type %q is not known: 0.1.0 and sample are", clip(m.Version), clip(m.Type))
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(m.Payload)
	if err != nil {
		return nil, malformed("payload is not base64")
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(payload, &raw); err != nil || !bytes.HasPrefix(bytes.TrimLeft(payload, " \t\r\n"), []byte("{")) {
		return nil, malformed("payload is not a JSON object of reference values by name")
	}
	values := make(map[string]broker.RegoReference, len(raw))
	for id, v := range raw {
		values[id] = broker.RegoReference{Value: v}
	}
	return values, nil
}
