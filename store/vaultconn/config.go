package vaultconn

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// Config says where Vault is and who asks. Open checks it as a whole; the environment adds nothing to it.
type Config struct {
	Address    string // such as https://vault.example:8200
	Namespace  string // of Vault Enterprise or OpenBao, such as "team/brokers"; empty for none
	CACert     string // PEM file with the authorities of Vault's certificate; default: the system's
	ServerName string // the name in Vault's certificate; default: the host of Address
	Auth       Auth

	// Development allows plain HTTP, to a loopback address, and nothing else that is unsafe.
	Development bool

	// KeepToken has Close leave the token to end by itself, and with it the leases of what was issued to it.
	KeepToken bool

	Timeout     time.Duration    // of one request, with its wait for a turn; default DefaultTimeout, at most MaxTimeout
	MaxInFlight int              // requests under way; default DefaultInFlight
	Logger      *slog.Logger     // default slog.Default
	Now         func() time.Time // default time.Now
}

// Auth says how to log in. Members that a method does not use must be empty.
//
//	token       Token, or TokenFile
//	approle     RoleID, and SecretIDFile with the secret id, or with SecretIDWrapped a wrapping token that holds it, and then Role
//	kubernetes  Role; JWTFile is the service account's token where no other is named
//	jwt         Role and JWTFile
//	cert        Cert and Key; Role names one certificate role, and without it Vault tries all
//
// Cert and Key may be given with any method, for a Vault whose listener asks for a certificate.
type Auth struct {
	Method string // "token", "approle", "kubernetes", "jwt" or "cert"
	Mount  string // where the method is mounted, below auth/; default: the method's name
	Role   string

	Token     string // of the method token, where no file is named
	TokenFile string

	RoleID          string
	SecretIDFile    string
	SecretIDWrapped bool

	JWTFile string

	Cert, Key string // PEM files of a TLS client certificate, with those between it and its root, and its key
}

// String says how the login is made, without the token, also where a whole Config is printed.
func (a Auth) String() string {
	return fmt.Sprintf("{%s mount %q role %q}", a.Method, a.Mount, a.Role)
}

// GoString is String.
func (a Auth) GoString() string { return a.String() }

// The methods of logging in.
const (
	MethodToken      = "token"
	MethodAppRole    = "approle"
	MethodKubernetes = "kubernetes"
	MethodJWT        = "jwt"
	MethodCert       = "cert"
)

// Methods returns the methods of logging in.
func Methods() []string {
	return []string{MethodToken, MethodAppRole, MethodKubernetes, MethodJWT, MethodCert}
}

// DefaultTimeout is several times what a busy Vault takes, and less than a workload waits.
const DefaultTimeout = 5 * time.Second

// MaxTimeout is what Vault itself gives a request before it ends it.
const MaxTimeout = 90 * time.Second

// DefaultInFlight keeps a Vault of usual size busy; more only wait inside it.
const DefaultInFlight = 128

// MaxInFlight bounds Config.MaxInFlight: each request under way may hold an answer and a connection.
const MaxInFlight = 4096

// DefaultJWTFile is where Kubernetes puts the token of a pod's service account.
const DefaultJWTFile = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path

// Check says what is wrong with a configuration, as Open does, but reads no file and asks nobody.
func (c Config) Check() error {
	_, err := c.withDefaults()
	return err
}

// withDefaults returns the configuration with what was left out, or what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if err := c.checkAddress(); err != nil {
		return c, err
	}
	if c.Namespace = strings.Trim(c.Namespace, "/"); c.Namespace != "" {
		if err := checkPath("namespace", c.Namespace); err != nil {
			return c, err
		}
	}
	switch {
	case c.Timeout < 0 || c.Timeout > MaxTimeout:
		return c, fmt.Errorf("vaultconn: the timeout is %v; it may be up to %v", c.Timeout, MaxTimeout)
	case c.MaxInFlight < 0 || c.MaxInFlight > MaxInFlight:
		return c, fmt.Errorf("vaultconn: there may be 1 to %d requests in flight, not %d", MaxInFlight, c.MaxInFlight)
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = DefaultInFlight
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	auth, err := c.Auth.withDefaults()
	c.Auth = auth
	return c, err
}

