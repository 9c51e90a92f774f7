package signals

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/agent/proc"
)

// kind is what one server does in its own way.
type kind struct {
	name string
	// floor is the number of workers below which the master ignores TTOU.
	floor int
	// successor is appended to the pid file's name for a successor master that the master has forked (USR2), predecessor for
	// the master that has one; empty where that is not so.
	successor, predecessor string
	// started tells by its title whether a master has forked its first workers; nil where that needs no telling.
	started func(title string) bool
	// worker tells by its title whether a child is a worker, and its number; nil where all children are workers.
	worker func(title string) (number int, ok bool)
	// oldFirst tells that the oldest leave, also while others are starting.
	oldFirst bool
	// leaving puts workers, oldest first, into the order in which the master tells them to leave.
	leaving func(workers []worker)
}

// worker is a child with the number that the server has given it, 0 where it gives none.
type worker struct {
	id     proc.ID
	number int
}

var gunicornKind = kind{name: "gunicorn", floor: 1, successor: ".2", oldFirst: true, leaving: func([]worker) {}}

// unicornKind: workers are numbered from 0, and those with the highest numbers leave; a free number is given again. A new
// master has the pid file before it has loaded the application, and its title once it has.
var unicornKind = kind{name: "Unicorn", predecessor: ".oldbin",
	started: func(title string) bool { return secondWord(title) == "master" },
	worker: func(title string) (int, bool) {
		rest, ok := strings.CutPrefix(secondWord(title), "worker[")
		number, closed := strings.CutSuffix(rest, "]")
		n, isNumber := proc.Number([]byte(number), maxWorker)
		return int(n), ok && closed && isNumber
	},
	leaving: func(workers []worker) {
		slices.SortFunc(workers, func(a, b worker) int { return cmp.Compare(b.number, a.number) })
	},
}

// pumaKind: the youngest leave (worker_culling_strategy is :youngest by default).
var pumaKind = kind{name: "Puma", floor: 1,
	worker:  func(title string) (int, bool) { return 0, strings.HasPrefix(title, "puma: cluster worker ") },
	leaving: slices.Reverse[[]worker],
}

// maxWorker is the highest number of a worker that is believed.
const maxWorker = 1 << 16

// secondWord is what follows the program's name in a title.
func secondWord(title string) string {
	_, rest, _ := strings.Cut(title, " ")
	word, _, _ := strings.Cut(rest, " ")
	return word
}
