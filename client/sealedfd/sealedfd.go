//go:build linux

// Package sealedfd hands a secret to a program in a file descriptor: an anonymous file in memory that nobody can
// change any more.
//
// Unlike an environment variable it is in no listing of the process, need not be passed on to children, and is gone
// when it is closed. Unlike a pipe it can be of any size, read more than once, and opened by the name /proc/self/fd/N,
// which suits programs that want a file's name. It has mode 0400, for the user it was made by, cannot be executed
// where the kernel knows how to say so (Linux 6.3), and can be swapped out, as all memory.
package sealedfd

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// seals keep the file as it is, and the seals too.
const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL

// New returns a sealed file with content in it, at its beginning. It is closed on exec until [Inherit] is called; the
// caller closes it. name is what links in /proc show, and must not be secret.
func New(name string, content []byte) (_ *os.File, err error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, flags) // Linux before 6.3
	}
	if err != nil {
		return nil, fmt.Errorf("sealedfd: memfd_create: %w", err)
	}
	file := os.NewFile(uintptr(fd), name)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("sealedfd: %w", err), file.Close())
		}
	}()
	if _, err := file.Write(content); err != nil {
		return nil, err
	}
	if err := file.Chmod(0o400); err != nil {
		return nil, err
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return file, nil
}

// Inherit has the descriptor stay open in a program that replaces this one, and returns its number. The caller keeps
// the file reachable until then: one that is collected is closed.
func Inherit(file *os.File) (int, error) {
	connection, err := file.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("sealedfd: %w", err)
	}
	number, failed := 0, error(nil)
	err = connection.Control(func(fd uintptr) {
		number = int(fd)
		_, failed = unix.FcntlInt(fd, unix.F_SETFD, 0)
	})
	if err := errors.Join(err, failed); err != nil {
		return 0, fmt.Errorf("sealedfd: %w", err)
	}
	return number, nil
}
