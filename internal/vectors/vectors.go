// Package vectors reads real evidence for tests. The files are not part of the project: VOUCHSAFE_VECTORS names their folder, and
// without it ../shared/vectors from the project's root is tried. A test that needs one skips, saying so, where it is absent.
package vectors

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Read returns the content of a file in the folder of vectors, named by its slash-separated path there.
func Read(tb testing.TB, name string) []byte {
	tb.Helper()
	content, err := os.ReadFile(filepath.Join(Folder(), filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		tb.Skipf("vector %s is absent: set VOUCHSAFE_VECTORS to the folder that has it", name)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

// Folder returns where the vectors are, or would be.
func Folder() string {
	if dir := os.Getenv("VOUCHSAFE_VECTORS"); dir != "" {
		return dir
	}
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..", "shared", "vectors")
}
