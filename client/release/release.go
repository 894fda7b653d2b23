package release

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// Paths of the native API, below the server's URL.
const (
	ChallengePath = "/v1/challenges"
	ReleasePath   = "/v1/releases"
	KindsPath     = "/v1/kinds"
	KeysPath      = "/.well-known/jwks.json"
)

// Media type and typ of a signed reply.
const (
	ReplyMediaType = "application/jose+json"
	ReplyType      = "vouchsafe-release+json"
)

// Limits, in bytes unless said otherwise.
const (
	// MaxRequest bounds a Request: base64 of the most evidence there may be, and 256 KiB for the recipient key, the init-data
	// and the names of the secrets. Additional evidence comes out of the same allowance.
	MaxRequest = attest.MaxEvidenceSize/3*4 + 256<<10
	// MaxChallengeRequest bounds a ChallengeRequest, which has one short member.
	MaxChallengeRequest = 1 << 10
	// MaxSecrets is how many secrets one request may ask for: one workload's, not an estate's.
	MaxSecrets = 64
	// MaxReply bounds a signed reply: base64 of the 16 MiB that a broker signs.
	MaxReply = 16<<20/3*4 + 64<<10
	// MaxAnswer bounds every other answer: a challenge, an error, a key set.
	MaxAnswer = 64 << 10

	nonceSize = 32
)

// ErrMalformed says that a message is not of this format. The message says where, and holds nothing secret.
var ErrMalformed = errors.New("malformed message")

// ChallengeRequest asks for a challenge.
type ChallengeRequest struct {
	Kind attest.Kind `json:"kind"`
}

// Challenge is what evidence must be fresh against.
type Challenge struct {
	Nonce   string    `json:"nonce"` // standard base64 of 32 bytes
	Expires time.Time `json:"expires"`
	Hash    string    `json:"hash"` // of the binding: "sha256", "sha384" or "sha512"
}

// Request asks for secrets, with evidence of who asks.
type Request struct {
	Nonce      string          `json:"nonce"`
	Recipient  json.RawMessage `json:"recipient"` // a JWK: see package envelope
	Evidence   Evidence        `json:"evidence"`
	Additional string          `json:"additional_evidence,omitempty"` // JSON {"<kind>":<evidence>,…} as in the KBS protocol, as text
	InitData   string          `json:"init_data,omitempty"`           // the document's text
	Secrets    []Want          `json:"secrets"`
}

// Evidence is primary evidence.
type Evidence struct {
	Kind attest.Kind `json:"kind"`
	Data []byte      `json:"data"` // the kind's own bytes; standard base64 in JSON
}

// Want names a secret.
type Want struct {
	Name    string `json:"name"`
	Version uint64 `json:"version,omitempty"` // 0 for the current one
}

// Code is why something was refused, as coarse as a workload may know.
type Code string

// The codes of results and errors that clients act on. Others say that the request cannot be answered, and are shown.
const (
	CodeDenied      Code = "denied"           // a release policy does not allow it
	CodeNotFound    Code = "not_found"        // allowed, but there is no such secret or version
	CodeEvidence    Code = "evidence_refused" // the evidence is bad
	CodeNonce       Code = "nonce_invalid"    // the challenge has expired or was used: ask for another
	CodeOverloaded  Code = "overloaded"       // come back
	CodeUnavailable Code = "unavailable"      // come back
)

// Reply is the signed answer.
type Reply struct {
	Decision  string    `json:"decision"`
	Issued    time.Time `json:"issued"`
	Nonce     string    `json:"nonce"`
	Recipient string    `json:"recipient"` // thumbprint of the recipient key
	Evidence  string    `json:"evidence"`  // "sha256:" and hex: of the primary evidence where there was no other
	Results   []Result  `json:"results"`
	Receipt   string    `json:"receipt"` // c2sp.org/tlog-proof of the decision's entry in the audit log
}

// Result is what became of one secret: it has an envelope, with what goes with it, or a code.
type Result struct {
	Secret      string          `json:"secret"`
	Version     uint64          `json:"version,omitempty"`
	Policy      string          `json:"policy,omitempty"` // digest over the policies that allowed it
	ContentType string          `json:"content_type,omitempty"`
	Lease       *Lease          `json:"lease,omitempty"`
	Envelope    json.RawMessage `json:"envelope,omitempty"`
	Code        Code            `json:"code,omitempty"`
}

