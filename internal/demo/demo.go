package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/tests/harness"
)

// Settings are the demo's command line.
type Settings struct {
	// Binary is the tidegate binary.
	Binary string
	// Quiet, Rise, Busy and Cool are how long the phases last.
	Quiet, Rise, Busy, Cool time.Duration
	// Rate is requests per second in the quiet phases, half of it each way; Factor is how much more there is when busy.
	Rate, Factor float64
	// Live redraws the table on a terminal; without it a table is printed every ten seconds.
	Live bool
	// Keep leaves the temporary folder (the processes are ended all the same).
	Keep bool
	Out  io.Writer
}

// Defaults run for about two minutes.
func Defaults() Settings {
	return Settings{Quiet: 20 * time.Second, Rise: 5 * time.Second, Busy: 35 * time.Second, Cool: 50 * time.Second, Rate: 36, Factor: 4}
}

// Summary is what the demo has shown.
type Summary struct {
	Sent, Failed int
	// Phases are the client's own times by phase.
	Phases []PhaseSummary
	// Actions are steps by kind, Reloads nginx's.
	Actions map[string]uint64
	Reloads uint64
	// PeakServers is the most servers in service at once.
	PeakServers                    int
	WorkerSeconds, AlwaysOnSeconds float64
	AckP50, AckP99                 float64
	Errors                         string
	// Decisions are the changes of the wanted number of workers, oldest first.
	Decisions []Decision
}

// Decision is what was decided, when (since the load began), and why.
type Decision struct {
	After time.Duration
	Why   string
}

// PhaseSummary is one phase of the load.
type PhaseSummary struct {
	Name     string
	Requests int
	P50, P95 time.Duration
}

// errFailed is a demo that ran to its end and in which requests failed.
var errFailed = errors.New("requests failed")

// show is a running demo.
type show struct {
	set    Settings
	fleet  *Fleet
	tally  *harness.Tally
	began  time.Time
	screen screen
	peak   int
	// decided are the decisions so far, told until when they have been collected.
	decided []Decision
	told    time.Time
}

// Run starts the fleet, sends the load, shows the table and prints the summary. The error is nil only when no request failed.
func Run(ctx context.Context, set Settings) error {
	for _, p := range []string{"haproxy", "nginx", "gunicorn"} {
		if _, err := harness.Find(p); err != nil {
			return fmt.Errorf("%w (make demo installs it)", err)
		}
	}
	rig, err := harness.New()
	if err != nil {
		return err
	}
	if set.Keep {
		rig.Keep = true
	}
	fmt.Fprintf(set.Out, "tidegate demo: everything runs on 127.0.0.1, in %s, and is ended at the end\n", rig.Dir)
	err = runIn(ctx, rig, set)
	if err != nil && ctx.Err() == nil && !errors.Is(err, errFailed) {
		fmt.Fprintln(set.Out, rig.Dump())
	}
	if ctx.Err() != nil {
		err = errors.New("the demo was interrupted; its processes are ended")
	}
	return errors.Join(err, rig.Close())
}

