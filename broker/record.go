package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/vouchsafe/vouchsafe/store"
)

// load reads the record at key and decodes its JSON. A record that is not there is an error wrapping store.ErrNotFound.
func load[T any](ctx context.Context, s store.Store, key string) (value T, version uint64, err error) {
	record, err := s.Get(ctx, key)
	if err != nil {
		return value, 0, err
	}
	if err := json.Unmarshal(record.Value, &value); err != nil {
		return value, 0, fmt.Errorf("%w: %s: %w", store.ErrCorrupt, key, err)
	}
	return value, record.Version, nil
}

// loadOrZero is load for a record that may not be there yet: then the value is zero and the version 0, which creates it.
func loadOrZero[T any](ctx context.Context, s store.Store, key string) (value T, version uint64, err error) {
	value, version, err = load[T](ctx, s, key)
	if errors.Is(err, store.ErrNotFound) {
		return value, 0, nil
	}
	return value, version, err
}

// damaged is an error wrapping store.ErrCorrupt: what the store holds is not what was written to it.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", store.ErrCorrupt, fmt.Sprintf(format, args...))
}

// write makes the write that replaces version of the record at key by value's JSON.
func write(key string, version uint64, value any) (store.Write, error) {
	text, err := encode(value)
	if err != nil {
		return store.Write{}, err
	}
	return store.Write{Key: key, Version: version, Value: text}, nil
}

// encode is json.Marshal without the escapes that exist for HTML: expressions and command lines are full of < and &.
func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// digest is how every digest in a record is written.
func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, part := range parts {
		h.Write(part)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// each calls f for every record key under prefix, in key order, a page at a time.
func each(ctx context.Context, s store.Store, prefix string, f func(key string) error) error {
	const page = 1000
	after := ""
	for {
		entries, err := s.List(ctx, prefix, after, page)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := f(e.Key); err != nil {
				return err
			}
			after = e.Key
		}
		if len(entries) < page {
			return nil
		}
	}
}
