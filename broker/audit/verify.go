package audit

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// VerifyInclusion checks that entry is the one at index in the tree of a checkpoint, which the caller has verified. Errors wrap
// ErrProof.
func VerifyInclusion(checkpoint Checkpoint, index uint64, entry []byte, proof tlog.RecordProof) error {
	if index >= checkpoint.Size {
		return fmt.Errorf("%w: index %d is not in a log of %d entries", ErrProof, index, checkpoint.Size)
	}
	leaf := tlog.RecordHash(entry)
	if err := tlog.CheckRecord(proof, int64(checkpoint.Size), checkpoint.Root, int64(index), leaf); err != nil {
		return fmt.Errorf("%w: entry %d in a log of %d: %w", ErrProof, index, checkpoint.Size, err)
	}
	return nil
}

// VerifyConsistency checks that the tree of the newer checkpoint begins with all of the older one's; the caller has verified both.
// A newer one that is shorter is ErrRolledBack; two roots for one size are ErrForked; otherwise errors wrap ErrProof.
func VerifyConsistency(older, newer Checkpoint, proof tlog.TreeProof) error {
	switch {
	case older.Origin != newer.Origin:
		return fmt.Errorf("%w: checkpoints of two logs, %q and %q", ErrProof, older.Origin, newer.Origin)
	case newer.Size < older.Size:
		return fmt.Errorf("%w: it had %d entries and has %d", ErrRolledBack, older.Size, newer.Size)
	case older.Size == newer.Size && older.Root != newer.Root:
		return fmt.Errorf("%w: two roots for %d entries", ErrForked, older.Size)
	case older.Size == 0:
		// RFC 6962 defines no proof from the empty tree: every tree begins with it.
		if empty, _ := tlog.TreeHash(0, nil); older.Root != empty || len(proof) != 0 {
			return fmt.Errorf("%w: the empty tree has another root, or a proof is given for it", ErrProof)
		}
		return nil
	}
	err := tlog.CheckTree(proof, int64(newer.Size), newer.Root, int64(older.Size), older.Root)
	if err != nil {
		return fmt.Errorf("%w: from %d to %d entries: %w", ErrProof, older.Size, newer.Size, err)
	}
	return nil
}
