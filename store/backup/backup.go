package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"go.etcd.io/bbolt"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
)

const (
	magic       = "vouchsafe-backup/1\n"
	format      = 1
	maxManifest = 4096 // bytes; a real one has about 250
)

// The errors of Restore, wrapped with what they concern.
var (
	ErrExists        = errors.New("there is a file already")
	ErrWrongIdentity = errors.New("backup is not for this identity")
	ErrDamaged       = errors.New("backup is damaged, cut off, or not one of this program")
)

// Manifest describes a backup.
type Manifest struct {
	Format  int           `json:"format"`
	Store   string        `json:"store"` // the id in the store's header
	Purpose store.Purpose `json:"purpose"`
	Time    time.Time     `json:"time"` // when it was taken, UTC
	Size    int64         `json:"size"` // of the store's file, in bytes
	SHA256  string        `json:"sha256"`
}

// Config has what a backup or restore needs from outside. All fields have defaults.
type Config struct {
	Now      func() time.Time        // dates the manifest; default time.Now
	Progress func(done, total int64) // called as bytes of the store are copied; may be nil
}

// Write copies the store to w, encrypted to the recipients, of which there must be one at least. What w holds after an
// error is of no use.
func Write(ctx context.Context, s *bolt.Store, w io.Writer, recipients []age.Recipient, c Config) (Manifest, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if len(recipients) == 0 {
		return Manifest{}, errors.New("backup: no recipient to encrypt to")
	}
	m := Manifest{Format: format, Store: s.Header().Store, Purpose: s.Header().Purpose, Time: c.Now().UTC().Truncate(time.Second)}
	encrypted, err := age.Encrypt(w, recipients...)
	if err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	err = s.View(ctx, func(tx *bbolt.Tx) error {
		m.Size = tx.Size()
		head := binary.BigEndian.AppendUint64([]byte(magic), uint64(m.Size))
		if _, err := encrypted.Write(head); err != nil {
			return err
		}
		copied := newMeter(ctx, encrypted, m.Size, c.Progress)
		if _, err := tx.WriteTo(copied); err != nil {
			return err
		}
		m.SHA256 = copied.digest()
		return nil
	})
	if err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	if _, err := encrypted.Write(data); err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	if err := encrypted.Close(); err != nil {
		return Manifest{}, fmt.Errorf("backup: %w", err)
	}
	return m, nil
}

// Restore makes a store at path of the backup in r. The file appears, with mode 0600, when everything was verified: the
// encryption, the digest, and the store's structure. Otherwise nothing is left. Errors wrap ErrExists, ErrWrongIdentity,
// ErrDamaged, or are the file system's.
func Restore(ctx context.Context, r io.Reader, path string, identities []age.Identity, c Config) (Manifest, error) {
	m, err := restore(ctx, r, path, identities, c)
	if err != nil {
		return Manifest{}, fmt.Errorf("restore to %s: %w", path, err)
	}
	return m, nil
}

func restore(ctx context.Context, r io.Reader, path string, identities []age.Identity, c Config) (m Manifest, err error) {
	if len(identities) == 0 {
		return m, errors.New("no identity to decrypt with")
	}
	if _, err := os.Lstat(path); err == nil {
		return m, ErrExists
	} else if !errors.Is(err, os.ErrNotExist) {
		return m, err
	}
	content, err := age.Decrypt(r, identities...)
	var nobody *age.NoIdentityMatchError
	switch {
	case errors.As(err, &nobody):
		return m, ErrWrongIdentity
	case err != nil:
		return m, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	folder := filepath.Dir(path)
	file, err := os.CreateTemp(folder, ".restore-*") // with mode 0600
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }()
	m, err = unpack(ctx, content, file, c.Progress)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return m, err
	}
	report, err := bolt.Check(ctx, bolt.CheckConfig{Path: file.Name()})
	if err != nil {
		return m, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if report.Header.Store != m.Store || report.Header.Purpose != m.Purpose {
		return m, fmt.Errorf("%w: its manifest is for another store than it holds", ErrDamaged)
	}
	// A link fails where a rename would replace a file that appeared meanwhile.
	if err := os.Link(file.Name(), path); errors.Is(err, os.ErrExist) {
		return m, ErrExists
	} else if err != nil {
		return m, err
	}
	return m, syncFolder(folder)
}

// unpack reads the content of a backup, up to its end, and writes the store in it to file.
func unpack(ctx context.Context, content io.Reader, file io.Writer, progress func(done, total int64)) (Manifest, error) {
	head := make([]byte, len(magic)+8)
	if _, err := io.ReadFull(content, head); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	size := binary.BigEndian.Uint64(head[len(magic):])
	if string(head[:len(magic)]) != magic || size == 0 || size > 1<<62 {
		return Manifest{}, fmt.Errorf("%w: it does not begin as one", ErrDamaged)
	}
	copied := newMeter(ctx, file, int64(size), progress)
	if _, err := io.CopyN(copied, content, int64(size)); copied.err != nil {
		return Manifest{}, copied.err // the destination's
	} else if err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	data, err := io.ReadAll(io.LimitReader(content, maxManifest+1))
	if err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	m, err := parseManifest(data)
	if err != nil {
		return Manifest{}, err
	}
	if m.Size != int64(size) || m.SHA256 != copied.digest() {
		return Manifest{}, fmt.Errorf("%w: its content is not what its manifest says", ErrDamaged)
	}
	return m, nil
}

// parseManifest decodes what Write made, and nothing else.
func parseManifest(data []byte) (Manifest, error) {
	var m Manifest
	if len(data) > maxManifest {
		return m, fmt.Errorf("%w: manifest is over %d bytes", ErrDamaged, maxManifest)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%w: manifest: %w", ErrDamaged, err)
	}
	digest, err := hex.DecodeString(m.SHA256)
	switch {
	case m.Format != format:
		return m, fmt.Errorf("%w: manifest has format %d, and this program knows %d", ErrDamaged, m.Format, format)
	case err != nil || len(digest) != sha256.Size:
		return m, fmt.Errorf("%w: manifest has digest %q", ErrDamaged, m.SHA256)
	}
	// No unknown or repeated member, no other spelling, nothing after the end.
	if again, err := json.Marshal(m); err != nil || !bytes.Equal(again, data) {
		return m, fmt.Errorf("%w: manifest is not in the form that this program writes", ErrDamaged)
	}
	return m, nil
}

// meter passes bytes on, counts and digests them, and stops when the context ends.
type meter struct {
	ctx         context.Context
	w           io.Writer
	sum         hash.Hash
	done, total int64
	progress    func(done, total int64)
	err         error // of the context or of w
}

func newMeter(ctx context.Context, w io.Writer, total int64, progress func(done, total int64)) *meter {
	return &meter{ctx: ctx, w: w, sum: sha256.New(), total: total, progress: progress}
}

func (m *meter) Write(b []byte) (n int, err error) {
	if m.err = m.ctx.Err(); m.err != nil {
		return 0, m.err
	}
	n, m.err = m.w.Write(b)
	m.sum.Write(b[:n])
	m.done += int64(n)
	if m.progress != nil {
		m.progress(m.done, m.total)
	}
	return n, m.err
}

func (m *meter) digest() string { return hex.EncodeToString(m.sum.Sum(nil)) }

// syncFolder makes a new name in a folder survive a power failure.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
