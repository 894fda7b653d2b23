package vaultplugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/store"
)

// Seconds is a duration whose JSON is a number of seconds.
type Seconds time.Duration

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, int64(time.Duration(s)/time.Second), 10), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || n < 0 || n > int64(10*365*24*time.Hour/time.Second) {
		return errors.New("a duration is a number of seconds from 0 to ten years")
	}
	*s = Seconds(time.Duration(n) * time.Second)
	return nil
}

// Config is the configuration of a mount. There is nothing secret in it.
type Config struct {
	Purpose   store.Purpose `json:"purpose" doc:"production or development: what the mount is for, said by its first configuration (production when absent) and never changed"`
	Issuer    string        `json:"issuer" doc:"URL of the mount by which workloads reach it, such as https://vault.example:8200/v1/vouchsafe; tokens and logins are bound to it"`
	LogOrigin string        `json:"log_origin" doc:"name of the audit log in its checkpoints, said by the first configuration and never changed; the issuer without https:// when absent"`
	Kinds     []attest.Kind `json:"kinds" doc:"kinds of evidence that are verified, such as snp, tdx and tpm"`

	ChallengeLifetime Seconds `json:"challenge_lifetime" doc:"how long a nonce is good for; 5 minutes when 0"`
	RefusalsPerSecond int     `json:"refusals_per_second" doc:"refused evidence that is recorded in a second, and denied requests too; 100 when 0"`
	MaxSecrets        int     `json:"max_secrets" doc:"secrets in one release; 64 when 0"`

	SNPMinimumTCB map[string]TCB `json:"snp_minimum_tcb" doc:"least TCB of AMD processors by product: {\"Milan\":{\"snp\":23,\"microcode\":213}}"`

	TPMMakerRoots      string `json:"tpm_maker_roots" doc:"PEM of the TPM makers' roots by which hosts are enrolled, and of the authorities below them"`
	TPMGoogleAK        bool   `json:"tpm_google_ak" doc:"believe attestation keys that Google certified"`
	TPMRevocationLists string `json:"tpm_revocation_lists" doc:"PEM of revocation lists of TPM makers"`

	CCATrustAnchors    string `json:"cca_trust_anchors" doc:"CCA platforms' keys that count, as the setting cca.trust_anchors of a server has them"`
	CCAReferenceValues string `json:"cca_reference_values" doc:"what is good of CCA platforms, as the setting cca.reference_values of a server has it"`

	TokenVerifiers []TokenVerifier `json:"token_verifiers" doc:"other verifiers whose attestation results count"`

	NVIDIAAllowUnmeasured bool `json:"nvidia_allow_unmeasured" doc:"accept NVIDIA devices of whose measurements the vendor published none"`

	CollateralFetch        []string `json:"collateral_fetch" doc:"vendors whose collateral is fetched by the active node: amd, intel, nvidia, jwks; nobody is asked when absent"`
	CollateralDir          string   `json:"collateral_dir" doc:"folder of collateral on Vault's machines, as vouchsafe collateral keeps it: the one that the plugin was registered with, or one below it; in memory and in the mount's storage when absent"`
	CollateralGrace        Seconds  `json:"collateral_grace" doc:"how long collateral counts after its end while none newer can be had; 0: not at all"`
	CollateralRequireLists bool     `json:"collateral_require_lists" doc:"refuse AMD's chips where no revocation list is at hand"`

	DevelopmentRoot string `json:"development_root" doc:"PEM of the root of virtual TEEs, for development mounts"`
}

// TCB is a least TCB of a product of AMD's.
type TCB struct {
	FMC        uint8 `json:"fmc"`
	Bootloader uint8 `json:"bootloader"`
	TEE        uint8 `json:"tee"`
	SNP        uint8 `json:"snp"`
	Microcode  uint8 `json:"microcode"`
}

// TokenVerifier is another verifier whose attestation results count.
type TokenVerifier struct {
	Name      string          `json:"name"`
	Format    string          `json:"format"`
	Issuer    string          `json:"issuer"`
	Audiences []string        `json:"audiences"`
	Keys      json.RawMessage `json:"keys"`      // a JWK Set
	Roots     string          `json:"roots"`     // PEM
	JWKSURL   string          `json:"jwks_url"`  // or where the keys are fetched
	Discovery bool            `json:"discovery"` // or from the issuer's own document
	JWKSHosts []string        `json:"jwks_hosts"`
	MaxAge    Seconds         `json:"max_age"`
}

