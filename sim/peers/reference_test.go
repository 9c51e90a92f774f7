package peers

import (
	"math"
	"slices"
	"testing"

	"github.com/tidegate/tidegate/sim"
)

// fakeApp plays an app to a reference policy, five seconds at a time.
type fakeApp struct {
	t       *testing.T
	r       *reference
	now     float64
	workers int
	rate    int
	// service is what a request costs, queued how many wait at each decision.
	service float64
	queued  int
	told    []sim.Announcement
	last    sim.Decision
}

func newFakeApp(t *testing.T, workers, rate int) *fakeApp {
	t.Helper()
	return &fakeApp{t: t, r: start(t, Reference()).(*reference), workers: workers, rate: rate, service: 0.08}
}

func (a *fakeApp) observation() *sim.Observation {
	a.now += refTick
	o := &sim.Observation{
		Now: a.now, Queued: a.queued, InFlight: a.queued + int(float64(a.rate)*a.service), Announced: a.told,
		Nodes: []sim.NodeState{{Up: true, Max: 1000, Target: a.workers, Ready: a.workers}},
	}
	for s := a.now - refTick; s < a.now; s++ {
		busy := math.Min(float64(a.workers), float64(a.rate)*a.service)
		o.Seconds = append(o.Seconds, sim.Second{At: int(s), Arrivals: a.rate, Completions: int(busy / a.service), Busy: busy})
	}
	return o
}

// step is one decision; its workers are ready at once.
func (a *fakeApp) step() int {
	a.last = a.r.Decide(a.observation())
	a.workers = a.last.Workers
	return a.workers
}

func (a *fakeApp) run(seconds float64) {
	for end := a.now + seconds; a.now < end; {
		a.step()
	}
}

// The worked example of the policy's description: t=2415 105->160: rate 470/s x S 80ms = 37.4 erl; growth x3.34 -> 128;
// backlog 851 (expect 2348) -> +38. 2348 is taken for 5 s of the exact rate, which is 469.6 then; that few enough workers are
// ready is our assumption.
func TestReferenceWorkedExample(t *testing.T) {
	r := newReference(sim.DefaultParams())
	lam := 2348.0 / 5
	s := 37.4 / lam
	if got := r.workers(3.34*lam, s); got != 128 {
		t.Errorf("37.4 erlangs x 3.34 need %d workers, want 128", got)
	}
	o := seen(2415, 30, 0, 0, 851)
	o.Nodes[0].Target = 105
	n := &refNow{Observation: o, current: 105, lam: lam, s: s}
	r.past.steps = []refStep{{at: 2415, seconds: 5, completions: 1000, queue: 900}}
	if got := r.backlog(n); got != 38 {
		t.Errorf("851 waiting with 30 ready workers ask for %d more, want 38", got)
	}
	if got := r.bounded(n, 128+38, 0, 0); got != 160 {
		t.Errorf("it orders %d, want the fleet's 160", got)
	}
	n.Nodes[0].Ready = 38 // they serve more than arrives
	if got := r.backlog(n); got != 14 {
		t.Errorf("851 waiting with 38 ready workers ask for %d more, want 14", got)
	}
	r.past.last().queue = 49 // 49 ms, below a tenth of the SLO
	if got := r.backlog(n); got != 0 {
		t.Errorf("a mean wait of 49 ms asks for %d more", got)
	}
}

func TestReferenceGrowthIsLearnedWithinBounds(t *testing.T) {
	g := func(rates func(step int) float64, steps int) (factor float64) {
		var p refPast
		var growth refGrowth
		for i := range steps {
			o := &sim.Observation{Now: float64(5 * (i + 1))}
			for range 5 {
				o.Seconds = append(o.Seconds, sim.Second{Arrivals: int(rates(i))})
			}
			p.add(o)
			factor = growth.learn(o.Now, 50, &p)
		}
		return factor
	}
	steady := func(int) float64 { return 200 }
	// The first sample is due at 110 s, the twentieth at 300 s.
	if got := g(steady, 59); got != 1.2 {
		t.Errorf("before twenty samples growth is %v, want the prior 1.2", got)
	}
	if got := g(steady, 60); got != 1.06 {
		t.Errorf("a steady load grows by %v, want the least 1.06", got)
	}
	if got := g(func(i int) float64 { return 200 * math.Pow(1.05, float64(i%60)) }, 300); got != 1.6 {
		t.Errorf("a load that grows by 80 %% each minute grows by %v, want the most 1.6", got)
	}
	// 1 % in five seconds: the last ten of 50 s are 1.01^15.5 times the mean of the minute before.
	if got := g(func(i int) float64 { return 100000 * math.Pow(1.01, float64(i)) }, 100); math.Abs(got-1.167) > 0.01 {
		t.Errorf("1 %% in five seconds grows by %.3f in 50 s, want about 1.167", got)
	}
}

