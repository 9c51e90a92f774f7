package conf

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"

	"github.com/tidegate/tidegate/internal/watch"
)

// Watch calls changed when the content of file has changed, and returns when ctx ends. trouble, if not nil, is told why
// the file's folder cannot be watched; it is looked at every few seconds then.
func Watch(ctx context.Context, file string, changed func(), trouble func(error)) {
	last := fingerprint(file)
	watch.Dirs(ctx, []string{filepath.Dir(file)}, func() {
		if now := fingerprint(file); now != last && now != "" {
			last = now
			changed()
		}
	}, trouble)
}

// fingerprint is "" while the file cannot be read, as in the middle of a replacement.
func fingerprint(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return string(sum[:])
}
