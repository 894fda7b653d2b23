package pgtest_test

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/pgtest"
)

// TestRoles does what a database engine does: a role is made, connects with its password, and cannot once it is dropped.
func TestRoles(t *testing.T) {
	s := pgtest.Start(t)
	s.Exec(t, "CREATE TABLE fruit (name text); INSERT INTO fruit VALUES ('quince'), ('medlar')")
	s.Exec(t, `CREATE ROLE guest LOGIN PASSWORD 'right'; GRANT SELECT ON fruit TO guest`)
	rows, err := s.Query(t.Context(), "guest", "right", "SELECT name, length(name) FROM fruit ORDER BY name")
	if err != nil || rows != "medlar|6\nquince|6" {
		t.Errorf("got %q, %v", rows, err)
	}
	if _, err := s.Query(t.Context(), pgtest.Superuser, s.Password, "SELECT 1"); err != nil {
		t.Error(err)
	}
	for name, attempt := range map[string][3]string{
		"wrong password": {"guest", "wrong", "SELECT 1"},
		"no password":    {"guest", "", "SELECT 1"},
		"no right":       {"guest", "right", "DROP TABLE fruit"},
		"no role":        {"stranger", "right", "SELECT 1"},
	} {
		if _, err := s.Query(t.Context(), attempt[0], attempt[1], attempt[2]); err == nil || !strings.Contains(err.Error(), "psql: ") {
			t.Errorf("%s: got the error %v", name, err)
		}
	}
	s.Exec(t, `DROP OWNED BY guest; DROP ROLE guest`)
	if _, err := s.Query(t.Context(), "guest", "right", "SELECT 1"); err == nil {
		t.Error("a role that was dropped connects")
	}
}

// TestEnds: neither the server nor its files are left.
func TestEnds(t *testing.T) {
	var address, dir string
	t.Run("server", func(t *testing.T) {
		s := pgtest.Start(t)
		address = s.Address
		dir = s.Exec(t, "SHOW data_directory")
	})
	if address == "" {
		t.Skip("no server ran")
	}
	if connection, err := net.Dial("tcp", address); err == nil {
		connection.Close()
		t.Error("the server still listens")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder %s: %v", dir, err)
	}
}
