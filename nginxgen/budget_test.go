package nginxgen

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// defaults is the budget a user gets.
func defaults(t interface{ Fatal(...any) }) Budget {
	o, err := Options{File: "/a", Main: "/b"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return o.budget()
}

func TestBudget(t *testing.T) {
	b := defaults(t)
	t0 := time.Unix(1_000_000, 0)
	ago := func(s float64) time.Time { return t0.Add(-time.Duration(s * float64(time.Second))) }
	const loss, gain, weights = ReasonLoss, ReasonGain, ReasonWeights
	for name, c := range map[string]struct {
		p    Pending
		held Hold
		wait time.Duration
	}{
		"never tried, a server goes":             {Pending{Reason: loss, Since: t0, Changed: t0}, "", 0},
		"a server goes too soon":                 {Pending{Reason: loss, LastTry: ago(0.5)}, HoldDistance, 1500 * time.Millisecond},
		"a server goes after the distance":       {Pending{Reason: loss, LastTry: ago(2), Changed: t0}, "", 0},
		"never tried, a server comes":            {Pending{Reason: gain, Since: t0, Changed: t0}, HoldQuiet, time.Second},
		"servers have come, and no more":         {Pending{Reason: gain, Since: ago(3), Changed: ago(1)}, "", 0},
		"servers that keep coming":               {Pending{Reason: gain, Since: ago(10), Changed: t0}, "", 0},
		"not known what nginx runs with":         {Pending{Reason: ReasonRecover, Since: t0, Changed: t0}, "", 0},
		"an edit is left alone for a moment":     {Pending{Reason: ReasonDrift, Since: t0, Changed: t0}, HoldQuiet, time.Second},
		"never tried, weights, restless":         {Pending{Reason: weights, Largest: 1, Since: t0, Changed: t0}, HoldQuiet, time.Second},
		"never tried, weights, still":            {Pending{Reason: weights, Largest: 1, Since: ago(1), Changed: ago(1)}, "", 0},
		"weights too soon":                       {Pending{Reason: weights, Largest: 1, LastTry: ago(4), Changed: ago(3)}, HoldDistance, 6 * time.Second},
		"weights after their distance":           {Pending{Reason: weights, Largest: 1, LastTry: ago(10), Changed: ago(3), Since: ago(3)}, "", 0},
		"weights that never stand still":         {Pending{Reason: weights, Largest: 1, LastTry: ago(20), Changed: ago(0.1), Since: ago(10)}, "", 0},
		"a slow reload makes weights rarer":      {Pending{Reason: weights, Largest: 1, LastTry: ago(10), LastTook: time.Second, Changed: ago(3)}, HoldDistance, 10 * time.Second},
		"a slow reload, a server goes":           {Pending{Reason: loss, LastTry: ago(2), LastTook: time.Second}, "", 0},
		"few requests make weights rarer":        {Pending{Reason: weights, Largest: 1, LastTry: ago(10), Cycle: 3 * time.Second, Changed: ago(3)}, HoldDistance, 20 * time.Second},
		"hardly a request":                       {Pending{Reason: weights, Largest: 1, LastTry: ago(10), Cycle: time.Hour, Changed: ago(3)}, HoldDistance, 290 * time.Second},
		"3 % misrouted and no share by a fifth":  {Pending{Reason: weights, Misrouted: 0.03, Largest: 0.199}, HoldSmall, 0},
		"more than 3 % misrouted":                {Pending{Reason: weights, Misrouted: 0.031, Largest: 0.1}, "", 0},
		"one share changes by a fifth":           {Pending{Reason: weights, Misrouted: 0.001, Largest: 0.2}, "", 0},
		"3 old generations, weights":             {Pending{Reason: weights, Largest: 1, Generations: 3}, "", 0},
		"4 old generations, weights":             {Pending{Reason: weights, Largest: 1, Generations: 4}, HoldGenerations, 0},
		"3 old generations, a server goes":       {Pending{Reason: loss, LastTry: ago(2), Generations: 3}, "", 0},
		"4 old generations, a server goes":       {Pending{Reason: loss, LastTry: ago(2), Generations: 4}, HoldGenerations, 2 * time.Second},
		"9 old generations, a server goes":       {Pending{Reason: loss, LastTry: ago(8), Generations: 9}, HoldGenerations, 120 * time.Second},
		"9 old generations, long ago":            {Pending{Reason: loss, LastTry: ago(128), Generations: 9}, "", 0},
		"a thousand old generations":             {Pending{Reason: loss, LastTry: ago(0), Generations: 1000}, HoldGenerations, 65536 * time.Second},
		"the minute's reloads have one left":     {Pending{Reason: loss, LastTry: ago(2), Spent: 2}, "", 0},
		"the minute's reloads are used up":       {Pending{Reason: loss, LastTry: ago(2), Spent: 2.9}, HoldRate, 18 * time.Second},
		"one failure doubles":                    {Pending{Reason: loss, LastTry: ago(2), Failures: 1}, HoldBackoff, 2 * time.Second},
		"many failures are bounded":              {Pending{Reason: loss, LastTry: ago(2), Failures: 1000}, HoldBackoff, 28 * time.Second},
		"the clock was set back":                 {Pending{Reason: loss, LastTry: t0.Add(time.Hour)}, "", 0},
		"the clock was set back, weights settle": {Pending{Reason: weights, Largest: 1, Since: t0.Add(time.Hour), Changed: t0.Add(time.Hour)}, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			c.p.Now = t0
			d := b.Decide(c.p)
			if d.Held != c.held || (d.Wait-c.wait).Abs() > time.Microsecond || (d.Held != "") != (d.Why != "") {
				t.Fatalf("held %q for %v (%q), want %q for %v", d.Held, d.Wait, d.Why, c.held, c.wait)
			}
		})
	}
}

