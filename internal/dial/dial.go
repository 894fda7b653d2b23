// Package dial is what all programs that call a broker agree on, whatever they call it for: the form of its address, TLS 1.3, whose certificates
// count, and that nothing follows a redirect, since what is sent is meant for one host. When plain HTTP will do is for the caller to say: who sends a
// token accepts it to [Loopback] only, and who fetches secrets where replies are verified by keys of their own.
package dial

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Parse checks that address is https or http, a host, and perhaps a port and a path, and nothing else. Its errors hold no part of an address that may
// have a password in it.
func Parse(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the URL is not https://HOST[:PORT][/PATH]")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("the URL's scheme is %q, not https", u.Scheme)
	}
	return u, nil
}

// Base is what the paths of requests are appended to.
func Base(u *url.URL) string { return strings.TrimSuffix(u.String(), "/") }

// Loopback reports whether what is sent to a host never leaves the machine.
func Loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Config is what a client is made of. CA and HTTP exclude each other.
type Config struct {
	CA      []byte           // PEM certificates that the broker's chains to; the system's when empty
	HTTP    *http.Client     // used as it is but for redirects, by callers with a transport of their own
	Pair    *tls.Certificate // shown to a broker that asks for a client's certificate; none when nil
	Connect time.Duration    // how long a connection may take to stand; what http.DefaultTransport has when 0
}

// New returns a client that follows no redirect.
func New(c Config) (*http.Client, error) {
	client := new(http.Client)
	switch {
	case c.HTTP != nil && len(c.CA) > 0:
		return nil, errors.New("a CA would have no effect beside HTTP: give one of them")
	case c.HTTP != nil && c.Pair != nil:
		return nil, errors.New("a client's certificate would have no effect beside HTTP: give one of them")
	case c.HTTP != nil:
		*client = *c.HTTP
	default:
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS13}
		if len(c.CA) > 0 {
			transport.TLSClientConfig.RootCAs = x509.NewCertPool()
			if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(c.CA) {
				return nil, errors.New("the CA holds no PEM certificate")
			}
		}
		if c.Pair != nil {
			transport.TLSClientConfig.Certificates = []tls.Certificate{*c.Pair}
		}
		if c.Connect != 0 {
			transport.DialContext = (&net.Dialer{Timeout: c.Connect}).DialContext
		}
		client.Transport = transport
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client, nil
}

// CheckToken refuses what cannot be a token, before it would get into a header. Its errors hold no part of it.
func CheckToken(token string) error {
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("the token holds white space or other characters that no token has")
	}
	return nil
}
