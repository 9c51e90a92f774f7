package sim

// Result is one run in figures. Requests count by the time of their arrival; what arrived in the unmeasured beginning does not.
type Result struct {
	Trace  string `json:"trace"`
	About  string `json:"about,omitempty"`
	Policy string `json:"policy"`
	Seed   uint64 `json:"seed"`
	// Hours is the measured time.
	Hours float64 `json:"hours"`
	// Requests are the arrivals, Slow those above the SLO, the 503s (TimedOut) and those killed with their node included.
	Requests int     `json:"requests"`
	Slow     int     `json:"slow"`
	TimedOut int     `json:"timed_out"`
	Killed   int     `json:"killed"`
	SlowPart float64 `json:"slow_share"`
	// P50, P95 and P99 are of the response times of answered requests, in seconds.
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	// WorkerHours counts starting, ready and draining workers; OracleRatio is it over the oracle's, 0 when unknown.
	WorkerHours float64 `json:"worker_hours"`
	OracleRatio float64 `json:"oracle_ratio,omitempty"`
	// Actions are decisions that changed the wanted number, Reversals those that turned its direction round, Flaps the reversals
	// less than ten minutes after the change before; Starts are workers ordered.
	Actions   int `json:"actions"`
	Reversals int `json:"reversals"`
	Flaps     int `json:"flaps"`
	Starts    int `json:"starts"`
	// BadMinutes are minutes with more than 5 % slow requests.
	BadMinutes int `json:"bad_minutes"`
	// Recovery is the time from the trace's disturbance to the end of the last 10 s with more than 10 % slow requests within
	// twenty minutes, 0 when there were none; -1 without a disturbance.
	Recovery float64 `json:"recovery"`
	// Alarms are the alarms seen, each when it came up first.
	Alarms []Alarm `json:"alarms,omitempty"`
	// Changes are the decisions that changed something, from the beginning of the trace on.
	Changes []Change `json:"changes,omitempty"`
	// Series is one value a second from the beginning of the trace on.
	Series Series `json:"-"`
	// All counts every request of the run: all that arrived came to one of the three ends.
	All Count `json:"all"`
}

// Count is requests by what became of them.
type Count struct {
	Arrived   int `json:"arrived"`
	Completed int `json:"completed"`
	TimedOut  int `json:"timed_out"`
	Killed    int `json:"killed"`
}

// Alarm is when an alarm came up first; After is the time since the trace's disturbance, -1 when it has none or it came before.
type Alarm struct {
	Name  string  `json:"name"`
	At    float64 `json:"at"`
	After float64 `json:"after"`
}

// Change is a decision that changed the wanted number.
type Change struct {
	At   float64 `json:"at"`
	From int     `json:"from"`
	To   int     `json:"to"`
	Why  string  `json:"why,omitempty"`
}

// Series is what happened second by second.
type Series struct {
	Arrivals []int32
	Slow     []int32
	Ready    []int32
	Starting []int32
	Draining []int32
	Queued   []int32
	// Demand is the load in erlangs that the arrivals asked for on average.
	Demand []float32
}

// PerHour is a count per measured hour.
func (r *Result) PerHour(n int) float64 {
	if r.Hours == 0 {
		return 0
	}
	return float64(n) / r.Hours
}
