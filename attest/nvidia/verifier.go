package nvidia

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/rim"
)

// defaultCacheSize is how many chains are held when Config does not say. One takes about 8 KiB, so this is a fleet of five hundred hosts
// with 8 GPUs in 32 MiB.
const defaultCacheSize = 4096

// maxCacheSize bounds Config.CacheSize.
const maxCacheSize = 1 << 17

// maxManifests is how many verified manifests are kept: those of that many versions of drivers and firmware, of about 16 KiB each.
const maxManifests = 256

// maxGrace bounds Config.Grace. NVIDIA's OCSP responses are good for a day.
const maxGrace = 366 * 24 * time.Hour

// Config says what a Verifier relies on besides NVIDIA's roots, which are built in and cannot be added to.
type Config struct {
	// Endorsements is where reference manifests, nvidia/rim/{id}, and OCSP responses, nvidia/ocsp/{sha256}, are found. It may be nil
	// only with AllowUnmeasured.
	Endorsements attest.Endorsements

	// AllowUnmeasured judges a device whose manifests are not at hand all the same. Its claims then have neither measurements_match nor
	// tcb_status, and name the manifests that are wanted. Otherwise such a device cannot be judged, and the answer is
	// *attest.Unavailable: its signature proves which device it is, and nothing of what runs on it. A manifest that is there and bad is
	// never passed over.
	AllowUnmeasured bool

	// Grace is for how long past its next update an OCSP response, and past the end of its signer's certificate a manifest, still counts as
	// current; none when zero. What is later still is claimed as not current, which the policy baseline refuses.
	Grace time.Duration

	// CacheSize is how many verified chains of devices are kept, 4096 when zero.
	CacheSize int
}

// Verifier appraises evidence of kind nvidia.
type Verifier struct {
	endorsements    attest.Endorsements
	allowUnmeasured bool
	grace           time.Duration
	roots           trustRoots
	chains          *verified.Cache[*deviceChain]
	writings        *verified.Cache[*deviceChain] // by their text
	manifests       *verified.Cache[*rim.Manifest]
	responses       *verified.Cache[*status]
}

// New returns a Verifier that trusts NVIDIA's roots and nothing else. No endorsements without AllowUnmeasured, and a grace or cache
// size out of range are errors.
func New(cfg Config) (*Verifier, error) {
	roots, err := nvidiaRoots()
	if err != nil {
		return nil, err
	}
	return newVerifier(cfg, roots)
}

func newVerifier(cfg Config, roots trustRoots) (*Verifier, error) {
	if cfg.Endorsements == nil && !cfg.AllowUnmeasured {
		return nil, errors.New("nvidia: without endorsements no measurement can be judged: configure reference manifests, or allow devices " +
			"that are not measured")
	}
	if cfg.Grace < 0 || cfg.Grace > maxGrace {
		return nil, fmt.Errorf("nvidia: a grace of %v: none to %v is possible", cfg.Grace, maxGrace)
	}
	size := cfg.CacheSize
	if size == 0 {
		size = defaultCacheSize
	}
	if size < 0 || size > maxCacheSize {
		return nil, fmt.Errorf("nvidia: a cache of %d chains: 1 to %d are possible", size, maxCacheSize)
	}
	return &Verifier{
		endorsements: cfg.Endorsements, allowUnmeasured: cfg.AllowUnmeasured, grace: cfg.Grace, roots: roots,
		chains: verified.NewCache[*deviceChain](size), writings: verified.NewCache[*deviceChain](size), manifests: verified.NewCache[*rim.Manifest](maxManifests),
		responses: verified.NewCache[*status](size + maxManifests),
	}, nil
}

// Kind returns attest.NVIDIA.
func (v *Verifier) Kind() attest.Kind { return attest.NVIDIA }

// device is one device whose evidence was verified.
type device struct {
	evidence    *DeviceEvidence
	report      *Report
	chain       *deviceChain
	description *description
	revocation  bool // whether its whole chain was checked
	manifests   []*manifest
	wanted      []string // manifests that are not at hand
	comparison  *comparison
}

