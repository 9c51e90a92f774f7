package window

// Each calls f for the seconds from..to-1 that are known, oldest first: sec is the first second of a bucket and width how many it
// covers, 1 but where memory was short. A bucket of several seconds is left out when it does not lie within from..to-1 as a
// whole. The second in which it began is not known as a whole and left out too. Each returns the first second it speaks
// for; seconds after the newest one are known to be zero.
func (s *Seconds) Each(from, to int64, f func(sec, width int64, b Bucket)) (first int64) {
	if !s.begun {
		return to
	}
	from = max(from, s.first+1)
	edge := s.last - s.size + 1
	switch {
	case from >= edge:
	case s.past == nil || !s.past.begun:
		from = edge
	default:
		from = s.past.each(from, min(to, edge), f)
	}
	for sec := max(from, edge); sec < to; sec++ {
		var b Bucket
		if s.ring != nil && sec <= s.last {
			b = s.cell(sec).bucket()
		}
		f(sec, 1, b)
	}
	return min(from, to)
}

// each does it for from..to-1, which lie before the ring.
func (p *past) each(from, to int64, f func(sec, width int64, b Bucket)) (first int64) {
	first = max(from, p.from)
	from = first
	for _, b := range p.blocks {
		sec := b.first
		var c cell
		for rest := b.data[:b.used]; len(rest) > 0 && sec < to; {
			var width int64
			width, rest = nextEntry(rest, &c)
			end := sec + width
			switch {
			case end <= from:
			case c == cell{}:
				// A run of idle seconds may be cut anywhere.
				for sec = max(sec, from); sec < min(end, to); sec++ {
					f(sec, 1, Bucket{})
				}
				from = min(end, to)
			case sec < from || end > to:
				if sec < from {
					first, from = end, end
				}
			default:
				f(sec, width, c.bucket())
				from = end
			}
			sec = end
		}
	}
	// What lies between the last block and the ring is idle.
	for sec := max(from, p.next-p.idle); sec < to; sec++ {
		f(sec, 1, Bucket{})
	}
	return min(first, to)
}
