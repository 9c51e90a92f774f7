package watch

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// Settle is how long a folder must have been quiet before look is called, so that a file that is being written is read
	// once. A folder that is never quiet is looked at after MaxSettle.
	Settle, MaxSettle = 150 * time.Millisecond, time.Second
	// Look is the longest time between two calls of look; Poll is that where nothing can be watched.
	Look, Poll = 30 * time.Second, 5 * time.Second
)

// newWatcher is replaced by a test.
var newWatcher = fsnotify.NewWatcher

// Dirs calls look from one goroutine once the folders are watched, when something in one of them may have changed, and every
// Look anyway, until ctx ends. A folder that cannot be watched is polled; trouble, if not nil, is told why.
func Dirs(ctx context.Context, dirs []string, look func(), trouble func(error)) {
	w, err := newWatcher()
	if err != nil {
		// Such as EMFILE: too many watchers on this machine.
		if trouble != nil {
			trouble(err)
		}
		poll(ctx, look)
		return
	}
	defer w.Close()
	d := &watcher{dirs: dirs, w: w, trouble: trouble}
	for ctx.Err() == nil {
		if d.wait(ctx) {
			look()
		}
	}
}

func poll(ctx context.Context, look func()) {
	tick := time.NewTicker(Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			look()
		}
	}
}

type watcher struct {
	dirs    []string
	w       *fsnotify.Watcher
	trouble func(error)
	// all is true while all folders are watched, told after trouble was told.
	all, told bool
}

// wait returns true when it is time to look, false when ctx has ended.
func (d *watcher) wait(ctx context.Context) bool {
	every := Look
	switch before := d.all; {
	case !d.watchAll():
		every = Poll
	case !before:
		// What changed before the watch began is seen by nobody else.
		return true
	}
	overdue := time.NewTimer(every)
	defer overdue.Stop()
	var settled <-chan time.Time
	var latest <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return false
		case <-overdue.C:
			return true
		case <-settled:
			return true
		case <-latest:
			return true
		case <-d.w.Events:
		case <-d.w.Errors:
			// An overflow loses events, not content.
		}
		if settled == nil {
			latest = time.After(MaxSettle)
		}
		settled = time.After(Settle)
	}
}

// watchAll watches the folders that are not watched, which a folder that was removed or replaced is not any more, and tells
// whether all are.
func (d *watcher) watchAll() bool {
	d.all = true
	for _, dir := range d.dirs {
		// Adding one that is watched already does nothing, unless another folder has taken its name.
		if err := d.w.Add(dir); err != nil {
			d.all = false
			if !d.told && d.trouble != nil {
				d.trouble(err)
			}
			d.told = true
		}
	}
	d.told = d.told && !d.all
	return d.all
}
