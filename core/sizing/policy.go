package sizing

import "time"

// Strategy names what sizes an app.
type Strategy string

// The strategies. Noop observes and changes nothing; Latency is the core's own, because it brings in whole servers.
const (
	Noop      Strategy = "noop"
	Latency   Strategy = "latency"
	BusyRatio Strategy = "busy_ratio"
	RPSRatio  Strategy = "rps_ratio"
	Queue     Strategy = "queue"
	Schedule  Strategy = "schedule"
	Erlang    Strategy = "erlang"
)

// Policy is how one app is sized. Default has the defaults; conf checks the ranges.
type Policy struct {
	// Strategies are asked one by one; the largest need wins.
	Strategies []Strategy `json:"strategies"`
	// MinWorkers and MaxWorkers bound the wanted number of workers.
	MinWorkers int `json:"min_workers"`
	MaxWorkers int `json:"max_workers"`
	// SLO is the response time above which a request counts as slow (erlang, panic).
	SLO time.Duration `json:"slo"`
	// LeadTime is the time from an order to its first good answer, until the app's own has been learned.
	LeadTime time.Duration `json:"lead_time"`

	Erlang   ErlangPolicy   `json:"erlang"`
	Busy     BusyPolicy     `json:"busy_ratio"`
	RPS      RPSPolicy      `json:"rps_ratio"`
	Queue    QueuePolicy    `json:"queue"`
	Schedule []ScheduleSlot `json:"schedule,omitempty"`

	Up       UpPolicy       `json:"up"`
	Down     DownPolicy     `json:"down"`
	Guard    GuardPolicy    `json:"collapse_guard"`
	Futility FutilityPolicy `json:"futility"`
	Profile  ProfilePolicy  `json:"profile"`
	// FlapBudget is the number of reversals of direction within an hour above which an alarm is raised; 0 is none.
	FlapBudget int `json:"flap_budget"`
}

// ErlangPolicy sizes by arrivals x service time: the least number of workers with which at most MaxLate of the requests wait
// longer than MaxWait (a share of the SLO).
type ErlangPolicy struct {
	MaxWait float64 `json:"max_wait"`
	MaxLate float64 `json:"max_late"`
	// CV is the coefficient of variation of service times, 1 for exponential ones.
	CV float64 `json:"service_cv"`
	// LoseNode sizes so that the app survives the loss of its largest node.
	LoseNode bool `json:"lose_node"`
	// Reserve is the least growth over one lead time that is provided for, 1 for none.
	Reserve float64 `json:"reserve"`
}

// BusyPolicy sizes by busy workers against Target, the share of workers that may be busy, averaged over Window.
type BusyPolicy struct {
	Target float64       `json:"target"`
	Window time.Duration `json:"window"`
}

// RPSPolicy sizes by arrivals x service time against Target, the share of workers that may be busy, averaged over Window.
type RPSPolicy struct {
	Target float64       `json:"target"`
	Window time.Duration `json:"window"`
}

// QueuePolicy sizes the consumers of a message queue: an item that waits stays, so the backlog must be gone within Drain, and
// no item may become older than MaxAge.
type QueuePolicy struct {
	Drain  time.Duration `json:"drain"`
	MaxAge time.Duration `json:"max_age"`
	// Target is the share of the consumers' time that may be used, 0..1.
	Target float64 `json:"target"`
}

// ScheduleSlot wants at least Workers on the given days from From to To, in Zone's time of day. A slot whose To is not after
// its From ends on the next day.
type ScheduleSlot struct {
	// Days are 0 (Sunday) to 6; none means every day.
	Days []time.Weekday `json:"days,omitempty"`
	// From and To are times since midnight.
	From    time.Duration `json:"from"`
	To      time.Duration `json:"to"`
	Workers int           `json:"workers"`
	// Offset is the zone's distance from UTC. The caller keeps it up to date over daylight saving.
	Offset time.Duration `json:"offset,omitempty"`
}

// UpPolicy bounds growth: at most Share of the present number or Step workers, whichever is more, per Every (0: no bound).
// Needs within Tolerance above the present number change nothing while nothing waits.
type UpPolicy struct {
	Every     time.Duration `json:"every"`
	Share     float64       `json:"share"`
	Step      int           `json:"step"`
	Tolerance float64       `json:"tolerance"`
}

// DownPolicy bounds shrinking: to the highest need of Window, at most Share of the workers (at least one) per Every, and only when
// the need is lower than the present number by more than Tolerance.
type DownPolicy struct {
	Window    time.Duration `json:"window"`
	Every     time.Duration `json:"every"`
	Share     float64       `json:"share"`
	Tolerance float64       `json:"tolerance"`
}

// GuardPolicy is the collapse guard: when arrivals fall below Drop of what they were, workers for their return are held for Hold, and for
// Extend longer as long as errors last.
type GuardPolicy struct {
	Off    bool          `json:"off,omitempty"`
	Drop   float64       `json:"drop"`
	Hold   time.Duration `json:"hold"`
	Extend time.Duration `json:"extend"`
}

// FutilityPolicy caps an app whose throughput did not follow its workers: a dependency is slow.
type FutilityPolicy struct {
	Off bool `json:"off,omitempty"`
	// Probe is how long after a cap more workers are tried again.
	Probe time.Duration `json:"probe"`
}

// ProfilePolicy learns the app's day and week, as a floor only.
type ProfilePolicy struct {
	On bool `json:"on"`
	// Days is the least number of days of the same kind that must be known.
	Days int `json:"days"`
}

// Default is the policy of an app about which nothing was said: the erlang strategy, a goal of 500 ms.
func Default() Policy {
	return Policy{
		Strategies: []Strategy{Erlang}, MinWorkers: 1, MaxWorkers: 1024, SLO: 500 * time.Millisecond, LeadTime: 45 * time.Second,
		Erlang:     ErlangPolicy{MaxWait: 0.2, MaxLate: 0.1, CV: 1, Reserve: 1.06},
		Busy:       BusyPolicy{Target: 0.7, Window: 5 * time.Second},
		RPS:        RPSPolicy{Target: 0.7, Window: 30 * time.Second},
		Queue:      QueuePolicy{Drain: time.Minute, MaxAge: 5 * time.Minute, Target: 0.9},
		Up:         UpPolicy{Tolerance: 0.03},
		Down:       DownPolicy{Window: 30 * time.Second, Every: 30 * time.Second, Share: 0.5, Tolerance: 0.12},
		Guard:      GuardPolicy{Drop: 0.25, Hold: 20 * time.Minute, Extend: 10 * time.Minute},
		Futility:   FutilityPolicy{Probe: 5 * time.Minute},
		Profile:    ProfilePolicy{Days: 3},
		FlapBudget: 15,
	}
}
