package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/header"
)

// maxDepth bounds the height of a tree: one of this height would hold more than any disk.
const maxDepth = 32

// maxProblems bounds how many problems a report names, since one damaged page can make many.
const maxProblems = 100

// CheckConfig says what to check. Only Path is needed.
type CheckConfig struct {
	Path     string
	Timeout  time.Duration            // how long to wait for the lock; default DefaultTimeout
	Progress func(page, pages uint64) // called now and then, with how many of how many pages were visited; may be nil
}

// Report is what a check found.
type Report struct {
	Header   header.Header
	Records  int
	Bytes    int64  // of values, as stored
	Pages    uint64 // of the file, in use or free
	Free     uint64
	Problems []error // at most 100; each wraps store.ErrCorrupt
}

// Check reads the whole file of a store that nobody has open for writing, without changing it: every page is reachable
// once or free, within bounds and of its kind, keys ascend, records have valid keys and versions, and the header is
// known. It does not decrypt: package seal has a check for that. The error wraps store.ErrCorrupt when there are
// problems, of which it names the first.
func Check(ctx context.Context, c CheckConfig) (Report, error) {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	var report Report
	err := inspect(c.Path, c.Timeout, func(p *pages) error {
		report.Pages = p.meta.pages
		w := walk{ctx: ctx, pages: p, report: &report, progress: c.Progress, seen: make([]byte, p.meta.pages)}
		return w.run()
	})
	if err == nil && len(report.Problems) > 0 {
		err = report.Problems[0]
	}
	if err != nil {
		return report, fmt.Errorf("check store %s: %w", c.Path, err)
	}
	return report, nil
}

// inspect calls look with the pages of a file while it is locked against writers. bbolt is asked for nothing but the
// lock.
func inspect(path string, timeout time.Duration, look func(*pages) error) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 { // bbolt would try to make a store of an empty file
		return ErrNotStore
	}
	var file *os.File
	capture := func(name string, flag int, mode os.FileMode) (opened *os.File, err error) {
		opened, err = os.OpenFile(name, flag, mode)
		file = opened
		return opened, err
	}
	db, err := openFile(path, &bbolt.Options{Timeout: timeout, ReadOnly: true, NoStatistics: true, OpenFile: capture})
	if err != nil {
		return err
	}
	return errors.Join(lookAt(file, look), db.Close())
}

func lookAt(file *os.File, look func(*pages) error) error {
	info, err := file.Stat() // again, now that it is locked
	if err != nil {
		return err
	}
	p, err := openPages(file, info.Size())
	if err != nil {
		return err
	}
	return look(p)
}

// checkFront looks at what bbolt trusts when it opens a file: the meta pages, that none of the pages is missing, and the
// freelist.
func checkFront(path string, timeout time.Duration) error {
	return inspect(path, timeout, func(p *pages) error {
		_, _, err := p.freelist()
		return err
	})
}

// What is known of a page.
const (
	reached = 1 + iota
	freed
)

// walk is one check of a file.
type walk struct {
	ctx      context.Context
	pages    *pages
	report   *Report
	progress func(page, pages uint64)
	seen     []byte // by page: 0, reached or freed
	visited  uint64
}

// problem notes what is wrong; an error other than damage ends the walk.
func (w *walk) problem(err error) error {
	if err != nil && !errors.Is(err, store.ErrCorrupt) {
		return err
	}
	if err != nil && len(w.report.Problems) < maxProblems {
		w.report.Problems = append(w.report.Problems, err)
	}
	return nil
}

func (w *walk) run() error {
	w.seen[0], w.seen[1] = reached, reached // the meta pages
	free, list, err := w.pages.freelist()
	if err := w.problem(err); err != nil {
		return err
	}
	listed := err == nil && !w.pages.meta.noFreelist
	if listed {
		if err := w.problem(w.mark(list.id, list.span, reached)); err != nil {
			return err
		}
	}
	for _, id := range free {
		w.report.Free++
		if err := w.problem(w.mark(id, 1, freed)); err != nil {
			return err
		}
	}
	found := make(map[string]bool)
	err = w.tree(w.pages.meta.root, nil, nil, 0, func(key, value []byte, bucket bool) error {
		if found[string(key)] = true; !bucket {
			return damaged("%q is not a bucket", key)
		}
		return w.bucket(string(key), value)
	})
	if err := w.problem(err); err != nil {
		return err
	}
	if !found[string(headerBucket)] || !found[string(recordBucket)] {
		if err := w.problem(fmt.Errorf("%w: %w: it lacks a bucket", store.ErrCorrupt, ErrNotStore)); err != nil {
			return err
		}
	}
	for id, state := range w.seen {
		if listed && state == 0 {
			return w.problem(damaged("page %d is neither in use nor free", id)) // one stands for all
		}
	}
	return nil
}

