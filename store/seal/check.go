package seal

import (
	"context"
	"errors"

	"github.com/vouchsafe/vouchsafe/store"
)

// CheckConfig says who hears about the progress of a check. All fields may be nil.
type CheckConfig struct {
	Damaged  func(key string, err error) // called for each damaged record, in key order
	Progress func(CheckResult)           // called after each page of records
}

// CheckResult is what a check found.
type CheckResult struct {
	Records int
	Bytes   int64 // of decrypted values
	Damaged int
}

// Check decrypts every record. An error means that it could not go on; damaged records are counted, not an error.
func (s *Store) Check(ctx context.Context, c CheckConfig) (CheckResult, error) {
	var result CheckResult
	err := s.scan(ctx, func(keys []string) error {
		for _, key := range keys {
			record, _, err := s.read(ctx, key)
			switch {
			case err == nil:
				result.Records++
				result.Bytes += int64(len(record.Value))
				clear(record.Value)
			case errors.Is(err, store.ErrCorrupt):
				result.Records++
				result.Damaged++
				if c.Damaged != nil {
					c.Damaged(key, err)
				}
			case errors.Is(err, store.ErrNotFound): // deleted since it was listed
			default:
				return err
			}
		}
		if c.Progress != nil {
			c.Progress(result)
		}
		return nil
	})
	return result, err
}
