package spoa

import "github.com/tidegate/tidegate/core/window"

// moment is a time on the meter's axis, and what belongs to its second.
type moment struct {
	at, sec                 int64
	minute                  window.Minute
	backendPart, serverPart window.Part
}

func (s *shared) moment(at int64) moment {
	sec := second(at)
	return moment{at, sec, window.MinuteOf(sec), s.backendKind.Part(sec), s.serverKind.Part(sec)}
}

// intake records samples of one backend and one moment. What goes into the same place for all of them is added up on the way,
// and entered once, at the end.
type intake struct {
	*backend
	moment
	beating bool
	add     window.Bucket
	told    told
}

// maxFold is by how much a counter may differ within one intake to be entered once: far less than what would not be believed.
const maxFold = 1 << 16

// told are the counters that some samples of one process have told, each the latest of them. boot is nil as long as there is none.
type told struct {
	boot                                *string
	started, finished, noResp, answered uint32
	answersKnown, more                  bool
}

// fold takes further counters if they come from the same process and differ by little.
func (t *told) fold(boot *string, c *Counters) bool {
	// The names of one process are nearly always in one place.
	if t.boot != boot && (t.boot == nil || *t.boot != *boot) || t.answersKnown != c.AnswersKnown {
		return false
	}
	a, b, n := c.Started-t.started, c.Started-c.Current-t.finished, c.NoResponse-t.noResp
	w := uint32(0)
	if c.AnswersKnown {
		w = c.Answered - t.answered
	}
	const most = 2*maxFold - 1
	if (a+maxFold)|(b+maxFold)|(n+maxFold)|(w+maxFold) > most {
		return false
	}
	t.started += uint32(max(int32(a), 0))
	t.finished += uint32(max(int32(b), 0))
	t.noResp += uint32(max(int32(n), 0))
	t.answered += uint32(max(int32(w), 0))
	t.more = true
	return true
}

func (t *told) counters() Counters {
	return Counters{
		Started: t.started, Current: t.started - t.finished, NoResponse: t.noResp, Known: true,
		Answered: t.answered, AnswersKnown: t.answersKnown,
	}
}

// done records an answer; false when the backend has just been forgotten.
func (b *backend) done(m *moment, a *answer, id []byte, k *known) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		return false
	}
	b.open.close(id)
	in := b.intake(m)
	in.record(a, k)
	in.end()
	return true
}

// intake begins one, with mu held until its end.
func (b *backend) intake(m *moment) intake {
	b.seen, b.lastSample = max(b.seen, m.at), max(b.lastSample, m.at)
	return intake{backend: b, moment: *m, beating: b.beating(m.at)}
}

// end enters what was added up.
func (in *intake) end() {
	in.enter()
	in.seconds.Add(in.sec, in.add)
}

// count takes the counters of one sample and tells whether they give the completions, too. The first of an intake are looked
// at as they are; those after it differ by so little that only their latest values matter.
func (in *intake) count(boot *string, c *Counters) (answers bool) {
	if c.Known && *boot != "" && !in.told.fold(boot, c) {
		in.countFirst(boot, c)
	}
	return c.Known && *boot != "" && c.AnswersKnown
}

// countFirst takes counters that cannot be folded with those before.
func (in *intake) countFirst(boot *string, c *Counters) {
	in.enter()
	n, _ := in.backend.count(in.at, in.sec, *boot, *c, false)
	in.add.Arrivals += n
	in.told = told{
		boot: boot, started: c.Started, finished: c.Started - c.Current, noResp: c.NoResponse, answered: c.Answered,
		answersKnown: c.AnswersKnown,
	}
}

// enter enters the counters taken since the last look.
func (in *intake) enter() {
	if t := &in.told; t.more {
		n, _ := in.backend.count(in.at, in.sec, *t.boot, t.counters(), false)
		in.add.Arrivals += n
		t.more = false
	}
}

// record takes an answer. k.server is its server if it is not nil and still there, and is set.
func (in *intake) record(a *answer, k *known) {
	b := in.backend
	answers := false
	if b.name != Other {
		answers = in.count(a.boot, &a.counters)
		if !in.beating {
			set(&b.inFlight, int(a.backendConns))
			set(&b.queued, int(a.queued))
		}
	}
	if !answers {
		b.completions++
		in.add.Completions++
	}
	if !b.counted {
		in.add.Arrivals++
	}
	b.sampled++
	failed := uint64(0)
	if a.status >= 500 {
		failed = 1
		b.errors++
		in.add.Errors++
	}
	if k.serverName != "" {
		in.serve(a, k, failed)
	}
}

// serve takes what an answer says of its server.
func (in *intake) serve(a *answer, k *known, failed uint64) {
	b, v := in.backend, k.server
	if v == nil || v.gone {
		v = b.server(in.at, k.serverName)
		k.server = nil
		if v.name == k.serverName {
			k.server = v
		}
	}
	if v.work == nil {
		v.work = &work{seen: in.at, sketch: b.serverKind.New(), minutes: window.NewMinutes(in.sec)}
	}
	w := v.work
	timed, queue, connect, response := uint32(0), uint64(0), uint64(0), uint64(0)
	if a.response >= 0 {
		timed, queue, connect, response = 1, uint64(max(a.queue, 0)), uint64(max(a.connect, 0)), uint64(a.response)
		in.add.Timed++
		in.add.Queue += queue
		in.add.Connect += connect
		in.add.Response += response
		b.sketch.AddIn(in.backendPart, queue+connect+response)
		if t := b.timings.Next(); t != nil {
			t.queue, t.connect, t.response = shorten(queue), shorten(connect), shorten(response)
			t.server, t.status = v.id, a.status
		}
		w.sketch.AddIn(in.serverPart, response)
	}
	w.seen = max(w.seen, in.at)
	w.requests++
	w.errors += failed
	w.minutes.CountOne(in.minute, uint32(failed), timed, queue, connect, response, b.budget)
	// What need not be written is not: another processor would have to fetch it again.
	if !in.beating && a.serverConns != Absent && v.inFlight != a.serverConns {
		v.inFlight = a.serverConns
	}
}