func TestReferenceGoesDownByFifteenPerCentAMinute(t *testing.T) {
	a := newFakeApp(t, 100, 250)
	a.run(235)
	if a.workers != 100 {
		t.Fatalf("%d workers within 240 s of its start, want the 100 it found", a.workers)
	}
	a.queued = 1
	a.run(60)
	if a.workers != 100 {
		t.Fatalf("%d workers while a request waits, want 100", a.workers)
	}
	a.queued = 0
	var path []int
	for range 12 {
		a.step()
		path = append(path, a.workers)
		a.run(55)
	}
	// 250/s x 80 ms x 1.06 = 21.2 erlangs need 24 workers; 1.03 x 24 -> 25.
	want := []int{85, 73, 63, 54, 46, 40, 34, 29, 25, 25, 25, 25}
	if !slices.Equal(path, want) {
		t.Errorf("it went down by %v, want %v", path, want)
	}
}

func TestReferenceCountsTheLastTenSecondsOnlyInABurst(t *testing.T) {
	a := newFakeApp(t, 60, 250)
	a.run(120)
	lam := func(rate int) float64 {
		b := *a.r
		b.past.steps = slices.Clone(a.r.past.steps)
		for range 2 {
			a.rate = rate
			b.past.add(a.observation())
		}
		a.now -= 10
		n := &refNow{Observation: &sim.Observation{Now: a.now + 10}, s: 0.08, l60: b.past.rate(a.now-50, a.now+10), l10: b.past.last().l10}
		b.load(n)
		return n.lam
	}
	// With x per second in the last ten, l60 = (50 x 250 + 10 x)/60: the limit is at x = 269.
	if got := lam(268); math.Abs(got-253) > 1e-9 {
		t.Errorf("at 268/s it counts with %v, want the minute's 253", got)
	}
	if got := lam(270); got != 270 {
		t.Errorf("at 270/s it counts with %v, want 270", got)
	}
}

func TestReferenceSlopeIsBounded(t *testing.T) {
	var p refPast
	add := func(rate int) {
		o := &sim.Observation{Now: float64(5 * (len(p.steps) + 1))}
		for range 5 {
			o.Seconds = append(o.Seconds, sim.Second{Arrivals: rate})
		}
		p.add(o)
	}
	for range 60 {
		add(250)
	}
	slope := func(peak float64, waiting bool) float64 { return p.slope(p.last().at, 50, 250, peak, waiting) }
	add(260)
	add(285) // 35 more in 10 s; 4 sigma of Poisson arrivals are 40
	if got := slope(250, false); got != 0 {
		t.Errorf("35/s more are a burst to %v", got)
	}
	add(360) // 100 more in 10 s: 360 + 50 x 10 = 860
	for _, c := range []struct {
		name    string
		peak    float64
		waiting bool
		want    float64
	}{
		{"never seen, nothing waits", 250, false, 540},
		{"never seen, requests wait", 250, true, 860},
		{"the hour had as much", 320, true, 336},
		{"the hour had far more", 1000, false, 860},
	} {
		if got := slope(c.peak, c.waiting); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: a burst to %v, want %v", c.name, got, c.want)
		}
	}
	add(520)
	add(1000) // 640 more in 10 s
	if got := slope(250, true); got != 3000 {
		t.Errorf("a burst to %v while requests wait, want three times the rate", got)
	}
}

func TestReferenceTrendIsTheSlopeOfTheLastMinute(t *testing.T) {
	a := newFakeApp(t, 60, 250)
	for i := range 30 {
		a.rate = 250 + 5*i
		a.step()
	}
	if b, se := a.r.past.trend(a.now); math.Abs(b-1) > 1e-9 || se > 1e-6 {
		t.Errorf("a rise of 1/s each second is found as %v +- %v", b, se)
	}
}

