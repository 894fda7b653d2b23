package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/internal/dial"
)

// Collector makes evidence of one kind on the machine it runs on.
type Collector interface {
	Kind() attest.Kind
	// Evidence returns evidence that carries digest, of 32 to 64 bytes, in the way that the kind has it. That of a kind which can accompany
	// other evidence is a JSON value. An error is final.
	Evidence(ctx context.Context, digest []byte) ([]byte, error)
}

// Config says where the broker is, whom to believe, and who asks. URL and Collector are needed.
type Config struct {
	URL       string    // of the broker: https, or http where Keys are given
	Collector Collector // what makes the evidence of the machine itself

	// Devices make evidence of what is in the machine beside its processor, such as GPUs or a TPM. It goes with the machine's, which covers
	// it, so that none can be taken away or exchanged on the way. At most one Collector of a kind, which presents all devices of that
	// kind. A device that fails fails the fetch: what a policy asks for is not left out silently.
	Devices []Collector

	CA   []byte       // PEM certificates that the broker's chains to; the system's when empty
	HTTP *http.Client // instead of CA, for callers with a transport of their own. Redirects are never followed.
	Keys []byte       // JWKS of the keys that sign replies; fetched from the broker when empty

	KeyType  envelope.KeyType // of the recipient key; XWing when empty
	InitData string           // the init-data document the guest was launched with, or ""
	Retry    Retry
	Timeout  time.Duration // for one HTTP request; 30 seconds when 0

	Sleep   func(context.Context, time.Duration) error // waits between attempts; by the wall clock when nil
	Jitter  func() float64                             // in [0, 1), spreads the waits; random when nil
	OnRetry func(wait time.Duration, cause error)      // told before each wait; may be nil
}

// Retry says how often and how far apart a fetch is tried.
type Retry struct {
	Max  int           // attempts in all; 10 when 0: some two minutes with the others' defaults
	Base time.Duration // the first wait, doubled each time; 500 ms when 0
	Cap  time.Duration // the longest wait of the client's own choice; 30 s when 0
}

// maxRetryAfter bounds how long a broker, or whoever sits before it, can make a client wait.
const maxRetryAfter = 5 * time.Minute

// Client fetches secrets from one broker. It is safe for concurrent use if its Collector and Devices are.
type Client struct {
	c    Config
	base string
	http *http.Client

	mu   sync.Mutex
	keys *release.Keys // nil until fetched, where none were given
}

// Secret is a secret that was released. Printing it shows its name and version only.
type Secret struct {
	Name        string
	Version     uint64
	Value       []byte `json:"-"`
	ContentType string
	Policy      string // digest over the policies that allowed it
	Decision    string // id of the decision that released it
	Lease       *release.Lease
	Receipt     string // c2sp.org/tlog-proof of the decision's entry in the audit log, not verified
}

// Format writes the name and version, whatever the verb: a value must not get into a log by accident.
func (s Secret) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "secret %s version %d", s.Name, s.Version)
}

// New checks the configuration as a whole. It does not connect.
func New(c Config) (*Client, error) {
	client, err := reach(c)
	switch {
	case err != nil:
		return nil, err
	case strings.HasPrefix(client.base, "http:") && len(c.Keys) == 0:
		return nil, fmt.Errorf("client: over http anyone could answer for %s: give Keys, or use https", client.base)
	case c.Retry.Max < 0 || c.Retry.Base < 0 || c.Retry.Cap < 0:
		return nil, errors.New("client: a negative Retry")
	}
	if err := checkCollectors(c.Collector, c.Devices); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	client.c.Devices = slices.Clone(c.Devices)
	orDefault(&client.c.KeyType, envelope.XWing)
	orDefault(&client.c.Retry.Max, 10)
	orDefault(&client.c.Retry.Base, 500*time.Millisecond)
	orDefault(&client.c.Retry.Cap, 30*time.Second)
	if c.Sleep == nil {
		client.c.Sleep = sleep
	}
	if c.Jitter == nil {
		client.c.Jitter = rand.Float64
	}
	if c.OnRetry == nil {
		client.c.OnRetry = func(time.Duration, error) {}
	}
	if len(c.Keys) > 0 {
		if client.keys, err = release.ParseKeys(c.Keys); err != nil {
			return nil, fmt.Errorf("client: Keys: %w", err)
		}
	}
	return client, nil
}

// reach returns a Client that can make single requests.
func reach(c Config) (*Client, error) {
	u, err := dial.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if c.Timeout < 0 {
		return nil, errors.New("client: a negative Timeout")
	}
	client := &Client{c: c, base: dial.Base(u)}
	orDefault(&client.c.Timeout, 30*time.Second)
	if client.http, err = dial.New(dial.Config{CA: c.CA, HTTP: c.HTTP}); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return client, nil
}