// Lease says until when the broker takes the secret to be held.
type Lease struct {
	ID      string    `json:"id"`
	Expires time.Time `json:"expires"`
}

// Error is an answer that is not a reply.
type Error struct {
	Code       Code   `json:"code"`
	Message    string `json:"message"`
	Decision   string `json:"decision,omitempty"`    // id of the recorded decision, for the operator
	RetryAfter int    `json:"retry_after,omitempty"` // seconds, as the header Retry-After says
}

// DecodeChallengeRequest reads a ChallengeRequest. Errors wrap [ErrMalformed].
func DecodeChallengeRequest(body []byte) (*ChallengeRequest, error) {
	r := new(ChallengeRequest)
	if err := decode(body, MaxChallengeRequest, strictjson.Unmarshal, r); err != nil {
		return nil, err
	}
	if r.Kind == "" {
		return nil, malformed("kind is missing")
	}
	return r, nil
}

// DecodeRequest reads a Request and checks its form; what its parts mean is for the broker. Errors wrap [ErrMalformed].
func DecodeRequest(body []byte) (*Request, error) {
	r := new(Request)
	if err := decode(body, MaxRequest, strictjson.Unmarshal, r); err != nil {
		return nil, err
	}
	switch {
	case !isNonce(r.Nonce):
		return nil, malformed("nonce is not standard base64 of %d bytes", nonceSize)
	case len(r.Recipient) == 0 || r.Recipient[0] != '{':
		return nil, malformed("recipient is not a JWK")
	case r.Evidence.Kind == "" || len(r.Evidence.Data) == 0:
		return nil, malformed("evidence has no kind or no data")
	case len(r.Secrets) == 0 || len(r.Secrets) > MaxSecrets:
		return nil, malformed("%d secrets are asked for, not 1 to %d", len(r.Secrets), MaxSecrets)
	}
	for i, want := range r.Secrets {
		if want.Name == "" {
			return nil, malformed("secret %d has no name", i)
		}
	}
	return r, nil
}

// DecodeChallenge reads a Challenge. Errors wrap [ErrMalformed].
func DecodeChallenge(body []byte) (*Challenge, error) {
	c := new(Challenge)
	if err := decode(body, MaxAnswer, strictjson.UnmarshalNewer, c); err != nil {
		return nil, err
	}
	if !isNonce(c.Nonce) {
		return nil, malformed("nonce is not standard base64 of %d bytes", nonceSize)
	}
	if _, err := hashOf(c.Hash); err != nil {
		return nil, err
	}
	return c, nil
}

// DecodeKinds reads the kinds of evidence that a broker says it verifies: {"kinds":[…]}. Errors wrap [ErrMalformed].
func DecodeKinds(body []byte) ([]attest.Kind, error) {
	var k struct {
		Kinds []attest.Kind `json:"kinds"`
	}
	if err := decode(body, MaxAnswer, strictjson.UnmarshalNewer, &k); err != nil {
		return nil, err
	}
	if len(k.Kinds) == 0 {
		return nil, malformed("kinds is missing or empty")
	}
	return k.Kinds, nil
}

// DecodeReply reads a Reply, which [Keys.Open] must have taken out of its signature. Errors wrap [ErrMalformed].
func DecodeReply(payload []byte) (*Reply, error) {
	r := new(Reply)
	if err := decode(payload, MaxReply, strictjson.UnmarshalNewer, r); err != nil {
		return nil, err
	}
	for _, result := range r.Results {
		if (len(result.Envelope) > 0) == (result.Code != "") {
			return nil, malformed("the result of %.100q has both an envelope and a code, or neither", result.Secret)
		}
	}
	return r, nil
}

// DecodeError reads an Error. Errors wrap [ErrMalformed].
func DecodeError(body []byte) (*Error, error) {
	e := new(Error)
	if err := decode(body, MaxAnswer, strictjson.UnmarshalNewer, e); err != nil {
		return nil, err
	}
	if e.Code == "" {
		return nil, malformed("code is missing")
	}
	return e, nil
}