func TestReferenceHoldsWhenTheLoadCollapses(t *testing.T) {
	a := newFakeApp(t, 60, 250)
	a.run(900)
	before := a.workers
	a.rate = 150
	a.run(120)
	if len(a.last.Alarms) != 0 {
		t.Fatalf("40 %% less load is taken for a collapse")
	}
	a.rate = 250
	a.run(600)
	a.rate = 8
	a.run(35)
	// 1.2 x 250/s are 24 erlangs, which need 27; before there were 25.
	if !slices.Contains(a.last.Alarms, "collapse") || a.workers != 27 || before != 25 {
		t.Fatalf("35 s after the collapse there are %d workers with the alarms %v, and were %d; want 27 and 25", a.workers, a.last.Alarms, before)
	}
	a.run(1150)
	if a.workers != 27 {
		t.Errorf("%d workers after 19 min of collapse, want 27", a.workers)
	}
	a.run(200)
	if a.workers != 27 || len(a.last.Alarms) != 0 {
		t.Errorf("%d workers with the alarms %v within 4 min of the end of the hold, want 27 and none", a.workers, a.last.Alarms)
	}
	a.run(800)
	if a.workers > 10 {
		t.Errorf("%d workers 38 min after the collapse; it may be for good", a.workers)
	}
}

func TestReferenceTellsACollapseFromTheEndOfABurst(t *testing.T) {
	type part struct{ rate, seconds int }
	for _, c := range []struct {
		name  string
		parts []part
		fell  bool
	}{
		{"all at once", []part{{250, 900}, {30, 30}}, true},
		{"after two minutes of less", []part{{250, 900}, {140, 120}, {30, 30}}, false},
		{"a burst ends", []part{{250, 3000}, {1000, 420}, {250, 60}}, false},
		{"ups and downs as ever", []part{{250, 300}, {120, 300}, {400, 300}, {180, 300}, {330, 300}, {250, 360}, {90, 60}}, false},
	} {
		var p refPast
		at := 0
		for _, x := range c.parts {
			for end := at + x.seconds; at < end; {
				at += refTick
				o := &sim.Observation{Now: float64(at)}
				for range refTick {
					o.Seconds = append(o.Seconds, sim.Second{Arrivals: x.rate})
				}
				p.add(o)
			}
		}
		if ref, fell := collapsed(float64(at), &p); fell != c.fell {
			t.Errorf("%s: from %.0f/s to %.0f/s, collapse %v, want %v", c.name, ref, p.last().l30, fell, c.fell)
		}
	}
}

func TestReferenceEndsTheHoldWhenTheLoadIsBack(t *testing.T) {
	a := newFakeApp(t, 60, 250)
	a.run(900)
	a.rate = 8
	a.run(200)
	a.rate = 250
	a.run(60)
	if !slices.Contains(a.last.Alarms, "collapse") {
		t.Error("the hold ended at once")
	}
	a.run(60)
	if slices.Contains(a.last.Alarms, "collapse") {
		t.Error("the hold goes on two minutes after the load is back")
	}
}

