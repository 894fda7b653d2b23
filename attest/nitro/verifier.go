package nitro

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/cose"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
)

// defaultCacheSize is how many enclaves, and how many instances, are remembered when Config does not say. One takes
// about 3 KiB.
const defaultCacheSize = 4096

// maxCacheSize bounds Config.CacheSize: 3 GiB of certificates are a mistake.
const maxCacheSize = 1 << 20

// Config says what a Verifier relies on besides AWS's root, which is built in and cannot be added to.
type Config struct {
	// CacheSize is how many verified chains are kept, 4096 when zero.
	CacheSize int
}

// Verifier appraises evidence of kind nitro.
type Verifier struct {
	root    *x509.Certificate
	bundles *verified.Cache[*authority] // by bundle
	chains  *verified.Cache[*chain]     // by bundle and certificate
}

// New returns a Verifier that trusts AWS's root and nothing else. A cache size out of range is an error.
func New(cfg Config) (*Verifier, error) {
	root, err := awsRoot()
	if err != nil {
		return nil, err
	}
	return newVerifier(cfg, root)
}

func newVerifier(cfg Config, root *x509.Certificate) (*Verifier, error) {
	size := cfg.CacheSize
	if size == 0 {
		size = defaultCacheSize
	}
	if size < 0 || size > maxCacheSize {
		return nil, fmt.Errorf("nitro: a cache of %d chains: 1 to %d are possible", size, maxCacheSize)
	}
	return &Verifier{root: root, bundles: verified.NewCache[*authority](size), chains: verified.NewCache[*chain](size)}, nil
}

// Kind returns attest.Nitro.
func (v *Verifier) Kind() attest.Kind { return attest.Nitro }

// Verify appraises a document in any form that [Parse] reads, as the package documentation describes. It implements
// attest.Verifier.
func (v *Verifier) Verify(ctx context.Context, in attest.Input) (*attest.Claims, error) {
	d, err := Parse(in.Evidence)
	if err != nil {
		return nil, err
	}
	// What costs nothing comes first: stale and stolen evidence never gets as far as the public-key operations.
	if err := in.Binding.Exact(d.UserData); err != nil {
		return nil, err
	}
	if in.Init != nil {
		return nil, attest.Refuse(attest.CodeInitData, "init-data was presented, and nothing in a Nitro document carries its digest")
	}
	if err := ctx.Err(); err != nil {
		return nil, &attest.Unavailable{What: "time for the appraisal", Err: err}
	}
	c, err := v.chain(d)
	if err != nil {
		return nil, err
	}
	if err := c.valid.check("the time", in.Time); err != nil {
		return nil, err
	}
	made := time.UnixMilli(d.Timestamp)
	if err := c.leaf.check("the document's timestamp", made); err != nil {
		return nil, err
	}
	if err := d.message.Verify(c.key); err != nil {
		if errors.Is(err, cose.ErrAlgorithm) {
			return nil, attest.Refuse(attest.CodeAlgorithm, "the document: %w", err)
		}
		return nil, attest.Refuse(attest.CodeSignature, "the document: %w", err)
	}
	claims := d.claims(c)
	claims.Bound = attest.Ptr(in.Binding.IsBound())
	fresh := attest.Freshness{At: in.Time}
	fresh.Certificate(c.valid.to)
	claims.Collateral = fresh.Claims("evidence", false)
	return claims, nil
}

// chain returns the verified chain of d, from the caches where it is there. Dates are not judged.
func (v *Verifier) chain(d *Document) (*chain, error) {
	bundle := verified.KeyOf(d.CABundle...)
	key := verified.KeyOf(bundle[:], d.Certificate)
	if c, ok := v.chains.Get(key); ok {
		return c, nil
	}
	by, known := v.bundles.Get(bundle)
	if !known {
		var err error
		if by, err = verifyBundle(d.CABundle, v.root); err != nil {
			return nil, err
		}
		v.bundles.Put(bundle, by)
	}
	c, err := verifyLeaf(d.Certificate, by)
	if err != nil {
		return nil, err
	}
	v.chains.Put(key, c)
	return c, nil
}

// claims returns what a verified document says. What depends on the appraisal is left for the caller.
func (d *Document) claims(c *chain) *attest.Claims {
	n := &attest.NitroClaims{
		ModuleID:  d.ModuleID,
		Timestamp: time.UnixMilli(d.Timestamp).UTC(),
		PCRs:      make(map[int]string, len(d.PCRs)),
		PublicKey: hex.EncodeToString(d.PublicKey),
		Nonce:     hex.EncodeToString(d.Nonce),
	}
	for index, value := range d.PCRs {
		n.PCRs[index] = hex.EncodeToString(value[:])
	}
	n.Signed = d.PCRs[8] != [registerSize]byte{}
	if instance, _, ok := strings.Cut(d.ModuleID, "-enc"); ok {
		n.InstanceID = instance
	}
	// The certificate's name is the identifier of the enclave with the region and the partition after it.
	if rest, ok := strings.CutPrefix(c.name, d.ModuleID+"."); ok {
		if region, ok := strings.CutSuffix(rest, ".aws"); ok && !strings.Contains(region, ".") {
			n.Region = region
		}
	}
	debug := false
	for index := range 3 {
		debug = debug || d.PCRs[index] == [registerSize]byte{} // also when it is missing
	}
	claims := &attest.Claims{
		Kind:         attest.Nitro,
		HardwareRoot: attest.RootNitro,
		ReportData:   hex.EncodeToString(d.UserData),
		Debug:        attest.Ptr(debug),
		TCBStatus:    attest.TCBNotPublished,
		Nitro:        n,
	}
	if _, ok := d.PCRs[0]; ok {
		claims.Measurement = n.PCRs[0]
	}
	return claims
}