// churn runs n changes within a minute of a simulated clock past the budget, as Manager does, with ticks in between, and
// returns when nginx would have been reloaded.
func churn(b Budget, n int, kind func(i int) Reason) []time.Time {
	start := time.Unix(1_000_000, 0)
	var bucket Bucket
	var lastTry, since, changed time.Time
	var pending Reason
	var out []time.Time
	for i := range n {
		now := start.Add(time.Duration(i) * time.Minute / time.Duration(n))
		// Of several kinds the most urgent one counts, as a comparison of two models would say.
		if k := kind(i); pending == "" || k == ReasonLoss || k == ReasonGain && pending == ReasonWeights {
			pending = k
		}
		if changed = now; since.IsZero() {
			since = now
		}
		p := Pending{Now: now, LastTry: lastTry, LastTook: 100 * time.Millisecond, Since: since, Changed: changed,
			Reason: pending, Misrouted: 1, Largest: 1, Spent: bucket.Spent(b, now)}
		if b.Decide(p).Held != "" {
			continue
		}
		out = append(out, now)
		lastTry, since, pending, bucket = now, time.Time{}, "", bucket.Take(b, now)
	}
	return out
}

func TestAThousandChangesAMinuteAreSixReloadsAtMost(t *testing.T) {
	b := defaults(t)
	kinds := []Reason{ReasonLoss, ReasonGain, ReasonWeights}
	rnd := rand.New(rand.NewPCG(1, 2))
	for name, kind := range map[string]func(i int) Reason{
		"servers go":   func(int) Reason { return ReasonLoss },
		"servers come": func(int) Reason { return ReasonGain },
		"weights":      func(int) Reason { return ReasonWeights },
		"in turns":     func(i int) Reason { return kinds[i%3] },
		"at random":    func(int) Reason { return kinds[rnd.IntN(3)] },
		"mostly weights, a server goes now and then": func(i int) Reason {
			if i%100 == 99 {
				return ReasonLoss
			}
			return ReasonWeights
		},
	} {
		t.Run(name, func(t *testing.T) {
			at := churn(b, 1000, kind)
			t.Logf("%d reloads", len(at))
			if len(at) == 0 || len(at) > 6 {
				t.Fatalf("1,000 changes in 60 s made %d reloads: %v", len(at), at)
			}
		})
	}
	if n := len(churn(Budget{}, 1000, func(int) Reason { return ReasonLoss })); n != 1000 {
		t.Fatalf("without a budget each change is a reload, got %d", n)
	}
}

