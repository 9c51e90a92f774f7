package traces

import (
	"fmt"
	"math"
	"strings"

	"github.com/tidegate/tidegate/sim"
)

const (
	hour  = 3600
	short = 2 * hour
)

// kind is a built-in trace.
type kind struct {
	name, about string
	seconds     int
	build       func(s *shape)
}

var kinds = []kind{
	{"slow", "from 100 to 600 requests per second and back, once", short, slow},
	{"quick", "waves of 5 min and of 97 s, 12 % noise", short, quick},
	{"spike", "four times the load within 30 s, for 10 min", short, spike},
	{"steps", "150, 500, 250 and 420 requests per second, each for about half an hour", short, steps},
	{"push", "four times the load within 15 s, twice; the first is announced 3 min ahead", short, push},
	{"outage", "15 min at 3 % of the load without any error, then back at 1.4 times the load within 5 s", short, outage},
	{"drop", "65 % of the load goes for good, as it may", short, drop},
	{"nodeloss", "one of five nodes is lost for 20 min with the requests on it", short, nodeLoss},
	{"slowsvc", "service takes twice as long for half an hour; more workers help", short, slowService},
	{"depcap", "a dependency lets 80 % of the load through for 20 min; more workers do not help", short, capped},
	{"zerometrics", "all metrics say zero for 10 min", short, zeroMetrics},
	{"mix-a", "random levels, ramps and bursts, up to 600 requests per second and three times that", 3 * hour, mixA},
	{"mix-b", "random levels, ramps and bursts, up to 800 requests per second and three times that", 3 * hour, mixB},
	{"day", "a day with a night, a noon, an evening and a burst", 24 * hour, day},
}

// Names are the built-in traces in their order.
func Names() []string {
	var out []string
	for _, k := range kinds {
		out = append(out, k.name)
	}
	return out
}

// About is what a built-in trace is.
func About(name string) string {
	for _, k := range kinds {
		if k.name == name {
			return k.about
		}
	}
	return ""
}

// Builtin makes a built-in trace.
func Builtin(name string, seed uint64) (*sim.Trace, error) {
	for _, k := range kinds {
		if k.name == name {
			s := newShape(name, k.seconds, seed)
			s.About = k.about
			k.build(s)
			return &s.Trace, nil
		}
	}
	return nil, fmt.Errorf("there is no trace %q; built in are %s; a name that ends in .csv is a file", name, strings.Join(Names(), ", "))
}

func slow(s *shape) {
	phase := s.between(-0.05, 0.05)
	low, high := s.about(100), s.about(600)
	s.each(func(t float64) float64 {
		return low + (high-low)*(1-math.Cos(2*math.Pi*(t/short+phase)))/2
	})
	s.noise(0.02, 10)
}

func quick(s *shape) {
	a, b := s.between(0, 2*math.Pi), s.between(0, 2*math.Pi)
	big, small := s.about(0.5), s.about(0.2)
	s.each(func(t float64) float64 {
		return Base * (1 + big*math.Sin(2*math.Pi*t/300+a) + small*math.Sin(2*math.Pi*t/97+b))
	})
	s.noise(0.12, 5)
}

func spike(s *shape) {
	at := s.moment(2400, 4200)
	s.level(0, Base)
	s.times(at, at+600, s.about(4), 30, 60)
	s.noise(0.02, 10)
	s.Disturbance = float64(at)
}

func steps(s *shape) {
	at := 0
	for i, rate := range []float64{150, 500, 250, 420} {
		s.level(at, s.about(rate))
		if i == 1 {
			s.Disturbance = float64(at)
		}
		at += s.moment(1650, 1950)
	}
	s.noise(0.02, 10)
}