func (c *Config) checkAddress() error {
	if c.Address == "" {
		return errors.New("vaultconn: no address of Vault, such as https://vault.example:8200")
	}
	u, err := url.Parse(c.Address)
	if err != nil {
		return errors.New("vaultconn: the address of Vault is not a URL")
	}
	// The address is in logs and errors, so it is refused before it is repeated when it holds a password.
	if u.User != nil {
		return errors.New("vaultconn: the address of Vault has a user in it: how to log in is said in auth")
	}
	plain := u.Scheme == "http"
	switch {
	case u.Scheme != "https" && !plain || u.Host == "" || u.Opaque != "":
		return fmt.Errorf("vaultconn: the address of Vault is https://HOST[:PORT], not %q", c.Address)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("vaultconn: the address of Vault %q has more than a host and a port", c.Address)
	case plain && !c.Development:
		return fmt.Errorf("vaultconn: %s is plain HTTP, on which anybody can read the token: Vault is reached by https", c.Address)
	case plain && !loopback(u.Hostname()):
		return fmt.Errorf("vaultconn: %s is plain HTTP and not on this machine, which development does not allow either", c.Address)
	case plain && (c.CACert != "" || c.ServerName != "" || c.Auth.Cert != ""):
		return fmt.Errorf("vaultconn: %s is plain HTTP, on which certificates have no use", c.Address)
	}
	c.Address = u.Scheme + "://" + u.Host
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkPath refuses what is not a path of Vault.
func checkPath(what, p string) error {
	if path.Clean(p) != p || strings.HasPrefix(p, "/") || strings.HasPrefix(p, "..") || strings.ContainsAny(p, " \t\r\n?#%*\\") {
		return fmt.Errorf("vaultconn: the %s %q is not a path", what, p)
	}
	return nil
}

func (a Auth) withDefaults() (Auth, error) {
	given := map[string]bool{
		"mount": a.Mount != "", "role": a.Role != "", "token": a.Token != "", "token file": a.TokenFile != "", "role id": a.RoleID != "",
		"secret id file": a.SecretIDFile != "", "wrapped secret id": a.SecretIDWrapped, "jwt file": a.JWTFile != "",
		"certificate": a.Cert != "", "certificate's key": a.Key != "",
	}
	uses, ok := map[string]struct{ may, must []string }{
		MethodToken:      {may: []string{"token", "token file"}},
		MethodAppRole:    {may: []string{"mount", "role", "wrapped secret id"}, must: []string{"role id", "secret id file"}},
		MethodKubernetes: {may: []string{"mount", "jwt file"}, must: []string{"role"}},
		MethodJWT:        {may: []string{"mount"}, must: []string{"role", "jwt file"}},
		MethodCert:       {may: []string{"mount", "role"}, must: []string{"certificate"}},
	}[a.Method]
	if !ok {
		return a, fmt.Errorf("vaultconn: there is no method %.40q to log in to Vault; there are %s", a.Method, strings.Join(Methods(), ", "))
	}
	uses.may = append(uses.may, "certificate", "certificate's key")
	for _, name := range uses.must {
		if !given[name] {
			return a, fmt.Errorf("vaultconn: the method %s needs a %s", a.Method, name)
		}
	}
	names := make([]string, 0, len(given))
	for name, is := range given {
		if is && !slices.Contains(uses.may, name) && !slices.Contains(uses.must, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	switch {
	case len(names) > 0:
		return a, fmt.Errorf("vaultconn: the method %s has no use for a %s", a.Method, strings.Join(names, ", "))
	case a.Method == MethodToken && given["token"] == given["token file"]:
		return a, errors.New("vaultconn: the method token needs a token or a token file, one of them")
	case given["certificate"] != given["certificate's key"]:
		return a, errors.New("vaultconn: a certificate needs its key, and a key its certificate")
	case a.SecretIDWrapped && a.Role == "":
		return a, errors.New("vaultconn: a wrapped secret id needs the name of its role, against which the wrapping is checked")
	case a.Method == MethodAppRole && a.Role != "" && !a.SecretIDWrapped:
		return a, errors.New("vaultconn: approle logs in by a role id; a role's name has a use only with a wrapped secret id")
	case a.Token != "" && checkCredential(a.Token) != nil:
		return a, fmt.Errorf("vaultconn: the token %w", checkCredential(a.Token))
	}
	if a.Mount == "" {
		a.Mount = a.Method
	}
	a.Mount = strings.TrimPrefix(strings.Trim(a.Mount, "/"), "auth/")
	if err := checkPath("mount", a.Mount); err != nil {
		return a, err
	}
	if a.Method == MethodKubernetes && a.JWTFile == "" {
		a.JWTFile = DefaultJWTFile
	}
	return a, nil
}

// authorities reads the file of authorities.
func (c *Config) authorities() ([]byte, error) {
	if c.CACert == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.CACert)
	if err != nil {
		return nil, fmt.Errorf("vaultconn: %w", err)
	}
	return text, nil
}
