package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
)

// itemFiles finds collateral in a folder: what a broker or "vouchsafe collateral" keeps there, and plain files that have the names of items.
type itemFiles struct {
	dir  string
	kept *collateral.Manager // nil where there is none
}

// itemEndings are how the plain file of an item may end. Its signer's chain, where one is published beside it, is the file NAME.chain.pem.
var itemEndings = [...]string{"", ".der", ".crl", ".json", ".xml"}

// openItems opens a folder of collateral to look at. Items of the manager's are held against their vendors' checks, as it does while it runs.
func (s *settings) openItems(ctx context.Context, dir string) (itemFiles, error) {
	if info, err := os.Stat(dir); err != nil {
		return itemFiles{}, err
	} else if !info.IsDir() {
		return itemFiles{}, fmt.Errorf("%s is not a folder of collateral", dir)
	}
	look := *s
	look.Collateral.Dir = dir
	m, err := look.manager(toLook)
	if err == nil {
		_, err = m.Recheck(ctx, nil)
	}
	return itemFiles{dir, m}, err
}

// Endorsement implements attest.Endorsements.
func (f itemFiles) Endorsement(_ context.Context, name string) (*attest.Endorsement, error) {
	if _, err := collateral.ParseName(name); err != nil { // only such a name can be part of a path
		return nil, &attest.Unavailable{What: fmt.Sprintf("%.100q", name), Err: err}
	}
	if f.dir == "" {
		return nil, &attest.Unavailable{What: name, Err: errors.New("no --collateral or --config was given that has it")}
	}
	if f.kept != nil {
		if i := f.kept.Item(name); i != nil {
			return i.Endorsement, nil
		}
	}
	path := filepath.Join(f.dir, filepath.FromSlash(name))
	for _, ending := range itemEndings {
		data, err := readInput(nil, path+ending, collateral.MaxData)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, &attest.Unavailable{What: name, Err: err}
		}
		chain, err := readInput(nil, path+".chain.pem", collateral.MaxChain)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, &attest.Unavailable{What: name, Err: err}
		}
		return &attest.Endorsement{Name: name, Data: data, Chain: chain, Digest: sha256.Sum256(data)}, nil
	}
	return nil, &attest.Unavailable{What: name, Err: fmt.Errorf("it is not in %s", f.dir)}
}
