package vault

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

const (
	// partsWithin is how long writing parts may take before the record that names them is not written any more, since they may be swept.
	partsWithin = 5 * time.Minute
	// restoreWithin is how long writing them once more may take, when that was not noticed in time.
	restoreWithin = time.Minute
)

// errParts is returned for parts that are not those which a record names.
var errParts = errors.New("parts are missing")

// partPath returns where a part of a record's value is.
func partPath(key, id string, i int) string {
	return partsName + "/" + escapeKey(key) + "/" + partPrefix + id + "-" + strconv.Itoa(i)
}

// partPrefix begins the name of a part. No element of a key begins so.
const partPrefix = "=part-"

// split writes a large value's parts, under names that nobody else uses, and returns the record that names them, and when the first was written, by
// Vault's clock.
func (s *Store) split(ctx context.Context, key string, value []byte) (r record, first time.Time, err error) {
	var id [partsIDSize]byte
	if _, err := io.ReadFull(s.config.Random, id[:]); err != nil {
		return record{}, first, fmt.Errorf("name the parts of a record: %w", err)
	}
	sum := sha256.Sum256(value)
	r = record{ID: hex.EncodeToString(id[:]), Parts: partsOf(len(value)), Size: len(value), SHA256: hex.EncodeToString(sum[:])}
	started, created := s.now(), make([]time.Time, r.Parts)
	err = s.each(r.Parts, func(i int) error {
		at, err := s.putPart(ctx, key, r, i, value)
		if errors.Is(err, errCAS) {
			err = fmt.Errorf("%w: a part with its random name is there already", store.ErrUnavailable)
		}
		created[i] = at.created
		return err
	})
	if err == nil && s.now().Sub(started) > partsWithin {
		err = fmt.Errorf("%w: writing the parts took too long", store.ErrUnavailable)
	}
	return r, slices.MinFunc(created, time.Time.Compare), err
}

// putPart writes a part of a value, if it is not there.
func (s *Store) putPart(ctx context.Context, key string, r record, i int, value []byte) (status, error) {
	return s.put(ctx, partPath(key, r.ID, i), 0, valueRecord{Value: value[i*PartSize : min((i+1)*PartSize, len(value))]})
}

// restore writes those parts again that are gone of a value whose record was written just now. It is for who was held up before that, such as with the
// machine it runs on, for so long that a sweep may have taken the parts for left behind. That the record names them keeps them from the next one.
func (s *Store) restore(ctx context.Context, key string, r record, value []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreWithin) // who asked may have given up long ago
	defer cancel()
	err := s.each(r.Parts, func(i int) error {
		if _, err := s.putPart(ctx, key, r, i, value); !errors.Is(err, errCAS) {
			return err
		}
		return nil // it is there
	})
	if err != nil {
		return fmt.Errorf("the record is written, and parts of it may be missing, which could not be looked at: write it again: %w", err)
	}
	return nil
}

// join reads the value that a record names parts of. An error wraps errParts if they are not all there as they were written.
func (s *Store) join(ctx context.Context, key string, r record) ([]byte, error) {
	value := make([]byte, r.Size)
	err := s.each(r.Parts, func(i int) error {
		c, err := s.read(ctx, partPath(key, r.ID, i))
		if errors.Is(err, errAbsent) || errors.Is(err, errGutted) {
			return errParts
		}
		if err != nil {
			return err
		}
		part, err := parseRecord(c.Data)
		into := value[i*PartSize : min((i+1)*PartSize, r.Size)]
		if err != nil || len(part.Value) != len(into) {
			return errParts
		}
		copy(into, part.Value)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(value); hex.EncodeToString(sum[:]) != r.SHA256 {
		return nil, errParts
	}
	return value, nil
}

// dropParts removes parts that no record names. What remains of them, if it fails, is swept.
func (s *Store) dropParts(ctx context.Context, key string, r record) {
	_ = s.each(r.Parts, func(i int) error { return s.drop(ctx, partPath(key, r.ID, i)) })
}

// maxKnownParts bounds how many records' parts are remembered.
const maxKnownParts = 1024

// knownParts remembers the parts of records that this store read or wrote, so that who replaces one can remove them without another request. What it does not
// know is swept. The zero value is ready.
type knownParts struct {
	mu  sync.Mutex
	all map[string]versionParts
}

type versionParts struct {
	version uint64
	record  record
}

func (k *knownParts) learn(key string, version uint64, r record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all == nil {
		k.all = make(map[string]versionParts)
	}
	for other := range k.all {
		if len(k.all) < maxKnownParts {
			break
		}
		delete(k.all, other)
	}
	k.all[key] = versionParts{version, r}
}

// forget returns the parts that a version of a record had, if they are known.
func (k *knownParts) forget(key string, version uint64) (record, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	of, ok := k.all[key]
	delete(k.all, key)
	return of.record, ok && of.version == version
}
