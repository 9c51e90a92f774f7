package spoa

import "time"

// processBeat is what the last heartbeat of one HAProxy process said. Several processes have one backend where there are several load
// balancers, and for a moment after a reload; their gauges add up.
type processBeat struct {
	boot                 string
	at                   int64
	inFlight, queued, up int
	// servers are kept only where there is another process.
	servers []serverBeat
}

type serverBeat struct {
	server *server
	conns  int32
}

// beatOf is the record of a process; those that have not been heard of for long are dropped.
func (b *backend) beatOf(at int64, boot string) *processBeat {
	kept := b.beats[:0]
	for _, r := range b.beats {
		if r.boot == boot || at-r.at <= int64(heartbeatFresh) {
			kept = append(kept, r)
		}
	}
	clear(b.beats[len(kept):])
	b.beats = kept
	for i := range b.beats {
		if b.beats[i].boot == boot {
			return &b.beats[i]
		}
	}
	if len(b.beats) == maxBoots {
		b.beats = append(b.beats[:0], b.beats[1:]...)
	}
	b.beats = append(b.beats, processBeat{boot: boot})
	return &b.beats[len(b.beats)-1]
}

// gauges takes a heartbeat's gauges and adds up those of all processes.
func (b *backend) gauges(at int64, g *Gauges) {
	r := b.beatOf(at, g.Boot)
	r.at = at
	set(&r.inFlight, g.InFlight)
	set(&r.queued, g.Queued)
	set(&r.up, g.Up)
	b.inFlight, b.queued, b.up = 0, 0, 0
	for i := range b.beats {
		b.inFlight += b.beats[i].inFlight
		b.queued += b.beats[i].queued
		b.up = max(b.up, b.beats[i].up)
	}
	r.servers = r.servers[:0]
	for _, sg := range g.Servers {
		v := b.server(at, sg.Name)
		v.inFlight = int32(sg.Conns)
		if len(b.beats) > 1 {
			r.servers = append(r.servers, serverBeat{v, v.inFlight})
		}
	}
	for i := range b.beats {
		if o := &b.beats[i]; o != r {
			for _, s := range o.servers {
				s.server.inFlight += s.conns
			}
		}
	}
}

// openReport tells how many requests of all processes with a heartbeat are open, and for how long the oldest.
func (b *backend) openReport(at int64) (n int, oldest time.Duration) {
	if len(b.beats) == 0 {
		return b.open.report(at, "", b.inFlight)
	}
	n = Absent
	for i := range b.beats {
		open, age := b.open.report(at, b.beats[i].boot, b.beats[i].inFlight)
		if open == Absent {
			continue
		}
		n = max(n, 0) + open
		oldest = max(oldest, age)
	}
	return n, oldest
}