func TestReferenceFindsOutThatWorkersDoNotHelp(t *testing.T) {
	// try brings ready from 40 to 60 workers, whose completions become after.
	try := func(after float64, s float64) (*refFutility, func(now float64, ready int, throughput float64) int) {
		f := &refFutility{}
		look := func(now float64, ready int, throughput float64) int {
			p := &refPast{steps: []refStep{{at: now - 5, seconds: 5, completions: 5 * throughput}, {at: now, seconds: 5, completions: 5 * throughput}}}
			return f.look(&refNow{Observation: seen(now, ready, 0, 0, 100), lam: 300, s: s, s0: 0.08, busy: 1}, p)
		}
		look(100, 40, 240)
		for now := 105.0; now < 120; now += 5 {
			if got := look(now, 60, after); got != 0 {
				t.Fatalf("%v s after the arrival the limit is %d", now-100, got)
			}
		}
		return f, look
	}
	_, look := try(240, 0.16)
	if got := look(120, 60, 240); got != 40 {
		t.Errorf("20 s after 50 %% more workers brought nothing the limit is %d, want the 40 of before", got)
	}
	if got := look(415, 40, 240); got != 40 {
		t.Errorf("the limit is %d after 295 s, want 40", got)
	}
	if got := look(420, 40, 240); got != 50 {
		t.Errorf("the limit is %d after 300 s, want 50 to try", got)
	}
	for now := 425.0; now < 440; now += 5 {
		look(now, 50, 240)
	}
	if got := look(440, 50, 240); got != 40 {
		t.Errorf("the limit is %d after a try without success, want 40", got)
	}
	_, look = try(277, 0.16)
	if got := look(120, 60, 277); got != 0 {
		t.Errorf("15.4 %% more throughput with 50 %% more workers set the limit %d", got)
	}
	_, look = try(274, 0.16)
	if got := look(120, 60, 274); got != 40 {
		t.Errorf("14 %% more throughput with 50 %% more workers set the limit %d, want 40", got)
	}
	_, look = try(240, 0.099)
	if got := look(120, 60, 240); got != 0 {
		t.Errorf("service that takes 24 %% longer set the limit %d", got)
	}
	f, look := try(240, 0.16)
	look(120, 60, 240)
	f.limit = 20
	if got := look(125, 60, 240); got != 30 {
		t.Errorf("the limit is %d, want the 300/s x 80 ms / 0.8 = 30 that the load needs", got)
	}
}

func TestReferenceShedsWhatDoesNotHelpTwiceAsFast(t *testing.T) {
	r := newReference(sim.DefaultParams())
	n := &refNow{Observation: seen(1000, 100, 0, 0, 500), current: 100}
	r.upAt = 990
	if got := r.bounded(n, 150, 150, 40); got != 70 {
		t.Errorf("from 100 to a limit of 40 while requests wait it goes to %d, want 70", got)
	}
	if got := r.bounded(n, 150, 150, 0); got != 150 {
		t.Errorf("without a limit it orders %d, want 150", got)
	}
}

func TestReferenceKeepsAnnouncedLoadUntilItIsOver(t *testing.T) {
	a := newFakeApp(t, 30, 250)
	a.run(600)
	from := a.now
	a.told = []sim.Announcement{{ID: "push", Told: from, From: from + 180, To: from + 3000, Rate: 1000}}
	a.step()
	// 1.05 x 1000/s are 84 erlangs.
	if want := a.r.workers(1050, 0.08); a.workers != want || want < 86 || want > 90 {
		t.Fatalf("%d workers when 1000/s are announced, want %d", a.workers, want)
	}
	held := a.workers
	a.run(600)
	if a.workers != held {
		t.Errorf("%d workers before the load came, want %d", a.workers, held)
	}
	a.rate = 700
	a.run(60)
	a.rate = 250
	a.run(295)
	if a.workers != held {
		t.Errorf("%d workers within 5 min of the load, want %d", a.workers, held)
	}
	a.run(600)
	if a.workers > held/2 {
		t.Errorf("%d workers a quarter of an hour after the load, want fewer than half of %d", a.workers, held)
	}
	b := newFakeApp(t, 30, 250)
	b.run(600)
	b.told = []sim.Announcement{{ID: "push", Told: b.now, From: b.now, To: b.now + 7200, Rate: 1000}}
	b.run(1790)
	if b.workers != held {
		t.Errorf("%d workers after 30 min of waiting, want %d", b.workers, held)
	}
	b.run(900)
	if b.workers > held/2 {
		t.Errorf("%d workers 45 min after load was announced that never came, want fewer than half of %d", b.workers, held)
	}
}

