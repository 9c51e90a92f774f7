package filemarks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// errTooManyNames ends a scan that would take too long.
var errTooManyNames = errors.New("too many names")

// dirScanner lists one directory with one buffer and without sorting, a sixth of what os.ReadDir takes, and keeps it open
// between two scans. It is not safe for concurrent use.
type dirScanner struct {
	buf []byte
	// fd is the open directory, -1 when there is none (0 only before the first scan), file says which one it is.
	fd   int
	file unix.Stat_t
}

// close lets go of the directory; the next scan opens it again.
func (d *dirScanner) close() {
	if d.fd > 0 {
		_ = unix.Close(d.fd) // nothing was written
	}
	d.fd = -1
}

// open makes fd the directory that is at the path now, read from its beginning.
func (d *dirScanner) open(dir string) error {
	var now unix.Stat_t
	if err := unix.Stat(dir, &now); err != nil {
		d.close()
		return err
	}
	if d.fd > 0 && now.Dev == d.file.Dev && now.Ino == d.file.Ino {
		if _, err := unix.Seek(d.fd, 0, unix.SEEK_SET); err == nil {
			return nil
		}
	}
	d.close()
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return err
	}
	if err := unix.Fstat(fd, &d.file); err != nil {
		_ = unix.Close(fd)
		return err
	}
	d.fd = fd
	return nil
}

// scan calls each with every name but "." and "..", at most `most` of them (errTooManyNames); the name is
// valid during the call only. The open directory is passed to after, which may remove names.
func (d *dirScanner) scan(dir string, most int, each func(name []byte), after func(fd int)) error {
	if d.buf == nil {
		d.buf = make([]byte, 64<<10)
	}
	if err := d.open(dir); err != nil {
		return fmt.Errorf("open the directory %s: %w", dir, err)
	}
	fd, seen := d.fd, 0
	for {
		n, err := ignoringEINTR(func() (int, error) { return unix.Getdents(fd, d.buf) })
		if err != nil {
			return fmt.Errorf("list the directory %s: %w", dir, err)
		}
		if n <= 0 {
			break
		}
		if err := entries(d.buf[:n], func(name []byte) bool {
			seen++
			if seen <= most {
				each(name)
			}
			return seen <= most
		}); err != nil {
			return fmt.Errorf("list the directory %s: %w", dir, err)
		}
		if seen > most {
			// What was seen may hold stale marks; removing them is how the directory gets smaller.
			after(fd)
			return fmt.Errorf("list the directory %s: %w, more than %d", dir, errTooManyNames, most)
		}
	}
	after(fd)
	return nil
}

// entries walks the records of getdents64(2): u64 inode, s64 offset, u16 length, u8 type, name with a final zero byte.
func entries(b []byte, each func(name []byte) bool) error {
	const header = 19
	for len(b) > 0 {
		if len(b) < header {
			return errors.New("a directory record is cut off")
		}
		length := int(binary.NativeEndian.Uint16(b[16:18]))
		if length < header || length > len(b) {
			return errors.New("a directory record has an impossible length")
		}
		name := b[header:length]
		if end := bytes.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		inode := binary.NativeEndian.Uint64(b[:8])
		b = b[length:]
		if inode == 0 || len(name) == 0 || string(name) == "." || string(name) == ".." {
			continue
		}
		if !each(name) {
			return nil
		}
	}
	return nil
}

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
