package nginxgen

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// A file drifts when somebody else edits, replaces or removes it, or makes it unreadable. That is told once for each such
// change, and repaired as long as the repairs last: a tool that writes its own version again and again must not make nginx
// reload again and again.

const (
	// A repair that is undone within holdsFor is lost. After lostRepairs in a row the file is left as it is until nobody
	// has touched it for peace, which doubles with each further loss.
	holdsFor    = time.Hour
	lostRepairs = 3
	peace       = 10 * time.Minute
	maxPeace    = 24 * time.Hour
)

// truce decides when drift is repaired. It is pure; the zero value has seen nothing.
type truce struct {
	// what is the drift as it was seen last, "" for none; touch changes with each writing, also of the same bytes, and since
	// is when both were seen first.
	what, touch string
	since       time.Time
	// repaired is when a repair was made last, lost how many in a row did not last.
	repaired time.Time
	lost     int
}

// sees notes what is different now, "" for nothing, and tells whether that is news.
func (t *truce) sees(what, touch string, now time.Time) bool {
	if touch != t.touch {
		t.touch, t.since = touch, now
	}
	if what == t.what {
		return false
	}
	if t.what == "" && what != "" && !t.repaired.IsZero() {
		if past, known := elapsed(now, t.repaired); known && past < holdsFor {
			t.lost++
		} else {
			t.lost = 0
		}
	}
	t.what = what
	return what != ""
}

// repair notes that the drift was undone.
func (t *truce) repair(now time.Time) { t.what, t.touch, t.repaired = "", "", now }

// may tells whether the drift that is there now is to be repaired, and if not, why.
func (t *truce) may(now time.Time) (bool, string) {
	if t.lost < lostRepairs {
		return true, ""
	}
	wait := peace
	for i := lostRepairs; i < t.lost && wait < maxPeace; i++ {
		wait *= 2
	}
	wait = min(wait, maxPeace)
	if still, known := elapsed(now, t.since); !known || still >= wait {
		return true, ""
	}
	return false, fmt.Sprintf("%d repairs in a row were undone within %v: the file is left as it is until nobody has touched it for %v", t.lost, holdsFor, wait)
}

// look is a file as it was found.
type look struct {
	part
	// before are the live bytes, good the last verified ones; nil for none.
	before, good []byte
	// drift is how the file is not as tidegate left it: "edited", "removed", "unreadable", "replaced" or "".
	drift string
	// print tells one state of a file that has drifted from another, touch one writing from another.
	print, touch string
}

// asGood tells whether the file is as it was verified, or was never there.
func (l look) asGood() bool { return l.drift == "" && same(l.before, l.good) }

// lookAt reads a part's files. wrong is an error that nothing can be done about here.
func lookAt(p part, good []byte, j journal) (l look, wrong error) {
	l = look{part: p, good: good}
	l.before, wrong = readFile(p.live)
	switch {
	case p.left && l.before == nil && wrong == nil:
		l.good, l.text = nil, nil
		return l, nil
	case good == nil:
		return l, wrong
	case errors.Is(wrong, errNotRegular):
		l.drift = "replaced"
	case errors.Is(wrong, fs.ErrPermission):
		l.drift, wrong = "unreadable", nil
	case wrong != nil:
		return l, wrong
	case l.before == nil:
		l.drift = "removed"
	case !same(l.before, good) && !same(l.before, p.text) && !j.has(p.live, l.before):
		l.drift = "edited"
	}
	if l.drift != "" {
		l.print = fmt.Sprintf("%s %s %x", p.live, l.drift, sha256.Sum256(l.before))
		if fi, err := os.Lstat(p.live); err == nil {
			l.touch = fi.ModTime().String()
		}
	}
	return l, wrong
}

// noteDrift tells of drift once, and returns what there is of it: sentences for a person, "" for none.
func (m *Manager) noteDrift(now time.Time, looks []look) string {
	var said, prints, touches []string
	for _, l := range looks {
		if l.drift != "" {
			said, prints, touches = append(said, l.live+" was "+l.drift), append(prints, l.print), append(touches, l.print+l.touch)
		}
	}
	what := strings.Join(said, ", ")
	m.m.drifted.Set(float64(len(said)))
	if m.truce.sees(strings.Join(prints, "\n"), strings.Join(touches, "\n"), now) {
		m.m.drift.Inc()
		m.o.Log.Warn("somebody else changed the nginx include", "drift", what, "repair", !m.o.ReportOnly)
	}
	return what
}

// leaveDrift tells why drift is not repaired now, "" when it is.
func (m *Manager) leaveDrift(now time.Time, drift string) string {
	if drift == "" {
		return ""
	}
	if m.o.ReportOnly {
		return drift + " by somebody else and is left so (on_drift: report); nothing is written until the last good file is back"
	}
	if ok, why := m.truce.may(now); !ok {
		return drift + " by somebody else; " + why
	}
	return ""
}
