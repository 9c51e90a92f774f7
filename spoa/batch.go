package spoa

import "time"

// mostPending is how many answers of one drained input wait for being recorded together.
const mostPending = 64

// answer is a Sample as a meter needs it, in less space, for many wait. Its names are those of k.
type answer struct {
	boot                              *string
	k                                 *known
	counters                          Counters
	queue, connect, response          int64 // microseconds, or Absent
	serverConns, backendConns, queued int32
	status                            int16
	// next is the one after it of the same backend, 0 when there is none.
	next  uint8
	hasID bool // its id is in the batch
}

// answerOf is what a meter needs of s, and sample is the reverse, but for the id and what was told of retries.
func answerOf(s *Sample) answer {
	return answer{
		boot: &s.Boot, counters: s.Counters, status: int16(s.Status),
		queue: wholeMicros(s.Queue), connect: wholeMicros(s.Connect), response: wholeMicros(s.Response),
		serverConns: gauge(s.ServerConns), backendConns: gauge(s.BackendConns), queued: gauge(s.Queued),
	}
}

func (a *answer) sample(k *known) Sample {
	return Sample{
		Boot: *a.boot, Backend: k.backendName, Server: k.serverName, Status: int(a.status),
		Queue: duration(a.queue), Connect: duration(a.connect), Response: duration(a.response),
		ServerConns: int(a.serverConns), BackendConns: int(a.backendConns), Queued: int(a.queued), Counters: a.counters,
	}
}

func wholeMicros(d time.Duration) int64 {
	if d < 0 {
		return Absent
	}
	return int64(d / time.Microsecond)
}

func gauge(n int) int32 { return int32(min(max(n, Absent), maxGauge-1)) }

// sameBackend are the answers of one backend, from first to last. backend is nil for those whose backend is not known yet.
type sameBackend struct {
	backend     *backend
	first, last uint8
}

// batch are the answers of an input that wait. Those of one backend are recorded under one lock: connections on all
// processors feed the same backends, and each time one takes over from another costs more than recording a sample.
type batch struct {
	now    time.Time
	moment moment
	list   [mostPending]answer
	ids    [mostPending][]byte // parts of the input, nil where there is none
	groups [mostPending]sameBackend
	n      uint8
	many   uint8 // the groups in use
}

// begin sets the time of the answers that come now.
func (t *batch) begin(now time.Time, s *shared) { t.now, t.moment = now, s.moment(s.at(now)) }

// room is where the next answer goes.
func (t *batch) room() *answer { return &t.list[t.n%mostPending] }

// add takes the answer that has been put there.
func (t *batch) add(k *known, id []byte) {
	i := t.n % mostPending
	a := &t.list[i]
	a.k, a.next, a.hasID = k, 0, len(id) > 0
	if a.hasID {
		t.ids[i] = id
	}
	t.n = i + 1
	if g := &t.groups[k.group%mostPending]; k.group < t.many && g.backend == k.backend {
		t.list[g.last%mostPending].next = i
		g.last = i
		return
	}
	t.addTo(t.find(k.backend), k, i)
}

// addTo puts answer i into a group, which may be the next one.
func (t *batch) addTo(group uint8, k *known, i uint8) {
	k.group = group
	if group == t.many {
		t.groups[group] = sameBackend{k.backend, i, i}
		t.many++
		return
	}
	g := &t.groups[group]
	t.list[g.last].next = i
	g.last = i
}

// find is the group of a backend, or the next one.
func (t *batch) find(b *backend) uint8 {
	for i := range t.groups[:t.many] {
		if t.groups[i].backend == b {
			return uint8(i)
		}
	}
	return t.many
}

// settle records the samples of the input so far.
func (d *decoder) settle() {
	if t := d.batch; t != nil && t.n > 0 {
		d.meter.doneAll(t)
		t.n, t.many = 0, 0
	}
}

// doneAll records samples that came in one input.
func (m *Meter) doneAll(t *batch) {
	for i := range t.groups[:t.many] {
		g := &t.groups[i]
		if g.backend != nil && g.backend.doneAll(t, g.first) {
			continue
		}
		// Not known to the connection yet, or forgotten by the meter.
		for i := g.first; ; i = t.list[i].next {
			a := &t.list[i]
			m.done(t.now, &t.moment, a, t.takeID(i), a.k)
			if a.next == 0 {
				break
			}
		}
	}
}

// takeID is the id of an answer, which is not kept: it is part of a connection's buffer, which may go.
func (t *batch) takeID(i uint8) (id []byte) {
	if t.list[i].hasID {
		id, t.ids[i] = t.ids[i], nil
	}
	return id
}

// doneAll records the answers from the first on that are of the backend; false when it has been forgotten.
func (b *backend) doneAll(t *batch, first uint8) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		return false
	}
	in := b.intake(&t.moment)
	for i := first; ; {
		a := &t.list[i%mostPending]
		if a.hasID {
			b.open.close(t.takeID(i))
		}
		in.record(a, a.k)
		if i = a.next; i == 0 {
			break
		}
	}
	in.end()
	return true
}
