package csv

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
)

// defaultCacheSize is how many chips and platforms are remembered when Config does not say. One takes less than 1 KiB.
const defaultCacheSize = 4096

// maxCacheSize bounds Config.CacheSize.
const maxCacheSize = 1 << 20

// Config says what a Verifier relies on besides Hygon's root key, which is built in and cannot be added to.
type Config struct {
	// Endorsements has the certificates of HSK and CEK, for evidence that comes without: hygon/hsk_cek/{serial}. Nil
	// means that such evidence cannot be judged.
	Endorsements attest.Endorsements

	// CacheSize is how many verified chains are kept, 4096 when zero.
	CacheSize int
}

// Verifier appraises evidence of kind csv.
type Verifier struct {
	endorsements attest.Endorsements
	root         *publicKey
	ceks         *verified.Cache[*publicKey]   // by the certificates of HSK and CEK
	peks         *verified.Cache[*platformKey] // that a CEK signed, by their certificate
}

// New returns a Verifier that trusts Hygon's root key and nothing else. A cache size out of range is an error.
func New(cfg Config) (*Verifier, error) {
	root, err := hygonRoot()
	if err != nil {
		return nil, err
	}
	return newVerifier(cfg, root)
}

func newVerifier(cfg Config, root *publicKey) (*Verifier, error) {
	size := cfg.CacheSize
	if size == 0 {
		size = defaultCacheSize
	}
	if size < 0 || size > maxCacheSize {
		return nil, fmt.Errorf("csv: a cache of %d chains: 1 to %d are possible", size, maxCacheSize)
	}
	return &Verifier{
		endorsements: cfg.Endorsements, root: root,
		ceks: verified.NewCache[*publicKey](size), peks: verified.NewCache[*platformKey](size),
	}, nil
}

// Kind returns attest.CSV.
func (v *Verifier) Kind() attest.Kind { return attest.CSV }

// EndorsementName returns the name of the certificates of HSK and CEK of the chip with a serial number.
func EndorsementName(serial string) string { return "hygon/hsk_cek/" + serial }

// Verify appraises evidence as [Parse] reads it, as the package documentation describes. It implements attest.Verifier.
func (v *Verifier) Verify(ctx context.Context, in attest.Input) (*attest.Claims, error) {
	ev, err := Parse(in.Evidence)
	if err != nil {
		return nil, err
	}
	// What costs nothing comes first: stale and stolen evidence never gets as far as the public-key operations.
	if err := in.Binding.Padded(ev.Report.ReportData[:]); err != nil {
		return nil, err
	}
	if in.Init != nil {
		return nil, attest.Refuse(attest.CodeInitData, "init-data was presented, and nothing in a CSV report carries its digest")
	}
	if err := ctx.Err(); err != nil {
		return nil, &attest.Unavailable{What: "time for the appraisal", Err: err}
	}
	known := verified.KeyOf(ev.PEK)
	pek, ok := v.peks.Get(known)
	if !ok {
		if pek, err = parsePEK(ev.PEK); err != nil {
			return nil, err
		}
	}
	if err := ev.Report.verify(pek.key); err != nil {
		return nil, err
	}
	cek, source, err := v.cek(ctx, ev)
	if err != nil {
		return nil, err
	}
	if pek.issuer == nil || !pek.issuer.equal(cek) {
		if !signedBy(ev.PEK, cek, usageCEK) {
			return nil, attest.Refuse(attest.CodeCertUntrusted, "the chip's key did not sign the PEK's certificate")
		}
		v.peks.Put(known, &platformKey{pek.key, pek.firmware, cek})
	}
	claims := ev.Report.claims()
	claims.Bound = attest.Ptr(in.Binding.IsBound())
	claims.CSV.Firmware = pek.firmware
	claims.CSV.ChipKey = hex.EncodeToString(cek.name[:])
	fresh := attest.Freshness{At: in.Time}
	claims.Collateral = fresh.Claims(source, false)
	return claims, nil
}

// cek returns the verified key of the chip, and where its certificate came from. Certificates that the evidence has are
// the evidence's fault; those that it has not are not.
func (v *Verifier) cek(ctx context.Context, ev *Evidence) (*publicKey, string, error) {
	if ev.HSKCEK != nil {
		cek, err := v.authorities(ev.HSKCEK)
		return cek, "evidence", err
	}
	if ev.Serial == "" {
		return nil, "", attest.Refuse(attest.CodeCertMissing,
			"the evidence has neither the certificates of HSK and CEK nor a serial number to find them by: the guest must present them")
	}
	name := EndorsementName(ev.Serial)
	if v.endorsements == nil {
		return nil, "", &attest.Unavailable{What: "the endorsement " + name + ", which the evidence came without"}
	}
	item, err := v.endorsements.Endorsement(ctx, name)
	if err != nil {
		var unavailable *attest.Unavailable
		if errors.As(err, &unavailable) {
			return nil, "", err
		}
		return nil, "", &attest.Unavailable{What: "the endorsement " + name, Err: err}
	}
	cek, err := v.authorities(item.Data)
	if err != nil {
		return nil, "", &attest.Unavailable{What: "a good endorsement " + name, Err: err}
	}
	return cek, "local", nil
}

// claims returns what a verified report says. What is not in it is left for the caller.
func (r *Report) claims() *attest.Claims {
	bit := func(mask uint32) bool { return r.Policy&mask != 0 }
	text := hexWriter(offPolicy + registers*registerSize)
	c := &attest.CSVClaims{
		ReportVersion: r.Version,
		VMID:          text(r.VMID[:]),
		VMVersion:     text(r.VMVersion[:]),
		Nonce:         text(r.Nonce[:]),
		Policy:        int64(r.Policy),
		KeySharing:    !bit(policyNoKeySharing),
		CSV2Required:  bit(policyCSV2),
		SendAllowed:   !bit(policyNoSend),
		DomainOnly:    bit(policyDomain),
		CSVRequired:   bit(policyCSV),
		CSV3Required:  bit(policyCSV3),
		ASIDReuse:     bit(policyASIDReuse),
		HSKVersion:    int(r.Policy >> 8 & 0xf),
		CEKVersion:    int(r.Policy >> 12 & 0xf),
		APIMajor:      int(r.Policy >> 16 & 0xff),
		APIMinor:      int(r.Policy >> 24),
	}
	if r.UserKeyDigest != [32]byte{} {
		c.UserKeyDigest = text(r.UserKeyDigest[:])
	}
	if r.Version == 2 {
		c.Build = attest.Ptr(int(r.Build))
		for i := range r.Registers {
			c.RTMRs = append(c.RTMRs, text(r.Registers[i][:]))
		}
	}
	return &attest.Claims{
		Kind:           attest.CSV,
		HardwareRoot:   attest.RootCSV,
		Measurement:    text(r.Measure[:]),
		ReportData:     text(r.ReportData[:]),
		Debug:          attest.Ptr(!bit(policyNoDebug)),
		MigrationAgent: attest.Ptr(!bit(policyNoSend)),
		TCBStatus:      attest.TCBNotPublished,
		CSV:            c,
	}
}

// hexWriter returns a function that writes fields of at most 64 bytes in hex, into one string that all share: to make one for each takes a
// noticeable part of the time that the check of the signature does. size is how many bytes they have together.
func hexWriter(size int) func(field []byte) string {
	var all strings.Builder
	all.Grow(hex.EncodedLen(size))
	var space [128]byte
	return func(field []byte) string {
		start := all.Len()
		all.Write(hex.AppendEncode(space[:0], field))
		return all.String()[start:]
	}
}
