package vaulttest

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/vault/api"
)

// RegisterPlugin copies a program into the server's plugin folder, under a name of its own, and registers it by its SHA-256, which it returns. The version is "" or a semantic version with "v". A name
// can be registered again with another program: mounts take it up when they are reloaded, or when the server starts.
//
//	s.RegisterPlugin(t, api.PluginTypeSecrets, "vouchsafe", program, "")
//	path := s.Mount(t, "vouchsafe", nil)
func (s *Server) RegisterPlugin(t testing.TB, kind api.PluginType, name, program, version string, arguments ...string) (digest string) {
	t.Helper()
	source, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	// Renamed into place: a program that a process has open for writing does not start.
	file, err := os.CreateTemp(s.PluginDir, ".new")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(file, sum), source); err != nil {
		t.Fatal(err)
	}
	if err := file.Chmod(0o700); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	digest = hex.EncodeToString(sum.Sum(nil))
	command := name + "-" + digest[:12]
	if err := os.Rename(file.Name(), filepath.Join(s.PluginDir, command)); err != nil {
		t.Fatal(err)
	}
	err = s.Client(t).Sys().RegisterPluginWithContext(t.Context(), &api.RegisterPluginInput{
		Name: name, Type: kind, Command: command, Args: arguments, SHA256: digest, Version: version,
	})
	if err != nil {
		t.Fatalf("vaulttest: registering %s: %v", name, err)
	}
	return digest
}