// However the wishes come, no minute has more reloads than allowed, and no change starves.
func TestBudgetProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := defaults(t)
		b.PerMinute = rapid.IntRange(1, 12).Draw(t, "per minute")
		now := time.Unix(1_000_000, 0)
		var last, since, changed time.Time
		var bucket Bucket
		var done []time.Time
		for range rapid.IntRange(1, 120).Draw(t, "ticks") {
			now = now.Add(time.Duration(rapid.IntRange(100, 3000).Draw(t, "ms")) * time.Millisecond)
			if since.IsZero() {
				since = now
			}
			if rapid.Bool().Draw(t, "another wish") || changed.IsZero() {
				changed = now
			}
			kind := rapid.SampledFrom([]Reason{ReasonLoss, ReasonGain, ReasonWeights}).Draw(t, "kind")
			d := b.Decide(Pending{Now: now, LastTry: last, Since: since, Changed: changed, Reason: kind, Largest: 1, Spent: bucket.Spent(b, now)})
			if d.Held != "" {
				if now.Sub(since) >= 61*time.Second+b.MaxWait {
					t.Fatalf("a change starves: pending for %v, held by %v", now.Sub(since), d)
				}
				continue
			}
			gap := b.MinMembership
			if kind == ReasonWeights {
				gap = b.MinWeights
			}
			if !last.IsZero() && now.Sub(last) < gap {
				t.Fatalf("a try %v after the last one", now.Sub(last))
			}
			last, since, bucket, done = now, time.Time{}, bucket.Take(b, now), append(done, now)
			if n := len(done) - 1 - max(2, b.PerMinute); n >= 0 && now.Sub(done[n]) < time.Minute {
				t.Fatalf("%d reloads within %v", len(done)-n, now.Sub(done[n]))
			}
		}
	})
}

// The number of old generations grows with the logarithm of time when no connection ever ends.
func TestOldGenerationsAreBounded(t *testing.T) {
	b := defaults(t)
	now := time.Unix(1_000_000, 0)
	var last time.Time
	var bucket Bucket
	generations := 0
	for range 24 * 3600 {
		now = now.Add(time.Second)
		if b.Decide(Pending{Now: now, LastTry: last, Reason: ReasonLoss, Spent: bucket.Spent(b, now), Generations: generations}).Held == "" {
			generations, last, bucket = generations+1, now, bucket.Take(b, now)
		}
	}
	t.Logf("%d generations after a day of a server that goes every second", generations)
	if generations > 18 {
		t.Fatalf("%d generations after a day", generations)
	}
}

func TestCycle(t *testing.T) {
	server := func(w int, down bool) Server { return Server{Address: "127.0.0.1:1", Weight: w, Down: down} }
	m := Model{Upstreams: []Upstream{
		{Name: "busy", Servers: []Server{server(10, false), server(20, false), server(30, true)}},
		{Name: "calm", Servers: []Server{server(5, false)}},
		{Name: "unknown", Servers: []Server{server(1000, false)}},
	}}
	if c := m.cycle(); c != 0 {
		t.Fatalf("no rate is known: %v", c)
	}
	m.Rates = map[string]float64{"busy": 9, "calm": 1, "gone": 100}
	if c := m.cycle(); c != 3500*time.Millisecond {
		t.Fatalf("35 weights at 10 a second: %v", c)
	}
	m.Rates = map[string]float64{"busy": 1e-12}
	if c := m.cycle(); c != maxCycles {
		t.Fatalf("hardly a request: %v", c)
	}
}

func TestReasonFor(t *testing.T) {
	model := func(change func(*Upstream)) Model {
		u := Upstream{Name: "app", Zone: "64k", Servers: []Server{{Address: "127.0.0.1:1", Weight: 1}, {Address: "127.0.0.1:2", Weight: 2}, {Address: "127.0.0.1:3", Down: true}}}
		change(&u)
		return Model{Upstreams: []Upstream{u}}.normal()
	}
	live := model(func(*Upstream) {})
	for name, c := range map[string]struct {
		want   Reason
		change func(*Upstream)
	}{
		"a weight":         {ReasonWeights, func(u *Upstream) { u.Servers[0].Weight = 9 }},
		"nothing":          {ReasonWeights, func(u *Upstream) {}},
		"down":             {ReasonLoss, func(u *Upstream) { u.Servers[0].Down = true }},
		"gone":             {ReasonLoss, func(u *Upstream) { u.Servers = u.Servers[1:] }},
		"up":               {ReasonGain, func(u *Upstream) { u.Servers[2].Down = false }},
		"one for another":  {ReasonLoss, func(u *Upstream) { u.Servers[0].Address = "127.0.0.1:4" }},
		"a method":         {ReasonSettings, func(u *Upstream) { u.Method = "least_conn" }},
		"a limit":          {ReasonSettings, func(u *Upstream) { u.Servers[0].MaxConns = 9 }},
		"another upstream": {ReasonLoss, func(u *Upstream) { u.Name = "other" }},
	} {
		if got := reasonFor(live, model(c.change)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
