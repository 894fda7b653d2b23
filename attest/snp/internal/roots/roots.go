// Package roots names a product's root and intermediates to package snp, in the place of those that are built in. It is internal, so that
// only packages below attest/snp can name any: that is snptest, which tests use and no program links (internal/house holds both to it).
package roots

import "crypto/x509"

// Root is what vouches for one product.
type Root struct {
	Product string // Milan, Genoa or Turin
	ARK     *x509.Certificate
	ASK     *x509.Certificate // signs VCEKs
	ASVK    *x509.Certificate // signs VLEKs
}