func runIn(ctx context.Context, rig *harness.Rig, set Settings) error {
	fleet, err := Start(ctx, rig, Options{
		Binary: set.Binary, Nodes: 4, MaxWorkers: 4, ServiceMS: 50, Tick: 500 * time.Millisecond,
		Log: func(format string, args ...any) { fmt.Fprintf(set.Out, "  "+format+"\n", args...) },
	})
	if err != nil {
		return err
	}
	defer fleet.API.Close()
	s := &show{set: set, fleet: fleet, tally: &harness.Tally{}, began: time.Now(), screen: screen{out: set.Out, live: set.Live}}
	fmt.Fprintf(set.Out, "load: %.0f requests/s, then up to %.0f within %v for %v, then %.0f again; half through HAProxy (%s), half through nginx (%s)\n\n",
		set.Rate, set.Rate*set.Factor, set.Rise, set.Busy, set.Rate, fleet.HAProxyAddr, fleet.NginxAddr)
	s.load(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	sum, err := s.summary(ctx)
	if err != nil {
		return err
	}
	printSummary(set.Out, sum)
	if sum.Failed > 0 {
		return fmt.Errorf("%d of %d %w", sum.Failed, sum.Sent, errFailed)
	}
	return nil
}

func (s Settings) total() time.Duration { return s.Quiet + s.Rise + s.Busy + s.Cool }

// phase names the phase at a time since the start.
func (s Settings) phase(since time.Duration) string {
	switch {
	case since < s.Quiet:
		return "quiet"
	case since < s.Quiet+s.Rise:
		return "rising"
	case since < s.Quiet+s.Rise+s.Busy:
		return "busy"
	default:
		return "quiet again"
	}
}

// rate is half of the load at a time since the start: one way's share.
func (s Settings) rate(since time.Duration) float64 {
	factor := 1.0
	switch s.phase(since) {
	case "rising":
		factor = 1 + (s.Factor-1)*float64(since-s.Quiet)/float64(s.Rise)
	case "busy":
		factor = s.Factor
	}
	return s.Rate * factor / 2
}

// load sends both halves and draws once a second until all requests have ended.
func (s *show) load(ctx context.Context) {
	var wg sync.WaitGroup
	s.began = time.Now()
	for _, addr := range []string{s.fleet.HAProxyAddr, s.fleet.NginxAddr} {
		wg.Go(func() {
			harness.Load{URL: "http://" + addr + "/", Rate: s.set.rate, For: s.set.total(), OnDone: s.tally.Add}.Run(ctx)
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			s.draw(ctx)
		}
	}
}

func (s *show) draw(ctx context.Context) {
	st, err := s.fleet.API.Status(ctx)
	if err != nil {
		s.screen.note("the controller does not answer: " + err.Error())
		return
	}
	serving := 0
	for _, v := range st.Apps[0].Servers {
		if v.Admin == "ready" {
			serving++
		}
	}
	s.peak = max(s.peak, serving)
	s.collect(st)
	s.screen.draw(s.set.phase(time.Since(s.began)), s.table(st))
}

// collect keeps the decisions that changed the number of workers.
func (s *show) collect(st api.Status) {
	// One turn's decisions have the same time.
	told := s.told
	for i := len(st.Events) - 1; i >= 0; i-- {
		e := &st.Events[i]
		if e.Step || !e.Time.After(told) {
			continue
		}
		s.told = e.Time
		if e.Code == "grow" || e.Code == "shrink" {
			s.decided = append(s.decided, Decision{max(0, e.Time.Sub(s.began)), e.Sentence})
		}
	}
}

func (s *show) summary(ctx context.Context) (Summary, error) {
	st, err := s.fleet.API.Status(ctx)
	if err != nil {
		return Summary{}, err
	}
	sum := Summary{
		Actions: st.Totals.Actions, Reloads: st.Totals.NginxReloads, AckP50: st.SPOA.AckP50MS, AckP99: st.SPOA.AckP99MS, PeakServers: s.peak,
		WorkerSeconds: st.Apps[0].WorkerSeconds, AlwaysOnSeconds: st.Apps[0].AlwaysOnSeconds, Errors: s.tally.Errors(), Decisions: s.decided,
	}
	sum.Sent, sum.Failed = s.tally.Counts()
	from := time.Duration(0)
	for _, ph := range []struct {
		name string
		len  time.Duration
	}{{"quiet", s.set.Quiet}, {"rising", s.set.Rise}, {"busy", s.set.Busy}, {"quiet again", s.set.Cool + time.Minute}} {
		p50, n := s.tally.Quantile(0.5, from, from+ph.len)
		p95, _ := s.tally.Quantile(0.95, from, from+ph.len)
		sum.Phases = append(sum.Phases, PhaseSummary{ph.name, n, p50, p95})
		from += ph.len
	}
	return sum, nil
}

func printSummary(out io.Writer, sum Summary) {
	if len(sum.Decisions) > 0 {
		fmt.Fprintf(out, "\nwhat was decided, and by what (on a running system: tidegate explain APP)\n")
	}
	for _, d := range sum.Decisions {
		fmt.Fprintf(out, "  %s  %s\n", clock(d.After), cut(d.Why, 150))
	}
	fmt.Fprintf(out, "\nsummary\n  requests          %d sent, %d failed\n", sum.Sent, sum.Failed)
	if sum.Errors != "" {
		fmt.Fprintf(out, "  failures          %s\n", sum.Errors)
	}
	for _, p := range sum.Phases {
		fmt.Fprintf(out, "  %-17s %5d requests, p50 %4d ms, p95 %4d ms\n", p.Name, p.Requests, p.P50.Milliseconds(), p.P95.Milliseconds())
	}
	fmt.Fprintf(out, "  servers           up to %d of 4 in service\n", sum.PeakServers)
	fmt.Fprint(out, "  actions           ")
	for _, kind := range []string{"set_workers", "warm", "enter", "ready", "set_weight", "drain", "park"} {
		fmt.Fprintf(out, "%d %s  ", sum.Actions[kind], kind)
	}
	fmt.Fprintf(out, "\n  nginx reloads     %d\n", sum.Reloads)
	saved := sum.AlwaysOnSeconds - sum.WorkerSeconds
	share := 0.0
	if sum.AlwaysOnSeconds > 0 {
		share = 100 * saved / sum.AlwaysOnSeconds
	}
	fmt.Fprintf(out, "  worker-seconds    %.0f ran, %.0f with everything always on: %.0f saved (%.0f %%)\n", sum.WorkerSeconds, sum.AlwaysOnSeconds, saved, share)
	fmt.Fprintf(out, "  SPOE ACK          p50 %.3f ms, p99 %.3f ms\n", sum.AckP50, sum.AckP99)
	line, err := json.Marshal(sum)
	if err == nil {
		fmt.Fprintf(out, "  %s\n", line)
	}
}

// Terminal tells whether f is a terminal that can be redrawn.
func Terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb" && os.Getenv("TERM") != ""
}
