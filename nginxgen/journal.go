package nginxgen

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
)

// journal says which files were about to get which bytes. It lies beside them from before the first swap until the reload
// has been verified (or all is back), so that a process that finds one knows two things: nobody has verified what nginx
// runs with, and which files are tidegate's own work and no edit of somebody else. The values are SHA-256 sums.
type journal map[string][sha256.Size]byte

func (c change) journal() journal {
	j := journal{}
	for _, p := range c.parts {
		j[p.live] = sha256.Sum256(p.text)
	}
	return j
}

// has tells whether these bytes are what was about to be written to path.
func (j journal) has(path string, text []byte) bool {
	sum, ok := j[path]
	return ok && text != nil && sum == sha256.Sum256(text)
}

// text is in the notation of sha256sum.
func (j journal) text() []byte {
	var b strings.Builder
	for path, sum := range j {
		fmt.Fprintf(&b, "%x  %s\n", sum, path)
	}
	return []byte(b.String())
}

// readJournal returns nil when there is none. A line that does not read is left out: the file was cut short by a crash.
func readJournal(f files) (journal, error) {
	text, err := readFile(f.loading)
	if err != nil || text == nil {
		return nil, err
	}
	j := journal{}
	for line := range strings.Lines(string(text)) {
		word, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		sum, err := hex.DecodeString(word)
		if ok && err == nil && len(sum) == sha256.Size {
			j[path] = [sha256.Size]byte(sum)
		}
	}
	return j, nil
}

// begin puts a journal on disk, in place of the one that is there.
func (j journal) begin(f files) error {
	next := f.loading + ".next"
	if err := f.write(next, j.text()); err != nil {
		return err
	}
	if err := os.Rename(next, f.loading); err != nil {
		return fmt.Errorf("note the change that begins: %w", err)
	}
	return f.sync()
}

// end takes it away.
func (j journal) end(f files) error {
	if err := os.Remove(f.loading); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the note of the change that is over: %w", err)
	}
	return f.sync()
}
