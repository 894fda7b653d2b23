// Package certificate authenticates callers by client certificates of an authority that the operator trusts for nothing else.
//
// The chain is verified anew for every request, since a connection may outlive what it was opened with: certificates expire and are revoked. Only leaf
// certificates for client authentication count. Whose it is, is said by a subject alternative name; the common name counts only where a rule asks for it.
//
// Rules map names to roles. The first rule that matches says who it is and where the roles count; see [access.Join] for the rest.
//
// A revocation list (RFC 5280, section 5) must be signed by one of the authorities. It is read again when its file changes; while it cannot be read, or its next
// update is past, no certificate of its issuer counts: the list may be old because somebody keeps the new one away.
package certificate

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
)

// Limits.
const (
	maxRules = 256
	maxList  = 16 << 20 // bytes of a revocation list
	maxChain = 4        // certificates that a client sends
	// lookEvery is how often a list's file is looked at.
	lookEvery = 5 * time.Second
)

// Rule says what whoever has a certificate with a name may do. Exactly one of DNS, URI, Email and CommonName is given.
type Rule struct {
	DNS        string // a DNS name in it
	URI        string // a URI in it, such as a SPIFFE id; with "/*" at the end, whatever is below it
	Email      string // an address in it
	CommonName string // the common name of its subject
	Subject    string // who it is; default: the address, the URI, or "dns:" or "cn:" and the name
	access.Grant
}

// Config says whose certificates count.
type Config struct {
	Authorities []byte   // PEM certificates; needed
	Revoked     []string // files of revocation lists, DER or PEM
	Rules       []Rule   // needed
}

// Verifier authenticates callers. It is safe for concurrent use.
type Verifier struct {
	roots *x509.CertPool
	rules []Rule
	lists []*list
}

// Refused is why a certificate does not count, for the operator's log. It is [access.ErrUnauthenticated].
type Refused struct{ Err error }

func (r *Refused) Error() string { return "certificate: refused: " + r.Err.Error() }

// Unwrap returns access.ErrUnauthenticated and the cause.
func (r *Refused) Unwrap() []error { return []error{access.ErrUnauthenticated, r.Err} }

// New returns a Verifier, or what is wrong with the configuration.
func New(c Config, now time.Time) (*Verifier, error) {
	v := &Verifier{roots: x509.NewCertPool(), rules: slices.Clone(c.Rules)}
	authorities, err := parse(c.Authorities)
	if err != nil {
		return nil, fmt.Errorf("certificate: authorities: %w", err)
	}
	for _, a := range authorities {
		if !a.IsCA {
			return nil, fmt.Errorf("certificate: %q is no authority", a.Subject)
		}
		v.roots.AddCert(a)
	}
	if len(c.Rules) == 0 || len(c.Rules) > maxRules {
		return nil, fmt.Errorf("certificate: %d rules: 1 to %d are possible", len(c.Rules), maxRules)
	}
	for i := range v.rules {
		if err := v.rules[i].check(); err != nil {
			return nil, fmt.Errorf("certificate: rule %d: %w", i+1, err)
		}
	}
	for _, file := range c.Revoked {
		l := &list{file: file, authorities: authorities}
		if err := l.look(now); err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		v.lists = append(v.lists, l)
	}
	return v, nil
}

// Authorities returns the pool that a server has clients' certificates verified by.
func (v *Verifier) Authorities() *x509.CertPool { return v.roots }