func push(s *shape) {
	first, second := s.moment(1500, 2400), s.moment(4200, 5400)
	lasts := s.moment(480, 720)
	s.level(0, Base)
	size := s.about(4)
	s.times(first, first+lasts, size, 15, 60)
	s.times(second, second+lasts, s.about(4), 15, 60)
	s.noise(0.02, 10)
	s.Announced = []sim.Announcement{{ID: "push-1", Told: float64(first - 180), From: float64(first), To: float64(first + 1200), Rate: size * Base}}
	s.Disturbance = float64(second)
}

func outage(s *shape) {
	at := s.moment(2400, 3600)
	back := at + 900
	s.level(0, Base)
	s.times(at, back, 0.03, 0, 0)
	s.times(back, back+600, 1.4, 5, 300)
	s.noise(0.02, 10)
	s.Disturbance = float64(back)
}

func drop(s *shape) {
	at := s.moment(2400, 4200)
	s.level(0, s.about(1.4*Base))
	s.times(at, short, s.between(0.32, 0.38), 10, 0)
	s.noise(0.02, 10)
}

func nodeLoss(s *shape) {
	at := s.moment(2400, 4200)
	s.Nodes = 5
	s.level(0, s.about(1.6*Base))
	s.noise(0.02, 10)
	s.Lost = []sim.Loss{{Span: span(at, at+1200), Node: s.r.IntN(5)}}
	s.Disturbance = float64(at)
}

func slowService(s *shape) {
	at := s.moment(2400, 4200)
	s.level(0, s.about(1.2*Base))
	s.noise(0.02, 10)
	s.factor(at, at+1800, s.between(1.9, 2.1))
	s.Disturbance = float64(at)
}

func capped(s *shape) {
	at := s.moment(2400, 4200)
	rate := s.about(1.2 * Base)
	s.level(0, rate)
	s.noise(0.02, 10)
	s.limit(at, at+1200, 0.8*rate)
	s.Disturbance = float64(at)
}

func zeroMetrics(s *shape) {
	at := s.moment(2400, 4200)
	s.level(0, s.about(1.4*Base))
	s.noise(0.02, 10)
	s.Zero = []sim.Span{span(at, at+600)}
	s.Disturbance = float64(at)
}

func mixA(s *shape) { mix(s, 600, 1500) }

func mixB(s *shape) { mix(s, 800, 1900) }

// mix is random levels of 5 to 25 min, reached by steps or ramps, and random bursts of 1.8 to three times the load.
func mix(s *shape, top, most float64) {
	rate := s.between(100, top)
	for at := 0; at < len(s.Rate); {
		next := s.between(100, top)
		ramp := s.moment(10, 300)
		if s.r.Float64() < 0.25 {
			ramp = 1
		}
		end := at + s.moment(300, 1500)
		for i := at; i < min(end, len(s.Rate)); i++ {
			s.Rate[i] = rate + (next-rate)*math.Min(1, float64(i-at+1)/float64(ramp))
		}
		rate, at = next, end
	}
	for at := s.moment(300, 1800); at < len(s.Rate); at += s.moment(1500, 3600) {
		up := s.moment(15, 90)
		s.times(at, at+up+s.moment(120, 480), s.between(1.8, 3), up, s.moment(15, 90))
	}
	s.noise(0.05, 5)
	s.most(most)
}

// day has its low at about five, a shoulder at noon, its high at about nine in the evening, and one burst in the evening.
func day(s *shape) {
	shift := s.between(-0.5, 0.5)
	bump := func(h, at, wide float64) float64 {
		d := math.Abs(h - at)
		d = math.Min(d, 24-d)
		return math.Exp(-d * d / (2 * wide * wide))
	}
	s.each(func(t float64) float64 {
		h := t/3600 + shift
		return 60 + 160*bump(h, 12, 2.5) + 290*bump(h, 20.5, 2.5) + 60*bump(h, 16, 3)
	})
	at := s.moment(19*hour, 21.5*hour)
	s.times(at, at+s.moment(300, 600), s.between(1.8, 2.4), 30, 60)
	s.noise(0.04, 10)
	s.Disturbance = float64(at)
}
