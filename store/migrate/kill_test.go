package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/crash"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// killVariable names the folder of the stores between which this binary migrates until it is killed.
const killVariable = "VOUCHSAFE_MIGRATE_UNTIL_KILLED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killVariable); dir != "" {
		if err := migrateIn(context.Background(), dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		time.Sleep(time.Minute) // it is to be killed
	}
	os.Exit(m.Run())
}

// openIn opens one of the stores of a folder.
func openIn(ctx context.Context, dir, name string) (*seal.Store, error) {
	key, err := seal.NewKeyFile(filepath.Join(dir, name+".key"))
	if errors.Is(err, fs.ErrNotExist) {
		key, err = seal.CreateKeyFile(filepath.Join(dir, name+".key"), nil)
	}
	if err != nil {
		return nil, err
	}
	file, err := bolt.Open(bolt.Config{Path: filepath.Join(dir, name+".db"), Create: true})
	if err != nil {
		return nil, err
	}
	_ = seal.Init(ctx, file, key, seal.Config{}) // sealed already
	return seal.Open(ctx, file, key, seal.Config{Exclusive: true})
}

// migrateIn migrates between the stores of a folder, and says so for each page.
func migrateIn(ctx context.Context, dir string) error {
	source, err := openIn(ctx, dir, "source")
	if err != nil {
		return err
	}
	target, err := openIn(ctx, dir, "target")
	if err != nil {
		return err
	}
	_, err = Run(ctx, Config{Source: source, Target: target, page: 2, Progress: func(p Progress) { fmt.Println(p.Stage, p.Records) }})
	if errors.Is(err, ErrFinished) {
		fmt.Println("finished")
		return nil
	}
	return err
}

// TestKilled kills the process of a migration, with the disk and all, again and again.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	source, err := openIn(t.Context(), dir, "source")
	if err != nil {
		t.Fatal(err)
	}
	fill(t, source, 1000)
	if err := source.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range crash.Rounds(t, 4) {
		command := exec.Command(os.Args[0])
		command.Env = append(os.Environ(), killVariable+"="+dir)
		crash.Run(t, command, time.Duration(i%4)*7*time.Millisecond)
	}
	if source, err = openIn(t.Context(), dir, "source"); err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	target, err := openIn(t.Context(), dir, "target")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if Check(t.Context(), target) == nil {
		t.Skip("it was finished before it was killed")
	}
	report, err := Run(t.Context(), Config{Source: source, Target: target})
	if err != nil {
		t.Fatal(err)
	}
	expectSame(t, report, source, target)
	if !report.Resumed || report.Written == report.Records {
		t.Errorf("it began anew: %+v", report)
	}
}
