package agent

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tidegate/tidegate/agent/adapter"
)

// Report is the answer to GET /v1/report: everything the node knows.
type Report struct {
	// Node is the configured name of the node.
	Node string `json:"node"`
	// Time is the node's clock when it answered.
	Time time.Time `json:"time"`
	Host Host      `json:"host"`
	// Apps holds one report per configured application, by name.
	Apps map[string]AppReport `json:"apps"`
}

// Host is the load of the machine.
type Host struct {
	// Known is false until the first second is over and when /proc cannot be read; Problem then says why.
	Known   bool   `json:"known"`
	Problem string `json:"problem,omitempty"`
	// CPUs is the number of online processors.
	CPUs int `json:"cpus"`
	// Load1 is the load average over one minute.
	Load1 float64 `json:"load1"`
	// CPUBusy is the share of CPU time in 0..1 that was not idle over the last two seconds; stolen time counts as busy. CPUSteal
	// is the stolen part: what the virtual machine's host gave to others.
	CPUBusy  float64 `json:"cpu_busy"`
	CPUSteal float64 `json:"cpu_steal"`
	// MemTotal and MemAvailable are in bytes; available is the kernel's own estimate.
	MemTotal     uint64 `json:"mem_total_bytes"`
	MemAvailable uint64 `json:"mem_available_bytes"`
	// PSICPUSome10 is the percentage of the last 10 s in which some task waited for a CPU, the others for memory and for I/O;
	// null where the kernel does not keep it (/proc/pressure).
	PSICPUSome10    *float64 `json:"psi_cpu_some_avg10"`
	PSIMemorySome10 *float64 `json:"psi_memory_some_avg10"`
	PSIIOSome10     *float64 `json:"psi_io_some_avg10"`
}

// AppReport is one application on this node. Where Known is false the numbers are the last good ones, SampleAgeMS old, and
// must not be acted on.
type AppReport struct {
	// Known says that both workers and busy counts are known and no older than three seconds.
	Known bool `json:"known"`
	// WorkersKnown and BusyKnown say it for one half.
	WorkersKnown bool `json:"workers_known"`
	BusyKnown    bool `json:"busy_known"`
	// Problem is a sentence for a person: why something is not known, or what the agent could not do.
	Problem string `json:"problem,omitempty"`

	// Total = Ready + Starting + Draining workers, each of which serves one request at a time: Threads of them in a process.
	// They are those that can serve, those that still load the application,
	// and those that were told to leave and finish what they have begun.
	Total    int `json:"total"`
	Ready    int `json:"ready"`
	Starting int `json:"starting"`
	Draining int `json:"draining"`
	// Threads is the configured number of workers in one process; orders are rounded up to whole processes. Processes are
	// those seen. Ceiling is how many workers there may be, where the server itself starts them when requests come
	// (Limits.Ceiling), and 0 elsewhere.
	Threads   int `json:"threads"`
	Processes int `json:"processes"`
	Ceiling   int `json:"ceiling,omitempty"`
	// Busy is the number of requests in progress at the last scan, in draining workers too. BusyMean and BusyMax are over the scans of the last second.
	Busy     int     `json:"busy"`
	BusyMean float64 `json:"busy_mean"`
	BusyMax  int     `json:"busy_max"`

	// BusyTrust says how Busy comes about and BusyAgeMS how old it was when it was read, in milliseconds.
	BusyTrust adapter.Trust `json:"busy_trust,omitempty"`
	BusyAgeMS int64         `json:"busy_age_ms,omitempty"`

	// Queued is the number of connections that no worker has taken yet, and QueueLimit how many may wait (0: not known).
	// Both count where QueueKnown is true.
	QueueKnown bool `json:"queue_known"`
	Queued     int  `json:"queued"`
	QueueLimit int  `json:"queue_limit"`

	// CPU is the processor time of the master and its workers over the last seconds (10, up to a minute where there are
	// very many), in CPUs: 1 is one of them all the time. Workers that have ended since are in it. null while it is not known.
	CPU *float64 `json:"cpu"`
	// Memory is that of the same processes in bytes, up to 30 s old, minutes where there are hundreds of them; null while it is
	// not known. MemoryKind is "pss" (what they share counts once) or "rss" (it counts in each: the agent's user may not see
	// more).
	Memory     *uint64 `json:"memory_bytes"`
	MemoryKind string  `json:"memory_kind,omitempty"`

	// Target is the number of workers last asked for, where Ordered is true; none was since the agent started otherwise.
	// Epoch is that of the order.
	Target  int    `json:"target"`
	Ordered bool   `json:"ordered"`
	Epoch   uint64 `json:"epoch"`
	// Limits is what the server can do. Drained: a person has taken the application out of service on this node.
	Limits  adapter.Limits `json:"limits"`
	Drained bool           `json:"drained"`
	// Min and Max are the limits of Target, in workers: the configured ones, narrowed to what the server can do.
	Min int `json:"min"`
	Max int `json:"max"`
	// Master is the master process as "pid:start", start in clock ticks since boot; empty when there is none.
	Master string `json:"master"`
	// SampleAgeMS is how long ago, in milliseconds, everything here was last known; -1 when it never was.
	SampleAgeMS int64 `json:"sample_age_ms"`
}