// Kinds asks a broker once which kinds of evidence it verifies. Of the configuration URL, CA, HTTP and Timeout count. Errors are those of
// [Client.Fetch]; the answer is not signed, and good to tell people, not to rely on.
func Kinds(ctx context.Context, c Config) ([]attest.Kind, error) {
	client, err := reach(c)
	if err != nil {
		return nil, err
	}
	body, err := client.do(ctx, http.MethodGet, release.KindsPath, nil, release.MaxAnswer)
	if err != nil {
		return nil, err
	}
	kinds, err := release.DecodeKinds(body)
	if err != nil {
		return nil, notBelieved("kinds: %w", err)
	}
	return kinds, nil
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Fetch fetches the current version of each named secret, in the order given. Errors are a [*Refused], or wrap [ErrUnavailable] when the
// attempts are used up, [ErrReply] when an answer is not to be believed, or the context's or the Collector's error.
func (c *Client) Fetch(ctx context.Context, names ...string) ([]Secret, error) {
	wants := make([]release.Want, len(names))
	for i, name := range names {
		wants[i].Name = name
	}
	return c.FetchVersions(ctx, wants...)
}

// FetchVersions is Fetch for given versions.
func (c *Client) FetchVersions(ctx context.Context, wants ...release.Want) ([]Secret, error) {
	if len(wants) == 0 || len(wants) > release.MaxSecrets {
		return nil, fmt.Errorf("client: %d secrets are asked for, not 1 to %d", len(wants), release.MaxSecrets)
	}
	seen := map[release.Want]bool{}
	for _, want := range wants {
		if want.Name == "" || seen[want] {
			return nil, fmt.Errorf("client: the secret %q is asked for twice, or has no name", want.Name)
		}
		seen[want] = true
	}
	key, err := envelope.GenerateKey(c.c.KeyType)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	var secrets []Secret
	err = c.retry(ctx, func() (err error) {
		secrets, err = c.attempt(ctx, key, wants)
		return err
	})
	return secrets, err
}

// attempt is one exchange, from challenge to secrets.
func (c *Client) attempt(ctx context.Context, key *envelope.PrivateKey, wants []release.Want) ([]Secret, error) {
	kind := c.c.Collector.Kind()
	body, err := c.post(ctx, release.ChallengePath, release.ChallengeRequest{Kind: kind}, release.MaxAnswer)
	if err != nil {
		return nil, err
	}
	challenge, err := release.DecodeChallenge(body)
	if err != nil {
		return nil, notBelieved("challenge: %w", err)
	}
	request := &release.Request{Nonce: challenge.Nonce, Recipient: key.PublicJWK(), InitData: c.c.InitData, Secrets: wants}
	runtime, err := request.RuntimeData(challenge.Hash, key.Recipient())
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	evidence, err := Collect(ctx, c.c.Collector, c.c.Devices, runtime)
	if err != nil {
		return nil, err
	}
	request.Evidence, request.Additional = release.Evidence{Kind: kind, Data: evidence.Primary}, evidence.Additional
	signed, err := c.post(ctx, release.ReleasePath, request, release.MaxReply)
	if err != nil {
		return nil, err
	}
	reply, err := c.believe(ctx, signed)
	if err != nil {
		return nil, err
	}
	presented, err := request.EvidenceDigest()
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if err := reply.Check(request, key.Recipient(), presented); err != nil {
		return nil, notBelieved("%w", err)
	}
	return open(reply, key)
}

// believe verifies the signature of a reply. Where the keys were fetched, a key that is not among them has them fetched
// again, once: the broker rotates its keys.
func (c *Client) believe(ctx context.Context, signed []byte) (*release.Reply, error) {
	keys, err := c.signingKeys(ctx, nil)
	if err != nil {
		return nil, err
	}
	payload, err := keys.Open(signed)
	if errors.Is(err, release.ErrUnknownKey) && len(c.c.Keys) == 0 {
		if keys, err = c.signingKeys(ctx, keys); err != nil {
			return nil, err
		}
		payload, err = keys.Open(signed)
	}
	if err != nil {
		return nil, notBelieved("%w", err)
	}
	reply, err := release.DecodeReply(payload)
	if err != nil {
		return nil, notBelieved("%w", err)
	}
	return reply, nil
}

// signingKeys returns the keys to verify replies with, fetching them when there are none, or none but stale.
func (c *Client) signingKeys(ctx context.Context, stale *release.Keys) (*release.Keys, error) {
	c.mu.Lock()
	keys := c.keys
	c.mu.Unlock()
	if keys != nil && keys != stale {
		return keys, nil
	}
	body, err := c.do(ctx, http.MethodGet, release.KeysPath, nil, release.MaxAnswer)
	if err != nil {
		return nil, err
	}
	if keys, err = release.ParseKeys(body); err != nil {
		return nil, notBelieved("%w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = keys
	return keys, nil
}

// open decrypts every result, or returns a *Refused that names those that were not released.
func open(reply *release.Reply, key *envelope.PrivateKey) ([]Secret, error) {
	refused := &Refused{Decision: reply.Decision}
	for _, result := range reply.Results {
		if result.Code != "" {
			refused.Secrets = append(refused.Secrets, RefusedSecret{Name: result.Secret, Code: result.Code})
		}
	}
	if len(refused.Secrets) > 0 {
		refused.Code = refused.Secrets[0].Code
		return nil, refused
	}
	secrets := make([]Secret, len(reply.Results))
	for i := range reply.Results {
		result := &reply.Results[i]
		value, err := key.Open(result.Envelope, reply.Context(result))
		if err != nil {
			return nil, notBelieved("secret %q: %w", result.Secret, err)
		}
		secrets[i] = Secret{
			Name: result.Secret, Version: result.Version, Value: value, ContentType: result.ContentType, Policy: result.Policy,
			Decision: reply.Decision, Lease: result.Lease, Receipt: reply.Receipt,
		}
	}
	return secrets, nil
}

func (c *Client) post(ctx context.Context, path string, message any, most int) ([]byte, error) {
	body, err := json.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return c.do(ctx, http.MethodPost, path, body, most)
}
