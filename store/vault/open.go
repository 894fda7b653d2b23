package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/header"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// mountInfo is what Vault says of a mount to whoever may use it.
type mountInfo struct {
	Path    string            `json:"path"`
	Type    string            `json:"type"`
	Options map[string]string `json:"options"`
}

// engineConfig is the part of a KV engine's configuration that matters here.
type engineConfig struct {
	MaxVersions int    `json:"max_versions"`         // of each secret; 0 is 10
	DeleteAfter string `json:"delete_version_after"` // a duration; "0s" is never
}

// prepare checks the engine and returns the store's header, which it writes where there is none and it may.
func (s *Store) prepare(ctx context.Context) (header.Header, error) {
	if err := s.checkMount(ctx); err != nil {
		return header.Header{}, err
	}
	h, err := s.readHeader(ctx)
	if errors.Is(err, errAbsent) && s.config.Create {
		if err := s.create(ctx); err != nil {
			return header.Header{}, err
		}
		h, err = s.readHeader(ctx) // the one just made, or that of another process which was first
	}
	switch {
	case errors.Is(err, errAbsent) && s.config.Create:
		return header.Header{}, fmt.Errorf("%w: there is a store's header, and it was deleted", ErrNotStore)
	case errors.Is(err, errAbsent):
		return header.Header{}, fmt.Errorf("%w: create one with \"vouchsafe init\", or, if there was one, restore the mount's data", ErrNoStore)
	case errors.Is(err, errGutted):
		return header.Header{}, fmt.Errorf("%w: the store's header is gone", store.ErrCorrupt)
	case err != nil:
		return header.Header{}, err
	case h.Purpose != s.config.Purpose:
		return header.Header{}, &PurposeError{Path: s.Path(), Have: h.Purpose, Want: s.config.Purpose}
	}
	return h, s.checkConfig(ctx)
}

// Check asks Vault whether the engine and the store in it are as they were when the store was opened: for readiness, and to notice that the mount was
// disabled and enabled again, which makes an empty store of any: a [LostError]. Other errors are those of Open.
func (s *Store) Check(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.checkMount(ctx); err != nil {
		return fmt.Errorf("store %s: %w", s.Path(), err)
	}
	if err := s.look(ctx); err != nil {
		return fmt.Errorf("store %s: %w", s.Path(), err)
	}
	return s.checkConfig(ctx)
}

// checkMount says whether there is a KV engine of version 2.
func (s *Store) checkMount(ctx context.Context) error {
	enable := fmt.Sprintf("vault secrets enable -path=%s -version=2 kv", s.config.Mount)
	answer, err := s.do(ctx, http.MethodGet, "sys/internal/ui/mounts/"+s.mount, nil, nil)
	if errors.Is(err, vaultconn.ErrForbidden) || errors.Is(err, errAbsent) {
		return &MountError{Mount: s.config.Mount, Problem: "there is no such mount, or the broker's token has no right in it", Command: enable}
	}
	if err != nil {
		return err
	}
	var info mountInfo
	if err := decode(answer, "a mount", &info); err != nil {
		return err
	}
	switch {
	case strings.Trim(info.Path, "/") != s.config.Mount:
		return &MountError{Mount: s.config.Mount, Problem: "there is no such mount", Command: enable}
	case info.Type != "kv":
		return &MountError{
			Mount: s.config.Mount, Problem: fmt.Sprintf("its engine is %q, not kv", info.Type), Command: "vault secrets enable -path=ANOTHER -version=2 kv",
		}
	case info.Options["version"] != "2":
		return &MountError{
			Mount: s.config.Mount, Problem: "it is KV version 1, which has no check-and-set", Command: "vault secrets enable -path=ANOTHER -version=2 kv",
		}
	}
	return nil
}

// checkConfig says whether the engine keeps one version, and keeps it.
func (s *Store) checkConfig(ctx context.Context) error {
	answer, err := s.do(ctx, http.MethodGet, s.mount+"/config", nil, nil)
	if err != nil {
		return err
	}
	var c engineConfig
	if err := decode(answer, "the engine's configuration", &c); err != nil {
		return err
	}
	set := "vault write " + s.config.Mount + "/config "
	if after, err := time.ParseDuration(c.DeleteAfter); err != nil || after != 0 {
		return &MountError{Mount: s.config.Mount, Problem: "it deletes secrets by itself after " + c.DeleteAfter, Command: set + "delete_version_after=0s"}
	}
	if c.MaxVersions != 1 {
		return &MountError{
			Mount: s.config.Mount, Problem: "it keeps older versions of secrets, which must be gone when they are replaced", Command: set + "max_versions=1",
		}
	}
	return nil
}

// create makes a store where nothing is.
func (s *Store) create(ctx context.Context) error {
	if names, err := s.list(ctx, ""); err != nil {
		return err
	} else if slices.Contains(names, headerName) {
		return nil // another process was first, just now
	} else if len(names) > 0 {
		return fmt.Errorf("%w: there are secrets, such as %q, and no header", ErrNotStore, names[0])
	}
	alone, err := s.alone(ctx)
	if err != nil {
		return err
	}
	if err := s.checkConfig(ctx); err != nil {
		var wrong *MountError
		if !errors.As(err, &wrong) || !alone {
			return err // setting it would cost those who have other secrets here their older versions
		}
		_, err := s.do(ctx, http.MethodPost, s.mount+"/config", nil, engineConfig{MaxVersions: 1, DeleteAfter: "0s"})
		if errors.Is(err, vaultconn.ErrForbidden) {
			return wrong
		}
		if err != nil {
			return err
		}
	}
	h, err := header.New(s.config.Random, Format, s.config.Purpose, s.now())
	if err != nil {
		return err
	}
	if _, err := s.put(ctx, headerName, 0, h); err != nil && !errors.Is(err, errCAS) {
		return err
	}
	return nil
}

// alone reports whether the engine has nothing outside the store's prefix. A store at a folder above the prefix is an error.
func (s *Store) alone(ctx context.Context) (bool, error) {
	path, alone := s.mount+"/metadata/", true
	for folder := range strings.SplitSeq(s.config.Prefix, "/") {
		names, err := s.listAt(ctx, path)
		if err != nil {
			return false, err
		}
		for _, name := range names {
			if name == headerName {
				return false, fmt.Errorf("%w: it is inside another store", ErrNotStore)
			}
			alone = alone && name == folder+"/"
		}
		path += folder + "/"
	}
	return alone, nil
}