// mark notes that pages are in use or free, which each is once.
func (w *walk) mark(id, span uint64, as byte) error {
	for i := id; i < id+span; i++ {
		if i >= uint64(len(w.seen)) || w.seen[i] != 0 {
			return damaged("page %d is used twice, or both used and free", i)
		}
		w.seen[i] = as
	}
	w.visited += span
	if w.progress != nil {
		w.progress(w.visited, w.pages.meta.pages)
	}
	return nil
}

// bucket walks one of the file's buckets.
func (w *walk) bucket(name string, value []byte) error {
	if len(value) < bucketSize {
		return damaged("bucket %q has %d bytes", name, len(value))
	}
	var visit func(key, value []byte, bucket bool) error
	switch name {
	case string(headerBucket):
		visit = w.header
	case string(recordBucket):
		visit = w.record
	default:
		return damaged("bucket %q is unknown", name)
	}
	if root := native.Uint64(value); root != 0 {
		return w.tree(root, nil, nil, 0, visit)
	}
	if len(value) < bucketSize+pageHeaderSize {
		return damaged("bucket %q is cut off", name)
	}
	inline := parsePage(value[bucketSize:], 0)
	if inline.flags != leafFlag {
		return damaged("bucket %q has flags %#x", name, inline.flags)
	}
	return w.leaf(inline, nil, nil, visit)
}

func (w *walk) header(key, value []byte, bucket bool) (err error) {
	if bucket || !bytes.Equal(key, headerKey) {
		return damaged("unknown entry %q beside the header", key)
	}
	w.report.Header, err = ParseHeader(value)
	return err
}

func (w *walk) record(key, value []byte, bucket bool) error {
	w.report.Records++
	w.report.Bytes += int64(max(0, len(value)-versionSize))
	if bucket {
		return damaged("record %q is a bucket", key)
	}
	if err := store.CheckKey(string(key)); err != nil {
		return damaged("%w", err)
	}
	_, err := versionOf(string(key), value)
	return err
}

// tree walks the pages below id, whose keys are at least low and below high where these are given.
func (w *walk) tree(id uint64, low, high []byte, depth int, visit func(key, value []byte, bucket bool) error) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	p, err := w.pages.read(id, maxNode)
	if err != nil {
		return err
	}
	if err := w.mark(id, p.span, reached); err != nil {
		return err
	}
	switch {
	case depth > maxDepth:
		return damaged("tree is deeper than %d pages", maxDepth)
	case p.flags == leafFlag:
		return w.leaf(p, low, high, visit)
	case p.flags != branchFlag || p.count == 0:
		return damaged("page %d has flags %#x and %d elements in a tree", id, p.flags, p.count)
	}
	for i := range p.count {
		key, child, err := p.branch(i)
		if err != nil {
			return err
		}
		end := high
		if i+1 < p.count {
			if end, _, err = p.branch(i + 1); err != nil {
				return err
			}
		}
		if !between(low, key, high) || end != nil && bytes.Compare(key, end) >= 0 {
			return damaged("keys of page %d are out of order at %q", id, key)
		}
		// What is wrong below one child does not hide the others.
		if err := w.problem(w.tree(child, key, end, depth+1, visit)); err != nil {
			return err
		}
		low = key
	}
	return nil
}

func (w *walk) leaf(p page, low, high []byte, visit func(key, value []byte, bucket bool) error) error {
	var before []byte
	for i := range p.count {
		key, value, bucket, err := p.leaf(i)
		if err != nil {
			return err
		}
		if !between(low, key, high) || i > 0 && bytes.Compare(before, key) >= 0 {
			return damaged("keys of page %d are out of order at %q", p.id, key)
		}
		before = key
		if err := w.problem(visit(key, value, bucket)); err != nil {
			return err
		}
	}
	return nil
}

func between(low, key, high []byte) bool {
	return bytes.Compare(low, key) <= 0 && (high == nil || bytes.Compare(key, high) < 0)
}
