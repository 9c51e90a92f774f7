package sizing

import "math"

// Futile watches whether more workers bring more throughput.
type Futile struct {
	// Workers, Throughput and At are of the moment before the growth that is watched; 0 for none.
	Workers    float64 `json:"workers,omitempty"`
	Throughput float64 `json:"throughput,omitempty"`
	At         int64   `json:"at,omitempty"`
	// Arrived is when at least a tenth more were ready, 0 for not yet.
	Arrived int64 `json:"arrived,omitempty"`
	// Cap is the most that is ordered while it is of no use, 0 for no cap; Since when, Probe when more are tried.
	Cap     int   `json:"cap,omitempty"`
	Since   int64 `json:"since,omitempty"`
	Probe   int64 `json:"probe,omitempty"`
	Probing bool  `json:"probing,omitempty"`
	// Eased is since when not all workers have been busy, 0 when they are.
	Eased int64 `json:"eased,omitempty"`
	// Tries counts the probes that were of no use; each doubles the time to the next.
	Tries int `json:"tries,omitempty"`
}

const (
	// slower than its base by this factor is a service that a dependency may hold up.
	slowerFactor = 1.25
	// saturatedShare of the workers busy is all of them.
	saturatedShare = 0.95
	// fullShare of the workers busy on average over ten seconds is a workforce that has not eased.
	fullShare = 0.9
	// settleSeconds is how long the new workers' effect is awaited.
	settleSeconds = 20
	// gainShare of the growth in workers must be seen in throughput.
	gainShare = 0.3
	// easeShare is how busy the workers may be at the base service time.
	easeShare = 0.8
	// mostTries bounds the doubling of the time between probes.
	mostTries = 3
)

func (s *State) saturated() bool {
	if s.BusyKnown && s.Ready > 0 {
		return s.Busy >= saturatedShare*s.Ready
	}
	return s.Queued >= 1
}

// easeSeconds is how long not all workers must be busy before growth is no longer watched: new ones are not at work in the moment
// in which they become ready, and busy counts are means over the last second.
const easeSeconds = 10

// eased tells that workers have been free for some time.
func (s *State) eased() bool {
	f := &s.Memory.Futile
	switch {
	case s.saturated():
		f.Eased = 0
	case f.Eased == 0:
		f.Eased = s.Now
	}
	return f.Eased > 0 && s.Now-f.Eased >= easeSeconds
}

func (s *State) slower() bool {
	base := s.Memory.Service.Base
	return base > 0 && s.Service > slowerFactor*base
}

// futility watches growth that was ordered because the service became slower. When more workers bring no more throughput, what
// waits stands elsewhere: the number is capped at what it was before, and tried again from time to time. It returns the cap, 0 for
// none.
func (s *State) futility(r *Result) int {
	f := &s.Memory.Futile
	if s.Policy.Futility.Off || !s.trusted {
		return 0
	}
	t := s.Memory.History.over(10, 0)
	if t.n == 0 {
		return f.Cap
	}
	x := t.x / float64(t.n)
	switch {
	case f.Cap == 0 || s.slower():
	case s.saturated():
		// Few workers do not wait long for a dependency: that requests are quick while all workers are busy is no end of it. But the
		// cap may have become too low for what arrives.
		f.Cap = max(f.Cap, s.eases())
	default:
		r.event(CodeFutileOver, map[string]float64{"service_s": round3(s.Service), "base_s": round3(s.Memory.Service.Base)},
			"the service time is back at %.0f ms: the cap of %d workers ends", 1000*s.Service, f.Cap)
		*f = Futile{}
	}
	switch {
	case f.Workers == 0:
		if s.slower() && s.saturated() && (f.Cap == 0 || f.Probing) {
			*f = Futile{Workers: s.Ready, Throughput: x, At: s.Now, Cap: f.Cap, Since: f.Since, Probe: f.Probe, Probing: f.Probing, Tries: f.Tries}
		}
	case !s.slower() || s.eased():
		f.Workers, f.Arrived = 0, 0
	case f.Arrived == 0:
		if s.Ready >= math.Max(1.1*f.Workers, f.Workers+1) {
			f.Arrived = s.Now
		} else if f.Cap == 0 {
			// The throughput to compare with is that of the last moment before the new workers.
			f.Throughput = x
		}
	case s.Now-f.Arrived >= settleSeconds && s.stillFull(t):
		s.judge(r, x)
	}
	if f.Cap == 0 && f.Arrived > 0 {
		// Until the new workers' effect is known no more are ordered.
		return s.Memory.Workers
	}
	return s.cap(r)
}

// stillFull tells that the workers were busy for the last seconds as a whole: a queue that has just been worked off is no sign
// of futility, however little throughput can grow beyond what arrives.
func (s *State) stillFull(last sums) bool {
	if last.busySeconds == 0 || s.Ready == 0 {
		return s.saturated()
	}
	return last.b/float64(last.busySeconds) >= fullShare*s.Ready
}

// eases is the number of workers with which the app would be at ease if requests took as long as usual.
func (s *State) eases() int { return int(math.Ceil(s.load.rate * s.Memory.Service.Base / easeShare)) }

// judge compares the gain in throughput with the gain in workers.
func (s *State) judge(r *Result, x float64) {
	f := &s.Memory.Futile
	workers := s.Ready/f.Workers - 1
	gain := x/math.Max(f.Throughput, 1e-9) - 1
	if gain >= gainShare*workers {
		if f.Cap > 0 {
			r.event(CodeFutileOver, map[string]float64{"throughput": round3(x)}, "more workers bring more throughput again: the cap of %d ends", f.Cap)
		}
		*f = Futile{}
		return
	}
	limit := max(int(f.Workers), s.eases())
	if f.Cap > 0 {
		// What was there when the probe began says nothing: it was of no use, too.
		limit = max(f.Cap, s.eases())
	}
	if f.Cap == 0 {
		r.event(CodeFutile, map[string]float64{
			"workers_before": f.Workers, "workers": s.Ready, "throughput_before": round3(f.Throughput), "throughput": round3(x),
			"service_s": round3(s.Service), "base_s": round3(s.Memory.Service.Base), "cap": float64(limit),
		}, "%.0f -> %.0f workers brought %.0f %% more throughput while requests take %.1f times as long as usual: a dependency is slow, no more than %d workers are ordered",
			f.Workers, s.Ready, 100*gain, s.Service/math.Max(s.Memory.Service.Base, 1e-9), limit)
		f.Since = s.Now
	}
	wait := int64(math.Max(10, s.Policy.Futility.Probe.Seconds())) << min(f.Tries, mostTries)
	*f = Futile{Cap: limit, Since: f.Since, Probe: s.Now + wait, Tries: f.Tries + 1}
}

// cap is the most that may be ordered now. Every Probe it is lifted by a quarter, to see whether that helps.
func (s *State) cap(r *Result) int {
	f := &s.Memory.Futile
	if f.Cap == 0 {
		return 0
	}
	// As long as workers above the cap are still leaving, they are the probe.
	if s.Now >= f.Probe && !f.Probing && int(s.Ready) <= f.Cap {
		f.Probing, f.Workers, f.Arrived = true, 0, 0
		r.event(CodeFutileProbe, map[string]float64{"cap": float64(f.Cap)}, "a quarter more workers than the cap of %d are tried", f.Cap)
	}
	if f.Probing {
		return f.Cap + max(1, f.Cap/4)
	}
	return f.Cap
}
