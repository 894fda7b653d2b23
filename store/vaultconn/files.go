package vaultconn

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// maxCredential bounds a file with a credential, in bytes. The largest are JWTs with many groups.
const maxCredential = 64 << 10

// The modes of a file that Vault's credentials may be read from: its owner's, and readable by its group, as Kubernetes and systemd hand files to
// a service that runs as another user. A service account's token is an exception: Kubernetes itself makes it readable by everyone inside the pod.
const (
	secretFile = 0o037
	podFile    = 0o022
)

// readCredential reads a file that holds one credential, and nothing else, on one line. A file with any of the modes in refused is an error.
func readCredential(path string, refused os.FileMode) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if err := checkFile(file, path, refused); err != nil {
		return "", err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxCredential+1))
	if err != nil {
		return "", err
	}
	defer clear(content)
	if len(content) > maxCredential {
		return "", fmt.Errorf("%s is longer than a credential", path)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if err := checkCredential(text); err != nil {
		return "", fmt.Errorf("%s %w", path, err)
	}
	return text, nil
}

func checkFile(file *os.File, path string, refused os.FileMode) error {
	info, err := file.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&refused != 0:
		return fmt.Errorf("%s has mode %#o, which lets others at it: chmod 600 it", path, info.Mode().Perm())
	}
	return nil
}

// checkKeyFile refuses the file of a private key that others can read.
func checkKeyFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return checkFile(file, path, secretFile)
}

// checkCredential refuses what cannot be sent in a header. Its error does not hold the credential.
func checkCredential(text string) error {
	if text == "" {
		return errors.New("is empty")
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return errors.New("is not one line of printable characters without spaces")
		}
	}
	return nil
}

// watched notices that files were replaced or changed.
type watched struct {
	paths []string
	seen  []os.FileInfo
}

func watch(paths ...string) *watched {
	w := &watched{}
	for _, p := range paths {
		if p != "" {
			w.paths = append(w.paths, p)
		}
	}
	w.seen = make([]os.FileInfo, len(w.paths))
	w.changed()
	return w
}

// changed reports whether a file is another than when it was last asked. One that is not there, for a moment while it is replaced or for longer, has not
// changed yet.
func (w *watched) changed() bool {
	changed := false
	for i, p := range w.paths {
		now, err := os.Stat(p)
		if err != nil {
			continue
		}
		before := w.seen[i]
		// Clocks alone are too coarse for a file that is replaced twice in a moment.
		if before == nil || !os.SameFile(now, before) || !now.ModTime().Equal(before.ModTime()) || now.Size() != before.Size() {
			changed, w.seen[i] = true, now
		}
	}
	return changed
}

// again has the next question find that the files changed.
func (w *watched) again() { clear(w.seen) }
