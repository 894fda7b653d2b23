package snp

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// revocations are the revocation lists of one root.
type revocations struct {
	serials    map[string]bool // of every list, as big-endian bytes
	thisUpdate time.Time       // the earliest
	nextUpdate time.Time       // the earliest; zero when a list has none, which makes it stale at once
}

// parseRevocations reads revocation lists and sorts them by the root that signed them. One that no root signed is an
// error: it would otherwise be silently ignored, and an operator believe in a check that does not happen.
func parseRevocations(lists [][]byte, anchors []anchor) (map[Product]*revocations, error) {
	byProduct := map[Product]*revocations{}
	for i, der := range lists {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("snp: revocation list %d: %w", i, err)
		}
		if len(list.Raw) != len(der) {
			return nil, fmt.Errorf("snp: bytes follow revocation list %d", i)
		}
		var issuer *anchor
		for j := range anchors {
			if bytes.Equal(list.RawIssuer, anchors[j].ark.RawSubject) {
				issuer = &anchors[j]
			}
		}
		if issuer == nil {
			return nil, fmt.Errorf("snp: revocation list %d is by %q, which is no root known here", i, list.Issuer.CommonName)
		}
		if list.SignatureAlgorithm != x509.SHA384WithRSAPSS {
			return nil, fmt.Errorf("snp: revocation list %d is signed with %v, not RSA-PSS with SHA-384", i, list.SignatureAlgorithm)
		}
		if err := list.CheckSignatureFrom(issuer.ark); err != nil {
			return nil, fmt.Errorf("snp: revocation list %d is not signed by %s: %w", i, list.Issuer.CommonName, err)
		}
		// A list that is partial, indirect or a difference says so critically, and cannot show that a certificate is not revoked (RFC 5280,
		// section 5.2).
		if at := slices.IndexFunc(list.Extensions, func(e pkix.Extension) bool { return e.Critical }); at >= 0 {
			return nil, fmt.Errorf("snp: revocation list %d has the critical extension %v, which is not known", i, list.Extensions[at].Id)
		}
		r := byProduct[issuer.product]
		if r == nil {
			r = &revocations{serials: map[string]bool{}, thisUpdate: list.ThisUpdate, nextUpdate: list.NextUpdate}
			byProduct[issuer.product] = r
		}
		if list.ThisUpdate.Before(r.thisUpdate) {
			r.thisUpdate = list.ThisUpdate
		}
		if list.NextUpdate.Before(r.nextUpdate) {
			r.nextUpdate = list.NextUpdate
		}
		for _, entry := range list.RevokedCertificateEntries {
			r.serials[string(entry.SerialNumber.Bytes())] = true
		}
	}
	return byProduct, nil
}

// revoked reports whether a list names the serial number. VCEKs all have the number zero, so zero names none of them.
// A list that is stale still revokes: nothing is ever taken off these lists.
func (r *revocations) revoked(serial *big.Int) bool {
	return serial.Sign() != 0 && r.serials[string(serial.Bytes())]
}