func parse(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("there is a %.40q among the certificates", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 || len(bytes.TrimSpace(text)) > 0 {
		return nil, errors.New("there is no PEM certificate, or something else after one")
	}
	return all, nil
}

func (r *Rule) check() error {
	given := 0
	for _, name := range []string{r.DNS, r.URI, r.Email, r.CommonName} {
		if name != "" {
			given++
		}
	}
	if given != 1 {
		return fmt.Errorf("it has %d of dns, uri, email and cn, not one", given)
	}
	if r.Subject != "" {
		if err := access.CheckSubject(r.Subject); err != nil {
			return err
		}
	}
	return r.Check()
}

// match returns the subject of a certificate that the rule is about, "" of another.
func (r *Rule) match(c *x509.Certificate) string {
	subject := ""
	switch {
	case r.DNS != "":
		if slices.ContainsFunc(c.DNSNames, func(name string) bool { return strings.EqualFold(name, r.DNS) }) {
			subject = "dns:" + strings.ToLower(r.DNS)
		}
	case r.Email != "":
		if slices.ContainsFunc(c.EmailAddresses, func(name string) bool { return strings.EqualFold(name, r.Email) }) {
			subject = strings.ToLower(r.Email)
		}
	case r.CommonName != "":
		if c.Subject.CommonName == r.CommonName {
			subject = "cn:" + r.CommonName
		}
	default:
		folder, below := strings.CutSuffix(r.URI, "*")
		for _, u := range c.URIs {
			if text := u.String(); text == r.URI || below && strings.HasSuffix(folder, "/") && strings.HasPrefix(text, folder) && len(text) > len(folder) {
				subject = text
				break
			}
		}
	}
	if subject != "" && r.Subject != "" {
		return r.Subject
	}
	return subject
}

// Authenticate returns the caller whose certificate is the first of a chain. The error is a *[Refused], or says that it cannot be found out whether the certificate was
// revoked.
func (v *Verifier) Authenticate(chain []*x509.Certificate, now time.Time) (access.Caller, error) {
	refuse := func(err error) (access.Caller, error) { return access.Caller{}, &Refused{err} }
	if len(chain) == 0 || len(chain) > maxChain {
		return refuse(fmt.Errorf("%d certificates, not 1 to %d", len(chain), maxChain))
	}
	leaf, between := chain[0], x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if leaf.IsCA {
		return refuse(errors.New("an authority's own certificate is nobody's"))
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: v.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return refuse(err)
	}
	for _, l := range v.lists {
		revoked, err := l.revokes(chains[0], now)
		if err != nil {
			return access.Caller{}, fmt.Errorf("certificate: %w", err)
		}
		if revoked {
			return refuse(fmt.Errorf("the certificate %x, or its issuer's, was revoked", leaf.SerialNumber))
		}
	}
	sum := sha256.Sum256(leaf.Raw)
	who := access.Caller{Token: "certificate:" + hex.EncodeToString(sum[:8]), Via: access.ViaCertificate}
	var grants []access.Grant
	for i := range v.rules {
		subject := v.rules[i].match(leaf)
		if subject == "" || who.Subject != "" && subject != who.Subject { // of two people in one certificate, the first counts
			continue
		}
		who.Subject = subject
		grants = append(grants, v.rules[i].Grant)
	}
	if who.Subject == "" {
		return refuse(errors.New("no rule is about a name in it"))
	}
	if err := access.CheckSubject(who.Subject); err != nil {
		return refuse(err)
	}
	joined := access.Join(grants)
	who.Name, who.Roles, who.Namespace, who.Scope = who.Subject, joined.Roles, joined.Namespace, joined.Scope
	if len(who.Name) > access.MaxName {
		who.Name = who.Token
	}
	return who, nil
}

// list is a revocation list that follows its file.
type list struct {
	file        string
	authorities []*x509.Certificate

	mu     sync.Mutex
	looked time.Time
	seen   os.FileInfo
	list   *x509.RevocationList
	err    error
}

// look reads the file again when it has changed.
func (l *list) look(now time.Time) error {
	if !l.looked.IsZero() && now.Sub(l.looked) < lookEvery && !now.Before(l.looked) {
		return l.err
	}
	l.looked = now
	info, err := os.Stat(l.file)
	if err != nil {
		l.seen, l.err = nil, err
		return err
	}
	if l.seen != nil && os.SameFile(info, l.seen) && info.ModTime().Equal(l.seen.ModTime()) && info.Size() == l.seen.Size() {
		return l.err
	}
	l.seen = info
	l.list, l.err = l.read(info.Size())
	return l.err
}

func (l *list) read(size int64) (*x509.RevocationList, error) {
	if size > maxList {
		return nil, fmt.Errorf("%s: %d bytes, over %d", l.file, size, maxList)
	}
	content, err := os.ReadFile(l.file)
	if err != nil {
		return nil, err
	}
	parsed, err := ParseList(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.file, err)
	}
	for _, a := range l.authorities {
		if bytes.Equal(a.RawSubject, parsed.RawIssuer) && parsed.CheckSignatureFrom(a) == nil {
			return parsed, nil
		}
	}
	return nil, fmt.Errorf("%s: no configured authority signed this revocation list", l.file)
}

// ParseList reads one revocation list, DER or PEM, and nothing beside it.
func ParseList(content []byte) (*x509.RevocationList, error) {
	if block, rest := pem.Decode(content); block != nil {
		if block.Type != "X509 CRL" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, errors.New("it is not one revocation list in PEM")
		}
		content = block.Bytes
	}
	parsed, err := x509.ParseRevocationList(content)
	if err != nil {
		return nil, err
	}
	if len(parsed.Raw) != len(content) {
		return nil, errors.New("bytes follow the revocation list")
	}
	return parsed, nil
}

// revokes reports whether a certificate of a verified chain is on the list.
func (l *list) revokes(chain []*x509.Certificate, now time.Time) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.look(now); err != nil {
		return false, err
	}
	for _, c := range chain[:len(chain)-1] {
		if !bytes.Equal(c.RawIssuer, l.list.RawIssuer) {
			continue
		}
		if !l.list.NextUpdate.IsZero() && now.After(l.list.NextUpdate) {
			return false, fmt.Errorf("%s: its next update was due at %v", l.file, l.list.NextUpdate)
		}
		for i := range l.list.RevokedCertificateEntries {
			if l.list.RevokedCertificateEntries[i].SerialNumber.Cmp(c.SerialNumber) == 0 {
				return true, nil
			}
		}
	}
	return false, nil
}
