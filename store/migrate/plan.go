package migrate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// Plan reads the whole source and looks at the target, which is nil where there is none yet, and changes nothing. Its errors are those that Run would begin with.
func Plan(ctx context.Context, c Config) (Report, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Report{}, err
	}
	m := newMigration(c)
	if err := m.Idle(ctx); err != nil {
		return m.report, err
	}
	if m.target != nil {
		_, version, err := m.admit(ctx)
		if err != nil {
			return m.report, err
		}
		m.report.Resumed = version != 0
	}
	err = m.digestSource(ctx, &m.report)
	return m.report, err
}

// admit returns the record of a target that this migration may begin, at version 0, or go on with.
func (m *migration) admit(ctx context.Context) (record, uint64, error) {
	r, version, err := readRecord(ctx, m.target)
	switch {
	case errors.Is(err, store.ErrNotFound):
		entries, err := m.target.List(ctx, "", "", 1)
		if err == nil && len(entries) > 0 {
			err = fmt.Errorf("%w: it has a record %s", ErrNotEmpty, entries[0].Key)
		}
		return record{Schema: 1, State: copying, Source: m.source.ID(), From: m.From, Began: m.Now().UTC(), Seen: []byte{}}, 0, err
	case err != nil:
		return r, 0, err
	case r.State == finished:
		return r, 0, fmt.Errorf("%w: %s", ErrFinished, r.Finished.Format(time.RFC3339))
	case r.Source != m.source.ID():
		return r, 0, fmt.Errorf("%w: %s", ErrOther, r.From)
	}
	return r, version, nil
}

// digestSource reads the whole source, and says in a report how much it is, and its digest.
func (m *migration) digestSource(ctx context.Context, report *Report) error {
	digest := sha256.New()
	err := m.pages(ctx, m.source, "", func(page []store.Entry) error {
		for _, e := range page {
			value, err := m.read(ctx, e)
			if err != nil {
				return err
			}
			addRecord(digest, e.Key, value)
			report.Records++
			report.Bytes += int64(len(value))
			clear(value)
		}
		m.Progress(Progress{Copy, report.Records, report.Bytes})
		return nil
	})
	report.Digest = hex.EncodeToString(digest.Sum(nil))
	return err
}