func TestReferenceKeepsItsWorkersWithoutData(t *testing.T) {
	a := newFakeApp(t, 30, 500)
	a.run(600)
	a.rate = 250
	a.run(900)
	before := a.workers
	blind := func(seconds float64) {
		for end := a.now + seconds; a.now < end; {
			o := a.observation()
			o.Missing, o.Seconds = true, nil
			a.last = a.r.Decide(o)
			a.workers = a.last.Workers
		}
	}
	blind(300)
	if a.workers != before || len(a.last.Alarms) != 0 {
		t.Errorf("%d workers with the alarms %v after 5 min without data, want %d", a.workers, a.last.Alarms, before)
	}
	blind(1500)
	if a.workers != before || !slices.Equal(a.last.Alarms, []string{"no data"}) {
		t.Errorf("%d workers with the alarms %v after 30 min without data, want %d", a.workers, a.last.Alarms, before)
	}
	blind(5)
	if want := a.r.workers(500, 0.08); a.workers != want || want <= before {
		t.Errorf("%d workers after more than 30 min without data, want the %d of the hour's peak", a.workers, want)
	}
	b := newFakeApp(t, 30, 250)
	b.run(600)
	o := b.observation()
	for i := range o.Seconds {
		o.Seconds[i] = sim.Second{At: o.Seconds[i].At}
	}
	if d := b.r.Decide(o); d.Workers != b.workers || d.Why != "no data" {
		t.Errorf("zeros while %d requests are in flight: %d workers, %q", o.InFlight, d.Workers, d.Why)
	}
}

func TestReferenceServiceTimeLeansOnItsBaseline(t *testing.T) {
	r := newReference(sim.DefaultParams())
	at := func(completions, busy float64) *refNow {
		r.past.steps = []refStep{{at: 100, seconds: 5, completions: completions, busy: busy}}
		n := &refNow{Observation: seen(100, 10, 0, 0, 1)}
		r.service(n)
		return n
	}
	// (6 + 30 x 0.08)/(30 + 30)
	if n := at(30, 6); math.Abs(n.s-0.14) > 1e-9 || n.s0 != 0.08 {
		t.Errorf("30 requests of 200 ms: S %v, S0 %v; want 0.14 and, while a request waits, 0.08", n.s, n.s0)
	}
	if n := at(0, 0); n.s != 0.08 {
		t.Errorf("without requests S is %v, want the baseline 0.08", n.s)
	}
	r.past.steps = []refStep{{at: 60, seconds: 5, completions: 1000, busy: 80}, {at: 100, seconds: 5, completions: 170, busy: 34}}
	n := &refNow{Observation: seen(100, 100, 0, 0, 0)}
	r.service(n)
	// The last 20 s: (34 + 2.4)/200 = 0.182, more than 1.3 times (114 + 2.4)/1200; S0 moves by 5/1800 of the difference.
	if math.Abs(n.s-0.182) > 1e-9 || math.Abs(n.s0-0.08-0.102*5/1800) > 1e-9 {
		t.Errorf("S %v and S0 %v, want 0.182 and %v", n.s, n.s0, 0.08+0.102*5/1800)
	}
}

// The figures are those that an independent simulator has measured for this policy on traces of the same shapes. Costs are over the
// coarse oracle, which is like that simulator's; over the fine one slowsvc and depcap are a fifth to a third dearer.
func TestTheReferenceDoesAsInTheProtocol(t *testing.T) {
	o := play(t, []sim.Policy{Reference()}, "slow", "spike", "steps", "slowsvc", "depcap", "zerometrics")
	for _, row := range []struct {
		trace       string
		slow, ratio float64 // per cent, x oracle
		alarm       string
	}{
		{"slow", 0.45, 1.21, ""},
		{"spike", 2.44, 1.32, ""},
		{"steps", 2.45, 1.36, ""},
		{"slowsvc", 2.27, 0.85, ""},
		{"depcap", 18.72, 0.85, "dependency"},
		{"zerometrics", 0.45, 1.22, "collapse"},
	} {
		m := o.Mean("reference", row.trace, nil)
		if s := 100 * m.SlowShare; math.Abs(s-row.slow) > 0.3*row.slow || math.Abs(m.OracleRatio-row.ratio) > 0.12*row.ratio {
			t.Errorf("%s: %.2f %% slow at x%.2f, want about %v %% at x%v", row.trace, s, m.OracleRatio, row.slow, row.ratio)
		}
		for _, r := range o.Runs {
			if r.Trace != row.trace || r.Policy != "reference" {
				continue
			}
			if (row.alarm == "") != (len(r.Alarms) == 0) || row.alarm != "" && (r.Alarms[0].Name != row.alarm || r.Alarms[0].After > 120) {
				t.Errorf("%s: the alarms are %v, want %q within two minutes", row.trace, r.Alarms, row.alarm)
			}
		}
	}
}
