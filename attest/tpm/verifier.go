package tpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/eventlog"
	"github.com/vouchsafe/vouchsafe/attest/internal/hextext"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
)

// bindingBytes of the binding's digest go into a quote's extraData: SHA-256's length is what every TPM accepts.
const bindingBytes = 32

// initDataPCR is extended with the init-data digest.
const initDataPCR = 8

// Config says which attestation keys count. One with neither Enrolments nor AKRoots trusts no key and is refused by [New].
type Config struct {
	Enrolments Enrolments // keys enrolled by credential activation; nil: none

	// AKRoots are roots of authorities that certify attestation keys, such as [GoogleAKRoots]; empty: no certificate counts. A certificate
	// must name an instance in the way Google's do.
	AKRoots         []*x509.Certificate
	AKIntermediates []*x509.Certificate    // used besides those presented, such as [GoogleAKIntermediates]
	RevocationLists []*x509.RevocationList // of AKRoots and the authorities below; each counts when its issuer signed it
}

// Verifier verifies evidence of kind "tpm". The package documentation says what it checks.
type Verifier struct {
	enrolments Enrolments
	anchors    *anchors
	records    *verified.CacheBy[string, record] // by SPKIDigest
}

// record is of an enrolment that was checked: all that was looked at, and the key.
type record struct {
	name   string // as AKName
	public string // as AKPublic
	key    crypto.PublicKey
}

// maxRecords is how many checked records are remembered: a large fleet's, some 2 KiB each.
const maxRecords = 4096

// New returns a Verifier.
func New(config Config) (*Verifier, error) {
	if config.Enrolments == nil && len(config.AKRoots) == 0 {
		return nil, errors.New("tpm: neither enrolments nor roots of AK certificates are configured: no key would be trusted")
	}
	return &Verifier{
		enrolments: config.Enrolments,
		anchors:    newAnchors(config.AKRoots, config.AKIntermediates, config.RevocationLists),
		records:    verified.NewCacheBy[string, record](maxRecords),
	}, nil
}

// Kind returns [attest.TPM].
func (v *Verifier) Kind() attest.Kind { return attest.TPM }

