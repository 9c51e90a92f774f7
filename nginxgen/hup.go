package nginxgen

import (
	"context"
	"fmt"
	"maps"
	"time"
)

// pollEvery is the distance of looks at nginx's processes.
const pollEvery = 10 * time.Millisecond

// hup sends SIGHUP and waits until every worker that is not leaving is new, and there is one. untouched is true when the
// master said [emerg] and nobody serves but workers of before, which were there when the files had not changed yet: then the
// old configuration is still the running one.
func (m *Manager) hup(ctx context.Context, pid int, errorLog string, before map[int]bool) (untouched bool, err error) {
	tail := openTail(errorLog)
	defer tail.close()
	present, err := workersOf(pid)
	if err != nil {
		return false, err
	}
	old := maps.Clone(present.serving)
	if err := m.ngx.reload(ctx, pid); err != nil {
		// nginx heard nothing, so it goes on as before.
		return true, err
	}
	m.step("signalled")
	timeout := time.NewTimer(m.o.VerifyTimeout)
	defer timeout.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	taken := false
	for {
		now, err := workersOf(pid)
		if err != nil {
			return false, err
		}
		switch {
		case !taken && hupPending(pid):
			// Somebody else's reload is under way. These workers were there before the master took our signal, so
			// they are not the proof of ours.
			for w := range now.serving {
				old[w] = true
			}
		case !taken:
			// Taken by now, but perhaps after the look at the workers: only the next look counts.
			taken = true
		case len(now.serving) > 0 && !anyIn(now.serving, old):
			return false, nil
		default:
			if msg, final := tail.emerg(pid); final {
				return len(now.serving) > 0 && subset(now.serving, before), fmt.Errorf("nginx did not take the configuration: %s", msg)
			}
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-timeout.C:
			msg, _ := tail.emerg(pid)
			if msg == "" {
				msg = "its error log says nothing"
			}
			return false, fmt.Errorf("no new nginx workers within %v: %s", m.o.VerifyTimeout, msg)
		case <-tick.C:
		}
	}
}

func anyIn(a, b map[int]bool) bool {
	for k := range a {
		if b[k] {
			return true
		}
	}
	return false
}

func subset(a, b map[int]bool) bool {
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}