// maxConfig bounds a configuration, in bytes: it is one entry of Vault's storage.
const maxConfig = 256 << 10

// parseConfig reads a stored configuration.
func parseConfig(text []byte) (Config, error) {
	var c Config
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields() // a later version's setting must not be passed over by an older one
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("%w: the configuration: %w", store.ErrCorrupt, err)
	}
	return c, nil
}

// with returns the configuration changed by members of a JSON object: what they do not name stays.
func (c Config) with(members []byte) (Config, error) {
	d := json.NewDecoder(bytes.NewReader(members))
	d.DisallowUnknownFields()
	changed := c
	// What the decoder would add to, it is to replace.
	var named map[string]json.RawMessage
	if err := json.Unmarshal(members, &named); err != nil {
		return c, err
	}
	if named["snp_minimum_tcb"] != nil {
		changed.SNPMinimumTCB = nil
	}
	if named["token_verifiers"] != nil {
		changed.TokenVerifiers = nil
	}
	if named["kinds"] != nil {
		changed.Kinds = nil
	}
	if named["collateral_fetch"] != nil {
		changed.CollateralFetch = nil
	}
	if err := d.Decode(&changed); err != nil {
		return c, err
	}
	return changed, nil
}

// complete fills in the defaults and checks what needs no verifier to be made.
func (c *Config) complete() error {
	if c.Purpose == "" {
		c.Purpose = store.Production
	}
	if c.Purpose != store.Production && c.Purpose != store.Development {
		return fmt.Errorf("purpose is %.40q, not production or development", c.Purpose)
	}
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("issuer is the URL of this mount, such as https://vault.example:8200/v1/vouchsafe")
	}
	if u.Scheme == "http" && c.Purpose == store.Production {
		return errors.New("issuer is not https, which only a development mount may be")
	}
	c.Issuer = strings.TrimSuffix(c.Issuer, "/")
	if c.LogOrigin == "" {
		c.LogOrigin = c.Issuer[strings.Index(c.Issuer, "://")+3:]
	}
	if len(c.Kinds) == 0 {
		return errors.New("kinds names no kind of evidence, so that none could be accepted")
	}
	for i, k := range c.Kinds {
		switch {
		case !slices.Contains(attest.Kinds(), k):
			return fmt.Errorf("there is no kind of evidence %.40q: there are %v", k, attest.Kinds())
		case slices.Contains(c.Kinds[:i], k):
			return fmt.Errorf("kinds names %s twice", k)
		case k.Development() && c.Purpose != store.Development:
			return fmt.Errorf("%s evidence proves nothing about hardware: only a mount whose first configuration said purpose=development takes it", k)
		}
	}
	if c.DevelopmentRoot != "" && c.Purpose != store.Development {
		return errors.New("development_root is for development mounts")
	}
	if c.ChallengeLifetime > Seconds(time.Hour) {
		return errors.New("challenge_lifetime is over an hour, for which no evidence is fresh")
	}
	if c.RefusalsPerSecond < 0 || c.MaxSecrets < 0 || c.RefusalsPerSecond > 100_000 || c.MaxSecrets > 64 {
		return errors.New("refusals_per_second is from 0 to 100000, and max_secrets from 0 to 64")
	}
	return nil
}

// limits are those of the core.
func (c *Config) limits() broker.Limits {
	return broker.Limits{ChallengeLifetime: time.Duration(c.ChallengeLifetime), RefusalsPerSecond: c.RefusalsPerSecond, Secrets: c.MaxSecrets}
}

// errFixed says that something cannot be changed any more.
var errFixed = errors.New("purpose and log_origin are said by the first configuration of a mount and do not change: mount another one")

// keeps reports whether a changed configuration keeps what cannot change.
func (c *Config) keeps(changed *Config) error {
	if c.Purpose != changed.Purpose || c.LogOrigin != changed.LogOrigin {
		return errFixed
	}
	return nil
}