// Verify appraises evidence as [Parse] reads it, as the package documentation describes. It implements attest.Verifier.
func (v *Verifier) Verify(ctx context.Context, in attest.Input) (*attest.Claims, error) {
	evidence, err := Parse(in.Evidence)
	if err != nil {
		return nil, err
	}
	devices := make([]*device, len(evidence))
	// What costs nothing comes first, for all devices: stale and stolen evidence never gets as far as the public-key operations.
	for i := range evidence {
		r, err := ParseReport(evidence[i].Report)
		if err != nil {
			return nil, ofDevice(i, err)
		}
		if err := in.Binding.Truncated(r.Nonce[:], NonceSize); err != nil {
			return nil, ofDevice(i, err)
		}
		if i > 0 && r.Nonce != devices[0].report.Nonce {
			return nil, attest.Refuse(attest.CodeBinding, "device %d reports on another nonce than device 0", i)
		}
		devices[i] = &device{evidence: &evidence[i], report: r}
	}
	f := &attest.Freshness{At: in.Time, Grace: v.grace}
	for i, d := range devices {
		if err := ctx.Err(); err != nil {
			return nil, &attest.Unavailable{What: "time for the appraisal", Err: err}
		}
		if err := v.authenticate(ctx, f, d); err != nil {
			return nil, ofDevice(i, err)
		}
		same := func(other *device) bool { return other.chain.identity == d.chain.identity }
		if at := slices.IndexFunc(devices[:i], same); at >= 0 {
			return nil, attest.Refuse(attest.CodeDeviceTwice, "devices %d and %d are the same: their certificates are of one identity key", at, i)
		}
	}
	for i, d := range devices {
		if err := v.measure(ctx, f, d); err != nil {
			return nil, ofDevice(i, err)
		}
	}
	return claims(devices, in, f), nil
}

// authenticate proves which device made a report, and on what firmware.
func (v *Verifier) authenticate(ctx context.Context, f *attest.Freshness, d *device) error {
	var err error
	if d.chain, err = v.chain(d.evidence.Chain, f.At); err != nil {
		return err
	}
	if d.chain.architecture != d.evidence.Architecture {
		return attest.Refuse(attest.CodeCertMismatch, "the evidence is of a %s device and its certificates are of a %s",
			d.evidence.Architecture, d.chain.architecture)
	}
	if err := d.report.VerifySignature(d.chain.Key()); err != nil {
		return err
	}
	if d.description, err = describe(d.report.Fields, d.chain.architecture); err != nil {
		return err
	}
	if d.description.fwid != nil && !slices.Equal(d.description.fwid, d.chain.layer.fwid) {
		return attest.Refuse(attest.CodeCertMismatch, "the report names the firmware %x and its certificate %x", d.description.fwid, d.chain.layer.fwid)
	}
	if chip := d.description.chip; chip != "" && d.chain.architecture.gpu() && of(chip) != d.chain.architecture {
		return attest.Refuse(attest.CodeCertMismatch, "the report names the chip %s and its certificate %s", chip, d.chain.chip)
	}
	// NVIDIA publishes the state of what it certified: not of the leaf, which the device made.
	d.revocation = true
	f.Certificate(d.chain.NotAfter)
	for at := identityAt; at < len(d.chain.digests); at++ {
		cert := d.chain.Certificates[at]
		good, revoked, err := v.revocation(ctx, f, cert, d.chain.Certificates[at+1], d.chain.digests[at])
		if err != nil {
			return err
		}
		if revoked {
			return attest.Refuse(attest.CodeCertRevoked, "the OCSP response for the certificate of %.60q says that it is revoked", cert.Subject.CommonName)
		}
		d.revocation = d.revocation && good
	}
	return nil
}

// measure holds a device's measurements against its manifests.
func (v *Verifier) measure(ctx context.Context, f *attest.Freshness, d *device) error {
	var absent []error
	for _, w := range manifestsOf(d.chain, d.description) {
		m, missing, err := v.manifest(ctx, f, w)
		switch {
		case err != nil && !missing:
			return err
		case err != nil:
			d.wanted = append(d.wanted, w.id)
			absent = append(absent, err)
		default:
			d.manifests = append(d.manifests, m)
		}
	}
	if len(d.wanted) > 0 {
		if v.allowUnmeasured {
			return nil
		}
		return unavailable("reference manifests: "+strings.Join(d.wanted, ", "), errors.Join(absent...))
	}
	var err error
	d.comparison, err = compare(d.report.Blocks, d.description, d.manifests)
	return err
}

// ofDevice says of which device an error is.
func ofDevice(i int, err error) error {
	var refusal *attest.Refusal
	if errors.As(err, &refusal) {
		return &attest.Refusal{Code: refusal.Code, Detail: fmt.Sprintf("device %d: %s", i, refusal.Detail), Err: refusal.Err}
	}
	return err
}
