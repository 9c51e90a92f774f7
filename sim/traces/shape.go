package traces

import (
	"math"
	"math/rand/v2"

	"github.com/tidegate/tidegate/sim"
)

// Base is the rate that most traces are built on: 20 erlangs with a service time of 80 ms.
const Base = 250.0

// shape builds a trace second by second.
type shape struct {
	sim.Trace
	r *rand.Rand
}

func newShape(name string, seconds int, seed uint64) *shape {
	h := uint64(14695981039346656037)
	for _, c := range []byte(name) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	s := &shape{r: rand.New(rand.NewPCG(seed, h))}
	s.Name, s.Rate = name, make([]float64, seconds)
	return s
}

// between is a random number from a to b.
func (s *shape) between(a, b float64) float64 { return a + (b-a)*s.r.Float64() }

// about is x with up to 10 % more or less.
func (s *shape) about(x float64) float64 { return x * s.between(0.9, 1.1) }

// moment is a whole second from a to b.
func (s *shape) moment(a, b float64) int { return int(s.between(a, b)) }

// each sets every rate by a function of time.
func (s *shape) each(f func(t float64) float64) {
	for i := range s.Rate {
		s.Rate[i] = math.Max(0, f(float64(i)))
	}
}

// level sets a constant rate from a second on to the end.
func (s *shape) level(from int, rate float64) {
	for i := max(0, from); i < len(s.Rate); i++ {
		s.Rate[i] = rate
	}
}

// times multiplies the rates from a to b by a factor that is reached within up and left within down seconds, both inside.
func (s *shape) times(a, b int, factor float64, up, down int) {
	for i := max(0, a); i < min(b, len(s.Rate)); i++ {
		k := 1.0
		if up > 0 {
			k = math.Min(k, float64(i-a+1)/float64(up))
		}
		if down > 0 {
			k = math.Min(k, float64(b-i)/float64(down))
		}
		s.Rate[i] *= 1 + (factor-1)*k
	}
}

// noise multiplies the rates by a random factor that changes every few seconds.
func (s *shape) noise(sd float64, every int) {
	f := 1.0
	for i := range s.Rate {
		if i%every == 0 {
			f = math.Max(0.2, 1+sd*s.r.NormFloat64())
		}
		s.Rate[i] *= f
	}
}

// most bounds the rates.
func (s *shape) most(rate float64) {
	for i := range s.Rate {
		s.Rate[i] = math.Min(s.Rate[i], rate)
	}
}

// factor sets the service time's factor from a to b.
func (s *shape) factor(a, b int, f float64) {
	if s.Factor == nil {
		s.Factor = make([]float64, len(s.Rate))
		for i := range s.Factor {
			s.Factor[i] = 1
		}
	}
	for i := max(0, a); i < min(b, len(s.Factor)); i++ {
		s.Factor[i] = f
	}
}

// limit sets the dependency's throughput from a to b.
func (s *shape) limit(a, b int, rate float64) {
	if s.Cap == nil {
		s.Cap = make([]float64, len(s.Rate))
	}
	for i := max(0, a); i < min(b, len(s.Cap)); i++ {
		s.Cap[i] = rate
	}
}

func span(a, b int) sim.Span { return sim.Span{From: float64(a), To: float64(b)} }
