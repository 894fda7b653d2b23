package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/store/seal"
	"github.com/vouchsafe/vouchsafe/store/seal/transit"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
	"github.com/vouchsafe/vouchsafe/store/vaultconn/rights"
)

// sealSettings say what seals the store: one of them, or the key file in the data directory.
type sealSettings struct {
	KeyFile        string          `yaml:"key_file"`
	PassphraseFile string          `yaml:"passphrase_file"`
	Transit        transitSettings `yaml:"transit"`
}

// transitSettings name a key of a transit engine of Vault, which the connection of the settings leads to.
type transitSettings struct {
	Mount string `yaml:"mount"`
	Key   string `yaml:"key"`
}

func addSealFlags(c *cobra.Command, s *sealSettings) {
	c.Flags().StringVar(&s.KeyFile, "seal-key", "", "key `FILE` that seals the store (default seal.key in the data directory)")
	c.Flags().StringVar(&s.PassphraseFile, "seal-passphrase-file", "", "`FILE` with the passphrase that seals the store")
	c.Flags().Var(&s.Transit, "seal-transit", "transit `KEY` of Vault that seals the store, or MOUNT/KEY; --config says where Vault is")
}

// String, Set and Type make a flag of it.
func (s *transitSettings) String() string {
	if s.Mount == "" {
		return s.Key
	}
	return s.Mount + "/" + s.Key
}

// Set reads MOUNT/KEY.
func (s *transitSettings) Set(text string) error {
	*s = transitSettings{Key: text}
	if at := strings.LastIndex(text, "/"); at >= 0 {
		s.Mount, s.Key = text[:at], text[at+1:]
	}
	if s.Key == "" {
		return errors.New("it names no key")
	}
	return nil
}

// Type implements pflag.Value.
func (s *transitSettings) Type() string { return "string" }

func (s *transitSettings) used() bool { return *s != transitSettings{} }

// open returns the seal. It asks Vault nothing.
func (s *transitSettings) open(conn *vaultconn.Conn) (seal.Seal, error) {
	if conn == nil {
		return nil, errors.New("the seal is a key in Vault: say where Vault is in the file of --config")
	}
	return transit.New(transit.Config{Conn: conn, Mount: s.Mount, Key: s.Key})
}

// rights is what the seal needs of Vault, nil where it is none of Vault's.
func (s *transitSettings) rights() *rights.Transit {
	if !s.used() {
		return nil
	}
	r := rights.Transit{Mount: s.Mount, Key: s.Key}
	if r.Mount == "" {
		r.Mount = transit.DefaultMount
	}
	return &r
}

func (s *sealSettings) check() error {
	n := 0
	for _, given := range []bool{s.KeyFile != "", s.PassphraseFile != "", s.Transit.used()} {
		if given {
			n++
		}
	}
	switch {
	case n > 1:
		return errors.New("a store has one seal: give a key file, a passphrase file or a transit key")
	case s.Transit.used() && s.Transit.Key == "":
		return errors.New("seal.transit.key is missing: the name of the transit key that seals the store")
	}
	return nil
}

// makes returns the path of the key file that is made with a store, and whether it is sealed by one.
func (s *sealSettings) makes(dir string) (path string, ok bool) {
	switch {
	case s.PassphraseFile != "" || s.Transit.used():
		return "", false
	case s.KeyFile != "":
		return s.KeyFile, true
	}
	return filepath.Join(dir, defaultKeyFile), true
}

// create opens the seal of a store that is to be made; a key file is made too, unless it exists.
func (s *sealSettings) create(dir string, conn *vaultconn.Conn) (seal.Seal, error) {
	path, ok := s.makes(dir)
	if !ok || s.check() != nil || dir == "" && s.KeyFile == "" {
		return s.open(dir, conn)
	}
	key, err := seal.CreateKeyFile(path, nil)
	if errors.Is(err, os.ErrExist) {
		return seal.NewKeyFile(path)
	}
	return key, err
}

// errNoData says that nobody said where the store, or the key of its seal, is.
var errNoData = errors.New("no data directory: say --data DIR, or data in the configuration; of a store in Vault, say where the key of its seal is")

// defaultKeyFile is the name of the seal's key in the data directory, when it is kept there.
const defaultKeyFile = "seal.key"

// open returns the seal that opens a data directory.
func (s *sealSettings) open(dir string, conn *vaultconn.Conn) (seal.Seal, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	switch {
	case s.Transit.used():
		return s.Transit.open(conn)
	case dir == "" && *s == (sealSettings{}):
		return nil, errNoData
	case s.PassphraseFile != "":
		passphrase, err := readPassphrase(s.PassphraseFile)
		if err != nil {
			return nil, err
		}
		defer clear(passphrase)
		return seal.NewPassphrase(passphrase, seal.PassphraseConfig{})
	case s.KeyFile != "":
		return seal.NewKeyFile(s.KeyFile)
	default:
		key, err := seal.NewKeyFile(filepath.Join(dir, defaultKeyFile))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: say --seal-key FILE, --seal-passphrase-file FILE or --seal-transit KEY (seal in the configuration) for a store that is sealed otherwise", err)
		}
		return key, err
	}
}

// readPassphrase reads the first line of a file, without its end.
func readPassphrase(path string) ([]byte, error) {
	text, err := readInput(nil, path, 4096)
	if err != nil {
		return nil, err
	}
	line, rest, _ := bytes.Cut(text, []byte("\n"))
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%s has more than one line; a passphrase is one", path)
	}
	return bytes.TrimSuffix(line, []byte("\r")), nil
}