// Verify implements [attest.Verifier]. What costs little is checked first; the store of enrolments is asked only about a quote
// that is fresh and consistent.
func (v *Verifier) Verify(ctx context.Context, in attest.Input) (*attest.Claims, error) {
	evidence, err := ParseEvidence(in.Evidence)
	if err != nil {
		return nil, err
	}
	quote, err := ParseQuote(evidence.Message)
	if err != nil {
		return nil, err
	}
	if err := in.Binding.Truncated(quote.ExtraData, bindingBytes); err != nil {
		return nil, err
	}
	signature, err := ParseSignature(evidence.Signature)
	if err != nil {
		return nil, err
	}
	bank, err := bankByName(evidence.Bank)
	if err != nil {
		return nil, err
	}
	if err := quote.CheckPCRs(bank, evidence.PCRs, signature.Hash); err != nil {
		return nil, err
	}
	key, err := v.key(ctx, in, evidence)
	if err != nil {
		return nil, err
	}
	if err := signature.Verify(key.public, evidence.Message); err != nil {
		return nil, err
	}
	claims := &attest.Claims{
		Kind: attest.TPM, HardwareRoot: key.root, Bound: attest.Ptr(in.Binding.IsBound()),
		ReportData: hextext.String(quote.ExtraData), Collateral: key.collateral, TPM: key.claims,
	}
	describe(claims.TPM, quote, evidence.PCRs)
	if err := bindInitData(claims, in.Init, bank, evidence.PCRs); err != nil {
		return nil, err
	}
	if len(evidence.EventLog) > 0 {
		if claims.Boot, err = eventlog.Boot(evidence.EventLog, bank, evidence.PCRs); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

// describe adds what the quote says.
func describe(claims *attest.TPMClaims, quote *Quote, pcrs [][]byte) {
	claims.Bank = bankName(quote.Bank)
	claims.PCRs = PCRClaims(pcrs)
	// Not the firmware version and the counts of resets: for a key outside the endorsement and platform hierarchies the TPM hides
	// them behind numbers of the key's own, and a quote does not say which hierarchy its key is of.
	claims.Clock = int64(quote.Clock)
	claims.ClockSafe = quote.ClockSafe
}

// PCRClaims returns values of PCRs from 0 on, of up to 64 bytes, as claims have them. They share one string: to write them is most of what there is to
// do besides checking signatures.
func PCRClaims(pcrs [][]byte) map[int]string {
	var all strings.Builder
	all.Grow(len(pcrs) * hex.EncodedLen(sha256.Size))
	var space [2 * maxPCR]byte
	for _, value := range pcrs {
		all.Write(hextext.Encode(space[:], value))
	}
	claims, text := make(map[int]string, len(pcrs)), all.String()
	for i, value := range pcrs {
		size := hex.EncodedLen(len(value))
		claims[i], text = text[:size], text[size:]
	}
	return claims
}

// bindInitData holds PCR 8 against the init-data presented.
func bindInitData(claims *attest.Claims, init *attest.InitData, bank crypto.Hash, pcrs [][]byte) error {
	if init == nil {
		return nil
	}
	if len(init.Digest) != sha256.Size || bank != crypto.SHA256 {
		return attest.Refuse(attest.CodeInitData,
			"init-data with a digest of %d bytes in bank %s: PCR 8 binds digests of 32 bytes in bank sha256", len(init.Digest), bankName(bank))
	}
	want := sha256.Sum256(append(make([]byte, sha256.Size), init.Digest...))
	bound := subtle.ConstantTimeCompare(pcrs[initDataPCR], want[:]) == 1
	claims.InitDataBound = &bound
	if bound {
		claims.InitData = hex.EncodeToString(init.Digest)
		claims.InitDataClaims = init.Data
	}
	return nil
}

// known is an attestation key and how it is known.
type known struct {
	public     crypto.PublicKey
	root       string
	claims     *attest.TPMClaims
	collateral *attest.CollateralClaims
}

// key decides whether the attestation key counts. An enrolment is asked for first: it says which host this is.
func (v *Verifier) key(ctx context.Context, in attest.Input, evidence *Evidence) (*known, error) {
	digest := SPKIDigest(evidence.AKPublic)
	if v.enrolments != nil {
		enrolment, err := v.enrolments.Lookup(ctx, in.Namespace, digest)
		if err == nil {
			return v.enrolledKey(in, enrolment, evidence, digest)
		}
		if !errors.Is(err, ErrNotEnrolled) {
			return nil, &attest.Unavailable{What: "enrolment of the attestation key", Err: err}
		}
	}
	if len(evidence.AKCertificates) == 0 || len(v.anchors.roots) == 0 {
		return nil, attest.Refuse(attest.CodeKeyNotEnrolled, "attestation key %s is not enrolled in namespace %q", digest, in.Namespace)
	}
	return v.certifiedKey(in, evidence, digest)
}

// enrolledKey checks the record of a key once more: who can write records must not be able to enrol a key a TPM does not hold tight.
// The record's key is the evidence's, for they have the same digest.
func (v *Verifier) enrolledKey(in attest.Input, enrolment *Enrolment, evidence *Evidence, digest string) (*known, error) {
	checked, found := v.records.Get(digest)
	if !found || checked.name != enrolment.AKName || checked.public != string(enrolment.AKPublic) {
		key, err := checkRecord(enrolment, digest)
		if err != nil {
			return nil, err
		}
		checked = record{enrolment.AKName, string(enrolment.AKPublic), key}
		v.records.Set(digest, checked)
	}
	if evidence.AKTPMPublic != nil && !bytes.Equal(evidence.AKTPMPublic, enrolment.AKPublic) {
		return nil, attest.Refuse(attest.CodeKeyAttributes, "ak_tpm_public is not what was enrolled for this key")
	}
	return &known{
		public: checked.key,
		root:   attest.RootTPMEnrolled,
		claims: &attest.TPMClaims{AKName: enrolment.AKName, AKDigest: digest, EKDigest: enrolment.EKDigest, Host: enrolment.Host, Enrolled: true},
		collateral: &attest.CollateralClaims{
			Current: in.Time.Before(enrolment.EKExpires), Expires: enrolment.EKExpires,
			RevocationChecked: enrolment.RevocationChecked, Source: "local",
		},
	}, nil
}

// checkRecord returns the key of an enrolment's record whose every part is the key's that digest is of.
func checkRecord(enrolment *Enrolment, digest string) (crypto.PublicKey, error) {
	recorded, err := ParsePublic(enrolment.AKPublic)
	var spki []byte
	if err == nil {
		spki, err = recorded.SPKI()
	}
	if err == nil && SPKIDigest(spki) != digest {
		err = errors.New("it is of another key")
	}
	if err == nil && hex.EncodeToString(recorded.Name()) != enrolment.AKName {
		err = errors.New("its name is not its key's")
	}
	if err != nil {
		return nil, &attest.Unavailable{What: "enrolment of the attestation key", Err: fmt.Errorf("the record is damaged: %w", err)}
	}
	if err := recorded.CheckAttestationKey(); err != nil {
		return nil, err
	}
	return recorded.Key, nil
}

func (v *Verifier) certifiedKey(in attest.Input, evidence *Evidence, digest string) (*known, error) {
	public, err := x509.ParsePKIXPublicKey(evidence.AKPublic)
	if err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "ak_public: %w", err)
	}
	// The parser takes a key in many spellings, and the claim ak_name is of this one.
	if canonical, err := x509.MarshalPKIXPublicKey(public); err != nil || !bytes.Equal(canonical, evidence.AKPublic) {
		return nil, attest.Refuse(attest.CodeMalformed, "ak_public is not the DER that encoders write")
	}
	if evidence.AKTPMPublic != nil {
		presented, err := ParsePublic(evidence.AKTPMPublic)
		if err != nil {
			return nil, attest.Refuse(attest.CodeMalformed, "ak_tpm_public: %w", err)
		}
		if !sameKey(presented.Key, public) {
			return nil, attest.Refuse(attest.CodeKeyAttributes, "ak_tpm_public describes another key than ak_public")
		}
		if err := presented.CheckAttestationKey(); err != nil {
			return nil, err
		}
	}
	leaf, err := parseLeaf(evidence.AKCertificates[0])
	if err != nil {
		return nil, err
	}
	if !sameKey(leaf.PublicKey, public) {
		return nil, attest.Refuse(attest.CodeCertMismatch, "the AK certificate is of another key than ak_public")
	}
	chain, err := v.anchors.verifyOnce(leaf, evidence.AKCertificates[1:], in.Time)
	if err != nil {
		return nil, err
	}
	host, err := checkAKCertificate(leaf)
	if err != nil {
		return nil, err
	}
	return &known{
		public: public,
		root:   attest.RootGoogleAK,
		// Not the TPM's name for it: nothing vouches for the parts of ak_tpm_public that the certificate does not have.
		claims: &attest.TPMClaims{AKName: digest, AKDigest: digest, Host: host},
		collateral: &attest.CollateralClaims{
			Current: chain.current, Expires: chain.expires, RevocationChecked: chain.checked, Source: "evidence",
		},
	}, nil
}

func sameKey(a, b crypto.PublicKey) bool {
	switch a := a.(type) {
	case *rsa.PublicKey:
		return a.Equal(b)
	case *ecdsa.PublicKey:
		return a.Equal(b)
	}
	return false
}
