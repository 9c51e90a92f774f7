package spoa

import "time"

// mostPending is how many samples of one drained input wait for being recorded together.
const mostPending = 64

// pending is a sample that is to be recorded, where k tells. next is the one after it of the same backend, 0 when there is none.
type pending struct {
	sample Sample
	k      *known
	next   uint8
}

// sameBackend are the samples of one backend, from first to last. backend is nil for those whose backend is not known yet.
type sameBackend struct {
	backend     *backend
	first, last uint8
}

// batch are the samples of an input that wait. Those of one backend are recorded under one lock: connections on all
// processors feed the same backends, and each time one takes over from another costs more than recording a sample.
type batch struct {
	now    time.Time
	moment moment
	list   [mostPending]pending
	groups [mostPending]sameBackend
	n      uint8
	many   uint8 // the groups in use
}

// room is where the next sample goes.
func (t *batch) room() *Sample { return &t.list[t.n].sample }

// add takes the sample that has been put there.
func (t *batch) add(k *known) {
	i := t.n
	p := &t.list[i]
	p.k, p.next = k, 0
	t.n++
	g := k.group
	if g >= t.many || t.groups[g].backend != k.backend {
		g = t.find(k.backend)
		k.group = g
	}
	if g == t.many {
		t.groups[g] = sameBackend{k.backend, i, i}
		t.many++
		return
	}
	t.list[t.groups[g].last].next = i
	t.groups[g].last = i
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
		for p := &t.list[g.first]; ; p = &t.list[p.next] {
			m.done(t.now, &t.moment, &p.sample, p.k)
			if p.next == 0 {
				break
			}
		}
	}
}

// doneAll records the samples from the first on that are of the backend; false when it has been forgotten.
func (b *backend) doneAll(t *batch, first uint8) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		return false
	}
	in := b.intake(&t.moment)
	for p := &t.list[first]; ; p = &t.list[p.next] {
		in.record(&p.sample, p.k)
		// It is part of a connection's buffer, which may go.
		p.sample.ID = nil
		if p.next == 0 {
			break
		}
	}
	in.end()
	return true
}
