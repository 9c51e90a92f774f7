package peers

import (
	"math"

	"github.com/tidegate/tidegate/sim"
)

// history keeps the last seconds that were observed.
type history struct {
	seconds []sim.Second
	most    int
}

func (h *history) add(o *sim.Observation) {
	h.seconds = append(h.seconds, o.Seconds...)
	if over := len(h.seconds) - 4*h.most; over > 0 {
		h.seconds = append(h.seconds[:0], h.seconds[len(h.seconds)-h.most:]...)
	}
}

// mean is the average of f over the seconds of the last n before now, as far as they were observed; ok is false without any.
func (h *history) mean(now float64, n int, f func(sim.Second) float64) (mean float64, ok bool) {
	sum, count := 0.0, 0
	for i := len(h.seconds) - 1; i >= 0 && float64(h.seconds[i].At) >= now-float64(n); i-- {
		sum += f(h.seconds[i])
		count++
	}
	if count == 0 {
		return 0, false
	}
	return sum / float64(count), true
}

func busy(s sim.Second) float64        { return s.Busy }
func concurrency(s sim.Second) float64 { return s.Busy + s.Waiting }
func arrivals(s sim.Second) float64    { return float64(s.Arrivals) }

// highest is the maximum of values within a time.
type highest struct {
	at    []float64
	value []int
}

// of adds a value and returns the highest one of the last span seconds, itself included.
func (h *highest) of(now, span float64, v int) int {
	h.at, h.value = append(h.at, now), append(h.value, v)
	i := 0
	for h.at[i] <= now-span && i < len(h.at)-1 {
		i++
	}
	h.at, h.value = h.at[i:], h.value[i:]
	most := v
	for _, x := range h.value {
		most = max(most, x)
	}
	return most
}

func ceil(x float64) int { return int(math.Ceil(x - 1e-9)) }