// Binding returns the digest that primary evidence must carry for the request: H(JCS({"additional-evidence":S,"nonce":N,"tee-pubkey":K}))
// with the challenge's hash, as in the KBS protocol. recipient is the parsed key of the request.
func (r *Request) Binding(hash string, recipient *envelope.Recipient) ([]byte, error) {
	runtime, err := r.RuntimeData(hash, recipient)
	if err != nil {
		return nil, err
	}
	return runtime.Primary()
}

// RuntimeData returns what the evidence of the request is bound to, of the primary and of devices, with the challenge's hash.
func (r *Request) RuntimeData(hash string, recipient *envelope.Recipient) (attest.RuntimeData, error) {
	h, err := hashOf(hash)
	if err != nil {
		return attest.RuntimeData{}, err
	}
	return attest.RuntimeData{Hash: h, Nonce: r.Nonce, Recipient: recipient.Canonical(), Additional: r.Additional}, nil
}

// EvidenceDigest returns the digest that a reply to the request must name, "sha256:" and hex: that of the primary evidence where there is
// no other, and else that of the digests of all parts, in the order presented. Its errors wrap [ErrMalformed].
func (r *Request) EvidenceDigest() (string, error) {
	devices, err := attest.ParseAdditional(r.Additional)
	if err != nil {
		return "", malformed("%w", err)
	}
	sum := sha256.Sum256(r.Evidence.Data)
	if len(devices) > 0 {
		sums := sum[:]
		for _, d := range devices {
			part := sha256.Sum256(d.Data)
			sums = append(sums, part[:]...)
		}
		sum = sha256.Sum256(sums)
	}
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// ErrNotOurs says that a reply, well signed, answers another request than the one it is held against.
var ErrNotOurs = errors.New("the reply answers another request")

// Check holds a reply against the request it must answer and the key that the request named. evidence is the digest that the reply must
// name ([Request.EvidenceDigest]); "" for whoever does not hold the evidence any more. Errors wrap [ErrNotOurs].
func (r *Reply) Check(request *Request, recipient *envelope.Recipient, evidence string) error {
	switch {
	case r.Nonce != request.Nonce:
		return fmt.Errorf("%w: its nonce is not the challenge's", ErrNotOurs)
	case r.Recipient != recipient.Thumbprint():
		return fmt.Errorf("%w: it is for the key %.64q", ErrNotOurs, r.Recipient)
	case evidence != "" && r.Evidence != evidence:
		return fmt.Errorf("%w: it is about the evidence %.80q", ErrNotOurs, r.Evidence)
	case len(r.Results) != len(request.Secrets):
		return fmt.Errorf("%w: %d results to %d secrets", ErrNotOurs, len(r.Results), len(request.Secrets))
	}
	for i, want := range request.Secrets {
		result := &r.Results[i]
		if result.Secret != want.Name {
			return fmt.Errorf("%w: result %d is of %.100q, asked for was %q", ErrNotOurs, i, result.Secret, want.Name)
		}
		if result.Code == "" && (result.Version == 0 || want.Version != 0 && result.Version != want.Version) {
			return fmt.Errorf("%w: version %d of %q, asked for was %d", ErrNotOurs, result.Version, want.Name, want.Version)
		}
	}
	return nil
}

// Context returns what the envelope of a result is bound to.
func (r *Reply) Context(result *Result) envelope.Context {
	return envelope.Context{
		Secret: result.Secret, Version: result.Version, PolicyDigest: result.Policy, Nonce: r.Nonce, Decision: r.Decision,
	}
}

func decode(body []byte, most int, unmarshal func([]byte, any) error, v any) error {
	if len(body) > most {
		return malformed("%d bytes, at most %d are read", len(body), most)
	}
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return malformed("not a JSON object") // null would decode into nothing
	}
	if err := unmarshal(body, v); err != nil {
		return malformed("%w", err)
	}
	return nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrMalformed, fmt.Errorf(format, args...))
}

func isNonce(text string) bool {
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	return err == nil && len(b) == nonceSize && len(text) == base64.StdEncoding.EncodedLen(nonceSize)
}

func hashOf(name string) (crypto.Hash, error) {
	switch name {
	case "sha256":
		return crypto.SHA256, nil
	case "sha384":
		return crypto.SHA384, nil
	case "sha512":
		return crypto.SHA512, nil
	default:
		return 0, malformed("hash %.32q is not one of sha256, sha384, sha512", name)
	}
}
