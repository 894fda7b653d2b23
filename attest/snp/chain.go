package snp

import (
	"bytes"
	"container/list"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// chain is a certificate chain whose signatures and names were verified. Dates and revocation were not: they are judged at every
// use, since they depend on the time of appraisal.
type chain struct {
	endorsement *Endorsement
	anchor      *anchor
	notBefore   time.Time // the latest of the chain
	notAfter    time.Time // the earliest of the chain
	serials     [3]*big.Int
	byPresented bool // by the intermediate that was presented, without which it is no chain
}

// verifyChain verifies that leaf, in DER, is a certificate that the root of its product vouches for by one intermediate:
// the built-in one, or where that did not sign it, the presented one, of which AMD may have made a newer. It refuses with
// CodeCertMalformed and CodeCertUntrusted.
func verifyChain(leaf, presented []byte, anchors []anchor) (*chain, error) {
	cert, err := x509.ParseCertificate(leaf)
	if err != nil {
		return nil, attest.Refuse(attest.CodeCertMalformed, "the certificate of the signing key: %w", err)
	}
	endorsement, err := ParseEndorsement(cert)
	if err != nil {
		return nil, err
	}
	var root *anchor
	for i := range anchors {
		if cert.Issuer.CommonName == anchors[i].intermediateName(endorsement.SigningKey) {
			root = &anchors[i]
		}
	}
	if root == nil {
		return nil, attest.Refuse(attest.CodeCertUntrusted,
			"the certificate was issued by %.60q, which is no intermediate of a pinned root that signs %vs",
			cert.Issuer.CommonName, endorsement.SigningKey)
	}
	signer, byPresented := root.intermediate(endorsement.SigningKey), false
	if err := checkSigned(cert, signer); err != nil {
		byPresented = true
		if signer, err = otherSigner(cert, presented, root, endorsement.SigningKey, err); err != nil {
			return nil, attest.Refuse(attest.CodeCertUntrusted, "the certificate does not chain to %s: %w",
				root.ark.Subject.CommonName, err)
		}
	}
	c := &chain{endorsement: endorsement, anchor: root, notBefore: cert.NotBefore, notAfter: cert.NotAfter, byPresented: byPresented}
	for i, link := range [...]*x509.Certificate{cert, signer, root.ark} {
		c.serials[i] = link.SerialNumber
		if link.NotBefore.After(c.notBefore) {
			c.notBefore = link.NotBefore
		}
		if link.NotAfter.Before(c.notAfter) {
			c.notAfter = link.NotAfter
		}
	}
	return c, nil
}

// otherSigner verifies the intermediate that was presented, and that it signed cert. cause is why the built-in one did not.
func otherSigner(cert *x509.Certificate, presented []byte, root *anchor, key SigningKey, cause error) (*x509.Certificate, error) {
	if len(presented) == 0 || bytes.Equal(presented, root.intermediate(key).Raw) {
		return nil, cause
	}
	signer, err := x509.ParseCertificate(presented)
	if err != nil {
		return nil, errors.Join(cause, fmt.Errorf("the intermediate that was presented: %w", err))
	}
	if err := checkAuthority(signer, root.ark, root.intermediateName(key)); err != nil {
		return nil, errors.Join(cause, fmt.Errorf("the intermediate that was presented: %w", err))
	}
	return signer, checkSigned(cert, signer)
}

// checkTime refuses with CodeCertExpired when a certificate of c is not valid at now.
func (c *chain) checkTime(now time.Time) error {
	if now.Before(c.notBefore) || now.After(c.notAfter) {
		return attest.Refuse(attest.CodeCertExpired, "the certificates are valid from %s to %s and the time is %s",
			c.notBefore.UTC().Format(time.RFC3339), c.notAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// chainKey names a chain by everything that verifyChain's answer depends on, the anchors of the verifier apart: the leaf, and the presented
// intermediate only where that signed it. What is presented for nothing must not make places of its own in the cache.
type chainKey [sha256.Size]byte

func keyOf(leaf, presented []byte) chainKey {
	h := sha256.New()
	digest := sha256.Sum256(leaf) // of fixed size, so the two parts cannot run into each other
	h.Write(digest[:])
	h.Write(presented)
	var key chainKey
	h.Sum(key[:0])
	return key
}

// chainCache holds verified chains, the least recently used dropped first. Chains that did not verify are not held, so
// entries cost their maker a certificate that AMD signed. It is safe for concurrent use.
type chainCache struct {
	mu      sync.Mutex
	limit   int
	entries map[chainKey]*list.Element
	recent  list.List // of *cacheEntry, most recent first
}

type cacheEntry struct {
	key   chainKey
	chain *chain
}

func newChainCache(limit int) *chainCache {
	return &chainCache{limit: limit, entries: map[chainKey]*list.Element{}}
}

// get returns the chain of key, nil when it is not held. One that expired before now is dropped: its certificates will not be
// valid again, and its place is of use to others.
func (c *chainCache) get(key chainKey, now time.Time) *chain {
	c.mu.Lock()
	defer c.mu.Unlock()
	element := c.entries[key]
	if element == nil {
		return nil
	}
	entry := element.Value.(*cacheEntry)
	if now.After(entry.chain.notAfter) {
		c.recent.Remove(element)
		delete(c.entries, key)
		return nil
	}
	c.recent.MoveToFront(element)
	return entry.chain
}

func (c *chainCache) put(key chainKey, verified *chain) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[key] != nil {
		return // another caller verified the same chain meanwhile
	}
	if len(c.entries) >= c.limit {
		oldest := c.recent.Back()
		c.recent.Remove(oldest)
		delete(c.entries, oldest.Value.(*cacheEntry).key)
	}
	c.entries[key] = c.recent.PushFront(&cacheEntry{key, verified})
}
