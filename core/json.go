package core

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// seconds is a duration in JSON: a number of seconds, exact to the nanosecond.
type seconds time.Duration

// MarshalJSON writes 0.25 for 250 ms.
func (s seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON reads a number of seconds.
func (s *seconds) UnmarshalJSON(text []byte) error {
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.Abs(v) > math.MaxInt64/1e9 {
		return fmt.Errorf("%s is no number of seconds", text)
	}
	*s = seconds(math.Round(v * 1e9))
	return nil
}

func toSeconds(in []time.Duration) []seconds {
	var out []seconds
	for _, d := range in {
		out = append(out, seconds(d))
	}
	return out
}

func fromSeconds(in []seconds) []time.Duration {
	var out []time.Duration
	for _, s := range in {
		out = append(out, time.Duration(s))
	}
	return out
}

// The shapes below add the durations of a type, which its own tags leave out, under names that say their unit.
type (
	plainTraffic TrafficObs
	trafficJSON  struct {
		plainTraffic
		Age       seconds   `json:"age_s,omitempty"`
		P50       seconds   `json:"p50_s,omitempty"`
		P95       seconds   `json:"p95_s,omitempty"`
		P99       seconds   `json:"p99_s,omitempty"`
		Responses []seconds `json:"responses_s,omitempty"`
	}
	plainPool PoolObs
	poolJSON  struct {
		plainPool
		Age seconds `json:"age_s,omitempty"`
	}
	plainLatency LatencyMemory
	latencyJSON  struct {
		plainLatency
		Recent []seconds `json:"recent_s,omitempty"`
	}
)

// MarshalJSON writes durations as seconds.
func (t TrafficObs) MarshalJSON() ([]byte, error) {
	return json.Marshal(trafficJSON{plainTraffic(t), seconds(t.Age), seconds(t.P50), seconds(t.P95), seconds(t.P99), toSeconds(t.Responses)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *TrafficObs) UnmarshalJSON(text []byte) error {
	var in trafficJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	*t = TrafficObs(in.plainTraffic)
	t.Age, t.P50, t.P95, t.P99 = time.Duration(in.Age), time.Duration(in.P50), time.Duration(in.P95), time.Duration(in.P99)
	t.Responses = fromSeconds(in.Responses)
	return nil
}

// MarshalJSON writes durations as seconds.
func (p PoolObs) MarshalJSON() ([]byte, error) {
	return json.Marshal(poolJSON{plainPool(p), seconds(p.Age)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *PoolObs) UnmarshalJSON(text []byte) error {
	var in poolJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	*p = PoolObs(in.plainPool)
	p.Age = time.Duration(in.Age)
	return nil
}

// MarshalJSON writes durations as seconds.
func (l LatencyMemory) MarshalJSON() ([]byte, error) {
	return json.Marshal(latencyJSON{plainLatency(l), toSeconds(l.Recent)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (l *LatencyMemory) UnmarshalJSON(text []byte) error {
	var in latencyJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	*l = LatencyMemory(in.plainLatency)
	l.Recent = fromSeconds(in.Recent)
	return nil
}
