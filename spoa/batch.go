package spoa

import "time"

// mostPending is how many samples of one drained input wait for being recorded together.
const mostPending = 32

// pending is a sample that is to be recorded; k is nil once it has been.
type pending struct {
	sample Sample
	k      *known
}

// settle records the samples of the input so far. Those of one backend are recorded under one lock: connections on all
// processors feed the same backends, and each time one takes over from another costs more than recording a sample.
func (d *decoder) settle() {
	if len(d.batch) > 0 {
		d.meter.doneAll(d.now, d.at, d.batch)
		d.batch = d.batch[:0]
	}
}

// doneAll records samples that came in one input.
func (m *Meter) doneAll(now time.Time, at int64, batch []pending) {
	for i := range batch {
		if batch[i].k == nil {
			continue
		}
		if b := batch[i].k.backend; b != nil {
			b.doneAll(at, batch[i:])
		}
		if p := &batch[i]; p.k != nil {
			// Not known to the connection yet, or forgotten by the meter.
			m.done(now, at, &p.sample, p.k)
		}
	}
}

// doneAll records those of the samples that belong to the backend, unless it has been forgotten.
func (b *backend) doneAll(at int64, batch []pending) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range batch {
		if p := &batch[i]; p.k != nil && p.k.backend == b && b.record(at, &p.sample, p.k) {
			p.k = nil
		}
	}
}