// SampleAge is SampleAgeMS as a duration; negative when nothing was ever known.
func (r AppReport) SampleAge() time.Duration { return time.Duration(r.SampleAgeMS) * time.Millisecond }

// Order is the body of PUT /v1/apps/NAME/target. Both fields are required.
type Order struct {
	// Workers is the number of workers wanted, from the application's min to its max.
	Workers *int `json:"workers"`
	// Epoch orders the senders: one that is older (smaller) than the last one accepted is refused.
	Epoch *uint64 `json:"epoch"`
}

// DrainOrder is the body of PUT /v1/apps/NAME/drain. The field is required.
type DrainOrder struct {
	// Drain takes the application out of service on this node; false puts it back.
	Drain *bool `json:"drain"`
}

// maxCount is the largest count that a report may hold; anything above is not a number of workers or requests.
const maxCount = 100000

// maxReportApps bounds the applications of one report.
const maxReportApps = 1000

// Validate refuses a report that no sane agent sends. It is for the side that reads it.
func (r Report) Validate() error {
	if !validName(r.Node) {
		return fmt.Errorf("the report's node name %.80q is not a name", r.Node)
	}
	if len(r.Apps) > maxReportApps {
		return fmt.Errorf("the report has %d applications, at most %d are allowed", len(r.Apps), maxReportApps)
	}
	if err := r.Host.validate(); err != nil {
		return err
	}
	for name, a := range r.Apps {
		if !validName(name) {
			return fmt.Errorf("the report's application name %.80q is not a name", name)
		}
		if err := a.Validate(); err != nil {
			return fmt.Errorf("application %s: %w", name, err)
		}
	}
	return nil
}

func (h Host) validate() error {
	if h.CPUs < 0 || h.CPUs > maxCount || !within(h.Load1, 1e6) || !within(h.CPUBusy, 1) {
		return fmt.Errorf("the report's host load is absurd: %d CPUs, load %g, CPU busy %g", h.CPUs, h.Load1, h.CPUBusy)
	}
	if !within(h.CPUSteal, 1) {
		return fmt.Errorf("the report's stolen share %g is not within 0 and 1", h.CPUSteal)
	}
	for what, p := range map[string]*float64{"CPU": h.PSICPUSome10, "memory": h.PSIMemorySome10, "I/O": h.PSIIOSome10} {
		if p != nil && !within(*p, 100) {
			return fmt.Errorf("the report's %s pressure %g is not a percentage", what, *p)
		}
	}
	if h.MemAvailable > h.MemTotal {
		return fmt.Errorf("the report's host has %d bytes of %d available", h.MemAvailable, h.MemTotal)
	}
	return nil
}

// Validate refuses a report with impossible numbers.
func (r AppReport) Validate() error {
	for _, c := range []struct {
		what string
		n    int
	}{
		{"total", r.Total}, {"ready", r.Ready}, {"starting", r.Starting}, {"draining", r.Draining}, {"busy", r.Busy},
		{"busy_max", r.BusyMax}, {"queued", r.Queued}, {"queue_limit", r.QueueLimit},
		{"threads", r.Threads}, {"processes", r.Processes}, {"ceiling", r.Ceiling}, {"limits.max", r.Limits.Max}, {"target", r.Target}, {"min", r.Min}, {"max", r.Max},
	} {
		if c.n < 0 || c.n > maxCount {
			return fmt.Errorf("%s is %d, allowed are 0 to %d", c.what, c.n, maxCount)
		}
	}
	if !within(r.BusyMean, maxCount) {
		return fmt.Errorf("busy_mean is %g, allowed are 0 to %d", r.BusyMean, maxCount)
	}
	if r.Total != r.Ready+r.Starting+r.Draining {
		return fmt.Errorf("total %d is not ready %d + starting %d + draining %d", r.Total, r.Ready, r.Starting, r.Draining)
	}
	if r.CPU != nil && !within(*r.CPU, maxCount) {
		return fmt.Errorf("cpu is %g, allowed are 0 to %d", *r.CPU, maxCount)
	}
	if kind := r.MemoryKind; (r.Memory == nil) != (kind == "") || kind != "" && kind != MemPSS && kind != MemRSS {
		return fmt.Errorf("memory_kind is %.20q, allowed are %s and %s where memory_bytes is a number", kind, MemPSS, MemRSS)
	}
	if r.SampleAgeMS < -1 {
		return fmt.Errorf("sample_age_ms is %d, allowed are -1 and up", r.SampleAgeMS)
	}
	if r.Known && (!r.WorkersKnown || !r.BusyKnown || r.SampleAgeMS < 0) {
		return errors.New("known is true although workers or busy counts are not")
	}
	if len(r.Problem) > 2000 || len(r.Master) > 64 {
		return errors.New("problem or master is too long")
	}
	return nil
}

// within tells whether x is a number from 0 to most.
func within(x, most float64) bool { return !math.IsNaN(x) && x >= 0 && x <= most }

// validName allows what is safe in URLs, file names, metric labels and logs: 1 to 64 letters, digits, '.', '_' and '-',
// beginning with a letter or digit.
func validName(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || (c != '.' && c != '_' && c != '-')) {
			return false
		}
	}
	return true
}
