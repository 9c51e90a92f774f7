package nginxgen

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// files are the include file and its hidden companions, all in one folder so that a rename is atomic.
type files struct {
	dir, live, stage, good, edited, lock, loading string
}

func filesFor(live string) files {
	dir, name := filepath.Split(live)
	hidden := func(kind string) string { return filepath.Join(dir, "."+name+"."+kind) }
	return files{dir: filepath.Clean(dir), live: live, stage: hidden("stage"), good: hidden("good"), edited: hidden("edited"), lock: hidden("lock"), loading: hidden("loading")}
}

// errNotRegular marks a folder, a link or the like where a file should be.
var errNotRegular = errors.New("is not a regular file")

// readFile reads a regular file of bounded size, nil when there is none. A link is refused: a rename over it would
// replace the link and leave the file it points to.
func readFile(path string) ([]byte, error) {
	fi, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the include file: %w", err)
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s %w (%v); name the file itself", path, errNotRegular, fi.Mode().Type())
	}
	if fi.Size() > maxOurs {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are allowed", path, fi.Size(), maxOurs)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the include file: %w", err)
	}
	if text == nil {
		text = []byte{}
	}
	return text, nil
}

// write puts text on disk at path, in place of what is there. After an error there is nothing.
func (f files) write(path string, text []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the old %s: %w", path, err)
	}
	return f.create(path, text)
}

// create puts text on disk at path, where nothing may be yet: what somebody else put there (a link, say) is not written
// through.
func (f files) create(path string, text []byte) (err error) {
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			os.Remove(path)
		}
	}()
	_, err = w.Write(text)
	err = errors.Join(err, w.Chmod(0o644), w.Sync(), w.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// swap moves the staged file over the live one and makes it last.
func (f files) swap() error {
	if err := os.Rename(f.stage, f.live); err != nil {
		return fmt.Errorf("put the new include file in place: %w", err)
	}
	return f.sync()
}

func (f files) sync() error {
	d, err := os.Open(f.dir)
	if err != nil {
		return fmt.Errorf("open the folder %s: %w", f.dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync the folder %s: %w", f.dir, err)
	}
	return nil
}

// keepGood stores text as the last good file. It is a copy and no hard link: an editor that writes in place would
// change both. It returns without writing when the bytes are there already.
func (f files) keepGood(text []byte) error {
	have, err := readFile(f.good)
	if err == nil && have != nil && bytes.Equal(have, text) && !sameInode(f.good, f.live) {
		return nil
	}
	if err := f.write(f.stage, text); err != nil {
		return err
	}
	if err := os.Rename(f.stage, f.good); err != nil {
		return fmt.Errorf("keep the last good file: %w", err)
	}
	return f.sync()
}

// restore puts the last good file back without needing space on the disk, by a hard link; keepGood parts the two again.
func (f files) restore() error {
	if err := os.Remove(f.stage); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the staged file: %w", err)
	}
	if err := os.Link(f.good, f.stage); err != nil {
		return fmt.Errorf("take the last good file: %w", err)
	}
	return f.swap()
}

// keepEdited stores what somebody wrote into the live file by hand.
func (f files) keepEdited() error {
	tmp := f.edited + "." + randomName()
	if err := os.Link(f.live, tmp); err != nil {
		return fmt.Errorf("keep the edited file: %w", err)
	}
	if err := os.Rename(tmp, f.edited); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("keep the edited file: %w", err)
	}
	// A rename between two links to one file does nothing and leaves both.
	os.Remove(tmp)
	return nil
}

func randomName() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func sameInode(a, b string) bool {
	fa, errA := os.Stat(a)
	fb, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(fa, fb)
}

// hold takes the locks beside these files; another process that works there is an error, not a wait.
func hold(anchors []files) (release func(), err error) {
	var locks []*os.File
	release = func() {
		for _, l := range locks {
			// Closing alone would leave the lock to a child that has been forked and not yet become its program.
			_ = unix.Flock(int(l.Fd()), unix.LOCK_UN)
			l.Close()
		}
	}
	for _, f := range anchors {
		// Opened for reading: a file that is open for writing keeps a disk from being made read-only.
		l, err := os.OpenFile(f.lock, os.O_RDONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
		if err != nil {
			release()
			return nil, fmt.Errorf("open the lock of the include file: %w", err)
		}
		locks = append(locks, l)
		if err := unix.Flock(int(l.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			release()
			return nil, fmt.Errorf("another process works on %s (lock %s): %w", f.live, f.lock, err)
		}
	}
	return release, nil
}
