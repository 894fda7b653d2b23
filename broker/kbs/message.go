package kbs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// acceptedVersions is said in the refusal of any other.
const acceptedVersions = "0.4.0 to 0.4.x"

var versionForm = regexp.MustCompile(`^0\.4\.(0|[1-9][0-9]{0,5})$`)

// authRequest is what this server reads of a Request message.
type authRequest struct {
	tee    string
	hashes []string // what the client says it supports; nil when it does not say
}

// attestation is what this server reads of an Attestation message.
type attestation struct {
	nonce      string
	recipient  json.RawMessage // the tee-pubkey
	primary    json.RawMessage
	additional string
	initFormat string
	initBody   string
	hasInit    bool
}

func malformed(format string, args ...any) error {
	return fail(http.StatusBadRequest, "SerdeError", format, args...)
}

// parseAuth reads a Request. Members that it does not know are passed over.
func parseAuth(body []byte) (*authRequest, error) {
	members, err := strictjson.Object(body)
	if err != nil {
		return nil, malformed("the request is not one JSON object: %v", err)
	}
	version, err := text(members, "version")
	if err != nil {
		return nil, err
	}
	if !versionForm.MatchString(version) {
		return nil, fail(http.StatusBadRequest, "ProtocolVersion",
			"protocol version %q is not spoken here, only %s: clients before 0.4.0 send another kind of attestation and must be upgraded", clip(version), acceptedVersions)
	}
	req := &authRequest{}
	if req.tee, err = text(members, "tee"); err != nil {
		return nil, err
	}
	extra := members["extra-params"]
	if len(extra) == 0 || extra[0] != '{' {
		return req, nil // any JSON value: only an object says something
	}
	params, err := strictjson.Object(extra)
	if err != nil {
		return nil, malformed("extra-params: %v", err)
	}
	if list, ok := params["supported-hash-algorithms"]; ok {
		if err := json.Unmarshal(list, &req.hashes); err != nil {
			return nil, malformed("extra-params.supported-hash-algorithms is not an array of names")
		}
	}
	return req, nil
}

// parseAttestation reads an Attestation. Members that it does not know are passed over.
func parseAttestation(body []byte) (*attestation, error) {
	members, err := strictjson.Object(body)
	if err != nil {
		return nil, malformed("the attestation is not one JSON object: %v", err)
	}
	a := &attestation{}
	runtime, err := object(members, "runtime-data")
	if err != nil {
		return nil, err
	}
	if a.nonce, err = text(runtime, "nonce"); err != nil {
		return nil, err
	}
	if a.recipient = runtime["tee-pubkey"]; len(a.recipient) == 0 {
		return nil, malformed("runtime-data has no tee-pubkey")
	}
	evidence, err := object(members, "tee-evidence")
	if err != nil {
		return nil, err
	}
	if a.primary = evidence["primary_evidence"]; len(a.primary) == 0 {
		return nil, malformed("tee-evidence has no primary_evidence: clients before protocol 0.4.0 must be upgraded")
	}
	if a.additional, err = text(evidence, "additional_evidence"); err != nil {
		return nil, err
	}
	init := members["init-data"]
	if len(init) == 0 || string(init) == "null" {
		return a, nil
	}
	document, err := object(members, "init-data")
	if err != nil {
		return nil, err
	}
	a.hasInit = true
	if a.initFormat, err = text(document, "format"); err != nil {
		return nil, err
	}
	a.initBody, err = text(document, "body")
	return a, err
}

// object returns the members of a member that must be an object.
func object(members map[string]json.RawMessage, name string) (map[string]json.RawMessage, error) {
	value, ok := members[name]
	if !ok {
		return nil, malformed("%s is missing", name)
	}
	inner, err := strictjson.Object(value)
	if err != nil {
		return nil, malformed("%s: %v", name, err)
	}
	return inner, nil
}

// text returns a member that must be a string.
func text(members map[string]json.RawMessage, name string) (string, error) {
	value, ok := members[name]
	if !ok {
		return "", malformed("%s is missing", name)
	}
	s, err := strictjson.String(value)
	if err != nil {
		return "", malformed("%s is not a string", name)
	}
	return s, nil
}

// challengeParams writes extra-params of a Challenge: "" means SHA-384.
func challengeParams(hash string) any {
	if hash == "sha384" {
		return ""
	}
	return map[string]string{"selected-hash-algorithm": hash}
}

// signedAnswer is the payload of Vouchsafe-Signature.
type signedAnswer struct {
	Decision  string `json:"decision"`
	Issued    int64  `json:"issued"` // seconds since 1970
	Secret    string `json:"secret"`
	Version   uint64 `json:"version"`
	Policy    string `json:"policy"` // digest over the policies that allowed it
	Nonce     string `json:"nonce"`
	Recipient string `json:"recipient"` // RFC 7638 thumbprint of the recipient key
	Body      string `json:"body"`      // "sha256:" and hex, of the body
}

// answerType is the "typ" of Vouchsafe-Signature.
const answerType = "vouchsafe-resource+json"

func (s *signedAnswer) encode() ([]byte, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("kbs: %w", err)
	}
	return b, nil
}
