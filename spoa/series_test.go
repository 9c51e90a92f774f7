package spoa

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// series are the values of all series of a metric, by their labels.
func series(set *metrics.Set, metric string) map[string]string {
	var b bytes.Buffer
	set.WritePrometheus(&b)
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^`+metric+`\{(.*)\} (\S+)$`).FindAllStringSubmatch(b.String(), -1) {
		out[m[1]] = m[2]
	}
	return out
}

// An engine's connections fall back as they end, and its series goes with the last one, however many engines come and go.
func TestEngineSeriesGoWithTheirConnections(t *testing.T) {
	set := metrics.NewSet()
	_, dial, _ := serve(t, Options{Metrics: set})
	const metric = "tidegate_spoa_engine_connections"
	greet := func(engine string) *peer {
		p := dial()
		p.send(helloFrame(arg{"supported-versions", "2.0"}, arg{"max-frame-size", uint32(16380)}, arg{"capabilities", "pipelining"}, arg{"engine-id", engine}))
		p.next()
		p.ask(1)
		return p
	}
	values := func() string { return fmt.Sprint(sorted(series(set, metric))) }
	a, b, c := greet("one"), greet("one"), greet("two")
	if got := values(); got != "[1 2]" {
		t.Errorf("two connections of one engine and one of another: %s", got)
	}
	a.Close()
	within(t, "one connection each", func() bool { return values() == "[1 1]" })
	b.Close()
	within(t, "one engine's series gone", func() bool { return values() == "[1]" })
	c.Close()
	within(t, "no series", func() bool { return values() == "[]" })
	// HAProxy makes new ids with every start: after many, nothing is left.
	for i := range 3 * maxEngines {
		greet(fmt.Sprint("start ", i)).Close()
	}
	within(t, "no series after many starts", func() bool { return values() == "[]" })
	// More at once than are told apart share one series.
	var open []*peer
	for i := range maxEngines + 10 {
		open = append(open, greet(fmt.Sprint("at once ", i)))
	}
	got := series(set, metric)
	if len(got) != maxEngines+1 || got[`engine="other"`] != "10" {
		t.Errorf("%d series, %s connections share one; want %d and 10", len(got), got[`engine="other"`], maxEngines+1)
	}
	for _, p := range open {
		p.Close()
	}
	within(t, "no series in the end", func() bool { return values() == "[]" })
}

func sorted(m map[string]string) []string {
	out := []string{}
	for _, v := range m {
		out = append(out, v)
	}
	slices.Sort(out)
	return out
}

// A HAProxy process has a series from its first message until it has been silent for as long as a backend is remembered.
func TestBootSeriesGoWithTheirProcess(t *testing.T) {
	set := metrics.NewSet()
	m := NewMeter(MeterOptions{Began: began, Metrics: set, Forget: time.Minute})
	const metric = "tidegate_spoa_haproxy_last_message_timestamp_seconds"
	at := func(d time.Duration) time.Time { return began.Add(d) }
	first, second := boot(0), boot(30*time.Second)
	boots := func(now time.Duration) string {
		m.Take(at(now))
		return fmt.Sprint(keys(series(set, metric)))
	}
	label := func(ids ...string) string {
		var l []string
		for _, id := range ids {
			l = append(l, fmt.Sprintf("boot=%q", id))
		}
		slices.Sort(l)
		return fmt.Sprint(l)
	}
	m.Heartbeat(at(time.Second), beat("app", first, 1, 0))
	if got := boots(2 * time.Second); got != label(first) {
		t.Errorf("one process: %s", got)
	}
	m.Heartbeat(at(31*time.Second), beat("app", second, 1, 0))
	if got := boots(40 * time.Second); got != label(first, second) {
		t.Errorf("after a reload, both: %s", got)
	}
	m.Heartbeat(at(80*time.Second), beat("app", second, 2, 0))
	if got := boots(81 * time.Second); got != label(second) {
		t.Errorf("the first has been silent for more than a minute: %s", got)
	}
	if got := boots(10 * time.Minute); got != "[]" {
		t.Errorf("all have been silent: %s", got)
	}
	// Reload after reload: the newest are shown.
	for i := range 5 * maxBootSeries {
		now := time.Duration(600+i) * time.Second
		m.Heartbeat(at(now), beat(fmt.Sprint("app", i), boot(now), 1, 0))
	}
	if got := len(series(set, metric)); got != 0 {
		t.Errorf("%d series before the tick", got)
	}
	m.Take(at(10*time.Minute + 5*maxBootSeries*time.Second))
	if got := len(series(set, metric)); got > maxBootSeries || got == 0 {
		t.Errorf("%d processes shown, want 1 to %d", got, maxBootSeries)
	}
}

func keys(m map[string]string) []string {
	out := []string{}
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
