package nvidia

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/rim"
)

// wanted names a manifest, and says what it must be of.
type wanted struct {
	id      string // of NVIDIA's service
	product string // "" where it is not compared
	version string // compared without regard to case
}

// The board of LS10 switches, which their reports do not name: project, its SKU and the chip's (NVIDIA's attestation SDK,
// SwitchArchitectureData).
const ls10Board = "5612_0002_890"

// manifestsOf returns the manifests that say what d must measure: of the driver and of the firmware, or of a switch's firmware alone.
func manifestsOf(c *deviceChain, d *description) []wanted {
	firmware := strings.ToUpper(strings.ReplaceAll(d.vbios, ".", ""))
	if !c.architecture.gpu() {
		return []wanted{{id: "NV_SWITCH_BIOS_" + ls10Board + "_" + firmware, version: d.vbios}}
	}
	chip, prefix := c.chip, "NV_GPU_DRIVER_"
	if c.architecture == Blackwell {
		prefix = "NV_GPU_CC_DRIVER_"
		if d.chip != "" {
			chip = d.chip
		}
	}
	board := strings.ToUpper(strings.Join([]string{d.project, d.projectSKU, d.chipSKU}, "_"))
	return []wanted{
		{id: prefix + chip + "_" + d.driver, product: chip, version: d.driver},
		{id: "NV_GPU_VBIOS_" + board + "_" + firmware, product: chip, version: d.vbios},
	}
}

// manifest is one that was verified and is the one that was wanted.
type manifest struct {
	*rim.Manifest
	id, digest string
	checked    bool // that its signer is not revoked
}

// manifest returns the manifest w, from the cache where it is there. Its age goes into f. The error is always an *attest.Unavailable: a
// manifest that is missing, bad, another's or revoked is not the evidence's fault. missing tells that it is only not at hand.
func (v *Verifier) manifest(ctx context.Context, f *attest.Freshness, w wanted) (m *manifest, missing bool, err error) {
	what := "the reference manifest " + w.id
	if v.endorsements == nil {
		return nil, true, &attest.Unavailable{What: what}
	}
	e, err := v.endorsements.Endorsement(ctx, "nvidia/rim/"+w.id)
	if err != nil {
		var absent *attest.Unavailable
		return nil, errors.As(err, &absent) && ctx.Err() == nil, unavailable(what, err)
	}
	parsed, ok := v.manifests.Get(e.Digest)
	if !ok {
		if parsed, err = rim.Open(e.Data, v.roots.manifest); err != nil {
			return nil, false, unavailable("a valid copy of "+what, err)
		}
		v.manifests.Put(e.Digest, parsed)
	}
	if !strings.EqualFold(parsed.Version, w.version) || w.product != "" && parsed.Product != w.product {
		return nil, false, unavailable(what, fmt.Errorf("what is stored under its name is of %.32q version %.32q", parsed.Product, parsed.Version))
	}
	if f.At.Before(parsed.Chain.NotBefore) {
		return nil, false, unavailable("a valid copy of "+what, errors.New("its signer's certificate is not valid yet"))
	}
	m = &manifest{Manifest: parsed, id: w.id, digest: hex.EncodeToString(e.Digest[:]), checked: true}
	// NVIDIA does not sign manifests again when their signer's certificate ends, so that is how long one is current.
	f.List(parsed.Chain.NotAfter, e.Fetched)
	certs := parsed.Chain.Certificates
	for i, cert := range certs[:len(certs)-1] {
		digest := sha256.Sum256(cert.Raw)
		good, revoked, err := v.revocation(ctx, f, cert, certs[i+1], hex.EncodeToString(digest[:]))
		if err != nil {
			return nil, false, err
		}
		if revoked {
			return nil, false, unavailable("a valid copy of "+what, fmt.Errorf("the certificate of %.60q is revoked", cert.Subject.CommonName))
		}
		m.checked = m.checked && good
	}
	return m, false, nil
}

// nvdecBlock is the block that is not compared where the unit that it measures, NVDEC0, is off: index 35 of manifests.
const nvdecBlock = 36

// comparison is what measurements are, held against manifests.
type comparison struct {
	mismatched   []int // blocks that manifests name and that are missing or of another value
	unreferenced []int // blocks that measure something and that no manifest names
}

// compare holds the blocks of a report against what manifests say together, as NVIDIA's verifiers do: each block that a manifest names
// must be there with one of its values. Two manifests that name the same block contradict each other, and that is an error.
func compare(blocks []Block, d *description, manifests []*manifest) (*comparison, error) {
	measured := make(map[int][]byte, len(blocks))
	for _, b := range blocks {
		measured[b.Index] = b.Value
	}
	named := map[int]rim.Measurement{}
	for _, m := range manifests {
		for block, measurement := range m.Measurements {
			if _, twice := named[block]; twice {
				return nil, unavailable("consistent reference manifests", fmt.Errorf("two of them name block %d", block))
			}
			named[block] = measurement
		}
	}
	c := new(comparison)
	for block := 1; block <= 255; block++ {
		value, there := measured[block]
		reference, listed := named[block]
		switch {
		case block == nvdecBlock && d.nvdecDisabled != nil && *d.nvdecDisabled:
		case listed && !(there && reference.Matches(value)):
			c.mismatched = append(c.mismatched, block)
		case !listed && there && !zero(value):
			c.unreferenced = append(c.unreferenced, block)
		}
	}
	return c, nil
}

func zero(value []byte) bool {
	for _, b := range value {
		if b != 0 {
			return false
		}
	}
	return true
}
